//! The rehearsal with engines that are shell scripts: what it shows them, and that nothing of it remains. Needs root.
//! Real engines are rehearsed by the node suites.

// A program of its own: clippy does not see these functions as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cofferdam_core::class::Class;
use cofferdam_core::name::HostPath;
use cofferdam_host::rehearse::{
    Candidate, DaemonOutcome, Helper, RehearseError, Request, child_main, rehearse,
};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

const HELPER: &str = "helper";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().map(String::as_str) == Some(HELPER) {
        return child_main(args.skip(1));
    }
    let tests: [(&str, fn()); 5] = [
        ("candidates_are_seen_in_place", candidates_are_seen_in_place),
        ("a_refused_configuration_says_why", a_refused_configuration_says_why),
        ("a_daemon_that_ends_is_a_failure", a_daemon_that_ends_is_a_failure),
        ("a_daemon_that_hangs_leaves_nothing_behind", a_daemon_that_hangs_leaves_nothing_behind),
        ("the_daemon_dies_with_the_helper", the_daemon_dies_with_the_helper),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    println!("\ntest result: ok. {} passed; 0 failed; 0 ignored", tests.len());
    ExitCode::SUCCESS
}

/// An engine on this machine: its folders, and a script as its binary.
struct Engine {
    folder: tempfile::TempDir,
}

impl Engine {
    /// `dump` and `daemon` are shell; `$CONFIG` is the configuration file, `$BASE` the folder of all.
    fn new(dump: &str, daemon: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        for name in ["root", "state", "etc/conf.d", "etc/certs.d/x"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        std::fs::write(base.join("etc/config.toml"), "version = 2\n").unwrap();
        std::fs::write(base.join("etc/conf.d/old.toml"), "old = 1\n").unwrap();
        std::fs::write(base.join("etc/conf.d/other.toml"), "other = 1\n").unwrap();
        std::os::unix::fs::symlink("config.toml", base.join("etc/link.toml")).unwrap();
        std::fs::write(base.join("state/engine.sock"), "live").unwrap();
        std::fs::write(base.join("root/data"), "live").unwrap();
        let script = format!(
            "#!/bin/sh\nBASE={}\nCONFIG=$BASE/etc/config.toml\ncase \"$*\" in *config*) {dump};; *) {daemon};; esac\n",
            base.display()
        );
        let binary = base.join("engine");
        std::fs::write(&binary, script).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn base(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn path(&self, name: &str) -> HostPath {
        HostPath::new(self.base().join(name).to_str().unwrap()).unwrap()
    }

    fn request(&self, candidates: &[(&str, Option<&str>)], daemon_limit: Duration) -> Request {
        Request {
            binary: self.path("engine"),
            args: Vec::new(),
            config: self.path("etc/config.toml"),
            root: self.path("root"),
            state: self.path("state"),
            address: self.path("state/engine.sock"),
            candidates: candidates
                .iter()
                .map(|(name, text)| Candidate {
                    path: self.path(name),
                    content: text.map(|text| text.as_bytes().to_vec()),
                })
                .collect(),
            dump_limit: Duration::from_secs(10),
            daemon_limit,
        }
    }

    /// Every file of the engine with its content.
    fn tree(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, into);
                } else {
                    into.push((path.clone(), std::fs::read(&path).unwrap()));
                }
            }
        }
        let mut files = Vec::new();
        walk(&self.base(), &mut files);
        files.sort();
        files
    }
}

fn helper() -> Helper {
    Helper { program: PathBuf::from("/proc/self/exe"), args: vec![HELPER.to_owned()] }
}

/// The mounts that a rehearsal makes, as far as this namespace sees them: others mount things meanwhile.
fn mounts(engine: &Engine) -> Vec<String> {
    let base = engine.base().to_str().unwrap().to_owned();
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |line: &&str| line.contains(&base) || line.contains(" - tmpfs cofferdam ");
    all.lines().filter(ours).map(str::to_owned).collect()
}

fn candidates_are_seen_in_place() {
    // What the script prints is TOML, so it comes back as the dump.
    let dump = "cat $CONFIG $BASE/etc/conf.d/*.toml $BASE/etc/new/a/n.toml; \
        echo \"root = \\\"$(ls $BASE/root)\\\"\"; echo \"state = \\\"$(ls $BASE/state)\\\"\"; \
        echo \"link = '$(readlink $BASE/etc/link.toml)'\"; echo \"certs = '$(ls $BASE/etc/certs.d)'\"";
    let engine = Engine::new(dump, "exit 0");
    let tree = engine.tree();
    let candidates = [
        ("etc/config.toml", Some("changed = 1\n")),
        ("etc/conf.d/mine.toml", Some("mine = 1\n")),
        ("etc/conf.d/old.toml", None),
        ("etc/new/a/n.toml", Some("new = 1\n")),
    ];
    let rehearsal = rehearse(&engine.request(&candidates, Duration::from_secs(5)), &helper()).unwrap();
    assert_eq!(
        rehearsal.dump,
        "changed = 1\nmine = 1\nother = 1\nnew = 1\nroot = \"\"\nstate = \"\"\nlink = 'config.toml'\ncerts = 'x'\n"
    );
    assert_eq!(engine.tree(), tree);
    assert_eq!(mounts(&engine), Vec::<String>::new());
}

fn a_refused_configuration_says_why() {
    let engine = Engine::new("echo 'line 7: nonsense' >&2; exit 1", "exit 0");
    let error = rehearse(&engine.request(&[], Duration::from_secs(5)), &helper()).unwrap_err();
    assert!(matches!(error, RehearseError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("line 7: nonsense"), "{error}");
    assert_eq!(error.class(), Class::Unsupported);
}

fn a_daemon_that_ends_is_a_failure() {
    let engine = Engine::new("cat $CONFIG", "echo \"pid $$\" >&2; echo 'time=1 level=info'; exit 3");
    let rehearsal = rehearse(&engine.request(&[], Duration::from_secs(5)), &helper()).unwrap();
    let DaemonOutcome::Failed { reason } = rehearsal.daemon else { panic!("{:?}", rehearsal.daemon) };
    // It is PID 1 of a namespace of its own.
    assert!(reason.contains("exit status: 3") && reason.contains("pid 1"), "{reason}");
}

fn a_daemon_that_hangs_leaves_nothing_behind() {
    // It would take the live socket, change the engine's data, and stay.
    let daemon = "rm -f $BASE/state/engine.sock; echo bad >$BASE/root/data; sleep 98765 & exec sleep 98765";
    let engine = Engine::new("cat $CONFIG", daemon);
    let tree = engine.tree();
    let started = Instant::now();
    let rehearsal = rehearse(&engine.request(&[], Duration::from_millis(500)), &helper()).unwrap();
    let DaemonOutcome::Failed { reason } = rehearsal.daemon else { panic!("{:?}", rehearsal.daemon) };
    assert!(reason.contains("would not serve CRI within 500ms"), "{reason}");
    assert!(started.elapsed() < Duration::from_secs(8));
    assert_eq!(engine.tree(), tree);
    assert_eq!(mounts(&engine), Vec::<String>::new());
    assert!(!runs("98765"));
}

fn the_daemon_dies_with_the_helper() {
    let engine = Engine::new("cat $CONFIG", "sleep 87654 & exec sleep 87654");
    let request = serde_json::to_vec(&engine.request(&[], Duration::from_secs(60))).unwrap();
    let mut helper = std::process::Command::new("/proc/self/exe")
        .arg(HELPER)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    helper.stdin.take().unwrap().write_all(&request).unwrap();
    assert!(within(Duration::from_secs(10), || runs("87654")), "the daemon did not start");
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert!(within(Duration::from_secs(10), || !runs("87654")), "the daemon outlived its helper");
}

fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Whether a process with this argument is there.
fn runs(arg: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|word| word == arg.as_bytes())
    })
}
