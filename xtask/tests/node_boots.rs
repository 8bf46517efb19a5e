//! The test bed itself: nodes boot, run containers, come back after a reboot, and leave nothing behind.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_host::cri::ContainerRun;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::testbed::cache::Cache;

use xtask::testbed::{Config, Containerd, Error, Node, NodeSpec, Release, Runtime, Tree, package};

const WATCHED: &[&str] = &["/etc", "/opt", "/usr/local", "/var/lib/cofferdam"];

/// What a node is on this machine.
struct Traces {
    machine: String,
    leader: u32,
    disk: PathBuf,
}

impl Traces {
    fn of(node: &Node) -> Self {
        let traces = Self {
            machine: node.machine(),
            leader: node.leader().expect("it runs"),
            disk: node.disk().to_owned(),
        };
        assert_eq!(traces.found().len(), 5, "a running node has every trace that we look for");
        traces
    }

    fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |what: &str, there: bool| there.then(|| found.push(what.to_owned()));
        note("process", Path::new(&format!("/proc/{}", self.leader)).exists());
        note("disk", self.disk.exists());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        note("mount", mounts.contains(&format!("{}/", self.disk.display())));
        note("interface", Path::new(&format!("/sys/class/net/ve-{}", self.machine)).exists());
        let group = format!("/sys/fs/cgroup/systemd/cofferdam-{}", self.machine);
        // On a machine whose own systemd manages the groups there is a scope instead; it goes with its processes.
        let scoped = Path::new("/run/systemd/system").is_dir()
            && Path::new(&format!("/proc/{}", self.leader)).exists();
        note("control group", scoped || Path::new(&group).exists());
        found
    }
}

fn life(containerd: Containerd) {
    let begun = Instant::now();
    let mut node = Node::boot(NodeSpec::new(containerd).name("n1")).unwrap();
    eprintln!("containerd {}: up after {:?}", containerd.version(), begun.elapsed());
    let traces = Traces::of(&node);

    assert_eq!(node.ok(&["systemctl", "is-system-running"]).unwrap().trim(), "running");
    assert_eq!(node.ok(&["hostname"]).unwrap().trim(), "n1");
    serves(&node, containerd);

    let before = node.snapshot(WATCHED).unwrap();
    pods(&node);
    let after = node.snapshot(WATCHED).unwrap();
    assert!(before.entries.contains_key("/etc/containerd/config.toml"));
    assert_eq!(before.diff(&after), Vec::<String>::new());

    survives_reboots(&mut node, &before);
    drop(node);
    assert_eq!(traces.found(), Vec::<String>::new());
}

/// The daemon that runs is of this release, and its CRI is well.
fn serves(node: &Node, containerd: Containerd) {
    let release = format!("{}.", containerd.version());
    let shown = node.ok(&["ctr", "version"]).unwrap();
    let server = shown.split("Server:").nth(1).unwrap();
    let server = server.lines().find_map(|l| l.trim().strip_prefix("Version:")).unwrap().trim();
    assert!(server.trim_start_matches('v').starts_with(&release), "{shown}");
    let plugins = node.ok(&["ctr", "plugins", "ls"]).unwrap();
    let cri: Vec<&str> = plugins.lines().filter(|l| l.contains(" cri ")).collect();
    assert!(!cri.is_empty() && cri.iter().all(|l| l.trim_end().ends_with(" ok")), "{plugins}");
}

fn pods(node: &Node) {
    let pod = node.run_pod("one", "").unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(node.exec_ok(&pod, &["uname", "-r"]).unwrap(), host.trim());
    assert_eq!(node.exec(&pod, &["sh", "-c", "exit 3"]).unwrap().code, 3);
    assert_eq!(node.pod_state(&pod).unwrap(), ContainerRun::Running);
    assert_eq!(node.pods().unwrap().len(), 1);
    // Containers live through a restart of the engine, as on a real node.
    node.restart_containerd().unwrap();
    assert_eq!(node.pod_state(&pod).unwrap(), ContainerRun::Running);
    node.remove_pod(&pod).unwrap();
    assert_eq!(node.pods().unwrap().len(), 0);
}

fn survives_reboots(node: &mut Node, before: &Tree) {
    node.put("/var/lib/kept", "kept", 0o640).unwrap();
    node.put("/run/lost", "lost", 0o644).unwrap();
    let pod = node.run_pod("two", "").unwrap();
    for cut in [false, true] {
        let boot = node.ok(&["cat", "/proc/1/stat"]).unwrap();
        let begun = Instant::now();
        if cut {
            node.power_cut().unwrap()
        } else {
            node.reboot().unwrap()
        }
        eprintln!("{}: {:?}", if cut { "power cut" } else { "reboot" }, begun.elapsed());
        assert_ne!(node.ok(&["cat", "/proc/1/stat"]).unwrap(), boot, "PID 1 is another process");
        assert_eq!(node.read("/var/lib/kept").unwrap(), b"kept");
        assert!(node.read("/run/lost").is_err(), "/run is fresh");
        assert_eq!(node.ok(&["systemctl", "is-active", "containerd"]).unwrap().trim(), "active");
        assert_ne!(node.pod_state(&pod).unwrap(), ContainerRun::Running, "no container outlives its kernel");
        let again = node.run_pod(if cut { "four" } else { "three" }, "").unwrap();
        node.remove_pod(&again).unwrap();
        assert_eq!(before.diff(&node.snapshot(WATCHED).unwrap()), Vec::<String>::new());
    }
}

#[test]
fn node_with_debians_containerd_lives_and_leaves_nothing() {
    life(Containerd::Debian17);
}

#[test]
fn node_with_upstreams_containerd_lives_and_leaves_nothing() {
    life(Containerd::Upstream24);
}

#[test]
fn nodes_with_older_releases_run_pods() {
    for containerd in [Containerd::Debian16, Containerd::Upstream21] {
        let node = Node::boot(NodeSpec::new(containerd)).unwrap();
        serves(&node, containerd);
        pods(&node);
    }
}

/// As when the distribution replaces the package, up and down.
#[test]
fn containerd_is_replaced_under_a_running_pod() {
    let node = Node::boot(NodeSpec::new(Containerd::Debian17)).unwrap();
    let pod = node.run_pod("stays", "").unwrap();
    let before = node.snapshot(WATCHED).unwrap();
    let all = [Containerd::Upstream21, Containerd::Upstream24, Containerd::Debian16, Containerd::Debian17];
    for other in all {
        node.swap_containerd(other).unwrap();
        serves(&node, other);
        assert_eq!(node.attempt(&pod).unwrap(), Some((0, true)), "{other:?}");
        assert_eq!(before.diff(&node.snapshot(WATCHED).unwrap()), Vec::<String>::new(), "{other:?}");
        let pod = node.run_pod("new", "").unwrap();
        node.remove_pod(&pod).unwrap();
    }
    node.remove_pod(&pod).unwrap();
}

#[test]
fn snapshot_sees_every_kind_of_change() {
    let node = Node::boot(NodeSpec::new(Containerd::Debian17).without_images()).unwrap();
    let script = "mkdir -p /opt/t/d; cd /opt/t; echo a >content; echo a >mode; echo a >owner; echo a >attr; echo a >gone; ln -s a link";
    node.sh(script).unwrap().ok().unwrap();
    let before = node.snapshot(&["/opt/t"]).unwrap();
    let script = "cd /opt/t; echo b >content; chmod 600 mode; chown 1:2 owner; rm gone; ln -snf b link; rmdir d; mkfifo -m 755 d; echo >new";
    node.sh(script).unwrap().ok().unwrap();
    // The node has no setfattr.
    let attr = node.root().join("opt/t/attr");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&attr, "user.test", b"v", flags).unwrap();
    let diff = before.diff(&node.snapshot(&["/opt/t"]).unwrap());
    for path in ["~ /opt/t/content: ", "~ /opt/t/mode: mode 644 -> 600", "~ /opt/t/owner: owner 0:0 -> 1:2"] {
        assert!(diff.iter().any(|l| l.starts_with(path)), "{path} in {diff:#?}");
    }
    for path in ["~ /opt/t/attr: xattrs", "- /opt/t/gone", "~ /opt/t/link: ", "~ /opt/t/d: ", "+ /opt/t/new"]
    {
        assert!(diff.iter().any(|l| l.starts_with(path)), "{path} in {diff:#?}");
    }
    assert_eq!(diff.len(), 8, "{diff:#?}");
}

#[test]
fn commands_end_at_their_limit_with_all_their_children() {
    let node = Node::boot(NodeSpec::new(Containerd::Debian17).without_images()).unwrap();
    let begun = Instant::now();
    let limit = Duration::from_millis(700);
    let result = node.run_for(limit, &["sh", "-c", "echo before; sleep 4242 & sleep 4243"]);
    assert!(matches!(&result, Err(Error::TimedOut { output, .. }) if output == "before"), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(node.run(&["pgrep", "-f", "sleep 424"]).unwrap().status, 1, "nothing of it runs on");
    let output = node.sh("echo out; echo err >&2; exit 7").unwrap();
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    // In the node's own control groups, as a login would be.
    assert!(!node.ok(&["cat", "/proc/self/cgroup"]).unwrap().contains(".."));
}

#[test]
fn two_nodes_run_side_by_side_and_reach_this_machine() {
    let one =
        Node::boot(NodeSpec::new(Containerd::Debian17).config(Config::Absent).without_images()).unwrap();
    let two =
        Node::boot(NodeSpec::new(Containerd::Upstream24).config(Config::Absent).without_images()).unwrap();
    assert_ne!(one.address(), two.address());
    for node in [&one, &two] {
        let route = node.ok(&["ip", "route", "get", &node.host_address()]).unwrap();
        assert!(route.contains("dev host0"), "{route}");
        assert!(node.read("/etc/containerd/config.toml").is_err(), "no configuration was asked for");
    }
    one.ok(&["systemctl", "restart", "containerd"]).unwrap();
    assert_eq!(two.ok(&["systemctl", "is-system-running"]).unwrap().trim(), "running");
}

#[test]
fn panic_leaves_nothing() {
    let mut traces = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let node = Node::boot(NodeSpec::new(Containerd::Debian17).without_images()).unwrap();
        traces = Some(Traces::of(&node));
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(traces.unwrap().found(), Vec::<String>::new());
}

#[test]
fn killed_owner_is_cleared_up_after_and_interrupted_one_clears_up_itself() {
    for signal in ["KILL", "INT"] {
        let mut owner = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["node", "--containerd", "1.7", "--keep"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(owner.stderr.take().unwrap()).lines().map(Result::unwrap);
        let disk =
            lines.map(|l| l.rsplit_once(", disk ").map(|(_, d)| d.to_owned())).find_map(|d| d).unwrap();
        let number = Path::new(&disk).file_name().unwrap().to_string_lossy().into_owned();
        let interface = format!("/sys/class/net/ve-cfd-{number}");
        assert!(Path::new(&disk).exists() && Path::new(&interface).exists());
        Command::new("kill").args([&format!("-{signal}"), &owner.id().to_string()]).status().unwrap();
        owner.wait().unwrap();
        if signal == "KILL" {
            assert!(Path::new(&disk).exists(), "nobody could clear up yet");
            xtask::testbed::node::clear_leftovers().unwrap();
        }
        assert!(!Path::new(&disk).exists() && !Path::new(&interface).exists());
    }
}

/// A package in a folder of that name, also the handler's name: what says its kernel's version inside, and its
/// program's version outside.
const PACKAGES: [(Runtime, Release, &str, &str); 5] = [
    (Runtime::Crun, Release::Old, "crun", "crun version 1.21"),
    (Runtime::GvisorOci, Release::Old, "oci-old", "runsc version 0.0~20240729.0"),
    (Runtime::GvisorOci, Release::New, "oci-new", "runsc version release-20250205.0"),
    (Runtime::Gvisor, Release::Old, "gvisor-old", "runsc version 0.0~20240729.0"),
    (Runtime::Gvisor, Release::New, "gvisor-new", "runsc version release-20250205.0"),
];

fn pack(dir: &Path) {
    let cache = Cache::open().unwrap();
    for (runtime, release, name, _) in PACKAGES {
        let dest = dir.join(name);
        package::pack(&cache, runtime, release, &dest).unwrap();
        let text = std::fs::read_to_string(dest.join("runtime.toml")).unwrap();
        cofferdam_core::descriptor::parse(name, &text).unwrap();
        let settings = dest.join("etc/runsc.toml");
        if let Ok(text) = std::fs::read_to_string(&settings) {
            std::fs::write(&settings, text.replace("/opt/gvisor/", &format!("/opt/{name}/"))).unwrap();
        }
    }
}

/// A configuration with all of them, as a person writes it.
fn config(containerd: Containerd) -> String {
    let mut text = containerd.admin_config().to_owned();
    for (runtime, _, name, _) in PACKAGES {
        let (kind, options) = match runtime {
            Runtime::Crun => (
                "io.containerd.runc.v2",
                format!("BinaryName = \"/opt/{name}/bin/crun\", Root = \"/run/{name}\""),
            ),
            Runtime::GvisorOci => (
                "io.containerd.runc.v2",
                format!("BinaryName = \"/opt/{name}/bin/runsc-pod\", Root = \"/run/{name}\""),
            ),
            Runtime::Gvisor => (
                &*format!("/opt/{name}/bin/containerd-shim-runsc-v1"),
                format!(
                    "TypeUrl = \"io.containerd.runsc.v1.options\", ConfigPath = \"/opt/{name}/etc/runsc.toml\""
                ),
            ),
        };
        let plugin = containerd.cri_plugin();
        text += &format!(
            "[plugins.\"{plugin}\".containerd.runtimes.{name}]\nruntime_type = \"{kind}\"\noptions = {{ {options} }}\n"
        );
    }
    text
}

#[test]
fn packages_of_both_releases_run_on_every_engine() {
    let dir = tempfile::tempdir().unwrap();
    pack(dir.path());
    for containerd in Containerd::ALL {
        let spec = NodeSpec::new(containerd).config(Config::Text(config(containerd))).without_images();
        let node = Node::boot(spec).unwrap();
        node.put_tree(dir.path(), "/opt").unwrap();
        node.load_images().unwrap();
        let host = node.ok(&["uname", "-r"]).unwrap();
        // Several of each: a gVisor that does not fit its Go loses one sandbox in six.
        let rounds = if Containerd::MAJORS.contains(&containerd) { 4 } else { 1 };
        for (runtime, _, name, version) in PACKAGES.into_iter().cycle().take(rounds * PACKAGES.len()) {
            let program = if runtime == Runtime::Crun { "crun" } else { "runsc" };
            let shown = node.ok(&[&format!("/opt/{name}/bin/{program}"), "--version"]).unwrap();
            assert_eq!(shown.lines().next(), Some(version));
            let begun = Instant::now();
            let pod = node.run_pod(name, name).unwrap();
            let kernel = node.exec_ok(&pod, &["uname", "-r"]).unwrap();
            assert_eq!(kernel, if runtime == Runtime::Crun { host.trim() } else { "4.4.0" }, "{name}");
            let up = begun.elapsed();
            node.remove_pod(&pod).unwrap();
            let gone = begun.elapsed();
            eprintln!("{name} on {}: exec after {up:?}, gone after {gone:?}", containerd.version());
        }
    }
}
