//! A numbered folder with daemons and an address of its own, which the next one clears if its owner is killed.
//!
//! ```text
//! <cache>/sites/<kind>-<number>/          files and logs
//! /run/cofferdam-testbed/<kind>-<number>  who owns it (see `claim`)
//! 10.98.<number>.1 on lo                  reachable from every node; for kinds that ask for it
//! ```

use super::cache::Cache;
use super::claim::{self, Process};
use super::command::Command;
use super::daemon::Daemon;
use super::error::{Error, Result};
use super::host;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What a site is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A cluster: with an address.
    Cluster,
    /// A registry.
    Registry,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Cluster, Self::Registry];

    const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Registry => "registry",
        }
    }

    fn address(self, number: u8) -> Option<String> {
        (self == Self::Cluster).then(|| format!("10.98.{number}.1"))
    }
}

/// A site that is ours while this value lives. Its daemons have to end before it.
#[derive(Debug)]
pub(super) struct Site {
    kind: Kind,
    number: u8,
    file: File,
    record: Record,
}

/// What the next owner needs to know about the last one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    dir: PathBuf,
    address: Option<String>,
    processes: Vec<Process>,
}

impl Site {
    /// Takes the first free number, makes the folder and sets the address.
    pub(super) fn take(cache: &Cache, kind: Kind) -> Result<Self> {
        clear_leftovers()?;
        for number in 1..=254 {
            let path = path(kind, number);
            let Some(mut file) = claim::lock(&path)? else { continue };
            // Its owner may have died since the leftovers were cleared.
            clear(kind, number, &mut file)?;
            let address = kind.address(number);
            if let Some(address) = &address
                && claim::address_in_use(address)?
            {
                let _ = fs::remove_file(&path);
                continue;
            }
            let dir = cache.sites().join(format!("{}-{number}", kind.name()));
            let record = Record { dir, address, processes: Vec::new() };
            claim::store(&mut file, &path, &record)?;
            let site = Self { kind, number, file, record };
            site.prepare()?;
            return Ok(site);
        }
        Err(Error::Missing {
            what: format!("a free {} number", kind.name()),
            why: "254 run, or their addresses 10.98.N.1 are in use".into(),
            next: format!("end some of the owners of the files in {}", claim::folder()?.display()),
        })
    }

    fn prepare(&self) -> Result<()> {
        // What lies there belongs to nobody: the record that named it is lost.
        host::remove_tree(self.dir())?;
        fs::create_dir_all(self.dir()).map_err(Error::io("create", self.dir()))?;
        if let Some(address) = &self.record.address {
            Command::new("ip").args(["address", "replace", &format!("{address}/32"), "dev", "lo"]).ok()?;
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.record.dir
    }

    pub(super) const fn number(&self) -> u8 {
        self.number
    }

    /// Its address; loopback for kinds without one.
    pub(super) fn address(&self) -> &str {
        self.record.address.as_deref().unwrap_or("127.0.0.1")
    }

    /// Where the daemon of this name logs.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}.log"))
    }

    /// Starts a daemon.
    pub(super) fn start(&mut self, name: &str, command: std::process::Command) -> Result<Daemon> {
        let daemon = Daemon::start(name, command, &self.log(name))?;
        // Those that ended go from the list, or restarts would make it grow.
        self.record.processes.retain(|process| process.runs());
        self.record.processes.extend(Process::of(daemon.pid()));
        claim::store(&mut self.file, &path(self.kind, self.number), &self.record)?;
        Ok(daemon)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(e) = release(&self.record) {
            eprintln!(
                "{}-{} is not torn down whole, the next one will try again: {e}",
                self.kind.name(),
                self.number
            );
            return;
        }
        // The name goes before the lock: whoever opened the file meanwhile finds it gone and opens it anew.
        let _ = fs::remove_file(path(self.kind, self.number));
    }
}

/// Clears up after every owner that died.
pub(super) fn clear_leftovers() -> Result<()> {
    for path in host::children(claim::folder()?)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((kind, number)) = parse(&name) else { continue };
        if let Some(mut file) = claim::lock(&path)? {
            clear(kind, number, &mut file)?;
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

fn parse(name: &str) -> Option<(Kind, u8)> {
    let (kind, number) = name.split_once('-')?;
    let kind = Kind::ALL.into_iter().find(|k| k.name() == kind)?;
    Some((kind, number.parse().ok()?))
}

fn path(kind: Kind, number: u8) -> PathBuf {
    claim::file(&format!("{}-{number}", kind.name()))
}

fn clear(kind: Kind, number: u8, file: &mut File) -> Result<()> {
    let Some(record) = claim::load::<Record>(file, &path(kind, number))? else { return Ok(()) };
    eprintln!("clearing up {}-{number}, whose owner died", kind.name());
    record.processes.iter().for_each(|process| process.kill());
    release(&record)
}

/// Everything but processes.
fn release(record: &Record) -> Result<()> {
    if let Some(address) = &record.address
        && claim::address_in_use(address)?
    {
        Command::new("ip").args(["address", "delete", &format!("{address}/32"), "dev", "lo"]).ok()?;
    }
    host::remove_tree(&record.dir)
}
