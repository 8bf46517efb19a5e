//! Entries to files beneath one folder, and nowhere else.
//!
//! Two guards, each enough by itself: what is there is known by a list, through which no entry goes by way of a link or a
//! file; and the kernel is told to follow no link and to stay beneath the folder. Owners and times are not taken over,
//! extended attributes by a list, and modes become normal: 0755 for folders and programs, 0644 for other files.

use super::ArchiveError;
use super::beneath::{self, Beneath};
use super::label::Label;
use super::limits::Options;
use super::names;
use super::present::{Node, Present};
use super::reader::{Content, Entry, Kind, Reader};
use super::writing::Writing;
use crate::package::Item;
use cofferdam_core::name::{PackagePath, inner_target};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::os::fd::OwnedFd;

/// Names that begin so delete what a layer below has.
const WHITEOUT: &str = ".wh.";

/// Deletes all that layers below have in its folder.
const OPAQUE: &str = ".wh..wh..opq";

/// The extended attribute that makes a program's power greater than its caller's.
const CAPABILITIES: &str = "security.capability";

/// The longest target of a symbolic link.
const MOST_TARGET: usize = 4095;

/// A folder into which layers are unpacked, the lowest first.
pub struct Unpacking {
    folder: Beneath,
    options: Options,
    present: Present,
    /// What the present layer has.
    paths: Vec<PackagePath>,
    /// What the present layer hides.
    marks: BTreeSet<String>,
    /// Bytes of all that was ever hidden.
    marked: u64,
    /// Bytes of all files.
    bytes: u64,
    /// Bytes of all layers before the present one.
    came: u64,
    entries: u64,
}

impl std::fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, entries, .. } = self;
        write!(f, "Unpacking({entries} entries, {bytes} bytes)")
    }
}

impl Unpacking {
    /// Into `folder`, which is empty and nobody else's.
    pub fn new(folder: OwnedFd, options: impl Into<Options>) -> Self {
        let options = options.into();
        let folder = Beneath::new(folder, options.lookup);
        let (present, paths, marks) = (Present::default(), Vec::new(), BTreeSet::new());
        Self { folder, options, present, paths, marks, marked: 0, bytes: 0, came: 0, entries: 0 }
    }

    /// How to unpack.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Unpacks one layer, and reads `archive` to its very end.
    ///
    /// # Errors
    /// If it is no archive, holds what is not allowed, or cannot be written. What is in the folder is then worth nothing.
    pub fn layer(&mut self, archive: impl BufRead) -> Result<(), ArchiveError> {
        let _label = Label::of_new_files(self.options.label.as_deref())?;
        self.next_layer();
        let mut reader = Reader::new(archive, &self.options.limits);
        while let Some(entry) = reader.next()? {
            self.entry(entry, &mut reader)?;
        }
        self.came = self.came.saturating_add(reader.came());
        Ok(())
    }

    /// The same for a layer that was unpacked elsewhere and had these entries; `put` makes a file of it. False: one could not
    /// be had, and the layer is to be unpacked after all.
    ///
    /// # Errors
    /// If something cannot be written.
    pub(crate) fn known_layer(
        &mut self,
        entries: &[(PackagePath, Item)],
        put: impl Fn(&PackagePath, &Item) -> bool,
    ) -> Result<bool, ArchiveError> {
        let _label = Label::of_new_files(self.options.label.as_deref())?;
        self.next_layer();
        let counted = (self.entries, self.bytes);
        let is_whole = self.known_entries(entries, put)?;
        if !is_whole {
            // They are counted when the layer itself comes.
            (self.entries, self.bytes) = counted;
        }
        Ok(is_whole)
    }

    fn known_entries(
        &mut self,
        entries: &[(PackagePath, Item)],
        put: impl Fn(&PackagePath, &Item) -> bool,
    ) -> Result<bool, ArchiveError> {
        for (path, item) in entries {
            let is_folder = *item == Item::Folder;
            let is_plain = names::path(path.as_str(), is_folder, self.options.limits.depth)?.is_some();
            if !is_plain || path.as_str().split('/').any(|part| part.starts_with(WHITEOUT)) {
                return Ok(false);
            }
            self.count_entry()?;
            if !self.make_way(path, is_folder)? {
                continue;
            }
            let node = match item {
                Item::Folder => self.make_folder(path.as_str())?,
                Item::Link { target } => self.make_link(path, target)?,
                // Its rights are another package's: this one may not ask for them.
                Item::File { setuid: true, .. } => return Ok(false),
                Item::File { size, digest, executable, .. } => {
                    self.count_bytes(path.as_str(), *size)?;
                    if *size == 0 {
                        let file = self.folder.make_file(path.as_str())?;
                        beneath::finish(&file, path.as_str(), item.mode(), &[])?;
                    } else if !put(path, item) {
                        return Ok(false);
                    }
                    Node::File { size: *size, digest: *digest, executable: *executable }
                }
            };
            self.put(path, node)?;
        }
        Ok(true)
    }

    /// What the last layer had, in its order. None: it hid something of those below it.
    pub(crate) fn entries_of_layer(&mut self) -> Option<Vec<(PackagePath, Item)>> {
        let paths = std::mem::take(&mut self.paths);
        let entry = |path: PackagePath| {
            let node = self.present.get(path.as_str()).ok()??.clone();
            Some((path, node.into()))
        };
        if self.marks.is_empty() { paths.into_iter().map(entry).collect() } else { None }
    }

    fn next_layer(&mut self) {
        self.present.next_layer();
        self.paths.clear();
        self.marks.clear();
    }

    /// The folder once more, to write back what is in it.
    pub(super) fn folder(&self) -> rustix::io::Result<OwnedFd> {
        self.folder.again()
    }

    /// Makes what was unpacked durable.
    ///
    /// # Errors
    /// If the file system cannot.
    pub fn sync(&self) -> Result<(), ArchiveError> {
        self.folder.sync()
    }

    /// What is in the folder now, each file with its digest.
    pub fn finish(self) -> BTreeMap<PackagePath, Item> {
        self.present.items()
    }

    fn entry(&mut self, entry: Entry, reader: &mut Reader<impl BufRead>) -> Result<(), ArchiveError> {
        self.count_entry()?;
        let is_folder = matches!(entry.kind, Kind::Folder);
        let Some(path) = names::path(&entry.path, is_folder, self.options.limits.depth)? else {
            return Ok(());
        };
        let (folder, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        if folder.split('/').any(|part| part.starts_with(WHITEOUT)) {
            return Err(ArchiveError::refused(format!("{path} lies in a whiteout")));
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if !matches!(&entry.kind, Kind::File(content) if content.size == 0) {
                return Err(ArchiveError::refused(format!("{path} hides something, and is no empty file")));
            }
            self.marked += path.as_str().len() as u64;
            if !self.marks.insert(path.as_str().to_owned()) {
                return Err(ArchiveError::refused(format!("{path} is in it twice")));
            }
            self.count_names()?;
            return if name == OPAQUE { self.clear_lower(folder) } else { self.hide(folder, hidden) };
        }
        if !self.make_way(&path, is_folder)? {
            return Ok(());
        }
        let node = match entry.kind {
            Kind::Folder => self.make_folder(path.as_str())?,
            Kind::File(content) => {
                let mode = self.mode(&path, entry.mode)?;
                let xattrs = self.xattrs(&path, entry.xattrs)?;
                self.make_file(path.as_str(), &content, mode, &xattrs, reader)?
            }
            Kind::Link { target } => self.make_link(&path, &target)?,
            Kind::HardLink { target } => self.make_hard_link(path.as_str(), &target)?,
            Kind::Special(what) => return Err(ArchiveError::refused(format!("{path} is {what}"))),
        };
        self.put(&path, node)
    }

    fn put(&mut self, path: &PackagePath, node: Node) -> Result<(), ArchiveError> {
        self.present.put(path.as_str(), node);
        self.paths.push(path.clone());
        self.count_names()
    }

    fn count_entry(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        let most = self.options.limits.entries;
        if self.entries > most {
            return Err(ArchiveError::too_large(format!("it has more than {most} entries")));
        }
        Ok(())
    }

    fn count_names(&self) -> Result<(), ArchiveError> {
        let most = self.options.limits.names;
        if self.present.names().saturating_add(self.marked) > most {
            return Err(ArchiveError::too_large(format!("its paths have more than {most} bytes together")));
        }
        Ok(())
    }

    fn count_bytes(&mut self, path: &str, size: u64) -> Result<(), ArchiveError> {
        self.bytes = self.bytes.saturating_add(size);
        let most = self.options.limits.bytes;
        if self.bytes > most {
            return Err(ArchiveError::too_large(format!(
                "its files have more than {most} bytes together, {path} alone has {size}"
            )));
        }
        Ok(())
    }

    /// The mode that a file gets. Programs that may be setuid are so where they are installed, not here.
    fn mode(&self, path: &PackagePath, mode: u32) -> Result<u32, ArchiveError> {
        let normal = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        match mode & 0o6000 {
            0 => Ok(normal),
            0o4000 if self.options.setuid.contains(path) => Ok(normal),
            _ => Err(ArchiveError::refused(format!(
                "{path} is setuid or setgid; docs/descriptor.md says what may be setuid"
            ))),
        }
    }

    /// The extended attributes that a file gets.
    fn xattrs(
        &self,
        path: &PackagePath,
        mut xattrs: Vec<(String, Vec<u8>)>,
    ) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        if xattrs.iter().any(|(name, _)| name == CAPABILITIES) {
            return Err(ArchiveError::refused(format!("{path} has capabilities")));
        }
        xattrs.retain(|(name, _)| self.options.takes(name));
        Ok(xattrs)
    }

    /// Makes the folders above `path` that no entry made.
    fn make_parents(&mut self, path: &str) -> Result<(), ArchiveError> {
        for (at, _) in path.match_indices('/') {
            let parent = path.get(..at).unwrap_or_default();
            match self.present.get(parent)? {
                Some(Node::Folder) => {}
                Some(Node::Link { .. }) => {
                    return Err(ArchiveError::refused(format!("{path} goes through the link {parent}")));
                }
                Some(Node::File { .. }) => {
                    return Err(ArchiveError::refused(format!("{path} lies in {parent}, which is a file")));
                }
                None => {
                    self.count_entry()?;
                    self.folder.make_folder(parent)?;
                    self.present.put(parent, Node::Folder);
                }
            }
        }
        Ok(())
    }

    /// Makes what is above `path`, and room at it. False: it is a folder already, and this layer has it, too.
    fn make_way(&mut self, path: &PackagePath, for_folder: bool) -> Result<bool, ArchiveError> {
        self.make_parents(path.as_str())?;
        let is_free = self.make_room(path.as_str(), for_folder)?;
        if !is_free {
            self.paths.push(path.clone());
        }
        Ok(is_free)
    }

    fn make_folder(&self, path: &str) -> Result<Node, ArchiveError> {
        self.folder.make_folder(path)?;
        Ok(Node::Folder)
    }

    /// Marks the folders above `path` as this layer's.
    fn touch_parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.present.touch(path.get(..at).unwrap_or_default());
        }
    }

    /// Deletes what a layer below has at `path`. False: it is a folder already, and stays.
    fn make_room(&mut self, path: &str, for_folder: bool) -> Result<bool, ArchiveError> {
        let found = self.present.get(path)?.cloned();
        self.touch_parents(path);
        match found {
            None => Ok(true),
            Some(Node::Folder) if for_folder => {
                self.present.touch(path);
                Ok(false)
            }
            Some(_) if self.present.is_of_layer(path) => {
                Err(ArchiveError::refused(format!("{path} is in it twice")))
            }
            Some(_) => self.delete(path).map(|()| true),
        }
    }

    /// A whiteout: `name` in `folder` is no more.
    fn hide(&mut self, folder: &str, name: &str) -> Result<(), ArchiveError> {
        let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if matches!(name, "" | "." | "..") || name.starts_with(WHITEOUT) {
            return Err(ArchiveError::refused(format!(
                "{folder}/{WHITEOUT}{name} hides nothing that has a name"
            )));
        }
        if self.present.is_of_layer(&path) {
            return Err(ArchiveError::refused(format!("{path} is hidden by the layer that has it")));
        }
        if self.present.get(&path)?.is_some() { self.delete(&path) } else { Ok(()) }
    }

    /// An opaque folder: what layers below have in it is no more.
    fn clear_lower(&mut self, folder: &str) -> Result<(), ArchiveError> {
        for path in self.present.lower(folder) {
            // It may have gone with a folder before it.
            if self.present.get(&path)?.is_some() {
                self.delete(&path)?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, path: &str) -> Result<(), ArchiveError> {
        self.folder.delete(path)?;
        self.present.take(path);
        Ok(())
    }

    fn make_file(
        &mut self,
        path: &str,
        content: &Content,
        mode: u32,
        xattrs: &[(String, Vec<u8>)],
        reader: &mut Reader<impl BufRead>,
    ) -> Result<Node, ArchiveError> {
        let size = content.size;
        self.count_bytes(path, size)?;
        if content.segments.is_some() && self.options.limits.is_bomb(self.bytes, self.came + reader.came()) {
            return Err(ArchiveError::too_large(format!(
                "{path} has holes of more bytes than is believable"
            )));
        }
        let file = self.folder.make_file(path)?;
        let mut writing = Writing::new(path, file);
        match &content.segments {
            None => writing.copy(size, reader)?,
            Some(segments) => {
                for segment in segments {
                    writing.hole(segment.offset)?;
                    writing.copy(segment.length, reader)?;
                }
                writing.hole(size)?;
            }
        }
        let (file, digest) = writing.finish(size)?;
        beneath::finish(&file, path, mode, xattrs)?;
        Ok(Node::File { size, digest, executable: mode & 0o111 != 0 })
    }

    fn make_link(&self, path: &PackagePath, target: &str) -> Result<Node, ArchiveError> {
        let shown = target.escape_debug();
        if !inner_target(path.as_str(), target) || target.is_empty() {
            return Err(ArchiveError::refused(format!("the link {path} -> {shown} leaves the package")));
        }
        if target.len() > MOST_TARGET || !names::is_plain(target) {
            return Err(ArchiveError::refused(format!("the link {path} -> {shown} leads to no plain path")));
        }
        self.folder.make_link(path.as_str(), target)?;
        Ok(Node::Link { target: target.into() })
    }

    /// Each name counts as a file of its own: a copy of the package has one for each.
    fn make_hard_link(&mut self, path: &str, target: &str) -> Result<Node, ArchiveError> {
        let wanted = names::path(target, false, self.options.limits.depth)?;
        let wanted = wanted.as_ref().map_or("", PackagePath::as_str);
        let Some(node @ Node::File { size, .. }) = self.present.get(wanted)?.cloned() else {
            let shown = target.escape_debug();
            let message = format!("the hard link {path} -> {shown} names no file that came before it");
            return Err(ArchiveError::refused(message));
        };
        self.count_bytes(path, size)?;
        self.folder.make_hard_link(path, wanted)?;
        Ok(node)
    }
}
