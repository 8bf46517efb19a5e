//! A folder to a package.

use super::pack::with_version;
use super::{DESCRIPTOR, Item, MANIFEST, PackageDir, Using, invalid};
use crate::error::{HostError, Result};
use crate::root::{digest_of, list_fd};
use cofferdam_core::descriptor::{self, FileKind, Findings, PackageFiles};
use cofferdam_core::name::{self, Digest, PackagePath};
use cofferdam_core::plan::Package;
use cofferdam_core::preset;
use rustix::fs::{FileType, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

impl PackageDir {
    /// Reads the package in the folder `fd`, which is `folder` for people. A package without a descriptor of its own needs a preset.
    ///
    /// # Errors
    /// If it is not a package: no or a bad descriptor, missing files, links that leave it, special files.
    pub(super) fn read(fd: OwnedFd, folder: &str, using: Option<Using<'_>>) -> Result<Self> {
        let mut items = BTreeMap::new();
        walk(fd.as_fd(), "", &mut items)?;
        let kinds: PackageFiles = items.iter().map(|(path, item)| (path.clone(), kind_of(item))).collect();
        let preset = match using {
            Some(Using::Preset(preset, _)) => Some(preset.name.to_owned()),
            Some(Using::Text(_)) | None => None,
        };
        let mut complete = None;
        let (descriptor, text, findings, added) = match (read_text(&fd, DESCRIPTOR, folder)?, using) {
            (Some(text), _) => {
                let (descriptor, findings) = described(&format!("{folder}/{DESCRIPTOR}"), &text, &kinds)?;
                (descriptor, text, findings, BTreeMap::new())
            }
            (None, Some(Using::Text(text))) => {
                let (descriptor, findings) = described("the descriptor", text, &kinds)?;
                (descriptor, text.to_owned(), findings, BTreeMap::new())
            }
            (None, Some(Using::Preset(preset, version))) => {
                let file = read_text(&fd, preset::VERSION_FILE, folder)?;
                let version = preset.version(version, file.as_deref())?;
                let descriptor = preset::descriptor(preset, &version)?;
                let findings = preset.check_files(&descriptor, &kinds);
                let text = format!("{version}\n{}", preset.text);
                complete = Some(with_version(preset.text, version.as_str()));
                (descriptor, text, findings, preset.added(&kinds).collect())
            }
            (None, None) => return Err(no_descriptor(folder)),
        };
        Findings::check(findings).map_err(|findings| invalid(findings.to_string()))?;
        for (path, file) in &added {
            let bytes = file.text.as_bytes();
            let (size, digest) = (bytes.len() as u64, Digest::of(bytes));
            items.insert(path.clone(), Item::File { size, digest, executable: file.executable });
            add_folders(path, &mut items)?;
        }
        let package = Package {
            digest: digest(&items, &text),
            bytes: items.values().map(Item::size).sum(),
            entries: items.len() as u64,
            source: format!("dir:{folder}"),
            preset,
            image: None,
            verified: None,
            descriptor,
        };
        Ok(Self {
            folder: fd,
            shown: folder.to_owned(),
            movable: false,
            added,
            descriptor: complete.unwrap_or(text),
            package,
            items,
        })
    }
}

/// The folders above a file that a preset adds.
fn add_folders(path: &PackagePath, items: &mut BTreeMap<PackagePath, Item>) -> Result<()> {
    let mut at = path.as_str();
    while let Some((folder, _)) = at.rsplit_once('/') {
        let folder_path = PackagePath::new(folder).map_err(|error| invalid(error.to_string()))?;
        items.entry(folder_path).or_insert(Item::Folder);
        at = folder;
    }
    Ok(())
}

fn described(
    name: &str,
    text: &str,
    files: &PackageFiles,
) -> Result<(descriptor::Descriptor, Vec<descriptor::Finding>)> {
    let descriptor = descriptor::parse(name, text).map_err(|findings| invalid(findings.to_string()))?;
    let findings = descriptor::check_files(&descriptor, name, text, files);
    Ok((descriptor, findings))
}

fn no_descriptor(folder: &str) -> HostError {
    invalid(format!("{folder} has no {DESCRIPTOR}")).with_hint(
        "write one (docs/descriptor.md), or name a preset: --preset NAME (cofferdam catalog lists them)",
    )
}

/// What a descriptor may have; real ones have a few kilobytes.
const MOST_TEXT: u64 = 1 << 20;

fn read_text(fd: &OwnedFd, name: &str, folder: &str) -> Result<Option<String>> {
    let shown = format!("{folder}/{name}");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(fd, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(HostError::io("read", &shown, errno)),
    };
    let mut text = String::new();
    let fail = |error| HostError::std_io("read", &shown, error);
    File::from(file).take(MOST_TEXT + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > MOST_TEXT {
        return Err(invalid(format!("{shown} is larger than {MOST_TEXT} bytes")));
    }
    Ok(Some(text))
}

fn kind_of(item: &Item) -> FileKind {
    match item {
        Item::Folder => FileKind::Folder,
        Item::File { executable, .. } => FileKind::File { executable: *executable },
        Item::Link { .. } => FileKind::Link,
    }
}

fn walk(folder: impl AsFd, prefix: &str, items: &mut BTreeMap<PackagePath, Item>) -> Result<()> {
    let shown = if prefix.is_empty() { "the package" } else { prefix };
    for entry in list_fd(&folder).map_err(|errno| HostError::io("list", shown, errno))? {
        let path = if prefix.is_empty() { entry.name.clone() } else { format!("{prefix}/{}", entry.name) };
        if path == DESCRIPTOR || path == preset::VERSION_FILE {
            continue;
        }
        if path == MANIFEST {
            return Err(invalid(format!("{MANIFEST} is a name that Cofferdam writes itself"))
                .with_hint("an installed tree is no package: install from the package it was made of"));
        }
        let fail = |errno| HostError::io("read", &path, errno);
        let item = match entry.kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd =
                    rustix::fs::openat(&folder, entry.name.as_str(), flags, Mode::empty()).map_err(fail)?;
                walk(&fd, &path, items)?;
                Item::Folder
            }
            FileType::RegularFile => read_file(&folder, &entry.name, &path)?,
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(&folder, entry.name.as_str(), Vec::new()).map_err(fail)?;
                Item::Link { target: inner_target(&path, &target.to_string_lossy())? }
            }
            _ => return Err(invalid(format!("{path} is neither a file, a folder nor a link"))),
        };
        let path = PackagePath::new(path).map_err(|error| invalid(error.to_string()))?;
        items.insert(path, item);
    }
    Ok(())
}

fn read_file(folder: impl AsFd, name: &str, path: &str) -> Result<Item> {
    let fail = |errno| HostError::io("read", path, errno);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(fail)?;
    let stat = rustix::fs::fstat(&fd).map_err(fail)?;
    if stat.st_mode & 0o6000 != 0 {
        return Err(invalid(format!("{path} is setuid or setgid")).with_hint(format!("chmod ug-s {path}")));
    }
    let digest = digest_of(File::from(fd)).map_err(|error| HostError::std_io("read", path, error))?;
    Ok(Item::File { size: stat.st_size.unsigned_abs(), digest, executable: stat.st_mode & 0o111 != 0 })
}

/// A link's target, if it stays in the package.
fn inner_target(path: &str, target: &str) -> Result<String> {
    if name::inner_target(path, target) {
        return Ok(target.to_owned());
    }
    Err(invalid(format!("the link {path} -> {target} leaves the package"))
        .with_hint("make it relative, and end in the package"))
}

/// The package's digest: over its descriptor and one line for each entry, sorted by path.
fn digest(items: &BTreeMap<PackagePath, Item>, descriptor: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update(format!("descriptor {}\n", Digest::of(descriptor.as_bytes())));
    for (path, item) in items {
        hash.update(match item {
            Item::Folder => format!("folder {path}\n"),
            Item::File { digest, executable: true, .. } => format!("program {digest} {path}\n"),
            Item::File { digest, executable: false, .. } => format!("file {digest} {path}\n"),
            Item::Link { target } => format!("link {} {path}\n", Digest::of(target.as_bytes())),
        });
    }
    Digest::from_bytes(hash.finalize().into())
}
