//! A package to a tree, as it will be installed.

use super::share::{Content, Shared};
use super::{Item, MANIFEST, Manifest, PackageDir, invalid};
use crate::error::{HostError, Result};
use crate::root::HostRoot;
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::{self, Relocate};
use cofferdam_core::name::{Digest, HostPath, PackagePath};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};

/// How much of a file is written between two reports of progress.
const CHUNK: usize = 4 << 20;

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
        let mut copied = 0;
        for (path, item) in &mut items {
            let target = staging.with(path);
            match item {
                Item::Folder => root.make_folder(&target, 0o755)?,
                Item::Link { target: to } => root.make_link(&target, to)?,
                Item::File { size, digest, executable }
                    if !self.is_relocated(path)
                        && (shared.put(Content { digest: *digest, executable: *executable }, &target)?
                            || self.is_moved(root, path, &target)?) =>
                {
                    copied += *size;
                    progress(copied);
                }
                Item::File { size, digest, executable } => {
                    let bytes = self.file_bytes(path)?;
                    if Digest::of(&bytes) != *digest {
                        return Err(invalid(format!("{path} changed while the package was read"))
                            .with_hint("install again once nobody writes to the package"));
                    }
                    let bytes = self.relocated(path, bytes, tree)?;
                    *size = bytes.len() as u64;
                    *digest = Digest::of(&bytes);
                    let mode = if *executable { 0o755 } else { 0o644 };
                    // One that was relocated is like the one that was relocated before.
                    if !shared.put(Content { digest: *digest, executable: *executable }, &target)? {
                        create(root, &target, &bytes, mode, &mut |written| progress(copied + written))?;
                    }
                    copied += *size;
                }
            }
        }
        let manifest =
            Manifest { digest: self.package.digest, descriptor: self.package.descriptor.clone(), items };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        let path =
            staging.join(MANIFEST).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        create(root, &path, &text, 0o644, &mut |_| {})?;
        sync(root, staging)?;
        Ok(Digest::of(&text))
    }

    /// Moves a file of ours to its place, if it is on the same file system and needs no change. Nobody could write to it
    /// since it was read.
    fn is_moved(&self, root: &HostRoot, path: &PackagePath, target: &HostPath) -> Result<bool> {
        if !self.movable || self.added.contains_key(path) {
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

    fn is_relocated(&self, path: &PackagePath) -> bool {
        self.package.descriptor.relocate.as_ref().is_some_and(|relocate| relocate.selects(path))
    }

    fn file_bytes(&self, path: &PackagePath) -> Result<Vec<u8>> {
        if let Some(file) = self.added.get(path) {
            return Ok(file.text.as_bytes().to_vec());
        }
        let shown = || format!("{}/{path}", self.shown);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut bytes = Vec::new();
        rustix::fs::openat(&self.folder, path.as_str(), flags, Mode::empty())
            .map_err(std::io::Error::from)
            .and_then(|fd| File::from(fd).read_to_end(&mut bytes))
            .map_err(|error| HostError::std_io("read", shown(), error))?;
        Ok(bytes)
    }

    fn relocated(&self, path: &PackagePath, bytes: Vec<u8>, tree: &HostPath) -> Result<Vec<u8>> {
        let Some(relocate) = self.package.descriptor.relocate.as_ref().filter(|r| r.selects(path)) else {
            return Ok(bytes);
        };
        let text = String::from_utf8(bytes)
            .map_err(|_| invalid(format!("{path} is to be relocated, but it is not UTF-8 text")))?;
        let Relocate { from, .. } = relocate;
        Ok(descriptor::relocate(&text, from, tree).into_bytes())
    }
}

/// Makes a file; `progress` gets the bytes written so far.
fn create(
    root: &HostRoot,
    path: &HostPath,
    bytes: &[u8],
    mode: u32,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    crate::fault::change().map_err(|errno| HostError::io("create", path, errno))?;
    let fd = root
        .open_at(path, flags, Mode::from_raw_mode(0o600))
        .map_err(|errno| HostError::io("create", path, errno))?;
    let mut file = File::from(fd);
    crate::fault::change().map_err(|errno| HostError::io("write", path, errno))?;
    let mut written = 0;
    for chunk in bytes.chunks(CHUNK) {
        file.write_all(chunk).map_err(|error| HostError::std_io("write", path, error))?;
        written += chunk.len() as u64;
        progress(written);
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
        .map_err(|errno| HostError::io("set the mode of", path, errno))
}

fn sync(root: &HostRoot, folder: &HostPath) -> Result<()> {
    let fail = |errno| HostError::io("sync", folder, errno);
    let fd = root.open_at(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(fail)?;
    crate::fault::change().map_err(fail)?;
    rustix::fs::syncfs(&fd).map_err(fail)
}
