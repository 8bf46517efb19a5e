//! The one place that changes files on a host.
//!
//! A file is replaced by a complete one or not at all: a temporary file on the target's own file system, in a
//! folder that no engine reads, is written, given the old one's mode, owner and extended attributes, synced, and
//! renamed over it; then the folder is synced.

use crate::error::{HostError, Result};
use crate::fault;
use crate::root::HostRoot;
use cofferdam_core::name::HostPath;
use cofferdam_core::record::STATE;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Names of temporary files begin with this and the transaction's id.
const TEMPORARY: &str = ".cofferdam-";

impl HostRoot {
    /// Replaces or creates the file at `path`, durably. `mode` holds for a new file; an old one keeps its mode,
    /// owner and extended attributes. `id` goes into the temporary file's name.
    ///
    /// # Errors
    /// If a call fails; then the file is as it was.
    pub fn write_file(&self, path: &HostPath, content: impl Read, mode: u32, id: &str) -> Result<()> {
        let (parent, name) = self.parent_of(path)?;
        let fail = |action| move |errno| HostError::io(action, path, errno);
        let old = match rustix::fs::openat(
            &parent,
            name,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(fd) => Some(fd),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(HostError::io("open", path, errno)),
        };
        let mut content = content;
        let mut bytes = Vec::new();
        content
            .read_to_end(&mut bytes)
            .map_err(|error| HostError::std_io("read what goes to", path, error))?;

        for folder in temporary_folders(path) {
            let Ok(folder) = self.open_at(&folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else {
                continue;
            };
            if !same_file_system(&folder, &parent).map_err(fail("look at"))? {
                continue;
            }
            let temporary = format!("{TEMPORARY}{id}");
            let result = fill(&folder, &temporary, &bytes, mode, old.as_ref()).and_then(|()| {
                fault::change()?;
                rustix::fs::renameat(&folder, temporary.as_str(), &parent, name)
            });
            match result {
                Ok(()) => return rustix::fs::fsync(&parent).map_err(fail("sync the folder of")),
                Err(errno) => {
                    let _ = rustix::fs::unlinkat(&folder, temporary.as_str(), AtFlags::empty());
                    // The same file system behind another mount: try the next folder.
                    if errno != Errno::XDEV {
                        return Err(HostError::io("replace", path, errno));
                    }
                }
            }
        }
        Err(HostError::io("replace", path, Errno::XDEV))
    }

    /// Makes the file at `path` (0600) if it is not there, cuts it after `keep` bytes and adds `bytes`, durably. A crash
    /// leaves the first part of them: this is for files whose readers can tell.
    ///
    /// # Errors
    /// If a call fails.
    pub(crate) fn append(&self, path: &HostPath, keep: u64, bytes: &[u8]) -> Result<()> {
        let (parent, _) = self.parent_of(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW;
        let fail = |errno| HostError::io("write", path, errno);
        let mut file = fault::change()
            .and_then(|()| self.open_at(path, flags, Mode::from_raw_mode(0o600)))
            .map(File::from)
            .map_err(fail)?;
        let write = |file: &mut File| {
            file.set_len(keep)?;
            file.seek(SeekFrom::Start(keep))?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        fault::change().map_err(fail)?;
        write(&mut file).map_err(|error| HostError::std_io("write", path, error))?;
        rustix::fs::fsync(&parent).map_err(|errno| HostError::io("sync the folder of", path, errno))
    }

    /// Deletes the temporary files that a killed process left for `path`.
    ///
    /// # Errors
    /// If one cannot be deleted.
    pub(crate) fn sweep_temporary(&self, path: &HostPath, id: &str) -> Result<()> {
        for folder in temporary_folders(path) {
            self.unlink_in(&folder, &format!("{TEMPORARY}{id}"))?;
        }
        Ok(())
    }

    fn unlink_in(&self, folder: &HostPath, name: &str) -> Result<()> {
        let Ok(fd) = self.open_at(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else {
            return Ok(());
        };
        match rustix::fs::unlinkat(&fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(HostError::io("delete a temporary file in", folder, errno)),
        }
    }

    /// Deletes the file or link at `path`, durably. Nothing there is fine.
    ///
    /// # Errors
    /// If it cannot be deleted.
    pub fn delete(&self, path: &HostPath) -> Result<()> {
        let (parent, name) = match self.parent_of(path) {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let result = fault::change().and_then(|()| rustix::fs::unlinkat(&parent, name, AtFlags::empty()));
        match result {
            Ok(()) => {
                rustix::fs::fsync(&parent).map_err(|errno| HostError::io("sync the folder of", path, errno))
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(HostError::io("delete", path, errno)),
        }
    }

    /// Makes the folder `path` (0755 whatever the umask), durably. There already is fine.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make_folder(&self, path: &HostPath, mode: u32) -> Result<()> {
        let (parent, name) = self.parent_of(path)?;
        let fail = |errno| HostError::io("make the folder", path, errno);
        match fault::change().and_then(|()| rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(fail(errno)),
        }
        rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty()).map_err(fail)?;
        rustix::fs::fsync(&parent).map_err(fail)
    }

    /// Deletes the folder `path` if it is empty. Whether it is gone.
    ///
    /// # Errors
    /// If it is empty and cannot be deleted.
    pub fn delete_folder(&self, path: &HostPath) -> Result<bool> {
        let (parent, name) = match self.parent_of(path) {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) => return Err(error),
        };
        match fault::change().and_then(|()| rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)) {
            Ok(()) => {
                rustix::fs::fsync(&parent)
                    .map_err(|errno| HostError::io("sync the folder of", path, errno))?;
                Ok(true)
            }
            Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(errno) => Err(HostError::io("delete the folder", path, errno)),
        }
    }

    /// Makes the symbolic link `path`, durably.
    ///
    /// # Errors
    /// If something is there already, or it cannot be made.
    pub fn make_link(&self, path: &HostPath, target: &str) -> Result<()> {
        let (parent, name) = self.parent_of(path)?;
        let fail = |errno| HostError::io("make the link", path, errno);
        fault::change().and_then(|()| rustix::fs::symlinkat(target, &parent, name)).map_err(fail)?;
        rustix::fs::fsync(&parent).map_err(fail)
    }

    /// Exchanges two folders, at once and durably.
    ///
    /// # Errors
    /// If one is missing, or the file system cannot.
    pub fn exchange(&self, a: &HostPath, b: &HostPath) -> Result<()> {
        self.rename(a, b, RenameFlags::EXCHANGE, "exchange")
    }

    /// Moves `from` to `to`, where nothing may be, durably.
    ///
    /// # Errors
    /// If they are on different file systems, or something is at `to`.
    pub fn move_new(&self, from: &HostPath, to: &HostPath) -> Result<()> {
        self.rename(from, to, RenameFlags::NOREPLACE, "move into place")
    }

    fn rename(&self, from: &HostPath, to: &HostPath, flags: RenameFlags, what: &'static str) -> Result<()> {
        let (old_parent, old_name) = self.parent_of(from)?;
        let (new_parent, new_name) = self.parent_of(to)?;
        let fail = |errno| HostError::io(what, to, errno);
        fault::change()
            .and_then(|()| rustix::fs::renameat_with(&old_parent, old_name, &new_parent, new_name, flags))
            .map_err(fail)?;
        rustix::fs::fsync(&new_parent).map_err(fail)?;
        rustix::fs::fsync(&old_parent).map_err(fail)
    }
}

/// Where a temporary file for `path` may be: our own state folder, the folder above the one that an engine may
/// read, and last that folder itself (a name with a leading dot matches no `*.toml`).
fn temporary_folders(path: &HostPath) -> Vec<HostPath> {
    let own = HostPath::new(format!("{STATE}/tmp")).ok();
    let parent = path.parent();
    let above = parent.as_ref().and_then(HostPath::parent);
    own.into_iter().chain(above).chain(parent).collect()
}

fn same_file_system(a: impl AsFd, b: impl AsFd) -> rustix::io::Result<bool> {
    Ok(rustix::fs::fstat(a)?.st_dev == rustix::fs::fstat(b)?.st_dev)
}

fn fill(
    folder: &OwnedFd,
    name: &str,
    bytes: &[u8],
    mode: u32,
    old: Option<&OwnedFd>,
) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fault::change()?;
    let mut file = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?);
    fault::change()?;
    file.write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    match old {
        Some(old) => keep_attributes(old, &file)?,
        None => rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?,
    }
    fault::change()?;
    rustix::fs::fsync(&file)
}

/// Gives `new` the owner, mode and extended attributes of `old` (the owner first: a change of it clears bits).
fn keep_attributes(old: impl AsFd, new: impl AsFd) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(&old)?;
    rustix::fs::fchown(&new, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(&new, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for name in attribute_names(&old)? {
        let mut value = vec![0; 64 << 10];
        let size = rustix::fs::fgetxattr(&old, name.as_slice(), value.as_mut_slice())?;
        value.truncate(size);
        rustix::fs::fsetxattr(&new, name.as_slice(), &value, XattrFlags::empty())?;
    }
    Ok(())
}

fn attribute_names(fd: impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    match rustix::fs::flistxattr(fd, names.as_mut_slice()) {
        Ok(size) => {
            names.truncate(size);
            Ok(names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
        }
        Err(Errno::NOTSUP) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn path(text: &str) -> HostPath {
        HostPath::new(text).unwrap()
    }

    #[test]
    fn an_old_file_keeps_its_mode_owner_and_attributes() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        let file = folder.path().join("etc/config");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let marked = rustix::fs::setxattr(&file, "user.mark", b"kept", XattrFlags::empty()).is_ok();
        let before = std::fs::metadata(&file).unwrap();
        root.write_file(&path("/etc/config"), &b"new"[..], 0o600, "t1").unwrap();
        let after = std::fs::metadata(&file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "replaced, not written into");
        if marked {
            let mut value = [0; 8];
            let size = rustix::fs::getxattr(&file, "user.mark", &mut value[..]).unwrap();
            assert_eq!(&value[..size], b"kept");
        }
        assert_eq!(
            std::fs::read_dir(folder.path().join("etc")).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_new_file_has_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        root.write_file(&path("/file"), &b"x"[..], 0o755, "t1").unwrap();
        assert_eq!(std::fs::metadata(folder.path().join("file")).unwrap().mode() & 0o7777, 0o755);
    }

    #[test]
    fn a_folder_with_something_in_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        root.make_folder(&path("/a"), 0o755).unwrap();
        std::fs::write(folder.path().join("a/theirs"), "x").unwrap();
        assert!(!root.delete_folder(&path("/a")).unwrap());
        std::fs::remove_file(folder.path().join("a/theirs")).unwrap();
        assert!(root.delete_folder(&path("/a")).unwrap());
    }
}
