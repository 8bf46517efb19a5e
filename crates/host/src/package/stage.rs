//! A package to a tree, as it will be installed.

use super::read::kinds;
use super::share::Shared;
use super::{Item, MANIFEST, Manifest, Original, PackageDir, invalid};
use crate::error::{HostError, Result};
use crate::hashing::{Blake3, Hashing as _};
use crate::root::HostRoot;
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::{PackageFiles, Relocate};
use cofferdam_core::name::{Digest, FileDigest, HostPath, PackagePath};
use cofferdam_core::plan::Package;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};

/// How much of a file is written between two reports of progress.
const CHUNK: usize = 1 << 20;

/// What a configuration may have; real ones have some kilobytes.
const MOST_TEXT: u64 = 4 << 20;

impl PackageDir {
    /// Copies it to `staging`, as it will be at `tree`, durably. What `shared` has is not copied. `progress` gets the
    /// bytes that are there so far. Returns the digest of the manifest that is written with it.
    ///
    /// # Errors
    /// If a file changed since it was read, or cannot be written.
    pub(crate) fn stage(
        &self,
        root: &HostRoot,
        staging: &HostPath,
        tree: &HostPath,
        shared: &Shared<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Digest> {
        root.make_folder(staging, 0o755)?;
        let mut items = self.items.clone();
        let mut relocated = BTreeMap::new();
        let files = kinds(&self.items);
        let mut copied = 0;
        for (path, item) in &mut items {
            let target = staging.with(path);
            let mut told = |written| progress(copied + written);
            match (&*item, self.relocate(path)) {
                (Item::Folder, _) => root.make_folder(&target, 0o755)?,
                (Item::Link { target: to }, _) => root.make_link(&target, to)?,
                (Item::File { size, digest, executable, setuid }, Some(relocate)) => {
                    let original = Original { size: *size, digest: *digest };
                    let (executable, setuid) = (*executable, *setuid);
                    let text = self.relocated(path, &original, relocate, (tree, &files))?;
                    let (size, digest) = (text.len() as u64, FileDigest::of(text.as_bytes()));
                    *item = Item::File { size, digest, executable, setuid };
                    // One that was relocated is like the one that was relocated before.
                    if !shared.put(item, root, &target)? {
                        create(root, &target, &mut text.as_bytes(), item.mode(), &mut told)?;
                    }
                    if digest != original.digest || self.is_lent(path) {
                        relocated.insert(path.clone(), original);
                    }
                }
                (Item::File { digest, .. }, None) => {
                    let is_there = shared.put(item, root, &target)? || self.is_moved(root, path, &target)?;
                    if !is_there
                        && create(root, &target, &mut self.content(path)?, item.mode(), &mut told)? != *digest
                    {
                        return Err(self.is_other_now(path));
                    }
                }
            }
            copied += item.size();
            progress(copied);
        }
        let Package { digest, descriptor, .. } = self.package.clone();
        let base = self.base.as_ref().map(|base| base.tree.clone());
        // A layer can be had again from a tree that has all of it, unchanged.
        let is_whole = |paths: &Vec<PackagePath>| {
            paths.iter().all(|path| items.contains_key(path) && !relocated.contains_key(path))
        };
        let layers = self.layers.iter().filter(|(_, paths)| is_whole(paths));
        let layers = layers.map(|(layer, paths)| (*layer, paths.clone())).collect();
        let manifest = Manifest { digest, descriptor, items, relocated, layers, base };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        let path =
            staging.join(MANIFEST).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        create(root, &path, &mut text.as_slice(), 0o644, &mut |_| {})?;
        sync(root, staging)?;
        Ok(Digest::of(&text))
    }

    /// Moves a file of ours to its place, if it is on the same file system and needs no change. Nobody could write to it
    /// since it was read.
    fn is_moved(&self, root: &HostRoot, path: &PackagePath, target: &HostPath) -> Result<bool> {
        // What was unpacked has nobody's rights yet.
        let is_setuid = matches!(self.items.get(path), Some(Item::File { setuid: true, .. }));
        if !self.movable || is_setuid || self.is_lent(path) || self.added.contains_key(path) {
            return Ok(false);
        }
        let (parent, name) = root.parent_of(target)?;
        crate::fault::change().map_err(|errno| HostError::io("move to", target, errno))?;
        match rustix::fs::renameat(&self.folder, path.as_str(), &parent, name) {
            Ok(()) => Ok(true),
            Err(Errno::XDEV) => Ok(false),
            Err(errno) => Err(HostError::io("move to", target, errno)),
        }
    }

    /// Whether it comes from the base.
    pub(super) fn is_lent(&self, path: &PackagePath) -> bool {
        self.base.as_ref().is_some_and(|base| base.paths.contains(path))
    }

    /// Whether paths in this file of the package's own follow the installation.
    pub(super) fn moves(&self, path: &PackagePath) -> bool {
        let selects =
            self.package.descriptor.relocate.as_ref().is_some_and(|relocate| relocate.selects(path));
        selects && !self.is_lent(path) && matches!(self.items.get(path), Some(Item::File { .. }))
    }

    fn relocate(&self, path: &PackagePath) -> Option<&Relocate> {
        match &self.base {
            Some(base) if base.paths.contains(path) => base.relocate(path),
            _ => self.package.descriptor.relocate.as_ref().filter(|_| self.moves(path)),
        }
    }

    /// The text of a file as it will be in `tree`, in which there will be `files`.
    fn relocated(
        &self,
        path: &PackagePath,
        original: &Original,
        relocate: &Relocate,
        (tree, files): (&HostPath, &PackageFiles),
    ) -> Result<String> {
        let text = self.text(path)?;
        if FileDigest::of(text.as_bytes()) != original.digest {
            return Err(self.is_other_now(path));
        }
        let name = format!("{}/{path}", self.shown);
        let relocated = relocate.apply(&name, &text, tree, files);
        relocated.map(|relocated| relocated.text).map_err(|findings| invalid(findings.to_string()))
    }

    /// A file that is not what it was when the package was read.
    fn is_other_now(&self, path: &PackagePath) -> HostError {
        match self.is_lent(path) {
            true => lent_is_damaged(path),
            false => changed(path).with_hint("install again once nobody writes to the package"),
        }
    }

    /// The text of a file whose paths follow the installation.
    pub(super) fn text(&self, path: &PackagePath) -> Result<String> {
        let shown = || format!("{}/{path}", self.shown);
        let mut bytes = Vec::new();
        self.content(path)?
            .take(MOST_TEXT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| HostError::std_io("read", shown(), error))?;
        let refuse = |what: &str| {
            invalid(format!("{} is to be relocated, but {what}", shown()))
                .with_hint("take it out of `files` in `[relocate]`")
        };
        if bytes.len() as u64 > MOST_TEXT {
            return Err(refuse("it has more than 4 MiB"));
        }
        String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8 text"))
    }

    /// A file's content.
    pub(super) fn content(&self, path: &PackagePath) -> Result<Box<dyn Read + '_>> {
        if let Some(file) = self.added.get(path) {
            return Ok(Box::new(file.text.as_bytes()));
        }
        let (folder, shown) = match &self.base {
            Some(base) if base.paths.contains(path) => (&base.folder, base.tree.as_str()),
            _ => (&self.folder, self.shown.as_str()),
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(folder, path.as_str(), flags, Mode::empty())
            .map_err(|errno| HostError::io("read", format!("{shown}/{path}"), errno))?;
        Ok(Box::new(File::from(fd)))
    }
}

/// A file that is not what it was when the package was read.
pub(super) fn changed(path: &PackagePath) -> HostError {
    invalid(format!("{path} changed while the package was read"))
}

fn lent_is_damaged(path: &PackagePath) -> HostError {
    let text = format!("{path}, which comes from the base, is not as it was installed there");
    HostError::new(Class::Conflict, text)
        .with_hint("cofferdam verify tells more, cofferdam repair puts it back")
}

/// Makes a file; `progress` gets the bytes written so far. Returns the digest of what was written.
fn create(
    root: &HostRoot,
    path: &HostPath,
    content: &mut dyn Read,
    mode: u32,
    progress: &mut dyn FnMut(u64),
) -> Result<FileDigest> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    crate::fault::change().map_err(|errno| HostError::io("create", path, errno))?;
    let fd = root
        .open_at(path, flags, Mode::from_raw_mode(0o600))
        .map_err(|errno| HostError::io("create", path, errno))?;
    let mut file = File::from(fd);
    crate::fault::change().map_err(|errno| HostError::io("write", path, errno))?;
    let mut hash = Blake3::new();
    let mut buffer = vec![0; CHUNK];
    let mut written = 0;
    loop {
        let n = content.read(&mut buffer).map_err(|error| HostError::std_io("read for", path, error))?;
        let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
        hash.add(bytes);
        file.write_all(bytes).map_err(|error| HostError::std_io("write", path, error))?;
        written += n as u64;
        progress(written);
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
        .map_err(|errno| HostError::io("set the mode of", path, errno))?;
    Ok(hash.so_far())
}

fn sync(root: &HostRoot, folder: &HostPath) -> Result<()> {
    let fail = |errno| HostError::io("sync", folder, errno);
    let fd = root.open_at(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(fail)?;
    crate::fault::change().map_err(fail)?;
    rustix::fs::syncfs(&fd).map_err(fail)
}
