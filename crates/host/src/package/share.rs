//! Files that installed trees hold already: what a new tree holds as well is shared with them, not written again.
//!
//! Blocks are shared where the file system can (a reflink: btrfs, xfs), else the file is (a hard link). Trees are never
//! written to, and what was damaged is replaced as a whole: so neither tree sees the other.

use crate::error::{HostError, Result};
use crate::fault;
use crate::root::{HostRoot, digest_of};
use crate::tree;
use cofferdam_core::name::{Digest, HostPath};
use cofferdam_core::record::Ledger;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use super::Item;

/// What makes two files equal: content and permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Content {
    pub(super) digest: Digest,
    pub(super) executable: bool,
}

/// The files of all installed trees.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    root: &'a HostRoot,
    files: BTreeMap<Content, Vec<HostPath>>,
}

impl<'a> Shared<'a> {
    /// Those of the trees that `ledger` names, as far as their manifests tell.
    ///
    /// # Errors
    /// If a manifest cannot be read.
    pub(crate) fn of(root: &'a HostRoot, ledger: Option<&Ledger>) -> Result<Self> {
        let mut files: BTreeMap<Content, Vec<HostPath>> = BTreeMap::new();
        for (_, installed) in ledger.into_iter().flat_map(Ledger::trees) {
            let items = tree::recorded(root, &installed.tree, installed.manifest.as_ref())?;
            for (path, item) in items.into_iter().flatten() {
                if let Item::File { digest, executable, size } = item
                    && size > 0
                {
                    files.entry(Content { digest, executable }).or_default().push(installed.tree.with(&path));
                }
            }
        }
        Ok(Self { root, files })
    }

    /// Puts a file with that content at `target`, if there is one to share. False: it is to be written.
    pub(super) fn put(&self, content: Content, target: &HostPath) -> Result<bool> {
        let Some(source) = self.sound(content)? else { return Ok(false) };
        let (parent, name) = self.root.parent_of(target)?;
        let fail = |errno| HostError::io("create", target, errno);
        fault::change().map_err(fail)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
        match rustix::fs::ioctl_ficlone(&new, &source) {
            Ok(()) => return rustix::fs::fchmod(&new, mode(content)).map(|()| true).map_err(fail),
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

    /// The first file that is what its tree's manifest says.
    fn sound(&self, content: Content) -> Result<Option<File>> {
        for path in self.files.get(&content).into_iter().flatten() {
            if let Some(file) = self.if_sound(path, content)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    fn if_sound(&self, path: &HostPath, content: Content) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Ok(fd) = self.root.open_at(path, flags, Mode::empty()) else { return Ok(None) };
        let fits = |fd: &OwnedFd| {
            let stat = rustix::fs::fstat(fd)?;
            Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_mode & 0o7777 == mode(content).as_raw_mode()
                && (stat.st_uid, stat.st_gid) == (0, 0))
        };
        if !fits(&fd).map_err(|errno| HostError::io("look at", path, errno))? {
            return Ok(None);
        }
        let file = File::from(fd);
        let found = digest_of(&file).map_err(|error| HostError::std_io("read", path, error))?;
        Ok((found == content.digest).then_some(file))
    }
}

const fn mode(content: Content) -> Mode {
    Mode::from_raw_mode(if content.executable { 0o755 } else { 0o644 })
}
