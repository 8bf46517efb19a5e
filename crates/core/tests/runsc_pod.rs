//! The adapter of the preset `gvisor-oci`, run by the machine's `sh` with a stand-in for runsc that records its calls.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const ADAPTER: &str = include_str!("../presets/gvisor-oci/runsc-pod");

/// Keeps a container's state in a file of its root: `created`, `running`, or its exit status.
const RUNSC: &str = r#"#!/bin/sh
root= previous= command=
echo "$*" >>"${0%/*}/calls"
for a in "$@"; do
    [ "$previous" = --root ] && root=$a
    case $a in create | start | state | wait | kill | delete | features) command=$a ;; esac
    previous=$a
done
id=$previous
case $command in
    create) mkdir -p "$root"; echo created >"$root/$id" ;;
    start) echo running >"$root/$id"; echo "hello from $id" ;;
    state) [ -f "$root/$id" ] && echo "{\"status\": \"$(cat "$root/$id")\"}" ;;
    wait) while [ "$(cat "$root/$id")" = running ]; do sleep 0.02; done; echo "{\"exitStatus\": $(cat "$root/$id")}" ;;
    kill) cat "${0%/*}/complaint" >&2; exit 128 ;;
    delete) rm "$root/$id" ;;
    features) echo features ;;
esac
"#;

/// A package with the adapter in a folder of its own.
struct Package {
    folder: tempfile::TempDir,
    // A process that another thread starts while a script is being written holds it open, and running it fails with
    // ETXTBSY: one test at a time.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Package {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let package = Self { folder, _alone };
        fs::create_dir_all(package.path("tree/bin")).unwrap();
        for (name, text) in [("runsc-pod", ADAPTER), ("runsc", RUNSC)] {
            let path = package.path(&format!("tree/bin/{name}"));
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        package
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("tree/bin/calls")).unwrap_or_default()
    }

    /// Calls the adapter as the runc shim does, with `root` as the folder of its state.
    fn call(&self, root: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path("tree/bin/runsc-pod"));
        command.arg("--root").arg(self.path(root)).args(["--log", "/dev/null", "--log-format", "json"]);
        command.args(arguments).output().unwrap()
    }

    /// Creates a container whose output goes to a file; its process id.
    fn create(&self, root: &str, id: &str) -> u32 {
        let (out, pid) = (self.path(&format!("{root}-{id}.out")), self.path(&format!("{root}-{id}.pid")));
        let mut command = Command::new(self.path("tree/bin/runsc-pod"));
        command
            .arg("--root")
            .arg(self.path(root))
            .args(["create", "--bundle", "/b", "--pid-file"])
            .arg(&pid)
            .arg(id);
        let file = File::create(out).unwrap();
        let status = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).status().unwrap();
        assert!(status.success());
        fs::read_to_string(pid).unwrap().parse().unwrap()
    }

    fn output(&self, root: &str, id: &str) -> String {
        fs::read_to_string(self.path(&format!("{root}-{id}.out"))).unwrap()
    }
}

fn lives(pid: u32) -> bool {
    // A zombie has ended: whoever adopted it just has not asked yet.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_container_has_a_process_from_create_to_its_end() {
    let package = Package::new();
    let pid = package.create("state", "c1");
    assert!(lives(pid));
    let log = package.path("state-c1.out");
    fs::write(&log, "earlier\n").unwrap();
    assert!(package.call("state", &["start", "c1"]).status.success());
    assert_eq!(
        package.output("state", "c1"),
        "earlier\nhello from c1\n",
        "start must use the streams of create"
    );
    assert!(lives(pid));
    fs::write(package.path("state/c1"), "3").unwrap();
    until("the process ends with its container", || !lives(pid));
    assert!(package.call("state", &["delete", "c1"]).status.success());
    assert!(!package.path("state/.waiters/c1").exists());
}

#[test]
fn several_instances_do_not_meet() {
    let package = Package::new();
    let pids =
        [("a", "same"), ("b", "same"), ("a", "other")].map(|(root, id)| (root, id, package.create(root, id)));
    for (root, id, _) in pids {
        assert!(package.call(root, &["start", id]).status.success());
        assert_eq!(package.output(root, id), format!("hello from {id}\n"));
    }
    fs::write(package.path("a/same"), "0").unwrap();
    until("the first ends", || !lives(pids[0].2));
    assert!(lives(pids[1].2) && lives(pids[2].2));
    for (root, id, pid) in pids {
        fs::write(package.path(root).join(id), "0").unwrap();
        until("all end", || !lives(pid));
    }
}

#[test]
fn an_ended_container_is_reported_in_runcs_words() {
    let package = Package::new();
    let kill = |complaint: &str| {
        fs::write(package.path("tree/bin/complaint"), complaint).unwrap();
        let answer = package.call("state", &["kill", "--all", "c1", "9"]);
        assert_eq!(answer.status.code(), Some(1));
        String::from_utf8(answer.stderr).unwrap()
    };
    for ended in [
        "loading container: sandbox is not running\n",
        "loading container: file does not exist\n",
        "signaling container \"c1\": signaling process in container \"c1\" PID 0: no such process\n",
    ] {
        assert_eq!(kill(ended), "container not running\n", "{ended}");
    }
    assert_eq!(
        kill("connecting to control server: connection refused\n"),
        "connecting to control server: connection refused\n"
    );
}

#[test]
fn other_calls_pass_with_the_packages_flags() {
    let package = Package::new();
    let answer = package.call("state", &["features"]);
    assert_eq!(answer.stdout, b"features\n");
    assert!(package.calls().starts_with("--network=host --root "), "{}", package.calls());
    fs::create_dir(package.path("tree/etc")).unwrap();
    fs::write(
        package.path("tree/etc/runsc.flags"),
        "# none of the defaults\n--platform=kvm\n\n--overlay2=all:self",
    )
    .unwrap();
    package.call("state", &["features"]);
    let calls = package.calls();
    let last = calls.lines().last().unwrap();
    assert!(last.contains("--platform=kvm") && last.contains("--overlay2=all:self"), "{last}");
    assert!(!last.contains("network") && last.ends_with(" features"), "{last}");
}

#[test]
fn runsc_is_found_beside_the_adapter_through_links() {
    let package = Package::new();
    let link = package.path("link");
    symlink(Path::new("tree/bin/runsc-pod"), &link).unwrap();
    let answer = Command::new(link).arg("features").output().unwrap();
    assert_eq!(answer.stdout, b"features\n", "{}", String::from_utf8_lossy(&answer.stderr));
}
