//! A folder to a package.

use super::base::{Base, Installed, above};
use super::pack::with_version;
use super::{DESCRIPTOR, Item, Layers, MANIFEST, PackageDir, Unpacked, Using, invalid};
use crate::error::{HostError, Result};
use crate::hashing::{Blake3, digest_of};
use crate::root::list_fd;
use cofferdam_core::descriptor::{self, Descriptor, FileKind, Finding, Findings, PackageFiles};
use cofferdam_core::name::{self, Digest, FileDigest, PackagePath, Version};
use cofferdam_core::plan::Package;
use cofferdam_core::preset::{self, Preset};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

impl PackageDir {
    /// Reads the package in the folder `fd`, which is `folder` for people. A package without a descriptor of its own needs
    /// one from outside. The files of a base are looked for among what is `installed`. What was `unpacked` into the folder
    /// is not looked at again.
    ///
    /// # Errors
    /// If it is not a package: no or a bad descriptor, missing files, links that leave it, special files.
    pub(super) fn read(
        fd: OwnedFd,
        folder: &str,
        using: Option<Using<'_>>,
        installed: Installed<'_>,
        unpacked: Option<Unpacked>,
    ) -> Result<Self> {
        let asked = match using {
            Some(Using::Preset(preset, _)) => Some(preset.name.to_owned()),
            Some(Using::Text(_)) | None => None,
        };
        let Described { descriptor, name, text, preset, complete } = describe(&fd, folder, using)?;
        let (fd, shown, prefix) = top(fd, folder, &descriptor.prefix)?;
        let (mut items, layers) = match unpacked {
            Some(unpacked) => below(unpacked, prefix)?,
            None => {
                let mut items = BTreeMap::new();
                walk(fd.as_fd(), "", &descriptor.setuid, &mut items)?;
                (items, Layers::new())
            }
        };
        let base = match &descriptor.base {
            Some(base) => Base::find(installed, base)?,
            None => None,
        };
        // Without the base nobody can tell what is missing. The planner refuses to install it so.
        let is_whole = descriptor.base.is_none() || base.is_some();
        let base = match base {
            Some((mut base, files)) => {
                base.lend(files, &mut items)?;
                Some(base)
            }
            None => None,
        };
        for path in &descriptor.setuid {
            if let Some(Item::File { setuid, executable: true, .. }) = items.get_mut(path) {
                *setuid = true;
            }
        }
        let kinds = kinds(&items);
        let (findings, added): (_, BTreeMap<_, _>) = match preset {
            Some(preset) => (preset.check_files(&descriptor, &kinds), preset.added(&kinds).collect()),
            None => (descriptor::check_files(&descriptor, &name, &text, &kinds), BTreeMap::new()),
        };
        Findings::check(if is_whole { findings } else { Vec::new() })
            .map_err(|findings| invalid(findings.to_string()))?;
        for (path, file) in &added {
            let bytes = file.text.as_bytes();
            let (size, digest) = (bytes.len() as u64, FileDigest::of(bytes));
            items.insert(
                path.clone(),
                Item::File { size, digest, executable: file.executable, setuid: false },
            );
            for folder in above(path)? {
                items.entry(folder).or_insert(Item::Folder);
            }
        }
        let package = Package {
            digest: digest(&items, &text),
            bytes: items.values().map(Item::size).sum(),
            entries: items.len() as u64,
            source: format!("dir:{folder}"),
            preset: asked,
            image: None,
            verified: None,
            findings: Vec::new(),
            descriptor,
        };
        let descriptor = complete.unwrap_or(text);
        let mut dir =
            Self { folder: fd, shown, movable: false, added, base, descriptor, package, items, layers };
        dir.package.findings = dir.unmoved()?;
        Ok(dir)
    }

    /// What stays in files whose paths are to follow the installation.
    fn unmoved(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let Some(relocate) = &self.package.descriptor.relocate else { return Ok(findings) };
        let files = kinds(&self.items);
        for path in self.items.keys().filter(|path| self.moves(path)) {
            let text = self.text(path)?;
            let relocated = relocate.apply(path.as_str(), &text, &relocate.from, &files);
            findings.extend(relocated.map_err(|findings| invalid(findings.to_string()))?.findings);
        }
        Ok(findings)
    }
}

/// What says what the package is.
struct Described {
    descriptor: Descriptor,
    /// What messages call its text.
    name: String,
    /// What the package's digest is over.
    text: String,
    preset: Option<&'static Preset>,
    /// The text that describes the package without a preset, if it is another one.
    complete: Option<String>,
}

fn describe(fd: &OwnedFd, folder: &str, using: Option<Using<'_>>) -> Result<Described> {
    let parse = |name: String, text: String| {
        let descriptor = descriptor::parse(&name, &text).map_err(|findings| invalid(findings.to_string()))?;
        Ok(Described { descriptor, name, text, preset: None, complete: None })
    };
    match (read_text(fd, DESCRIPTOR, folder)?, using) {
        (Some(text), _) => parse(format!("{folder}/{DESCRIPTOR}"), text),
        (None, Some(Using::Text(text))) => parse("the descriptor".to_owned(), text.to_owned()),
        (None, Some(Using::Preset(preset, version))) => {
            // The version may stand in the package's top folder, which the preset names.
            let any = Version::new("0").map_err(|error| invalid(error.to_string()))?;
            let prefix = preset::descriptor(preset, &any)?.prefix;
            let copy = rustix::io::fcntl_dupfd_cloexec(fd, 0)
                .map_err(|errno| HostError::io("open the package", folder, errno))?;
            let (top, shown, _) = top(copy, folder, &prefix)?;
            let file = read_text(&top, preset::VERSION_FILE, &shown)?;
            let version = preset.version(version, file.as_deref())?;
            let descriptor = preset::descriptor(preset, &version)?;
            let (name, text) = (preset.source_name(), format!("{version}\n{}", preset.text));
            let complete = Some(with_version(preset.text, version.as_str()));
            Ok(Described { descriptor, name, text, preset: Some(preset), complete })
        }
        (None, None) => Err(no_descriptor(folder)),
    }
}

/// The package's top: the first of the folders `prefix` that is there, or where it was found. And its name for people.
fn top<'p>(
    fd: OwnedFd,
    folder: &str,
    prefix: &'p [PackagePath],
) -> Result<(OwnedFd, String, Option<&'p PackagePath>)> {
    for path in prefix {
        let shown = format!("{folder}/{path}");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Part by part: no link leads out.
        let found = path.as_str().split('/').try_fold(None::<OwnedFd>, |at, part| {
            let from = at.as_ref().map_or(fd.as_fd(), |at| at.as_fd());
            rustix::fs::openat(from, part, flags, Mode::empty()).map(Some)
        });
        match found {
            Ok(Some(found)) => return Ok((found, shown, Some(path))),
            Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(HostError::io("open", shown, errno)),
        }
    }
    Ok((fd, folder.to_owned(), None))
}

pub(super) fn kinds(items: &BTreeMap<PackagePath, Item>) -> PackageFiles {
    items.iter().map(|(path, item)| (path.clone(), kind_of(item))).collect()
}

fn no_descriptor(folder: &str) -> HostError {
    invalid(format!("{folder} has no {DESCRIPTOR}")).with_hint(
        "write one (docs/descriptor.md), give one with --descriptor FILE, or name a preset: --preset NAME (cofferdam catalog \
         lists them)",
    )
}

/// What a descriptor may have; real ones have a few kilobytes.
const MOST_TEXT: u64 = 1 << 20;

fn read_text(fd: &OwnedFd, name: &str, folder: &str) -> Result<Option<String>> {
    let shown = format!("{folder}/{name}");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(fd, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
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

/// What [`walk`] would find in the folder `top` of what was unpacked.
fn below(unpacked: Unpacked, top: Option<&PackagePath>) -> Result<(BTreeMap<PackagePath, Item>, Layers)> {
    let mut items = BTreeMap::new();
    for (path, item) in unpacked.items {
        let inner = match top {
            None => Some(path.as_str()),
            Some(top) => path.as_str().strip_prefix(top.as_str()).and_then(|below| below.strip_prefix('/')),
        };
        if let Some(inner) = inner {
            admit(inner, item, &mut items)?;
        }
    }
    // Layers name paths from where they were unpacked.
    Ok((items, if top.is_none() { unpacked.layers } else { Layers::new() }))
}

fn walk(
    folder: impl AsFd,
    prefix: &str,
    setuid: &[PackagePath],
    items: &mut BTreeMap<PackagePath, Item>,
) -> Result<()> {
    let shown = if prefix.is_empty() { "the package" } else { prefix };
    for entry in list_fd(&folder).map_err(|errno| HostError::io("list", shown, errno))? {
        let path = if prefix.is_empty() { entry.name.clone() } else { format!("{prefix}/{}", entry.name) };
        let fail = |errno| HostError::io("read", &path, errno);
        let item = match entry.kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd =
                    rustix::fs::openat(&folder, entry.name.as_str(), flags, Mode::empty()).map_err(fail)?;
                walk(&fd, &path, setuid, items)?;
                Item::Folder
            }
            FileType::RegularFile => {
                let may_be = setuid.iter().any(|known| known.as_str() == path);
                read_file(&folder, &entry.name, &path, if may_be { 0o2000 } else { 0o6000 })?
            }
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(&folder, entry.name.as_str(), Vec::new()).map_err(fail)?;
                Item::Link { target: target.to_string_lossy().into_owned() }
            }
            _ => return Err(invalid(format!("{path} is neither a file, a folder nor a link"))),
        };
        admit(&path, item, items)?;
    }
    Ok(())
}

/// Adds an entry that a package may have; what describes it is none.
fn admit(path: &str, item: Item, items: &mut BTreeMap<PackagePath, Item>) -> Result<()> {
    if path == DESCRIPTOR || path == preset::VERSION_FILE {
        return Ok(());
    }
    if path == MANIFEST {
        return Err(invalid(format!("{MANIFEST} is a name that Cofferdam writes itself"))
            .with_hint("an installed tree is no package: install from the package it was made of"));
    }
    if let Item::Link { target } = &item
        && !name::inner_target(path, target)
    {
        return Err(invalid(format!("the link {path} -> {target} leaves the package"))
            .with_hint("make it relative, and end in the package"));
    }
    let path = PackagePath::new(path).map_err(|error| invalid(error.to_string()))?;
    items.insert(path, item);
    Ok(())
}

/// A file that has none of the bits in `refused`.
fn read_file(folder: impl AsFd, name: &str, path: &str, refused: u32) -> Result<Item> {
    let fail = |errno| HostError::io("read", path, errno);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(fail)?;
    let stat = rustix::fs::fstat(&fd).map_err(fail)?;
    if stat.st_mode & refused != 0 {
        let mut hint = format!("chmod ug-s {path}");
        if stat.st_mode & 0o6000 == 0o4000 {
            hint.push_str(&format!(
                "; or, if it is to run with root's rights, name it in `setuid` of {DESCRIPTOR}"
            ));
        }
        return Err(invalid(format!("{path} is setuid or setgid")).with_hint(hint));
    }
    let digest =
        digest_of::<Blake3>(File::from(fd)).map_err(|error| HostError::std_io("read", path, error))?;
    let (size, executable) = (stat.st_size.unsigned_abs(), stat.st_mode & 0o111 != 0);
    Ok(Item::File { size, digest, executable, setuid: false })
}

/// The package's digest: over its descriptor and one line for each entry, sorted by path.
pub(super) fn digest(items: &BTreeMap<PackagePath, Item>, descriptor: &str) -> Digest {
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
