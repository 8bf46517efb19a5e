//! Cofferdam itself on a node, for tests: its binary with failpoints, packages, what it answered, what it left.

use super::cache::Cache;
use super::command::Command;
use super::error::{Error, Result};
use super::node::Node;
use super::package::{self, Release, Runtime};
use super::tree::Tree;
use super::{Output, Pod};
use cofferdam_core::plan::{RECOVER_UNIT, WORKER_UNIT};
use cofferdam_host::event::Outcome;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where the binary is on a node.
pub const BINARY: &str = "/usr/local/bin/cofferdam";

/// A failpoint of the worker (see `crates/host/src/fault.rs`).
pub const FAULT: &str = "/run/cofferdam.fault";

/// The record of a change that is under way or was interrupted.
pub const JOURNAL: &str = "/var/lib/cofferdam/journal.json";

/// Keeps systemd from starting a killed worker again. On /run: a boot does not know it.
pub const NO_RESTART: &str = "/run/systemd/system/cofferdam-worker.service.d/test.conf";

/// A cold build on a busy machine.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// Longer than any transaction with a hanging engine.
const RUN_LIMIT: Duration = Duration::from_secs(240);

/// What must be as before once nothing of ours is left.
pub const WATCHED: &[&str] = &["/etc", "/opt", "/usr", "/var/lib/cofferdam"];

/// The log of what was done. It tells of changes that left the rest as it was; were it left behind, so would be its
/// folder.
pub const LOG: &str = "/var/lib/cofferdam/log";

/// What changes below [`WATCHED`] without us, each with the reason.
pub const EXCLUDED: &[(&str, &str)] = &[
    (BINARY, "the tests put it there"),
    ("/etc/mtab", "follows the mounts"),
    (LOG, "tells of changes that were taken back, too; it goes with its folder"),
];

/// The part of [`WATCHED`] that our changes reach: quicker to look at.
pub const REACHED: &[&str] = &["/etc", "/opt", "/var/lib/cofferdam"];

/// The binary with failpoints: `COFFERDAM_BIN`, or built once in this process.
///
/// # Errors
/// It does not build.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("COFFERDAM_BIN") {
        return Ok(PathBuf::from(path));
    }
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    let built = build()?;
    Ok(BUILT.get_or_init(|| built).clone())
}

fn build() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let args = ["build", "--quiet", "--package", "cofferdam", "--features", "failpoints"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(args)
        .arg("--message-format=json")
        .dir(&workspace)
        .limit(BUILD_LIMIT)
        .ok()?;
    let mut executable = output.stdout.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executable.next_back().ok_or_else(|| Error::Unexpected {
        what: "what cargo printed".into(),
        why: "it names no executable".into(),
        next: "set COFFERDAM_BIN to a cofferdam built with the feature failpoints".into(),
    })
}

/// One run of cofferdam on a node, with `--json`.
#[derive(Clone, Debug)]
pub struct Run {
    /// The run itself.
    pub output: Output,
}

impl Run {
    /// The exit code.
    pub const fn code(&self) -> i32 {
        self.output.status
    }

    /// What it printed on standard output.
    ///
    /// # Errors
    /// It is not what was expected; the message shows all that was printed.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        parse(&self.output, &self.output.stdout)
    }

    /// How a change ended: the last of its events.
    ///
    /// # Errors
    /// It printed something else.
    pub fn outcome(&self) -> Result<Outcome> {
        parse(&self.output, self.output.stdout.lines().last().unwrap_or_default())
    }
}

fn parse<T: DeserializeOwned>(output: &Output, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::Unexpected {
        what: format!("the output of `{}` (status {})", output.command, output.status),
        why: format!("{error}\n{}{}", output.stdout, output.stderr),
        next: "run it by hand on a node".into(),
    })
}

impl Node {
    /// Puts the binary on the node.
    ///
    /// # Errors
    /// It cannot be built, read or written.
    pub fn put_cofferdam(&self) -> Result<()> {
        let path = binary()?;
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        self.put(BINARY, bytes, 0o755)
    }

    /// Puts a package, of the release that most tests need, into `/root/packages`.
    ///
    /// # Errors
    /// It cannot be packed or written.
    pub fn put_package(&self, runtime: Runtime) -> Result<()> {
        self.put_release(runtime, runtime.usual())
    }

    /// Puts a package of this release into `/root/packages`.
    ///
    /// # Errors
    /// It cannot be packed or written.
    pub fn put_release(&self, runtime: Runtime, release: Release) -> Result<()> {
        let cache = Cache::open()?;
        let scratch = std::env::temp_dir();
        let dir = tempfile::tempdir().map_err(Error::io("make a directory in", &scratch))?;
        package::pack(&cache, runtime, release, dir.path())?;
        self.put_tree(dir.path(), &runtime.folder(release))
    }

    /// Runs cofferdam with these arguments and `--json`, whatever its exit code.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn cofferdam(&self, args: &[&str]) -> Result<Run> {
        let argv: Vec<&str> = [BINARY].into_iter().chain(args.iter().copied()).chain(["--json"]).collect();
        Ok(Run { output: self.run_for(RUN_LIMIT, &argv)? })
    }

    /// Runs a change that has to succeed.
    ///
    /// # Errors
    /// Those of [`Node::cofferdam`], or another exit code than 0.
    pub fn change(&self, args: &[&str]) -> Result<Outcome> {
        let run = Run { output: self.cofferdam(args)?.output.ok()? };
        let (release, took) = (self.spec().containerd.version(), run.output.took);
        eprintln!("{} {release}: {} in {took:.1?}", self.machine(), args.join(" "));
        run.outcome()
    }

    /// Starts a change whose worker is killed at `failpoint` and not started again, as if the power were lost in that
    /// moment: the journal is pending.
    ///
    /// # Errors
    /// Those of [`Node::cofferdam`], or it did not strike.
    pub fn crash(&self, args: &[&str], failpoint: &str) -> Result<()> {
        self.put(NO_RESTART, "[Service]\nRestart=no\n", 0o644)?;
        self.arm(failpoint)?;
        let run = self.cofferdam(args)?;
        self.remove(NO_RESTART)?;
        if run.code() != 0 && self.read(FAULT).is_err() && self.read(JOURNAL).is_ok() {
            return Ok(());
        }
        Err(Error::Unexpected {
            what: format!("`{}` with {failpoint}", run.output.command),
            why: format!("it ended with status {}\n{}", run.code(), run.output.stdout),
            next: "look whether the change has such a step".into(),
        })
    }

    /// Waits after a boot until nothing is queued, and the worker that settles a crash has ended.
    ///
    /// # Errors
    /// It does not come to that; the message holds the units' log.
    pub fn settled(&self) -> Result<()> {
        let waited = wait_for("the boot to settle", Duration::from_secs(60), || {
            let jobs = self.ok(&["systemctl", "list-jobs", "--no-legend"])?;
            let worker = self.run(&["systemctl", "is-active", WORKER_UNIT])?.stdout;
            let idle = matches!(worker.trim(), "inactive" | "failed");
            Ok((jobs.trim().is_empty() && idle && self.read(JOURNAL).is_err()).then_some(()))
        });
        let running = self.run(&["systemctl", "is-system-running"])?.stdout;
        let why = match waited {
            Ok(()) if running.trim() == "running" => return Ok(()),
            Ok(()) => format!("the system is {}", running.trim()),
            Err(error) => error.to_string(),
        };
        let log = "systemctl --failed; systemctl list-jobs; journalctl -b --no-pager -n 80 -u 'cofferdam*' -u containerd";
        let log = self.sh(log)?.stdout;
        Err(Error::Node { node: self.machine(), what: "settle".into(), why: format!("{why}\n{log}") })
    }

    /// When the recovery of this boot ended and when containerd began, in microseconds since the boot; 0 if systemd
    /// does not know.
    ///
    /// # Errors
    /// systemd does not answer.
    pub fn recovery_and_engine(&self) -> Result<(u64, u64)> {
        let show = |unit: &str, property: &str| -> Result<u64> {
            let shown =
                self.ok(&["systemctl", "show", &format!("--property={property}"), "--value", unit])?;
            Ok(shown.trim().parse().unwrap_or(0))
        };
        let ended = show(RECOVER_UNIT, "InactiveEnterTimestampMonotonic")?;
        Ok((ended, show("containerd.service", "ExecMainStartTimestampMonotonic")?))
    }

    /// Arms a failpoint for the next worker.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn arm(&self, failpoint: &str) -> Result<()> {
        self.put(FAULT, failpoint, 0o600)
    }

    /// The process id of the node's containerd; 0 while it does not run.
    ///
    /// # Errors
    /// systemd does not answer.
    pub fn engine_pid(&self) -> Result<u32> {
        let pid = self.ok(&["systemctl", "show", "--property=MainPID", "--value", "containerd.service"])?;
        Ok(pid.trim().parse().unwrap_or(0))
    }

    /// All of [`WATCHED`] but [`EXCLUDED`].
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn trees(&self) -> Result<Tree> {
        self.trees_at(WATCHED)
    }

    /// All of [`REACHED`] but [`EXCLUDED`].
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn reached_trees(&self) -> Result<Tree> {
        self.trees_at(REACHED)
    }

    fn trees_at(&self, paths: &[&str]) -> Result<Tree> {
        let excluded: Vec<&str> = EXCLUDED.iter().map(|(path, _)| *path).collect();
        Ok(self.snapshot(paths)?.without(&excluded))
    }

    /// A pod's container as CRI lists it: how often it was started anew, and whether it runs. None: it is gone.
    ///
    /// # Errors
    /// CRI does not answer.
    pub fn attempt(&self, pod: &Pod) -> Result<Option<(u32, bool)>> {
        let pods = self.pods()?;
        let sandbox = pods.iter().find(|sandbox| sandbox.id == pod.sandbox && sandbox.ready);
        let container = sandbox.and_then(|s| s.containers.iter().find(|c| c.id == pod.container));
        Ok(container.map(|c| (c.attempt, c.running)))
    }
}

/// Asks until there is an answer.
///
/// # Errors
/// [`Error::TimedOut`], naming `what`, or what `ask` fails with.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > until {
            return Err(Error::TimedOut { command: what.to_owned(), limit, output: String::new() });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
