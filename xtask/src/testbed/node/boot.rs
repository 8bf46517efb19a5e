//! A node's disk and its systemd-nspawn.

use super::super::cache::Entry;
use super::super::command::{Command, wait_for};
use super::super::error::{Error, Result};
use super::super::host;
use super::cgroups;
use super::claim::{Claim, cgroup};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The writable part of a node, mounted over the cached trees.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    root: PathBuf,
}

impl Disk {
    /// An overlay over `lower` (the first is the uppermost).
    pub(super) fn make(claim: &Claim, lower: &[Entry]) -> Result<Self> {
        let dir = claim.dir().to_owned();
        let disk = Self { root: dir.join("root"), dir };
        for name in ["root", "upper", "work", "containerd"] {
            let path = disk.dir.join(name);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        let lower: Vec<String> = lower.iter().map(|e| e.path().display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={dir}/upper,workdir={dir}/work",
            lower.join(":"),
            dir = disk.dir.display()
        );
        let options = CString::new(options).unwrap_or_default();
        mount("overlay", &disk.root, "overlay", MountFlags::empty(), Some(options.as_c_str()))
            .map_err(Error::io("mount an overlay (whose upper part cannot be one itself) on", &disk.root))?;
        Ok(disk)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn console(&self) -> String {
        let bytes = fs::read(self.console_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn console_path(&self) -> PathBuf {
        self.dir.join("console.log")
    }
}

/// A running systemd-nspawn.
#[derive(Debug)]
pub(super) struct Booted {
    nspawn: Child,
    leader: u32,
    groups: Vec<PathBuf>,
}

impl Booted {
    /// Starts the node and waits until its systemd is its PID 1.
    pub(super) fn start(claim: &mut Claim, disk: &Disk, hostname: &str, limit: Duration) -> Result<Self> {
        let machine = claim.machine();
        let group = cgroup(&machine);
        let groups = if cgroups::managed_by_systemd() {
            Vec::new()
        } else {
            // A machine boots without the groups of its last run; a kubelet looks at each of them for seconds.
            cgroups::remove(&group)?;
            cgroups::make(&group)?
        };
        let mut nspawn = nspawn(claim, disk, hostname, &groups)?;
        let until = Instant::now() + limit;
        let leader = loop {
            if let Some(leader) = leader(nspawn.id()) {
                break leader;
            }
            let ended = wait_for(&mut nspawn, Duration::from_millis(20))?;
            if ended.is_some() || Instant::now() > until {
                let _ = nspawn.kill();
                let _ = nspawn.wait();
                return Err(Error::Node {
                    node: machine,
                    what: "start systemd-nspawn".into(),
                    why: format!("it ended or systemd did not start (status {ended:?}):\n{}", disk.console()),
                });
            }
        };
        let mut booted = Self { nspawn, leader, groups: Vec::new() };
        claim.record_processes(&[booted.nspawn.id(), leader])?;
        if !groups.is_empty() {
            booted.groups = cgroups::payload(&group);
        }
        address(claim)?;
        Ok(booted)
    }

    pub(super) const fn leader(&self) -> u32 {
        self.leader
    }

    pub(super) fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.leader))
    }

    /// `nsenter` with everything but the command to run.
    pub(super) fn enter(&self) -> std::process::Command {
        let leader = self.leader.to_string();
        if self.groups.is_empty() {
            let mut command = std::process::Command::new("nsenter");
            command.args(["--all", "--target", &leader, "--"]);
            return command;
        }
        // nsenter joins the control group namespace, not the groups: /proc/self/cgroup would show /../../ inside.
        const JOIN: &str = r#"leader=$1; shift
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || :; shift; done 2>/dev/null
exec nsenter --all --target "$leader" "$@""#;
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", JOIN, "nsenter", &leader]).args(&self.groups).arg("--");
        command
    }

    /// Waits for its end, which somebody has asked for; `false` when the limit comes first.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<bool> {
        Ok(wait_for(&mut self.nspawn, limit)?.is_some())
    }

    /// Kills every process in it. The kernel ends all of a PID namespace with its first process.
    pub(super) fn kill(&mut self) -> Result<bool> {
        if self.nspawn.try_wait().map_err(Error::io("wait for nspawn in", Path::new("/proc")))?.is_some() {
            return Ok(true);
        }
        // As long as nspawn is not reaped, the leader's number cannot belong to anyone else but its own child.
        if let Some(leader) = leader(self.nspawn.id()).and_then(|p| Pid::from_raw(p.cast_signed())) {
            let _ = kill_process(leader, Signal::KILL);
        }
        if self.wait(Duration::from_secs(20))? {
            return Ok(true);
        }
        let _ = self.nspawn.kill();
        self.wait(Duration::from_secs(5))
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        if !matches!(self.kill(), Ok(true)) {
            eprintln!("systemd-nspawn {} does not end", self.nspawn.id());
        }
    }
}

fn nspawn(claim: &Claim, disk: &Disk, hostname: &str, groups: &[PathBuf]) -> Result<Child> {
    // It joins the node's control groups before nspawn looks where it is. A session of its own keeps a
    // terminal's Ctrl-C from it.
    const JOIN: &str = r#"set -e
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done
shift
exec setsid "$@""#;
    let console = disk.console_path();
    let log =
        File::options().create(true).append(true).open(&console).map_err(Error::io("open", &console))?;
    let errors = log.try_clone().map_err(Error::io("open", &console))?;
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", JOIN, "nspawn"]).args(groups).arg("--");
    command
        .args([
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--register=no",
            "--capability=all",
            "--private-users=no",
        ])
        .args(["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--network-veth"])
        .arg(format!("--machine={}", claim.machine()))
        .arg(format!("--hostname={hostname}"))
        .arg(format!("--directory={}", disk.root().display()))
        .arg(format!("--bind={}:/var/lib/containerd", disk.dir().join("containerd").display()));
    if !cgroups::managed_by_systemd() {
        command.arg("--keep-unit");
    }
    for device in ["/dev/kmsg", "/dev/fuse", "/dev/kvm"] {
        if Path::new(device).exists() {
            command.arg(format!("--bind={device}"));
        }
    }
    command
        // Container engines load filters and mount what nspawn would forbid.
        .env("SYSTEMD_SECCOMP", "0")
        .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "yes")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    command.spawn().map_err(|source| Error::Start {
        command: "systemd-nspawn".into(),
        source,
        next: "look at the node's console.log".into(),
    })
}

/// The node's PID 1 once it is systemd: before that, its namespaces still show this machine's files.
fn leader(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "systemd")
    })
}

/// Gives the host's end of the pair its address, and the way to the node's pods. The node's own unit does the other
/// end.
fn address(claim: &Claim) -> Result<()> {
    let interface = claim.interface();
    let address = format!("{}/24", claim.host_address());
    Command::new("ip").args(["address", "replace", &address, "dev", &interface]).ok()?;
    Command::new("ip").args(["link", "set", &interface, "up"]).ok()?;
    let route = ["route", "replace", &claim.pod_network(), "via", &claim.node_address(), "dev", &interface];
    Command::new("ip").args(route).ok()?;
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(e) = host::remove_tree(&self.dir) {
            eprintln!("the node's disk {} is not removed: {e}", self.dir.display());
        }
    }
}
