//! The worker: carries a request out on the host, whoever asked for it and whether or not they live to see it.
//!
//! ```text
//! /run/cofferdam/            0700, tmpfs
//!   job-<id>/request.json    deleted when read
//!   job-<id>/events          JSON lines, the last one is the outcome
//! ```
//!
//! The worker is a transient systemd unit of a fixed name, which is a lock, too. If it is killed, systemd starts it
//! again; without a request it recovers what its predecessor left.

use crate::error::{HostError, Result};
use crate::event::{Ending, Event, Outcome, Sink};
use crate::history::{self, Scribe};
use crate::package::Source;
use crate::root::HostRoot;
use crate::survey::{EngineChoice, SurveyOptions};
use crate::systemd::{Manager, Restart, SystemdError, TransientUnit, Type};
use crate::transact::{self, Conflicts, EngineControl, Host, LiveEngine, Mend, Options, When};
use cofferdam_core::class::Class;
use cofferdam_core::history::{Asker, Through};
use cofferdam_core::name::RuntimeName;
use cofferdam_core::plan::{Expect, Scope, WORKER_UNIT};
use cofferdam_core::record::{RUNTIME_ROOT, STATE};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Requests, their events, and reports.
pub(crate) const RUN: &str = "/run/cofferdam";
const REQUEST: &str = "request.json";
const EVENTS: &str = "events";
const ERRAND: &str = "errand";
const JOB: &str = "job-";
const POLL: Duration = Duration::from_millis(30);
const END_LIMIT: Duration = Duration::from_secs(5);

/// What is wished for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "wish", deny_unknown_fields)]
pub enum Wish {
    /// Install the package, or upgrade to it.
    Install {
        /// Where it is.
        source: Source,
        /// Whether some version must be installed already.
        expect: Expect,
    },
    /// Bring the package's files to the host, and register nothing.
    Pull {
        /// Where it is.
        source: Source,
    },
    /// Register the version of before again.
    Rollback {
        /// Of which runtime.
        name: RuntimeName,
    },
    /// Delete trees that nothing needs any more.
    Collect {
        /// Which.
        scope: Scope,
    },
    /// Put back what drifted.
    Repair(Mend),
    /// Remove a runtime.
    Remove {
        /// Which.
        name: RuntimeName,
    },
    /// Finish what was interrupted.
    Recover {
        /// Whether others' edits stay where they stand in the way.
        keep_theirs: bool,
    },
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Install { source, expect: Expect::Anything | Expect::Runtime(_) } => {
                write!(f, "install {}", source.place)
            }
            Self::Install { source, expect: Expect::Installed } => write!(f, "upgrade {}", source.place),
            Self::Pull { source } => write!(f, "pull {}", source.place),
            Self::Rollback { name } => write!(f, "rollback {name}"),
            Self::Collect { .. } => f.write_str("gc"),
            Self::Repair(Mend { name: Some(name), .. }) => write!(f, "repair {name}"),
            Self::Repair(_) => f.write_str("repair"),
            Self::Remove { name } => write!(f, "remove {name}"),
            Self::Recover { .. } => f.write_str("recover"),
        }
    }
}

/// A wish, where it is to come true, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What.
    pub wish: Wish,
    /// Where.
    pub survey: SurveyOptions,
    /// How.
    pub options: Options,
    /// Who asks.
    pub asker: Asker,
    /// What whoever asks calls it: by that they know its outcome, should they die meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errand: Option<String>,
}

/// Carries a job out, in this process. The worker does, and whoever works on an offline tree.
pub fn perform(job: &Job, root: &HostRoot, sink: &mut dyn Sink) -> Outcome {
    let mut live = match &job.survey.engine {
        EngineChoice::Running { unit } => Some(LiveEngine::new(root, unit.clone())),
        EngineChoice::Offline { .. } => None,
    };
    let engine = live.as_mut().map(|live| live as &mut dyn EngineControl);
    let scribe = Scribe::new(job.asker.clone(), job.wish.to_string());
    let host = Host { root, survey: &job.survey, engine, scribe: &scribe, sink };
    let outcome = match &job.wish {
        Wish::Install { source, expect } => transact::install(host, source, expect, job.options),
        Wish::Pull { source } => transact::pull(host, source),
        Wish::Rollback { name } => transact::rollback(host, name, job.options),
        Wish::Collect { scope } => transact::collect(host, *scope),
        Wish::Repair(mend) => transact::repair(host, mend, job.options),
        Wish::Remove { name } => transact::remove(host, name, job.options),
        Wish::Recover { keep_theirs } => {
            let conflicts = if *keep_theirs { Conflicts::KeepTheirs } else { Conflicts::Report };
            transact::recover(host, When::Running, conflicts)
        }
    };
    // A host that cannot be written says so by its outcome already.
    let _ = scribe.not_ended(root, &outcome);
    outcome
}

/// Runs as the worker, with the folder that [`submit`] made.
///
/// # Errors
/// If the folder cannot be used; what goes wrong later is an event.
pub fn run(folder: &Path) -> Result<Outcome> {
    let root = HostRoot::open(Path::new("/"))?;
    let path = folder.join(EVENTS);
    let mut events = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| HostError::std_io("open", path.display(), error))?;
    let resumed = !folder.join(REQUEST).exists();
    let job = take_request(folder)?;
    let mut sink = |event: Event| {
        // Nobody may be reading any more: the work goes on.
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            let _ = events.write_all(&line);
        }
    };
    let outcome = match perform(&job, &root, &mut sink) {
        // Whoever follows waits for what the worker before was to do, and that was not done.
        idle if resumed && idle.result == Ending::Unchanged => {
            let text = "the worker was killed, and left nothing half done";
            let error = HostError::new(Class::Unavailable, text).with_hint("try again");
            Outcome::refused(&error, idle.generation)
        }
        outcome => outcome,
    };
    // The states of OCI runtimes go with the last one, and only then: a running container needs its own.
    let removed = matches!(job.wish, Wish::Remove { .. }) && outcome.result == Ending::Committed;
    if removed && crate::store::Store::new(&root)?.ledger()?.is_none() {
        let _ = fs::remove_dir_all(RUNTIME_ROOT);
    }
    sink(Event::Finished(outcome.clone()));
    Ok(outcome)
}

/// The request, read and deleted. Without one, an earlier worker read it and died: what it left is recovered.
fn take_request(folder: &Path) -> Result<Job> {
    let path = folder.join(REQUEST);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return recovery_of(folder),
        Err(error) => return Err(HostError::std_io("read", path.display(), error)),
    };
    let job: Job = serde_json::from_slice(&bytes)
        .map_err(|error| HostError::new(Class::Internal, format!("{}: {error}", path.display())))?;
    // What a second worker needs to know holds no secret.
    write_private(&folder.join("survey.json"), &to_json(&job.survey)?)?;
    fs::remove_file(&path).map_err(|error| HostError::std_io("delete", path.display(), error))?;
    Ok(job)
}

fn recovery_of(folder: &Path) -> Result<Job> {
    let path = folder.join("survey.json");
    let bytes = fs::read(&path).map_err(|error| HostError::std_io("read", path.display(), error))?;
    let survey = serde_json::from_slice(&bytes)
        .map_err(|error| HostError::new(Class::Internal, format!("{}: {error}", path.display())))?;
    Ok(Job {
        wish: Wish::Recover { keep_theirs: false },
        survey,
        options: Options::default(),
        asker: history::asker(Through::Worker),
        errand: None,
    })
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| HostError::new(Class::Internal, error.to_string()))
}

pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |error| HostError::std_io("write", path.display(), error);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(fail)?;
    file.write_all(bytes).map_err(fail)
}

/// A job that the worker carries out.
#[derive(Debug)]
pub struct Submitted {
    folder: PathBuf,
    manager: Manager,
}

/// Starts the worker with `job`, after the units `after` if these are starting.
///
/// # Errors
/// If another worker runs, or systemd refuses.
pub fn submit(job: &Job, after: &[String]) -> Result<Submitted> {
    submit_with(&program()?, job, after)
}

/// [`submit`], with the program at a path that the host knows: an agent's own is in its container.
///
/// # Errors
/// Those of [`submit`].
pub fn submit_with(program: &Path, job: &Job, after: &[String]) -> Result<Submitted> {
    let mut manager = Manager::connect()?;
    if manager.unit(WORKER_UNIT)?.is_busy() {
        return Err(busy());
    }
    manager.reset_failed(WORKER_UNIT)?;
    let folder = job_folder()?;
    write_private(&folder.join(REQUEST), &to_json(job)?)?;
    if let Some(errand) = &job.errand {
        write_private(&folder.join(ERRAND), errand.as_bytes())?;
    }
    let unit = TransientUnit {
        name: WORKER_UNIT.to_owned(),
        description: "Cofferdam: a change of this node's runtimes".to_owned(),
        exec: vec![program.display().to_string(), "worker".to_owned(), folder.display().to_string()],
        kind: Type::Simple,
        // Exit codes are results; a signal is a crash, after which the next worker recovers.
        restart: Restart::OnAbnormal,
        restart_delay: Duration::from_millis(200),
        after: after.to_vec(),
        runtime_limit: None,
    };
    match manager.start_transient(&unit) {
        Ok(_) => Ok(Submitted { folder, manager }),
        Err(error) => {
            let _ = fs::remove_dir_all(&folder);
            Err(if matches!(error, SystemdError::UnitExists { .. }) { busy() } else { error.into() })
        }
    }
}

/// This program's file. The recovery at boot may have taken away the one that it runs from, with the change that had
/// placed it: then a copy among our temporary files, which go with the journal.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| HostError::std_io("find", "this program", error))?;
    if own.exists() {
        return Ok(own);
    }
    let copy = Path::new(STATE).join("tmp/worker");
    fs::copy("/proc/self/exe", &copy).map_err(|error| HostError::std_io("write", copy.display(), error))?;
    Ok(copy)
}

/// The job that a worker is carrying out now, or just ended. Whoever asked for it may be following it, too.
///
/// # Errors
/// If systemd does not answer.
pub fn running() -> Result<Option<Submitted>> {
    let mut manager = Manager::connect()?;
    let busy = manager.unit(WORKER_UNIT)?.is_busy();
    Ok(if busy { folder_of_a_job()?.map(|folder| Submitted { folder, manager }) } else { None })
}

/// The job with an errand whose outcome nobody has heard, whether it has ended or not.
///
/// # Errors
/// If systemd does not answer.
pub fn unheard() -> Result<Option<Submitted>> {
    let manager = Manager::connect()?;
    let folder = folder_of_a_job()?.filter(|folder| folder.join(ERRAND).exists());
    Ok(folder.map(|folder| Submitted { folder, manager }))
}

fn folder_of_a_job() -> Result<Option<PathBuf>> {
    let entries = match fs::read_dir(RUN) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| HostError::std_io("look into", RUN, error))?,
    };
    let folder = entries.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with(JOB));
    Ok(folder.map(|entry| entry.path()))
}

fn busy() -> HostError {
    HostError::new(Class::Unavailable, format!("another change is under way ({WORKER_UNIT} runs)"))
        .with_hint("wait for it; cofferdam follow shows what it does")
}

/// A new folder for a job; those of earlier jobs, whose readers are gone, are deleted.
fn job_folder() -> Result<PathBuf> {
    let fail = |error| HostError::std_io("make a folder in", RUN, error);
    DirBuilder::new().recursive(true).mode(0o700).create(RUN).map_err(fail)?;
    for entry in fs::read_dir(RUN).map_err(fail)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(JOB) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let folder = Path::new(RUN).join(format!("{JOB}{:x}", now.as_nanos()));
    DirBuilder::new().mode(0o700).create(&folder).map_err(fail)?;
    Ok(folder)
}

impl Submitted {
    /// What whoever asked for it calls it.
    pub fn errand(&self) -> Option<String> {
        fs::read_to_string(self.folder.join(ERRAND)).ok()
    }

    /// Gives each event to `sink` until the job ended.
    ///
    /// # Errors
    /// If the worker ended without an outcome.
    pub fn follow(mut self, sink: &mut dyn Sink) -> Result<Outcome> {
        let outcome = self.events(sink);
        self.wait_for_end();
        let _ = fs::remove_dir_all(&self.folder);
        // The last one out: nothing of ours stays on the tmpfs either.
        let _ = fs::remove_dir(RUN);
        outcome
    }

    /// The outcome comes a moment before the unit ends; until then the next job would find it busy.
    fn wait_for_end(&mut self) {
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline && self.manager.unit(WORKER_UNIT).is_ok_and(|unit| unit.is_busy()) {
            std::thread::sleep(POLL);
        }
    }

    fn events(&mut self, sink: &mut dyn Sink) -> Result<Outcome> {
        let path = self.folder.join(EVENTS);
        let mut reader: Option<BufReader<File>> = None;
        let mut line = String::new();
        let mut checked = Instant::now();
        let mut ended = false;
        loop {
            if reader.is_none() {
                reader = File::open(&path).ok().map(BufReader::new);
            }
            while let Some(file) = &mut reader {
                let read = file
                    .read_line(&mut line)
                    .map_err(|error| HostError::std_io("read", path.display(), error))?;
                if read == 0 || !line.ends_with('\n') {
                    break;
                }
                if let Ok(event) = serde_json::from_str(&line) {
                    if let Event::Finished(outcome) = event {
                        return Ok(outcome);
                    }
                    sink.take(event);
                }
                line.clear();
            }
            if ended {
                return Err(HostError::new(Class::Internal, "the worker ended without a result")
                    .with_hint(format!("journalctl -u {WORKER_UNIT} says why; then run cofferdam recover")));
            }
            if checked.elapsed() > Duration::from_secs(1) {
                // Read what is there once more before giving up.
                ended = self.manager.unit(WORKER_UNIT).is_ok_and(|unit| !unit.is_busy());
                checked = Instant::now();
            }
            std::thread::sleep(POLL);
        }
    }
}
