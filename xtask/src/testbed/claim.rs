//! Files in `/run/cofferdam-testbed` that say who owns something on this machine, and what a killed owner left.
//!
//! Each is locked (flock) by the owner for as long as it lives; the kernel drops the lock with the process. It holds
//! what is needed to clear up after it.

use super::command::Command;
use super::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DIR: &str = "/run/cofferdam-testbed";

/// A process, told from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process(u32, u64);

impl Process {
    /// The process with this number, if there is one.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self(pid, start_time(pid)?))
    }

    /// Whether it still runs.
    pub(super) fn runs(self) -> bool {
        start_time(self.0) == Some(self.1)
    }

    /// Kills it if it still runs, and waits for its end.
    pub(super) fn kill(self) {
        if !self.runs() {
            return;
        }
        if let Some(target) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
            let _ = kill_process(target, Signal::KILL);
        }
        let until = Instant::now() + Duration::from_secs(10);
        while self.runs() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The folder of the files, made if need be.
pub(super) fn folder() -> Result<&'static Path> {
    let dir = Path::new(DIR);
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    Ok(dir)
}

/// The file of an owner.
pub(super) fn file(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// The lock on a file, if nobody holds it.
pub(super) fn lock(path: &Path) -> Result<Option<File>> {
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        // Its last owner may have removed the name between our two calls.
        if same_file(&file, path) {
            return Ok(Some(file));
        }
    }
}

/// What stands in the file; nothing when its owner died before it wrote.
pub(super) fn load<R: DeserializeOwned>(file: &mut File, path: &Path) -> Result<Option<R>> {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
    read.map_err(Error::io("read", path))?;
    Ok(serde_json::from_str(&text).ok())
}

/// Writes what the next owner needs to know.
pub(super) fn store<R: Serialize>(file: &mut File, path: &Path, record: &R) -> Result<()> {
    let mut write = || {
        let text = serde_json::to_string(record)?;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())
    };
    write().map_err(Error::io("write", path))
}

/// Whether an interface of this machine has this address.
pub(super) fn address_in_use(address: &str) -> Result<bool> {
    let addresses = Command::new("ip").args(["-4", "-o", "address"]).ok()?;
    Ok(addresses.stdout.contains(&format!(" {address}/")))
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// When a process started, in clock ticks since the machine's boot; `None` when there is none.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the rest begins with field 3, and the time is field 22.
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    let state = rest.next()?;
    // A zombie runs no more; only its parent can take it away.
    (state != "Z").then_some(())?;
    rest.nth(18)?.parse().ok()
}
