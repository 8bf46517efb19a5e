//! What lies below some directories of a node, to be compared before and after.

use super::error::{Error, Result};
use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Paths as the node names them, with what is there. Times are left out: every restart changes some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// By absolute path in the node.
    pub entries: BTreeMap<String, Entry>,
}

/// One file-system object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Type and content.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes: name, and value in hexadecimal.
    pub xattrs: BTreeMap<String, String>,
}

/// Type and content of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// SHA-256 of the content, in hexadecimal.
        sha256: String,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: String,
    },
    /// A device.
    Device {
        /// Whether it is a block device.
        block: bool,
        /// Its number.
        number: u64,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Tree {
    /// Records what lies at and below `paths` (absolute, as in the node, without links on the way) in the root
    /// directory `root`. No link is followed. A path that does not exist gives no entry.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn record(root: &Path, paths: &[&str]) -> Result<Self> {
        let mut tree = Self::default();
        for path in paths {
            tree.walk(&root.join(path.trim_start_matches('/')), path)?;
        }
        Ok(tree)
    }

    fn walk(&mut self, at: &Path, name: &str) -> Result<()> {
        let Some(meta) = unless_gone(fs::symlink_metadata(at)).map_err(Error::io("examine", at))? else {
            return Ok(());
        };
        let Some(entry) = entry(at, &meta)? else { return Ok(()) };
        let directory = entry.kind == Kind::Directory;
        self.entries.insert(name.to_owned(), entry);
        if !directory {
            return Ok(());
        }
        for child in fs::read_dir(at).map_err(Error::io("list", at))? {
            let child = child.map_err(Error::io("list", at))?;
            let name = format!("{}/{}", name.trim_end_matches('/'), child.file_name().to_string_lossy());
            self.walk(&child.path(), &name)?;
        }
        Ok(())
    }

    /// The differences from `self` to `later`, one line each; empty when equal.
    pub fn diff(&self, later: &Self) -> Vec<String> {
        let gone = self.entries.iter().filter(|(path, _)| !later.entries.contains_key(*path));
        let mut lines: Vec<String> = gone.map(|(path, _)| format!("- {path}")).collect();
        for (path, after) in &later.entries {
            match self.entries.get(path) {
                None => lines.push(format!("+ {path}")),
                Some(before) => {
                    lines.extend(before.diff(after).into_iter().map(|d| format!("~ {path}: {d}")))
                }
            }
        }
        lines
    }

    /// The tree without the paths at and below `excluded`.
    pub fn without(mut self, excluded: &[&str]) -> Self {
        self.entries.retain(|path, _| !excluded.iter().any(|e| Path::new(path).starts_with(e)));
        self
    }
}

impl Entry {
    fn diff(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.kind != after.kind {
            lines.push(format!("{:?} -> {:?}", self.kind, after.kind));
        }
        if self.mode != after.mode {
            lines.push(format!("mode {:o} -> {:o}", self.mode, after.mode));
        }
        if (self.uid, self.gid) != (after.uid, after.gid) {
            lines.push(format!("owner {}:{} -> {}:{}", self.uid, self.gid, after.uid, after.gid));
        }
        if self.xattrs != after.xattrs {
            lines.push(format!("xattrs {:?} -> {:?}", self.xattrs, after.xattrs));
        }
        lines
    }
}

/// `None` for an object that went away while we looked.
fn entry(at: &Path, meta: &Metadata) -> Result<Option<Entry>> {
    let kind = meta.file_type();
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        let target = fs::read_link(at).map_err(Error::io("read the link", at))?;
        Kind::Symlink { target: target.to_string_lossy().into_owned() }
    } else if kind.is_file() {
        let Some(sha256) = unless_gone(hash(at)).map_err(Error::io("read", at))? else { return Ok(None) };
        Kind::File { size: meta.len(), sha256 }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        Kind::Device { block: kind.is_block_device(), number: meta.rdev() }
    };
    let xattrs = xattrs(at).map_err(Error::io("read the attributes of", at))?;
    Ok(Some(Entry { kind, mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), xattrs }))
}

fn unless_gone<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn hash(at: &Path) -> std::io::Result<String> {
    let mut file = File::open(at)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some(part) if !part.is_empty() => hash.update(part),
            _ => return Ok(hex(&hash.finalize())),
        }
    }
}

fn xattrs(at: &Path) -> rustix::io::Result<BTreeMap<String, String>> {
    let mut names = vec![0_u8; 1 << 16];
    let length = match llistxattr(at, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOENT) => 0,
        Err(e) => return Err(e),
    };
    let mut attributes = BTreeMap::new();
    for name in names.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0_u8; 1 << 16];
        let length = lgetxattr(at, name.as_str(), &mut value)?;
        attributes.insert(name, hex(value.get(..length).unwrap_or_default()));
    }
    Ok(attributes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
