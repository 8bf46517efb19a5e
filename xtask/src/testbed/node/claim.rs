//! Numbers for nodes, so that several can run at once, and what a killed owner left.
//!
//! `/run/cofferdam-testbed/<number>` is locked (flock) by the owner for as long as it lives; the kernel drops the
//! lock with the process. It holds what is needed to clear up after it: the directory of the node's disk, nspawn
//! and its start time.

use super::super::error::{Error, Result};
use super::super::host;
use super::cgroups;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DIR: &str = "/run/cofferdam-testbed";

/// A number that is ours while this value lives.
#[derive(Debug)]
pub(super) struct Claim {
    number: u8,
    file: File,
    record: Record,
}

/// What the next owner of a number needs to know about the last one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    dir: PathBuf,
    /// nspawn and the node's systemd, each with its start time.
    processes: Vec<(u32, u64)>,
}

impl Claim {
    /// Takes the first free number; nodes live in `<nodes>/<number>`.
    pub(super) fn take(nodes: &Path) -> Result<Self> {
        clear_leftovers()?;
        for number in 1..=254 {
            let path = Path::new(DIR).join(number.to_string());
            let Some(mut file) = lock(&path)? else { continue };
            // Its owner may have died since the leftovers were cleared.
            clear(number, &mut file)?;
            if address_in_use(&format!("10.99.{number}.1"))? {
                let _ = fs::remove_file(&path);
                continue;
            }
            let record = Record { dir: nodes.join(number.to_string()), processes: Vec::new() };
            store(&mut file, &record).map_err(Error::io("write", &path))?;
            return Ok(Self { number, file, record });
        }
        Err(Error::Missing {
            what: "a free node number".into(),
            why: "254 nodes run, or their addresses 10.99.N.1 are in use".into(),
            next: format!("end some of the owners of the files in {DIR}"),
        })
    }

    /// Records the processes of the node, in place of those of an earlier boot.
    pub(super) fn record_processes(&mut self, pids: &[u32]) -> Result<()> {
        self.record.processes = pids.iter().filter_map(|pid| Some((*pid, start_time(*pid)?))).collect();
        store(&mut self.file, &self.record)
            .map_err(Error::io("write", &Path::new(DIR).join(self.number.to_string())))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.record.dir
    }

    pub(super) fn machine(&self) -> String {
        machine(self.number)
    }

    /// The host's end of the veth pair, as nspawn names it.
    pub(super) fn interface(&self) -> String {
        interface(self.number)
    }

    pub(super) fn node_address(&self) -> String {
        format!("10.99.{}.2", self.number)
    }

    pub(super) fn host_address(&self) -> String {
        format!("10.99.{}.1", self.number)
    }

    /// 32 hexadecimal digits that no other running node has.
    pub(super) fn machine_id(&self) -> String {
        format!("c0ffe4da{:024x}", self.number)
    }
}

/// Clears up after every owner that died.
pub(super) fn clear_leftovers() -> Result<()> {
    let dir = Path::new(DIR);
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    for path in host::children(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(number) = name.parse() else { continue };
        if let Some(mut file) = lock(&path)? {
            clear(number, &mut file)?;
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

impl Drop for Claim {
    fn drop(&mut self) {
        let name = self.machine();
        if let Err(e) = release(self.number, &name, &self.record) {
            eprintln!("{name} is not torn down whole, the next node will try again: {e}");
            return;
        }
        // The name goes before the lock: whoever opened the file meanwhile finds it gone and opens it anew.
        let _ = fs::remove_file(Path::new(DIR).join(self.number.to_string()));
    }
}

fn machine(number: u8) -> String {
    format!("cfd-{number}")
}

fn interface(number: u8) -> String {
    format!("ve-{}", machine(number))
}

/// The lock on a number's file, if nobody holds it.
fn lock(path: &Path) -> Result<Option<File>> {
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

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Clears up after the last owner of a number.
fn clear(number: u8, file: &mut File) -> Result<()> {
    let path = Path::new(DIR).join(number.to_string());
    let Some(record) = load(file).map_err(Error::io("read", &path))? else { return Ok(()) };
    let name = machine(number);
    eprintln!("clearing up {name}, whose owner died");
    for (pid, start) in &record.processes {
        kill_if_same(*pid, *start);
    }
    release(number, &name, &record)
}

/// Everything but processes.
fn release(number: u8, name: &str, record: &Record) -> Result<()> {
    host::remove_tree(&record.dir)?;
    if !cgroups::managed_by_systemd() {
        cgroups::remove(&cgroup(name))?;
    }
    // The pair goes with the node's network namespace, a moment after its last process.
    let interface = interface(number);
    if Path::new("/sys/class/net").join(&interface).exists() {
        // It may go between the question and the command.
        let _ = super::super::command::Command::new("ip").args(["link", "delete", &interface]).run()?;
    }
    Ok(())
}

/// The name of a machine's control group.
pub(super) fn cgroup(machine: &str) -> String {
    format!("cofferdam-{machine}")
}

fn kill_if_same(pid: u32, start: u64) {
    if start_time(pid) != Some(start) {
        return;
    }
    if let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(target, Signal::KILL);
    }
    let until = Instant::now() + Duration::from_secs(10);
    while start_time(pid) == Some(start) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
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

fn load(file: &mut File) -> std::io::Result<Option<Record>> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text).ok())
}

fn store(file: &mut File, record: &Record) -> std::io::Result<()> {
    let text = serde_json::to_string(record)?;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())
}

fn address_in_use(address: &str) -> Result<bool> {
    let addresses = super::super::command::Command::new("ip").args(["-4", "-o", "address"]).ok()?;
    Ok(addresses.stdout.contains(&format!(" {address}/")))
}
