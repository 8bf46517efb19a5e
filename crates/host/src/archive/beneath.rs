//! One folder, in which and nowhere else things are made and deleted.
//!
//! The kernel is told to follow no link, to stay beneath the folder and to make only what is not there. Where it has no
//! openat2, a path is opened step by step, and no step may be a link.

use super::ArchiveError;
use super::limits::Lookup;
use crate::fault;
use crate::root::delete_at;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// The folder.
pub(super) struct Beneath {
    folder: OwnedFd,
    lookup: Lookup,
}

const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

impl Beneath {
    pub(super) const fn new(folder: OwnedFd, lookup: Lookup) -> Self {
        Self { folder, lookup }
    }

    /// The opened folder above `path`, and its name in it.
    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), ArchiveError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match self.lookup {
            Lookup::Kernel => match rustix::fs::openat2(&self.folder, folder, flags, Mode::empty(), INSIDE) {
                // Before Linux 5.6, or kept from us by a filter that does not know it.
                Err(Errno::NOSYS | Errno::PERM) => self.step_by_step(folder, flags),
                other => other,
            },
            Lookup::Steps => self.step_by_step(folder, flags),
        };
        Ok((opened.map_err(write("open the folder of", path))?, name))
    }

    fn step_by_step(&self, folder: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let mut at: Option<OwnedFd> = None;
        for part in folder.split('/') {
            let from = at.as_ref().map_or(self.folder.as_fd(), |fd| fd.as_fd());
            at = Some(rustix::fs::openat(from, part, flags, Mode::empty())?);
        }
        at.ok_or(Errno::NOENT)
    }

    pub(super) fn make_folder(&self, path: &str) -> Result<(), ArchiveError> {
        let (parent, name) = self.parent(path)?;
        let fail = write("make the folder", path);
        fault::change().map_err(&fail)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)).map_err(&fail)?;
        // The mode of what was made, not of what somebody puts in its place.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&parent, name, flags, Mode::empty()).map_err(&fail)?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(fail)
    }

    /// Makes a file that nobody else can read yet.
    pub(super) fn make_file(&self, path: &str) -> Result<File, ArchiveError> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fault::change()
            .and_then(|()| rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600)))
            .map(File::from)
            .map_err(write("create", path))
    }

    pub(super) fn make_link(&self, path: &str, target: &str) -> Result<(), ArchiveError> {
        let (parent, name) = self.parent(path)?;
        fault::change()
            .and_then(|()| rustix::fs::symlinkat(target, &parent, name))
            .map_err(write("make the link", path))
    }

    pub(super) fn make_hard_link(&self, path: &str, target: &str) -> Result<(), ArchiveError> {
        let (old_parent, old_name) = self.parent(target)?;
        let (parent, name) = self.parent(path)?;
        // Not following: if somebody put a link there, the link itself gets a second name.
        fault::change()
            .and_then(|()| rustix::fs::linkat(&old_parent, old_name, &parent, name, AtFlags::empty()))
            .map_err(write("make the hard link", path))
    }

    /// Deletes `path` and all below it.
    pub(super) fn delete(&self, path: &str) -> Result<(), ArchiveError> {
        let (parent, name) = self.parent(path)?;
        fault::change().and_then(|()| delete_at(parent.as_fd(), name)).map_err(write("delete", path))
    }

    /// The folder, opened once more: that something could not be written is told to each who opened it, so nothing that is
    /// told to this one is lost to [`Self::sync`].
    pub(super) fn again(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.folder, ".", flags, Mode::empty())
    }

    /// Makes all of it durable.
    pub(super) fn sync(&self) -> Result<(), ArchiveError> {
        fault::change().and_then(|()| rustix::fs::syncfs(&self.folder)).map_err(write("sync", "."))
    }
}

/// Gives `file` its mode and its attributes, once its content is there.
pub(super) fn finish(
    file: &File,
    path: &str,
    mode: u32,
    xattrs: &[(String, Vec<u8>)],
) -> Result<(), ArchiveError> {
    for (name, value) in xattrs {
        rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::CREATE)
            .map_err(write("set an extended attribute of", path))?;
    }
    fault::change()
        .and_then(|()| rustix::fs::fchmod(file, Mode::from_raw_mode(mode)))
        .map_err(write("set the mode of", path))
}

fn write(action: &'static str, path: &str) -> impl Fn(Errno) -> ArchiveError {
    let path = path.to_owned();
    move |errno| ArchiveError::Write { action, path: path.clone(), source: errno.into() }
}
