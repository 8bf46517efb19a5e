//! Files of a node, by the names that they have in it, whether it runs or not.

use super::super::error::{Error, Result};
use super::Node;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fchmod, mkdirat, open, openat2, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

impl Node {
    /// Writes a file, and makes the directories above it (root's, 0755). An existing one is replaced whole.
    ///
    /// # Errors
    /// A directory or the file cannot be written.
    pub fn put(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let (dir, name) = self.parent(path, true)?;
        let failed = || Error::io::<Errno>("write", Path::new(path));
        let temporary = format!(".{name}.testbed");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(failed())?;
        let mut file = File::from(file);
        file.write_all(content.as_ref()).map_err(Error::io("write", Path::new(path)))?;
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(failed())?;
        renameat(&dir, &temporary, &dir, name).map_err(failed())
    }

    /// Reads a file. Links are resolved as in the node.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let root = self.open_root()?;
        let file = resolve(&root, path, OFlags::RDONLY).map_err(Error::io("read", Path::new(path)))?;
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes).map_err(Error::io("read", Path::new(path)))?;
        Ok(bytes)
    }

    /// Removes a file; absent is fine.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, path: &str) -> Result<()> {
        let (dir, name) = match self.parent(path, false) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("remove", Path::new(path))(e)),
        }
    }

    /// Copies a directory tree from this machine into the node, over what is there.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn put_tree(&self, from: &Path, to: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        for path in super::super::host::children(from)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let target = format!("{}/{name}", to.trim_end_matches('/'));
            let meta = std::fs::metadata(&path).map_err(Error::io("examine", &path))?;
            if meta.is_dir() {
                self.put_tree(&path, &target)?;
            } else {
                let content = std::fs::read(&path).map_err(Error::io("read", &path))?;
                self.put(&target, content, meta.permissions().mode() & 0o7777)?;
            }
        }
        Ok(())
    }

    fn open_root(&self) -> Result<OwnedFd> {
        let root = self.root();
        open(&root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(Error::io("open", &root))
    }

    fn parent<'a>(&self, path: &'a str, make: bool) -> Result<(OwnedFd, &'a str)> {
        let failed = || Error::io::<Errno>("open the directory of", Path::new(path));
        let (above, name) = path.rsplit_once('/').ok_or_else(|| failed()(Errno::INVAL))?;
        let root = self.open_root()?;
        let mut dir = resolve(&root, "/", OFlags::PATH).map_err(failed())?;
        let mut reached = String::new();
        for part in above.split('/').filter(|p| !p.is_empty()) {
            reached = format!("{reached}/{part}");
            if make {
                match mkdirat(&dir, part, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(failed()(e)),
                }
            }
            dir = resolve(&root, &reached, OFlags::PATH).map_err(failed())?;
        }
        Ok((dir, name))
    }
}

/// Opens a path the way a process of the node would: absolute links stay inside the root.
fn resolve(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
}
