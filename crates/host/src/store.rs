//! Ledger, journal, backups and the lock, in `/var/lib/cofferdam` (the layout is drawn in
//! [`cofferdam_core::record`]).

use crate::error::{HostError, Result};
use crate::root::HostRoot;
use cofferdam_core::class::Class;
use cofferdam_core::name::{Digest, HostPath};
use cofferdam_core::observation::PathState;
use cofferdam_core::record::{Journal, Ledger, SCHEMA, STATE};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

/// The records on one host.
#[derive(Debug)]
pub struct Store<'a> {
    root: &'a HostRoot,
    folder: HostPath,
}

/// What a package is fetched to, in `tmp`; what else begins so is about it.
const FETCHED: &str = "package";

/// What of temporary files stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// What was fetched of a package: whoever fetches it next takes what is whole from there.
    Fetched,
}

/// Held while a transaction is under way; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub struct Lock {
    _fd: OwnedFd,
}

impl<'a> Store<'a> {
    /// The records beneath `root`.
    ///
    /// # Errors
    /// None in practice: the folder's name is a constant.
    pub fn new(root: &'a HostRoot) -> Result<Self> {
        let folder =
            HostPath::new(STATE).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        Ok(Self { root, folder })
    }

    /// The root that it lies beneath.
    pub const fn root(&self) -> &'a HostRoot {
        self.root
    }

    /// Where a package is fetched to.
    pub(crate) fn fetched(&self) -> Result<HostPath> {
        self.path(&format!("tmp/{FETCHED}"))
    }

    /// Whether something of a package was fetched.
    pub(crate) fn has_fetched(&self) -> Result<bool> {
        Ok(self.root.state(&self.fetched()?)? == PathState::Folder)
    }

    pub(crate) fn path(&self, name: &str) -> Result<HostPath> {
        self.folder.join(name).map_err(|error| HostError::new(Class::Internal, error.to_string()))
    }

    /// The ledger; none if nothing was ever installed.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub fn ledger(&self) -> Result<Option<Ledger>> {
        self.record("ledger.json")
    }

    /// The journal; none if no transaction is under way.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub fn journal(&self) -> Result<Option<Journal>> {
        self.record("journal.json")
    }

    /// Where the log of what was done is.
    pub(crate) fn log_path(&self) -> Result<HostPath> {
        self.path("log")
    }

    fn record<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        #[derive(serde::Deserialize)]
        struct Schema {
            schema: u32,
        }
        let path = self.path(name)?;
        let Some(bytes) = self.root.read(&path)? else { return Ok(None) };
        let broken = |error: serde_json::Error| {
            HostError::new(Class::Internal, format!("{path} cannot be understood: {error}"))
                .with_hint("keep a copy of it and report this; nothing was changed")
        };
        let Schema { schema } = serde_json::from_slice(&bytes).map_err(broken)?;
        if schema != SCHEMA {
            let message =
                format!("{path} has schema {schema}, this version of Cofferdam reads schema {SCHEMA}");
            return Err(HostError::new(Class::Unsupported, message)
                .with_hint("use the version of Cofferdam that wrote it, or a newer one"));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(broken)
    }

    /// Takes the lock. Makes our folders if need be; those that it made are returned, parents first.
    ///
    /// # Errors
    /// If another transaction holds it, or the folders cannot be made.
    pub fn lock(&self) -> Result<(Lock, Vec<HostPath>)> {
        let made = self.make_folders()?;
        let path = self.path("lock")?;
        let flags = OFlags::RDWR | OFlags::CREATE;
        let fd = self
            .root
            .open_at(&path, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| HostError::io("open", &path, errno))?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            // Without a name, it was deleted with the last runtime: a lock on it keeps nobody out.
            Ok(()) if rustix::fs::fstat(&fd).is_ok_and(|stat| stat.st_nlink > 0) => {
                Ok((Lock { _fd: fd }, made))
            }
            Ok(()) | Err(Errno::AGAIN) => Err(HostError::new(
                Class::Unavailable,
                format!("another change is under way ({path} is locked)"),
            )
            .with_hint("wait for it; cofferdam follow shows what it does")),
            Err(errno) => Err(HostError::io("lock", &path, errno)),
        }
    }

    /// The folders made are ours to delete. An empty state folder without records was made by a run that died
    /// before it could say so.
    fn make_folders(&self) -> Result<Vec<HostPath>> {
        let mut missing = Vec::new();
        let mut at = Some(self.folder.clone());
        while let Some(path) = at {
            if self.root.open_at(&path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok() {
                break;
            }
            at = path.parent();
            missing.push(path);
        }
        missing.reverse();
        if let Err(error) = self.make_all(&missing) {
            let inner = ["backup", "tmp"].map(|name| self.path(name).ok());
            let inner = inner.into_iter().flatten().filter(|_| !missing.is_empty());
            for folder in inner.chain(missing.iter().rev().cloned()) {
                let _ = self.root.delete_folder(&folder);
            }
            return Err(error);
        }
        if missing.is_empty() && self.is_bare()? {
            missing.push(self.folder.clone());
        }
        Ok(missing)
    }

    fn make_all(&self, missing: &[HostPath]) -> Result<()> {
        for path in missing {
            let mode = if *path == self.folder { 0o700 } else { 0o755 };
            self.root.make_folder(path, mode)?;
        }
        self.root.make_folder(&self.path("backup")?, 0o700)?;
        self.root.make_folder(&self.path("tmp")?, 0o700)
    }

    fn is_bare(&self) -> Result<bool> {
        let entries = self.root.list(&self.folder)?;
        Ok(entries.iter().all(|entry| matches!(entry.name.as_str(), "lock" | "log" | "backup" | "tmp")))
    }

    /// Puts a journal in place, durably.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put_journal(&self, journal: &Journal) -> Result<()> {
        self.put("journal.json", journal, &journal.id)
    }

    /// Puts a ledger in place, durably: this commits.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put_ledger(&self, ledger: &Ledger, id: &str) -> Result<()> {
        self.put("ledger.json", ledger, id)
    }

    fn put(&self, name: &str, record: &impl Serialize, id: &str) -> Result<()> {
        let path = self.path(name)?;
        let mut bytes = serde_json::to_vec_pretty(record)
            .map_err(|error| HostError::new(Class::Internal, format!("{path}: {error}")))?;
        bytes.push(b'\n');
        self.root.write_file(&path, bytes.as_slice(), 0o600, id)
    }

    /// Ends the transaction: no journal, none is under way.
    ///
    /// # Errors
    /// If it cannot be deleted.
    pub fn delete_journal(&self) -> Result<()> {
        self.root.delete(&self.path("journal.json")?)
    }

    fn backup_path(&self, digest: &Digest) -> Result<HostPath> {
        self.path(&format!("backup/{}", digest.hex()))
    }

    /// Keeps `bytes` under their digest, durably.
    ///
    /// # Errors
    /// If they cannot be written, or do not have that digest.
    pub fn keep(&self, digest: &Digest, bytes: &[u8], id: &str) -> Result<()> {
        if Digest::of(bytes) != *digest {
            return Err(HostError::new(Class::Conflict, "a file changed while it was backed up")
                .with_hint("try again"));
        }
        let path = self.backup_path(digest)?;
        if self.root.digest(&path)? == Some(*digest) {
            return Ok(());
        }
        self.root.write_file(&path, bytes, 0o600, id)
    }

    /// The bytes kept under `digest`, checked against it.
    ///
    /// # Errors
    /// If they are not there or not whole.
    pub fn kept(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.backup_path(digest)?;
        let bytes = self.root.read(&path)?.ok_or_else(|| HostError::io("read", &path, Errno::NOENT))?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(HostError::new(Class::Internal, format!("{path} does not hold the bytes that its name promises")))
    }

    /// Deletes the kept bytes that `ledger` does not name.
    ///
    /// # Errors
    /// If some cannot be deleted.
    pub fn prune(&self, ledger: Option<&Ledger>) -> Result<()> {
        let named: BTreeSet<String> = ledger
            .into_iter()
            .flat_map(|ledger| ledger.files.values())
            .filter_map(|file| file.before.as_ref().map(Digest::hex))
            .collect();
        let folder = self.path("backup")?;
        for entry in self.root.list(&folder)? {
            if !named.contains(&entry.name) {
                self.root.delete_all(&self.path(&format!("backup/{}", entry.name))?)?;
            }
        }
        Ok(())
    }

    /// Deletes what a killed process left in `tmp`, but what is to be kept.
    ///
    /// # Errors
    /// If something cannot be deleted.
    pub fn sweep(&self, keep: Keep) -> Result<()> {
        for entry in self.root.list(&self.path("tmp")?)? {
            if keep == Keep::Fetched && entry.name.starts_with(FETCHED) {
                continue;
            }
            self.root.delete_all(&self.path(&format!("tmp/{}", entry.name))?)?;
        }
        Ok(())
    }

    /// Deletes our folder, once it holds nothing but what we put there, and then `folders` (parents first) as
    /// far as they are empty.
    ///
    /// # Errors
    /// If something cannot be deleted.
    pub fn forget(&self, folders: &[HostPath]) -> Result<()> {
        for name in ["log", "backup", "tmp", "lock"] {
            self.root.delete_all(&self.path(name)?)?;
        }
        for folder in folders.iter().rev() {
            self.root.delete_folder(folder)?;
        }
        Ok(())
    }
}
