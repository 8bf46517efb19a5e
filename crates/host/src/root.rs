//! The host's root as a capability: every path is looked up beneath it, as a process in a chroot would.
//!
//! On a live machine that is `/`; for an image build it is a folder, and links in it, even absolute ones, never
//! lead out of it (openat2 with `RESOLVE_IN_ROOT`, Linux 5.6).

use crate::error::{HostError, Result};
use crate::fault;
use crate::hashing::{Sha256, digest_of};
use cofferdam_core::name::{Digest, HostPath};
use cofferdam_core::observation::PathState;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The kernel follows no more.
const MOST_LINKS: usize = 40;

/// A root folder, opened.
#[derive(Debug)]
pub struct HostRoot {
    fd: OwnedFd,
    path: PathBuf,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: FileType,
}

impl HostRoot {
    /// Opens `path` as a root.
    ///
    /// # Errors
    /// If it is not a folder that can be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| HostError::io("open", path.display(), errno))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Whether this is the running machine's own root.
    pub fn is_live(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Where `path` is for a process outside this root.
    pub fn outside(&self, path: &HostPath) -> PathBuf {
        self.path.join(path.as_str().trim_start_matches('/'))
    }

    /// Opens `path` beneath the root.
    pub(crate) fn open_at(&self, path: &HostPath, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        // openat2 refuses mode bits where nothing can be created.
        let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
        match rustix::fs::openat2(&self.fd, path.as_str(), flags, mode, ResolveFlags::IN_ROOT) {
            // Older kernels: the live root needs no confinement.
            Err(Errno::NOSYS) if self.is_live() => rustix::fs::openat(&self.fd, path.as_str(), flags, mode),
            result => result,
        }
    }

    /// Opens the folder that holds `path`, and gives `path`'s name in it.
    pub(crate) fn parent_of<'p>(&self, path: &'p HostPath) -> Result<(OwnedFd, &'p str)> {
        let parent = path.parent().ok_or_else(|| HostError::io("change", path, Errno::ISDIR))?;
        let fd = self
            .open_at(&parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|errno| HostError::io("open", &parent, errno))?;
        Ok((fd, path.file_name()))
    }

    /// A regular file's bytes; none if nothing is there.
    ///
    /// # Errors
    /// If something is there and cannot be read.
    pub fn read(&self, path: &HostPath) -> Result<Option<Vec<u8>>> {
        let mut file = match self.open_at(path, OFlags::RDONLY, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(HostError::io("read", path, errno)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| HostError::std_io("read", path, error))?;
        Ok(Some(bytes))
    }

    /// What is at `path`, its last component not followed.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn state(&self, path: &HostPath) -> Result<PathState> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = match self.open_at(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(PathState::Absent),
            Err(errno) => return Err(HostError::io("look at", path, errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| HostError::io("look at", path, errno))?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let digest = self.digest(path)?.ok_or_else(|| HostError::io("read", path, Errno::NOENT))?;
                PathState::File { digest, mode: stat.st_mode & 0o7777 }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, "", Vec::new())
                    .map_err(|errno| HostError::io("read the link", path, errno))?;
                PathState::Link { target: target.to_string_lossy().into_owned() }
            }
            FileType::Directory => PathState::Folder,
            _ => PathState::Other,
        })
    }

    /// The digest of a regular file's content; none if nothing is there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn digest(&self, path: &HostPath) -> Result<Option<Digest>> {
        match self.open_at(path, OFlags::RDONLY, Mode::empty()) {
            Ok(fd) => {
                let digest = digest_of::<Sha256>(File::from(fd));
                digest.map(Some).map_err(|error| HostError::std_io("read", path, error))
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(HostError::io("read", path, errno)),
        }
    }

    /// Where `path` ends after all its links are followed, beneath this root. What does not exist is kept as it is.
    ///
    /// # Errors
    /// If links lead in circles or to a name that is not UTF-8.
    pub fn real(&self, path: &HostPath) -> Result<HostPath> {
        let fail = |errno| HostError::io("follow the links of", path, errno);
        let top = path.resolve("/").map_err(|_| fail(Errno::INVAL))?;
        let mut done = top.clone();
        let mut rest: Vec<String> = path.as_str().rsplit('/').map(str::to_owned).collect();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            let next = done.resolve(&part).map_err(|_| fail(Errno::INVAL))?;
            let PathState::Link { target } = self.state_shallow(&next)? else {
                done = next;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(fail(Errno::LOOP));
            }
            if target.starts_with('/') {
                done = top.clone();
            }
            rest.extend(target.rsplit('/').map(str::to_owned));
        }
        Ok(done)
    }

    /// Like [`Self::state`], without reading files' contents.
    fn state_shallow(&self, path: &HostPath) -> Result<PathState> {
        let fd = match self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => fd,
            Err(_) => return Ok(PathState::Absent),
        };
        let target = rustix::fs::readlinkat(&fd, "", Vec::new());
        Ok(target.map_or(PathState::Other, |t| PathState::Link { target: t.to_string_lossy().into_owned() }))
    }

    /// The entries of a folder, sorted by name; none if there is no folder.
    ///
    /// # Errors
    /// If it cannot be read, or holds a name that is not UTF-8.
    pub fn list(&self, path: &HostPath) -> Result<Vec<Entry>> {
        let fd = match self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(errno) => return Err(HostError::io("list", path, errno)),
        };
        list_fd(fd.as_fd()).map_err(|errno| HostError::io("list", path, errno))
    }

    /// Deletes whatever is at `path`, folders with all that is in them. Nothing there is fine.
    ///
    /// # Errors
    /// If something cannot be deleted.
    pub fn delete_all(&self, path: &HostPath) -> Result<()> {
        let (parent, name) = match self.parent_of(path) {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        fault::change().map_err(|errno| HostError::io("delete", path, errno))?;
        delete_at(parent.as_fd(), name).map_err(|errno| HostError::io("delete", path, errno))?;
        rustix::fs::fsync(&parent).map_err(|errno| HostError::io("sync the folder of", path, errno))
    }
}

pub(crate) fn list_fd(fd: impl AsFd) -> rustix::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_str().map_err(|_| Errno::ILSEQ)?;
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems leave the type out.
            FileType::Unknown => {
                let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            kind => kind,
        };
        entries.push(Entry { name: name.to_owned(), kind });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

pub(crate) fn delete_at(parent: impl AsFd, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    for entry in list_fd(&folder)? {
        delete_at(&folder, &entry.name)?;
    }
    drop(folder);
    rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> HostPath {
        HostPath::new(text).unwrap()
    }

    #[test]
    fn links_stay_beneath_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("etc/real")).unwrap();
        std::fs::write(folder.path().join("etc/real/file"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/real/file", folder.path().join("etc/absolute")).unwrap();
        std::os::unix::fs::symlink("../../../etc/real/file", folder.path().join("etc/up")).unwrap();
        for link in ["/etc/absolute", "/etc/up"] {
            assert_eq!(root.read(&path(link)).unwrap().unwrap(), b"inside", "{link}");
            assert_eq!(root.real(&path(link)).unwrap(), path("/etc/real/file"), "{link}");
        }
        std::os::unix::fs::symlink("/etc/real", folder.path().join("etc/folder")).unwrap();
        assert_eq!(root.real(&path("/etc/folder/new/file")).unwrap(), path("/etc/real/new/file"));
        assert_eq!(root.read(&path("/etc/shadow")).unwrap(), None);
    }

    #[test]
    fn circles_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        assert!(root.real(&path("/a")).is_err());
    }

    #[test]
    fn deleting_a_tree_does_not_follow_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("tree/sub")).unwrap();
        std::fs::write(folder.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink("../../kept", folder.path().join("tree/sub/link")).unwrap();
        root.delete_all(&path("/tree")).unwrap();
        assert_eq!(root.state(&path("/tree")).unwrap(), PathState::Absent);
        assert!(folder.path().join("kept").exists());
    }
}
