//! Entries to files beneath one folder, and nowhere else.
//!
//! Two guards, each enough by itself: what is there is known by a list, through which no entry goes by way of a link or a
//! file; and the kernel is told to follow no link and to stay beneath the folder. Owners, times and extended attributes
//! are not taken over, and modes become normal: 0755 for folders and programs, 0644 for other files.

use super::ArchiveError;
use super::reader::{Entry, Kind, Reader};
use crate::fault;
use crate::root::delete_at;
use cofferdam_core::name::{PackagePath, inner_target};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Names that begin so delete what a layer below has.
const WHITEOUT: &str = ".wh.";

/// Deletes all that layers below have in its folder.
const OPAQUE: &str = ".wh..wh..opq";

const CHUNK: usize = 256 << 10;

/// How much may be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of all files, those that a later layer replaces included.
    pub(crate) bytes: u64,
    /// Entries of all layers.
    pub(crate) entries: u64,
    /// Folders within each other.
    pub(crate) depth: usize,
}

impl Limits {
    /// More than any runtime that we know of needs, and less than fills a node's disk with nothing.
    pub(crate) const NORMAL: Self = Self { bytes: 8 << 30, entries: 200_000, depth: 64 };
}

/// A folder into which layers are unpacked, the lowest first.
pub(crate) struct Unpacking {
    folder: OwnedFd,
    limits: Limits,
    /// What is there.
    present: BTreeMap<String, Node>,
    /// What the present layer put there.
    layer: BTreeSet<String>,
    bytes: u64,
    entries: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File { size: u64 },
    Link,
}

impl Unpacking {
    /// Into `folder`, which is empty and nobody else's.
    pub(crate) fn new(folder: OwnedFd, limits: Limits) -> Self {
        let (present, layer) = (BTreeMap::new(), BTreeSet::new());
        Self { folder, limits, present, layer, bytes: 0, entries: 0 }
    }

    /// Unpacks one layer, and reads `archive` to its very end.
    pub(crate) fn layer(&mut self, archive: impl Read) -> Result<(), ArchiveError> {
        self.layer.clear();
        let mut archive = archive;
        let mut reader = Reader::new(&mut archive);
        while let Some(entry) = reader.next()? {
            self.entry(entry, &mut reader)?;
        }
        // Zeros follow the end, by tar's habit a few kilobytes; whatever follows belongs to the digest.
        let most = self.limits.bytes;
        let rest = std::io::copy(&mut archive.by_ref().take(most), &mut std::io::sink());
        if rest.map_err(ArchiveError::Read)? == most {
            return Err(ArchiveError::TooLarge("too much follows the archive's end".to_owned()));
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry, reader: &mut Reader<impl Read>) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let most = self.limits.entries;
            return Err(ArchiveError::TooLarge(format!("it has more than {most} entries")));
        }
        let is_folder = matches!(entry.kind, Kind::Folder);
        let Some(path) = self.path(&entry.path, is_folder)? else { return Ok(()) };
        let (folder, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        if name == OPAQUE {
            return self.clear_lower(folder);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.hide(folder, hidden);
        }
        if let Kind::Special(what) = entry.kind {
            return Err(ArchiveError::refused(format!("{path} is {what}")));
        }
        if entry.mode & 0o6000 != 0 && matches!(entry.kind, Kind::File { .. }) {
            return Err(ArchiveError::refused(format!("{path} is setuid or setgid")));
        }
        self.make_parents(path.as_str())?;
        if !self.make_room(path.as_str(), is_folder)? {
            return Ok(());
        }
        let node = match entry.kind {
            Kind::Folder => self.make_folder(path.as_str())?,
            Kind::File { size } => self.make_file(path.as_str(), size, entry.mode, reader)?,
            Kind::Link { target } => self.make_link(&path, &target)?,
            Kind::HardLink { target } => self.make_hard_link(path.as_str(), &target)?,
            Kind::Special(what) => return Err(ArchiveError::refused(format!("{path} is {what}"))),
        };
        self.present.insert(path.as_str().to_owned(), node);
        self.layer.insert(path.into());
        Ok(())
    }

    /// The path of an entry; none for the folder itself.
    fn path(&self, written: &str, is_folder: bool) -> Result<Option<PackagePath>, ArchiveError> {
        let shown = written.escape_debug();
        if written.starts_with('/') {
            return Err(ArchiveError::refused(format!("{shown} is an absolute path")));
        }
        let mut path = written;
        while let Some(rest) = path.strip_prefix("./") {
            path = rest;
        }
        if is_folder {
            path = path.strip_suffix('/').unwrap_or(path);
        }
        if is_folder && matches!(path, "" | ".") {
            return Ok(None);
        }
        if path.split('/').any(|part| part == "..") {
            return Err(ArchiveError::refused(format!("{shown} leads out of the package")));
        }
        if path.split('/').count() > self.limits.depth {
            let most = self.limits.depth;
            return Err(ArchiveError::TooLarge(format!("{shown} lies more than {most} folders deep")));
        }
        let found = PackagePath::new(path);
        found.map(Some).map_err(|_| ArchiveError::refused(format!("{shown} is no plain relative path")))
    }

    /// Makes the folders above `path` that no entry made.
    fn make_parents(&mut self, path: &str) -> Result<(), ArchiveError> {
        for (at, _) in path.match_indices('/') {
            let parent = path.get(..at).unwrap_or_default();
            match self.present.get(parent) {
                Some(Node::Folder) => {}
                Some(Node::Link) => {
                    return Err(ArchiveError::refused(format!("{path} goes through the link {parent}")));
                }
                Some(Node::File { .. }) => {
                    return Err(ArchiveError::refused(format!("{path} lies in {parent}, which is a file")));
                }
                None => {
                    let node = self.make_folder(parent)?;
                    self.present.insert(parent.to_owned(), node);
                }
            }
        }
        Ok(())
    }

    /// Deletes what a layer below has at `path`. False: it is a folder already, and stays.
    fn make_room(&mut self, path: &str, for_folder: bool) -> Result<bool, ArchiveError> {
        let Some(node) = self.present.get(path).copied() else { return Ok(true) };
        if node == Node::Folder && for_folder {
            self.layer.insert(path.to_owned());
            return Ok(false);
        }
        if self.layer.contains(path) || self.layer_has_below(path) {
            return Err(ArchiveError::refused(format!("{path} is in it twice")));
        }
        self.delete(path)?;
        Ok(true)
    }

    fn layer_has_below(&self, path: &str) -> bool {
        let start = format!("{path}/");
        self.layer.range(start.clone()..).next().is_some_and(|found| found.starts_with(&start))
    }

    /// A whiteout: `name` in `folder` is no more.
    fn hide(&mut self, folder: &str, name: &str) -> Result<(), ArchiveError> {
        let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if matches!(name, "" | "." | "..") || name.starts_with(WHITEOUT) {
            return Err(ArchiveError::refused(format!(
                "{folder}/{WHITEOUT}{name} hides nothing that has a name"
            )));
        }
        if self.layer.contains(&path) || self.layer_has_below(&path) {
            return Err(ArchiveError::refused(format!("{path} is hidden by the layer that has it")));
        }
        if self.present.contains_key(&path) { self.delete(&path) } else { Ok(()) }
    }

    /// An opaque folder: what layers below have in it is no more.
    fn clear_lower(&mut self, folder: &str) -> Result<(), ArchiveError> {
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = self.present.range(start.clone()..).map(|(path, _)| path);
        let below = below.take_while(|path| path.starts_with(&start));
        let lower: Vec<String> = below
            .filter(|path| !self.layer.contains(*path) && !self.layer_has_below(path))
            .cloned()
            .collect();
        for path in lower {
            // It may have gone with a folder before it.
            if self.present.contains_key(&path) {
                self.delete(&path)?;
            }
        }
        Ok(())
    }

    /// Deletes `path` and all below it.
    fn delete(&mut self, path: &str) -> Result<(), ArchiveError> {
        let (parent, name) = self.parent(path)?;
        delete_at(parent.as_fd(), name).map_err(write("delete", path))?;
        let start = format!("{path}/");
        self.present.retain(|found, _| found != path && !found.starts_with(&start));
        Ok(())
    }

    /// The opened folder above `path`, and its name in it.
    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), ArchiveError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = match rustix::fs::openat2(&self.folder, folder, flags, Mode::empty(), inside) {
            // Before Linux 5.6: part by part, and no part may be a link.
            Err(Errno::NOSYS) => folder.split('/').try_fold(None::<OwnedFd>, |at, part| {
                let from = at.as_ref().map_or(self.folder.as_fd(), |fd| fd.as_fd());
                rustix::fs::openat(from, part, flags, Mode::empty()).map(Some)
            }),
            other => other.map(Some),
        };
        match opened.map_err(write("open the folder of", path))? {
            Some(fd) => Ok((fd, name)),
            None => Err(write("open the folder of", path)(Errno::NOENT)),
        }
    }

    fn make_folder(&self, path: &str) -> Result<Node, ArchiveError> {
        let (parent, name) = self.parent(path)?;
        fault::change().map_err(write("make the folder", path))?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
            .and_then(|()| rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(0o755), AtFlags::empty()))
            .map_err(write("make the folder", path))?;
        Ok(Node::Folder)
    }

    fn make_file(
        &mut self,
        path: &str,
        size: u64,
        mode: u32,
        reader: &mut Reader<impl Read>,
    ) -> Result<Node, ArchiveError> {
        self.count(path, size)?;
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fault::change()
            .and_then(|()| rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600)))
            .map_err(write("create", path))?;
        let mut file = File::from(fd);
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = reader.content(&mut buffer)?;
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
            file.write_all(bytes).map_err(|source| ArchiveError::Write {
                action: "write",
                path: path.to_owned(),
                source,
            })?;
        }
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(write("set the mode of", path))?;
        Ok(Node::File { size })
    }

    fn count(&mut self, path: &str, size: u64) -> Result<(), ArchiveError> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            let most = self.limits.bytes;
            return Err(ArchiveError::TooLarge(format!(
                "its files have more than {most} bytes together, {path} alone has {size}"
            )));
        }
        Ok(())
    }

    fn make_link(&self, path: &PackagePath, target: &str) -> Result<Node, ArchiveError> {
        if !inner_target(path.as_str(), target) || target.is_empty() {
            return Err(ArchiveError::refused(format!("the link {path} -> {target} leaves the package")));
        }
        let (parent, name) = self.parent(path.as_str())?;
        rustix::fs::symlinkat(target, &parent, name).map_err(write("make the link", path.as_str()))?;
        Ok(Node::Link)
    }

    /// Each name counts as a file of its own: a copy of the package has one for each.
    fn make_hard_link(&mut self, path: &str, target: &str) -> Result<Node, ArchiveError> {
        let wanted = self.path(target, false)?;
        let wanted = wanted.as_ref().map_or("", PackagePath::as_str);
        let Some(node @ Node::File { size }) = self.present.get(wanted).copied() else {
            let message = format!("the hard link {path} -> {target} names no file that came before it");
            return Err(ArchiveError::refused(message));
        };
        self.count(path, size)?;
        let (old_parent, old_name) = self.parent(wanted)?;
        let (parent, name) = self.parent(path)?;
        rustix::fs::linkat(&old_parent, old_name, &parent, name, AtFlags::empty())
            .map_err(write("make the hard link", path))?;
        Ok(node)
    }
}

fn write(action: &'static str, path: &str) -> impl Fn(Errno) -> ArchiveError {
    let path = path.to_owned();
    move |errno| ArchiveError::Write { action, path: path.clone(), source: errno.into() }
}
