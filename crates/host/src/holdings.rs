//! The trees on a host: what they take up, and what they share.

use crate::error::{HostError, Result};
use crate::root::HostRoot;
use crate::tree;
use cofferdam_core::name::{Digest, HostPath, RuntimeName, Version};
use cofferdam_core::observation::TreeState;
use cofferdam_core::record::{Installed, Ledger};
use rustix::fs::{FileType, Mode, OFlags};
use serde::Serialize;
use std::collections::BTreeMap;

/// One installed tree.
#[derive(Clone, Debug, Serialize)]
pub struct Holding {
    /// The runtime.
    pub name: RuntimeName,
    /// Its version.
    pub version: Version,
    /// Its package's digest.
    pub digest: Digest,
    /// The digest of the image that it came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// Where it is.
    pub tree: HostPath,
    /// Whether the engine knows it; else it is an earlier version, or waits to be installed.
    pub registered: bool,
    /// What it takes up.
    #[serde(flatten)]
    pub size: Size,
    #[serde(skip)]
    manifest: Option<Digest>,
}

/// What a tree takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    /// How many files it has.
    pub files: u64,
    /// How many bytes are in them.
    pub bytes: u64,
    /// Bytes on disk that are there for it alone: what its end would free. Blocks that files share (reflinks) count as if
    /// they were not shared.
    pub alone: u64,
    /// Bytes on disk in files that other trees have, too.
    pub shared: u64,
}

/// All trees of a host.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Holdings {
    /// Those that the ledger names: each runtime's registered one, then the earlier ones, the oldest first,
    /// then what was pulled.
    pub trees: Vec<Holding>,
    /// Bytes on disk of all of them.
    pub disk: u64,
}

/// A file, whatever its names.
type Inode = (u64, u64);

/// What is known of a file.
#[derive(Clone, Copy)]
struct Disk {
    bytes: u64,
    /// In how many trees it is.
    trees: u64,
}

impl Holdings {
    /// What `ledger` names on `root`.
    ///
    /// # Errors
    /// If a tree cannot be looked at; one that is missing has nothing in it.
    pub fn of(root: &HostRoot, ledger: &Ledger) -> Result<Self> {
        let registered = ledger.runtimes.iter().map(|(name, installed)| (name, installed, true));
        let others = ledger.retired.iter().chain(&ledger.pulled);
        let others = others.map(|other| (&other.name, &other.installed, false));
        let mut disks: BTreeMap<Inode, Disk> = BTreeMap::new();
        let mut walked = Vec::new();
        for (name, installed, registered) in registered.chain(others) {
            let mut walk = Walk { root, size: Size::default(), files: BTreeMap::new() };
            walk.folder(&installed.tree)?;
            for (inode, bytes) in &walk.files {
                let disk = disks.entry(*inode).or_insert(Disk { bytes: *bytes, trees: 0 });
                disk.trees += 1;
            }
            walked.push((Holding::new(name, installed, registered, walk.size), walk.files));
        }
        let trees = walked.into_iter().map(|(mut holding, files)| {
            for (inode, bytes) in files {
                let alone = disks.get(&inode).is_none_or(|disk| disk.trees == 1);
                *(if alone { &mut holding.size.alone } else { &mut holding.size.shared }) += bytes;
            }
            holding
        });
        Ok(Self { trees: trees.collect(), disk: disks.values().map(|disk| disk.bytes).sum() })
    }
}

impl Holding {
    fn new(name: &RuntimeName, installed: &Installed, registered: bool, size: Size) -> Self {
        Self {
            name: name.clone(),
            version: installed.version.clone(),
            digest: installed.digest,
            image: installed.image,
            tree: installed.tree.clone(),
            registered,
            size,
            manifest: installed.manifest,
        }
    }

    /// Whether each of its files is as it was installed.
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn check(&self, root: &HostRoot) -> Result<TreeState> {
        tree::check(root, &self.tree, self.manifest.as_ref())
    }
}

struct Walk<'a> {
    root: &'a HostRoot,
    size: Size,
    /// Bytes on disk.
    files: BTreeMap<Inode, u64>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &HostPath) -> Result<()> {
        let entries = match self.root.list(folder) {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        for entry in entries {
            // A name that no package can have is nothing of ours.
            let Ok(path) = folder.join(&entry.name) else { continue };
            match entry.kind {
                FileType::Directory => self.folder(&path)?,
                _ => self.file(&path)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &HostPath) -> Result<()> {
        let fail = |errno| HostError::io("look at", path, errno);
        let fd = self.root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).map_err(fail)?;
        let stat = rustix::fs::fstat(&fd).map_err(fail)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            self.size.files += 1;
            self.size.bytes += stat.st_size.unsigned_abs();
            // Blocks of 512 bytes, whatever the file system's are.
            self.files.insert((stat.st_dev, stat.st_ino), stat.st_blocks.unsigned_abs() * 512);
        }
        Ok(())
    }
}
