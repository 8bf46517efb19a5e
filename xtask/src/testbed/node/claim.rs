//! Numbers for nodes, so that several can run at once, and what a killed owner left.
//!
//! The owner's file (see [`super::super::claim`]) is named by the number. It holds the directory of the node's disk,
//! and nspawn and the node's systemd.

use super::super::claim::{self, Process};
use super::super::command::Command;
use super::super::error::{Error, Result};
use super::super::host;
use super::cgroups;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

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
    /// nspawn and the node's systemd.
    processes: Vec<Process>,
}

impl Claim {
    /// Takes the first free number; nodes live in `<nodes>/<number>`.
    pub(super) fn take(nodes: &Path) -> Result<Self> {
        clear_leftovers()?;
        for number in 1..=254 {
            let path = path(number);
            let Some(mut file) = claim::lock(&path)? else { continue };
            // Its owner may have died since the leftovers were cleared.
            clear(number, &mut file)?;
            if claim::address_in_use(&format!("10.99.{number}.1"))? {
                let _ = fs::remove_file(&path);
                continue;
            }
            let record = Record { dir: nodes.join(number.to_string()), processes: Vec::new() };
            claim::store(&mut file, &path, &record)?;
            return Ok(Self { number, file, record });
        }
        Err(Error::Missing {
            what: "a free node number".into(),
            why: "254 nodes run, or their addresses 10.99.N.1 are in use".into(),
            next: format!("end some of the owners of the files in {}", claim::folder()?.display()),
        })
    }

    /// Records the processes of the node, in place of those of an earlier boot.
    pub(super) fn record_processes(&mut self, pids: &[u32]) -> Result<()> {
        self.record.processes = pids.iter().filter_map(|pid| Process::of(*pid)).collect();
        claim::store(&mut self.file, &path(self.number), &self.record)
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

    /// Addresses for pods that no other running node has.
    pub(super) fn pod_network(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    /// 32 hexadecimal digits that no other running node has.
    pub(super) fn machine_id(&self) -> String {
        format!("c0ffe4da{:024x}", self.number)
    }
}

/// Clears up after every owner that died.
pub(super) fn clear_leftovers() -> Result<()> {
    for path in host::children(claim::folder()?)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(number) = name.parse() else { continue };
        if let Some(mut file) = claim::lock(&path)? {
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
        let _ = fs::remove_file(path(self.number));
    }
}

fn path(number: u8) -> PathBuf {
    claim::file(&number.to_string())
}

fn machine(number: u8) -> String {
    format!("cfd-{number}")
}

fn interface(number: u8) -> String {
    format!("ve-{}", machine(number))
}

/// Clears up after the last owner of a number.
fn clear(number: u8, file: &mut File) -> Result<()> {
    let Some(record) = claim::load::<Record>(file, &path(number))? else { return Ok(()) };
    let name = machine(number);
    eprintln!("clearing up {name}, whose owner died");
    record.processes.iter().for_each(|process| process.kill());
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
        let _ = Command::new("ip").args(["link", "delete", &interface]).run()?;
    }
    Ok(())
}

/// The name of a machine's control group.
pub(super) fn cgroup(machine: &str) -> String {
    format!("cofferdam-{machine}")
}
