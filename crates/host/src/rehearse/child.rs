//! The helper's side: namespaces, the dump, the second daemon.

use super::view::{self, ViewError};
use super::{Answer, DaemonOutcome, Rehearsal, Request};
use crate::cri::{Cri, CriError, CriStatus};
use crate::observe;
use crate::process::{Command, ProcessError, Running};
use cofferdam_core::engine::containerd::{Effective, Tree};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The argument with which the helper calls itself to become PID 1.
const BECOME: &str = "become";

/// Where this namespace's own files lie: /run is a tmpfs by then.
const SCRATCH: &str = "/run/cofferdam-rehearsal";

/// How often CRI is asked.
const POLL: Duration = Duration::from_millis(20);

/// How long a daemon must live on after CRI's first answer: some failures come right after it.
const SETTLE: Duration = Duration::from_millis(150);

/// The helper: to be called by the hidden subcommand, with the arguments that follow it, in a process without other
/// threads. Reads a request on standard input and prints the answer.
pub fn child_main(args: impl IntoIterator<Item = String>) -> ExitCode {
    // Whoever asked is gone: so is the question.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("prctl: {error}");
        return ExitCode::FAILURE;
    }
    let mut args = args.into_iter();
    match args.next().as_deref() {
        Some(BECOME) => become_daemon(args.collect()),
        _ => answer(),
    }
}

fn answer() -> ExitCode {
    let mut input = Vec::new();
    let request = std::io::stdin()
        .read_to_end(&mut input)
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_slice::<Request>(&input).map_err(|error| error.to_string()));
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            eprintln!("the request: {error}");
            return ExitCode::FAILURE;
        }
    };
    let answer = run(&request).unwrap_or_else(|answer| answer);
    match serde_json::to_string(&answer) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("the answer: {error}"),
    }
    ExitCode::SUCCESS
}

/// PID 1 of the new namespace: from here on it is the engine.
fn become_daemon(command: Vec<String>) -> ExitCode {
    if let Err(error) = view::mount_proc() {
        eprintln!("{}: {}", error.step, error.reason);
        return ExitCode::FAILURE;
    }
    let mut words = command.into_iter();
    let Some(program) = words.next() else { return ExitCode::FAILURE };
    let error = std::process::Command::new(&program).args(words).exec();
    eprintln!("{program}: {error}");
    ExitCode::FAILURE
}

impl From<ViewError> for Answer {
    fn from(error: ViewError) -> Self {
        Self::Isolation { step: error.step, reason: error.reason }
    }
}

fn run(request: &Request) -> Result<Answer, Answer> {
    enter(UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC)?;
    view::make_private()?;
    let hidden = hide_live_engine(request)?;
    view::place(&request.candidates, Path::new(SCRATCH))?;
    let dump = match observe::dump(&request.binary, &request.config, request.dump_limit) {
        Ok(dump) => dump,
        Err(ProcessError::Failed { stderr, .. }) => return Err(Answer::Refused { reason: stderr }),
        Err(other) => return Err(Answer::Refused { reason: other.to_string() }),
    };
    let effective = Effective::parse(&dump).map_err(|error| Answer::Refused { reason: error.to_string() })?;
    let mut notes = Vec::new();
    let daemon = match prepare(request, &effective, &hidden, &mut notes)? {
        Some(reason) => DaemonOutcome::NotStarted { reason },
        None => second_daemon(request)?,
    };
    Ok(Answer::Done(Rehearsal { dump, daemon, notes }))
}

fn enter(flags: UnshareFlags) -> Result<(), Answer> {
    // unsafe only for UnshareFlags::FILES, which is not among them.
    #[allow(unsafe_code)]
    let entered = unsafe { rustix::thread::unshare_unsafe(flags) };
    entered.map_err(|error| Answer::Isolation {
        step: format!("entering new namespaces ({flags:?})"),
        reason: error.to_string(),
    })
}

/// Puts empty file systems over /run and the engine's own folders. Returns them.
fn hide_live_engine(request: &Request) -> Result<BTreeSet<PathBuf>, Answer> {
    let run = PathBuf::from("/run");
    let mut hidden = BTreeSet::from([run.clone()]);
    let mut own = vec![request.root.as_str(), request.state.as_str()];
    // The folder of a socket elsewhere (MicroK8s): the daemon would replace the live socket.
    own.extend(Path::new(request.address.as_str()).parent().and_then(Path::to_str));
    for folder in own {
        // What does not exist cannot be hidden; the daemon would make it on the host.
        match std::fs::canonicalize(folder) {
            Ok(real) => hidden.insert(real),
            Err(error) => {
                return Err(Answer::Isolation {
                    step: format!("hiding {folder}"),
                    reason: error.to_string(),
                });
            }
        };
    }
    let needed = request.candidates.iter().map(|c| &c.path).chain([&request.config, &request.binary]);
    for path in needed {
        if let Some(folder) = hidden.iter().find(|folder| Path::new(path.as_str()).starts_with(folder)) {
            return Err(Answer::Isolation {
                step: format!("hiding {}", folder.display()),
                reason: format!("{path} lies in it"),
            });
        }
    }
    // Inner folders of /run vanish with it, and are made anew.
    for folder in hidden.iter().filter(|folder| !folder.starts_with(&run)).chain([&run]) {
        view::hide(folder)?;
    }
    for folder in hidden.iter().map(PathBuf::as_path).chain([Path::new(SCRATCH)]) {
        std::fs::create_dir_all(folder).map_err(|error| Answer::Isolation {
            step: format!("making {}", folder.display()),
            reason: error.to_string(),
        })?;
    }
    Ok(hidden)
}

/// Isolates what the configuration itself names: sockets and folders of plugins. Returns why the daemon must not be
/// started, if so.
fn prepare(
    request: &Request,
    effective: &Effective,
    hidden: &BTreeSet<PathBuf>,
    notes: &mut Vec<String>,
) -> Result<Option<String>, Answer> {
    let tree = effective.tree();
    let isolated = |path: &str| {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
        hidden.iter().any(|folder| real.starts_with(folder) || Path::new(path).starts_with(folder))
            || Path::new(path).starts_with("/var/run")
    };
    if let Some(pool) = text(tree, &["plugins", "io.containerd.snapshotter.v1.devmapper", "pool_name"]) {
        return Ok(Some(format!(
            "the devmapper pool `{pool}` belongs to the live engine and has no namespace"
        )));
    }
    for (key, path) in sockets(tree).into_iter().filter(|(_, path)| !isolated(path)) {
        let Some(folder) = Path::new(&path).parent().filter(|folder| folder.exists()) else { continue };
        let in_the_way =
            [&request.config, &request.binary].iter().any(|p| Path::new(p.as_str()).starts_with(folder))
                || request.candidates.iter().any(|c| Path::new(c.path.as_str()).starts_with(folder));
        if in_the_way {
            return Ok(Some(format!(
                "{key} = {path} lies in a folder that the engine needs, and would be taken over"
            )));
        }
        view::hide(folder)?;
        notes.push(format!("{} was empty in the rehearsal: {key} is there", folder.display()));
    }
    for (key, path) in roots(tree).into_iter().filter(|(_, path)| !isolated(path)) {
        if Path::new(&path).is_dir() {
            view::hide(Path::new(&path))?;
            notes.push(format!("{path} was empty in the rehearsal: {key}"));
        }
    }
    Ok(None)
}

fn text(tree: &Tree, path: &[&str]) -> Option<String> {
    tree.get(path).and_then(Tree::text).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The sockets that a daemon makes, but the one for CRI.
fn sockets(tree: &Tree) -> Vec<(String, String)> {
    const KEYS: [&[&str]; 6] = [
        &["ttrpc", "address"],
        &["debug", "address"],
        &["plugins", "io.containerd.server.v1.ttrpc", "address"],
        &["plugins", "io.containerd.server.v1.debug", "address"],
        &["plugins", "io.containerd.nri.v1.nri", "socket_path"],
        &["plugins", "io.containerd.grpc.v1.cri", "nri", "socket_path"],
    ];
    let found = KEYS.iter().filter_map(|key| Some((key.join("."), text(tree, key)?)));
    found.filter(|(_, path)| path.starts_with('/')).collect()
}

/// The folders that plugins keep for themselves.
fn roots(tree: &Tree) -> Vec<(String, String)> {
    let plugins =
        tree.get(&["plugins"]).map(|plugins| plugins.entries().collect::<Vec<_>>()).unwrap_or_default();
    let found = plugins.into_iter().filter_map(|(id, table)| {
        let path = text(table, &["root_path"]).filter(|path| path.starts_with('/'))?;
        Some((format!("{id}.root_path"), path))
    });
    found.collect()
}

fn second_daemon(request: &Request) -> Result<DaemonOutcome, Answer> {
    let socket = Path::new(request.address.as_str());
    // Nothing of the live engine may be in reach: then whoever answers is the second daemon.
    if socket.symlink_metadata().is_ok() {
        return Err(Answer::Isolation {
            step: "hiding the live socket".to_owned(),
            reason: format!("{} is still there", socket.display()),
        });
    }
    enter(UnshareFlags::NEWPID)?;
    let helper = std::env::args().take_while(|arg| arg != BECOME).skip(1);
    let command = Command::new("/proc/self/exe")
        .args(helper)
        .args([BECOME, request.binary.as_str()])
        .args(request.args.iter().cloned());
    let started = Instant::now();
    let mut daemon = match command.start(&Path::new(SCRATCH).join("log")) {
        Ok(daemon) => daemon,
        Err(error) => {
            return Err(Answer::Isolation { step: "starting it".to_owned(), reason: error.to_string() });
        }
    };
    let outcome = ask(&mut daemon, socket, started, request.daemon_limit);
    daemon.kill();
    Ok(outcome)
}

/// Asks until CRI answers, the daemon ends, or time is up.
fn ask(daemon: &mut Running, socket: &Path, started: Instant, limit: Duration) -> DaemonOutcome {
    let mut last = "its socket did not appear".to_owned();
    let failed =
        |what: String, daemon: &Running| DaemonOutcome::Failed { reason: format!("{what}{}", log(daemon)) };
    while started.elapsed() < limit {
        if let Some(status) = daemon.ended() {
            return failed(format!("the engine would end at its start ({status})"), daemon);
        }
        match status(socket, limit.saturating_sub(started.elapsed())) {
            Ok(status) => {
                let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                std::thread::sleep(SETTLE);
                if let Some(status) = daemon.ended() {
                    return failed(format!("the engine would end right after its start ({status})"), daemon);
                }
                return DaemonOutcome::Answered {
                    handlers: status.handlers,
                    default_handler: status.default_handler,
                    runtime_ready: status.runtime_ready,
                    millis,
                };
            }
            Err(error @ CriError::NotServed { .. }) => {
                return failed(format!("the engine would start without CRI: {error}"), daemon);
            }
            Err(error) => last = error.to_string(),
        }
        std::thread::sleep(POLL);
    }
    failed(format!("the engine would not serve CRI within {limit:?}: {last}"), daemon)
}

fn status(socket: &Path, limit: Duration) -> Result<CriStatus, CriError> {
    let cri = Cri::connect_with(socket, limit.max(Duration::from_millis(1)))?;
    cri.version()?;
    cri.status()
}

/// The lines of the daemon's log that say why: its errors, else its last ones.
fn log(daemon: &Running) -> String {
    let text = daemon.tail();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let telling = |line: &&&str| {
        // A plugin that does not load, as CRI with a bad default runtime, is a warning only.
        let marks = ["level=error", "level=fatal", "level=panic", "failed to load plugin"];
        marks.iter().any(|mark| line.contains(mark)) || !line.starts_with("time=")
    };
    let marked: Vec<&str> = lines.iter().filter(telling).copied().collect();
    // The first is the cause, the last is what the daemon died of.
    let mut chosen: Vec<&str> = marked.first().into_iter().chain(marked.last()).copied().collect();
    chosen.dedup();
    if chosen.is_empty() {
        chosen = lines.iter().skip(lines.len().saturating_sub(3)).copied().collect();
    }
    if chosen.is_empty() { String::new() } else { format!("; its log: {}", chosen.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_roots_are_found_in_every_version() {
        let dump = "[ttrpc]\naddress = \"/a/t.sock\"\n[debug]\naddress = \"\"\n\
            [plugins.\"io.containerd.nri.v1.nri\"]\nsocket_path = \"/var/run/nri/nri.sock\"\n\
            [plugins.\"io.containerd.snapshotter.v1.native\"]\nroot_path = \"/data/native\"\n\
            [plugins.\"io.containerd.snapshotter.v1.zfs\"]\nroot_path = \"\"\n";
        let effective = Effective::parse(dump).unwrap();
        let paths: Vec<String> = sockets(effective.tree()).into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["/a/t.sock", "/var/run/nri/nri.sock"]);
        let roots = roots(effective.tree());
        assert_eq!(
            roots,
            [("io.containerd.snapshotter.v1.native.root_path".to_owned(), "/data/native".to_owned())]
        );
    }
}
