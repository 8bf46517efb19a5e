//! Programs under the clock: how long they take, and the most memory that they hold.

use crate::testbed::cluster::Usage;
use crate::testbed::command::wait_for;
use anyhow::{Context, Result, bail};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a program's memory is looked at. The kernel keeps the most that it ever was: only the last moment is missed.
const TURN: Duration = Duration::from_millis(5);

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// The most memory, in bytes, where it can be told.
    pub(super) peak: Option<u64>,
}

impl Sample {
    /// Both, one after the other.
    pub(super) fn then(self, next: Self) -> Self {
        Self { seconds: self.seconds + next.seconds, peak: self.peak.max(next.peak) }
    }
}

/// Runs a command that has to succeed.
pub(super) fn run(command: &mut Command) -> Result<Sample> {
    Ok(run_and_read(command)?.0)
}

/// The same, with what it printed to standard output.
pub(super) fn run_and_read(command: &mut Command) -> Result<(Sample, String)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (mut out, mut errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(errors.try_clone()?);
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let mut peak = None;
    let status = loop {
        peak = peak.max(peak_of(&child));
        if let Some(status) = wait_for(&mut child, TURN)? {
            break status;
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    let read = |file: &mut std::fs::File| -> Result<String> {
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    if !status.success() {
        bail!("{name}: {status}: {}", read(&mut errors)?.trim());
    }
    Ok((Sample { seconds, peak }, read(&mut out)?))
}

/// The most memory that a running program held so far, in bytes.
pub(super) fn peak_of(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    Some(Usage::of(&status, "").peak).filter(|peak| *peak > 0)
}

/// A new, empty folder.
pub(super) fn empty(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).with_context(|| format!("cannot delete {}", path.display()))?;
    }
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    // What was written and deleted before is not for the next one to sync.
    rustix::fs::syncfs(std::fs::File::open(&path)?)?;
    Ok(path)
}
