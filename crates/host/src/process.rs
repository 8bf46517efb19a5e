//! Running other programs: the one place that does. A time limit, bounded output, a cleared environment, a process
//! group of its own that is killed when the limit is met.

use cofferdam_core::class::Class;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The only variable that a program gets, unless more are given.
pub const SAFE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program gave no usable result.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It did not start.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It ran too long and was killed, with its children.
    #[error("{command} did not end within {limit:?} and was killed")]
    Timeout {
        /// The command.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// It printed more than anybody should read.
    #[error("{command} printed more than {limit} bytes")]
    TooMuch {
        /// The command.
        command: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// It ended with a failure.
    #[error("{command} failed ({status}): {stderr}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed on standard error.
        stderr: String,
    },
    /// It could not be waited for.
    #[error("cannot follow {command}: {source}")]
    Follow {
        /// The command.
        command: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl ProcessError {
    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Start { .. } => Class::Unsupported,
            Self::Timeout { .. } | Self::Failed { .. } => Class::Unavailable,
            Self::TooMuch { .. } | Self::Follow { .. } => Class::Internal,
        }
    }
}

/// What a program printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A program to run.
#[derive(Clone, Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    input: Option<Vec<u8>>,
    limit: Duration,
    bytes: usize,
}

impl Command {
    /// `program` without arguments, in `/`, limited to 10 seconds and 16 MiB on each stream.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            environment: vec![("PATH".to_owned(), SAFE_PATH.to_owned())],
            folder: PathBuf::from("/"),
            input: None,
            limit: Duration::from_secs(10),
            bytes: 16 << 20,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable, or replaces it.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder to run in.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        folder.as_ref().clone_into(&mut self.folder);
        self
    }

    /// What it reads on standard input.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = Some(bytes);
        self
    }

    /// The time limit.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The limit in bytes for each of the two streams.
    #[must_use]
    pub const fn output_limit(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Runs it; how it ends is the caller's to judge.
    ///
    /// # Errors
    /// If it does not start, does not end in time, or prints too much.
    pub fn run(&self) -> Result<Output, ProcessError> {
        let deadline = Instant::now() + self.limit;
        let mut child = self.spawn()?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), self.input.clone()) {
            // A program that does not read its input says so itself.
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let stdout = collect(child.stdout.take(), self.bytes);
        let stderr = collect(child.stderr.take(), self.bytes);
        let ended = self.finish(&mut child, &stdout, &stderr, deadline);
        if ended.is_err() {
            kill_group(&child);
            let _ = child.wait();
        }
        ended
    }

    /// Runs it and expects exit code 0.
    ///
    /// # Errors
    /// As [`Command::run`], and if it fails.
    pub fn run_ok(&self) -> Result<Output, ProcessError> {
        let output = self.run()?;
        if output.status.success() {
            return Ok(output);
        }
        Err(ProcessError::Failed {
            command: self.shown(),
            status: output.status,
            stderr: tail(&output.stderr, 2000),
        })
    }

    /// Starts it and leaves it running: the caller sees to its end. What it prints goes to the file `log`. Starts no
    /// thread, which a process that unshared its PID namespace cannot.
    ///
    /// # Errors
    /// If it does not start, or `log` cannot be made.
    pub fn start(&self, log: &Path) -> Result<Running, ProcessError> {
        let failed = |source| ProcessError::Start { program: self.program.clone(), source };
        let file = std::fs::File::create(log).map_err(failed)?;
        let errors = file.try_clone().map_err(failed)?;
        let child =
            self.prepared().stdin(Stdio::null()).stdout(file).stderr(errors).spawn().map_err(failed)?;
        Ok(Running { child, log: log.to_owned() })
    }

    fn prepared(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .process_group(0);
        command
    }

    fn spawn(&self) -> Result<Child, ProcessError> {
        self.prepared()
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| ProcessError::Start { program: self.program.clone(), source })
    }

    /// Waits for both streams to end, then for the process: a program that closes them and stays is also limited.
    fn finish(
        &self,
        child: &mut Child,
        stdout: &mpsc::Receiver<Collected>,
        stderr: &mpsc::Receiver<Collected>,
        deadline: Instant,
    ) -> Result<Output, ProcessError> {
        let follow = |source| ProcessError::Follow { command: self.shown(), source };
        let timeout = || ProcessError::Timeout { command: self.shown(), limit: self.limit };
        let next = |stream: &mpsc::Receiver<Collected>| {
            let left = deadline.saturating_duration_since(Instant::now());
            match stream.recv_timeout(left) {
                Ok(Collected::All(bytes)) => Ok(bytes),
                Ok(Collected::TooMuch) => {
                    Err(ProcessError::TooMuch { command: self.shown(), limit: self.bytes })
                }
                Ok(Collected::Failed(source)) => Err(follow(source)),
                Err(_) => Err(timeout()),
            }
        };
        let (stdout, stderr) = (next(stdout)?, next(stderr)?);
        loop {
            if let Some(status) = child.try_wait().map_err(follow)? {
                return Ok(Output { status, stdout, stderr });
            }
            if Instant::now() >= deadline {
                return Err(timeout());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn shown(&self) -> String {
        let mut words = vec![self.program.display().to_string()];
        words.extend(self.args.iter().cloned());
        words.join(" ")
    }
}

/// A program that was started and runs on. Killed, with its process group, when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last 64 KiB of what it printed so far, on both streams.
    pub fn tail(&self) -> String {
        const KEPT: u64 = 64 << 10;
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(&self.log)?;
            let from = file.metadata()?.len().saturating_sub(KEPT);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(KEPT).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).trim().to_owned()
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            kill_group(&self.child);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

enum Collected {
    All(Vec<u8>),
    TooMuch,
    Failed(std::io::Error),
}

/// Reads a stream on a thread of its own, so that neither stream blocks the program.
fn collect(stream: Option<impl Read + Send + 'static>, limit: usize) -> mpsc::Receiver<Collected> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stream.map_or(Ok(0), |stream| stream.take(limit as u64 + 1).read_to_end(&mut bytes));
        // The receiver is gone if the program was killed.
        let _ = sender.send(match read {
            Err(error) => Collected::Failed(error),
            Ok(_) if bytes.len() > limit => Collected::TooMuch,
            Ok(_) => Collected::All(bytes),
        });
    });
    receiver
}

fn kill_group(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// The last `limit` bytes as text, trimmed.
pub fn tail(bytes: &[u8], limit: usize) -> String {
    let from = bytes.len().saturating_sub(limit);
    String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn output_status_and_a_clean_environment() {
        let output = shell("echo out; echo err >&2; env; exit 3").env("A", "b").run().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stderr, b"err\n");
        let text = output.text();
        assert!(text.starts_with("out\n") && text.contains("A=b\n"), "{text}");
        assert!(!text.contains("HOME="), "{text}");
        let error = shell("echo bad >&2; exit 3").run_ok().unwrap_err();
        assert!(error.to_string().contains("bad"), "{error}");
    }

    #[test]
    fn children_do_not_outlive_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 60 & echo $! >{}; wait", file.display());
        let started = Instant::now();
        let error = shell(&script).limit(Duration::from_secs(3)).run().unwrap_err();
        assert!(matches!(error, ProcessError::Timeout { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(50));
        let pid = std::fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // Killed: gone, or a zombie that init has not reaped yet.
        let alive = |text: String| !text.contains(") Z ");
        let ended = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !std::fs::read_to_string(&stat).is_ok_and(alive)
        });
        assert!(ended);
    }

    #[test]
    fn endless_output_is_cut_off() {
        let error = shell("yes").output_limit(1000).run().unwrap_err();
        assert!(matches!(error, ProcessError::TooMuch { limit: 1000, .. }), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Command::new("/nonexistent/x").run().unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x"));
    }
}
