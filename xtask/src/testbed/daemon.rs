//! A program that runs beside us until it is stopped or its owner is dropped.

use super::command::{kill_group, wait_for};
use super::error::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// How long it may take to end in good order. An API server would wait a minute for its watches.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// How much of its log a message repeats, in bytes.
const TAIL: usize = 3000;

/// A running program with a log.
#[derive(Debug)]
pub(super) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it prints is appended to the log.
    pub(super) fn start(name: &str, mut command: std::process::Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log).map_err(Error::io("open", log))?;
        let errors = out.try_clone().map_err(Error::io("open", log))?;
        // A group of its own: a terminal's Ctrl-C is for us alone, and we end it.
        command.stdin(Stdio::null()).stdout(out).stderr(errors).process_group(0);
        let child = command.spawn().map_err(|source| Error::Start {
            command: name.to_owned(),
            source,
            next: "see whether the program is there and can be run".into(),
        })?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended, with the end of its log.
    pub(super) fn check(&mut self) -> Result<()> {
        let ended = self.child.try_wait().map_err(Error::io("wait for a child in", Path::new("/proc")))?;
        let Some(status) = ended else { return Ok(()) };
        Err(Error::Failed {
            command: self.name.clone(),
            status: status.code().unwrap_or(-1),
            output: tail(&self.log),
        })
    }

    /// Ends it: in good order if it can, else by force.
    pub(super) fn stop(mut self) -> Result<()> {
        // Not reaped yet: the number cannot belong to anyone else.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let ended = wait_for(&mut self.child, STOP_LIMIT)?;
        if ended.is_none() {
            kill_group(&mut self.child);
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_group(&mut self.child);
        }
    }
}

/// The end of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let from = text.len().saturating_sub(TAIL);
    let from = (from..=text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or_default();
    text.get(from..).unwrap_or_default().to_owned()
}
