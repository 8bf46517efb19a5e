//! Commands under a time limit.

use super::error::{Error, Result};
use super::interrupt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The limit of a command that names none.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// How soon a signal to us is noticed.
const TURN: Duration = Duration::from_millis(200);

/// How much of a failed command's output an error repeats, in bytes.
const TAIL: usize = 4096;

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit status, 128 + signal when a signal ended it.
    pub status: i32,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Output {
    /// Whether the status is 0.
    pub const fn success(&self) -> bool {
        self.status == 0
    }

    /// The output itself if the status is 0.
    ///
    /// # Errors
    /// [`Error::Failed`] with the end of what was printed.
    pub fn ok(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        let output = tail(&self.stdout, &self.stderr);
        Err(Error::Failed { command: self.command, status: self.status, output })
    }
}

/// A command to run, with a limit.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    input: Option<Vec<u8>>,
    limit: Duration,
    next: &'static str,
}

impl Command {
    /// A command on this machine, looked up in PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::from_std(std::process::Command::new(program))
    }

    /// A command that is prepared already.
    pub(crate) const fn from_std(inner: std::process::Command) -> Self {
        Self { inner, input: None, limit: DEFAULT_LIMIT, next: "install the program, or repair PATH" }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// Sets standard input.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Sets the limit.
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end and takes a status of 0 for granted.
    ///
    /// # Errors
    /// Cannot start, out of time, or a status other than 0.
    pub fn ok(self) -> Result<Output> {
        self.run()?.ok()
    }

    /// Runs it to its end, whatever its status.
    ///
    /// # Errors
    /// Cannot start, or out of time: then its whole process group is killed.
    pub fn run(mut self) -> Result<Output> {
        let command = shown(&self.inner);
        // Files instead of pipes: a daemon that keeps a stream open cannot keep us waiting for its end.
        let (mut out, mut err) = (scratch()?, scratch()?);
        self.inner.stdin(self.stdin()?).stdout(duplicate(&out)?).stderr(duplicate(&err)?);
        // A group of its own, so that a kill reaches what nsenter or sh forked, too.
        self.inner.process_group(0);
        let begun = Instant::now();
        let mut child = self.inner.spawn().map_err(|source| Error::Start {
            command: command.clone(),
            source,
            next: self.next.to_owned(),
        })?;
        let ended = self.watch(&mut child, &command)?;
        let took = begun.elapsed();
        let Some(status) = ended else {
            kill_group(&mut child);
            let output = tail(&content(&mut out)?, &content(&mut err)?);
            return Err(Error::TimedOut { command, limit: self.limit, output });
        };
        Ok(Output {
            command,
            status: code(status),
            stdout: content(&mut out)?,
            stderr: content(&mut err)?,
            took,
        })
    }

    /// Waits in short turns, so that Ctrl-C is noticed.
    fn watch(&self, child: &mut std::process::Child, command: &str) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + self.limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if let Some(status) = wait_for(child, left.min(TURN))? {
                return Ok(Some(status));
            }
            if interrupt::take() {
                kill_group(child);
                return Err(Error::Interrupted { command: command.to_owned() });
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    fn stdin(&self) -> Result<Stdio> {
        let Some(input) = &self.input else { return Ok(Stdio::null()) };
        let mut file = scratch()?;
        file.write_all(input).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(scratch_error)?;
        Ok(file.into())
    }
}

/// Waits for a child's end; `None` when the limit comes first.
///
/// # Errors
/// The child cannot be waited for.
pub(crate) fn wait_for(child: &mut std::process::Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let proc = Path::new("/proc");
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(Error::io("wait for a child in", proc))? {
            return Ok(Some(status));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let fd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
            .map_err(Error::io("open a pidfd in", proc))?;
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("poll a pidfd in", proc)(e)),
        }
    }
}

/// Kills a child's process group and reaps the child.
pub(crate) fn kill_group(child: &mut std::process::Child) {
    // Either may already be gone: nothing is left to do then.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.kill();
    let _ = child.wait();
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn shown(command: &std::process::Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

fn tail(stdout: &str, stderr: &str) -> String {
    let all = format!("{stdout}{stderr}");
    let all = all.trim_end();
    let cut = all.len().saturating_sub(TAIL);
    let cut = (cut..=all.len()).find(|&i| all.is_char_boundary(i)).unwrap_or(0);
    all.get(cut..).unwrap_or_default().to_owned()
}

fn scratch() -> Result<File> {
    tempfile::tempfile().map_err(scratch_error)
}

fn scratch_error(source: std::io::Error) -> Error {
    Error::Io { action: "use a temporary file in", path: std::env::temp_dir(), source }
}

fn duplicate(file: &File) -> Result<Stdio> {
    Ok(file.try_clone().map_err(scratch_error)?.into())
}

fn content(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).map_err(scratch_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
