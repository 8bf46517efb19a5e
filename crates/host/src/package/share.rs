//! What installed trees hold already: files that a new tree holds as well are shared with them, not written again, and
//! layers that an image has in common with theirs are not fetched.
//!
//! Blocks are shared where the file system can (a reflink: btrfs, xfs), else the file is (a hard link). Trees are never
//! written to, and what was damaged is replaced as a whole: so neither tree sees the other.

use super::{Item, LayerKey, Manifest};
use crate::error::{HostError, Result};
use crate::fault;
use crate::root::HostRoot;
use crate::tree;
use cofferdam_core::name::{HostPath, PackagePath};
use cofferdam_core::record::Ledger;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;

/// Entries in the order in which they can be made.
pub(crate) type Entries = Vec<(PackagePath, Item)>;

/// The files of all installed trees, and the layers that they came in.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    root: &'a HostRoot,
    files: BTreeMap<Item, Vec<HostPath>>,
    layers: BTreeMap<LayerKey, Entries>,
}

impl<'a> Shared<'a> {
    /// Those of the trees that `ledger` names, as far as their manifests tell.
    ///
    /// # Errors
    /// If a manifest cannot be read.
    pub(crate) fn of(root: &'a HostRoot, ledger: Option<&Ledger>) -> Result<Self> {
        let mut shared = Self { root, files: BTreeMap::new(), layers: BTreeMap::new() };
        for (_, installed) in ledger.into_iter().flat_map(Ledger::trees) {
            if let Some(manifest) = tree::recorded(root, &installed.tree, installed.manifest.as_ref())? {
                shared.add(&installed.tree, manifest);
            }
        }
        Ok(shared)
    }

    fn add(&mut self, tree: &HostPath, manifest: Manifest) {
        for (layer, paths) in manifest.layers {
            let entry = |path: PackagePath| manifest.items.get(&path).cloned().map(|item| (path, item));
            if let Some(entries) = paths.into_iter().map(entry).collect() {
                self.layers.insert(layer, entries);
            }
        }
        manifest.items.into_iter().for_each(|(path, item)| self.add_file(tree.with(&path), item));
    }

    /// Adds a layer whose files lie in `folder`.
    pub(super) fn add_layer(&mut self, folder: &HostPath, layer: LayerKey, entries: Entries) {
        entries.iter().for_each(|(path, item)| self.add_file(folder.with(path), item.clone()));
        self.layers.insert(layer, entries);
    }

    fn add_file(&mut self, path: HostPath, item: Item) {
        if item.size() > 0 {
            self.files.entry(item).or_default().push(path);
        }
    }

    /// What was in that layer.
    pub(crate) fn layer(&self, layer: &LayerKey) -> Option<&Entries> {
        self.layers.get(layer)
    }

    /// Puts the file `item` at `target` beneath `root`, if there is one to share. False: it is to be written.
    pub(crate) fn put(&self, item: &Item, root: &HostRoot, target: &HostPath) -> Result<bool> {
        let Some(source) = self.sound(item)? else { return Ok(false) };
        let (parent, name) = root.parent_of(target)?;
        let fail = |errno| HostError::io("create", target, errno);
        fault::change().map_err(fail)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
        match rustix::fs::ioctl_ficlone(&new, &source) {
            Ok(()) => {
                let mode = Mode::from_raw_mode(item.mode());
                return rustix::fs::fchmod(&new, mode).map(|()| true).map_err(fail);
            }
            Err(_) => rustix::fs::unlinkat(&parent, name, AtFlags::empty()).map_err(fail)?,
        }
        // The very file that was looked at, whatever has its name by now.
        let same = format!("/proc/self/fd/{}", source.as_raw_fd());
        match rustix::fs::linkat(CWD, same, &parent, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            // Another file system, too many links, no /proc: then it is written as any other.
            Err(Errno::XDEV | Errno::MLINK | Errno::NOENT | Errno::PERM | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(fail(errno)),
        }
    }

    /// The first file that is what its tree's manifest says, and nobody's but root's.
    fn sound(&self, item: &Item) -> Result<Option<File>> {
        for path in self.files.get(item).into_iter().flatten() {
            let Some(file) = tree::open_as(self.root, path, item)? else { continue };
            let stat = rustix::fs::fstat(&file).map_err(|errno| HostError::io("look at", path, errno))?;
            if (stat.st_uid, stat.st_gid) == (0, 0) {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}
