//! A package directory: read, checked, digested; then copied to where it will live.

use crate::error::{HostError, Result};
use crate::root::{HostRoot, digest_of, list_fd};
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::{self, Descriptor, FileKind, Findings, PackageFiles, Relocate};
use cofferdam_core::name::{Digest, HostPath, PackagePath};
use cofferdam_core::plan::Package;
use cofferdam_core::preset::{self, Preset, PresetFile};
use cofferdam_core::record::Installed;
use rustix::fs::{FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The descriptor's name in a package.
pub const DESCRIPTOR: &str = "runtime.toml";

/// The manifest's name in an installed tree.
pub const MANIFEST: &str = ".cofferdam.json";

/// Where a package is, and what it does not say of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The folder that holds it.
    pub folder: PathBuf,
    /// The preset to use if it has no descriptor.
    pub preset: Option<String>,
    /// Its version, if neither descriptor nor file says it.
    pub version: Option<String>,
}

impl Source {
    /// Where `installed` came from.
    pub fn of(installed: &Installed) -> Option<Self> {
        Some(Self {
            folder: PathBuf::from(installed.source.strip_prefix("dir:")?),
            preset: installed.preset.clone(),
            version: installed.preset.as_ref().map(|_| installed.version.to_string()),
        })
    }

    /// Reads the package.
    ///
    /// # Errors
    /// If it is no package, or there is no such preset.
    pub fn read(&self) -> Result<PackageDir> {
        let using = match &self.preset {
            Some(name) => {
                let preset = preset::find(name)?;
                Some(Using { preset, version: self.version.as_deref() })
            }
            None => None,
        };
        PackageDir::read(&self.folder, using)
    }
}

/// A preset to use for a package, and the version if the package does not say it.
#[derive(Clone, Copy, Debug)]
pub struct Using<'a> {
    /// Which.
    pub preset: &'static Preset,
    /// The package's version, as given by the user.
    pub version: Option<&'a str>,
}

/// A package directory that was read and found valid. Holding one means that every file was looked at once;
/// copying it checks that nothing changed since.
#[derive(Debug)]
pub struct PackageDir {
    folder: PathBuf,
    /// Files that the preset adds.
    added: BTreeMap<PackagePath, &'static PresetFile>,
    /// What the planner needs to know.
    pub package: Package,
    items: BTreeMap<PackagePath, Item>,
}

/// One entry of a package. Permissions are normal: 0755 for folders and executables, 0644 for other files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Item {
    /// A folder.
    Folder,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its content's digest.
        digest: Digest,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link to something in the package.
    Link {
        /// Its target, as written.
        target: String,
    },
}

/// How much of a file is written between two reports of progress.
const CHUNK: usize = 4 << 20;

/// What an installed tree holds: written into it, read by later checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The package's digest.
    pub digest: Digest,
    /// What the package said of itself.
    pub descriptor: Descriptor,
    /// Its files as they were installed (relocated ones with their new content).
    pub items: BTreeMap<PackagePath, Item>,
}

fn invalid(message: impl Into<String>) -> HostError {
    HostError::new(Class::Invalid, message)
}

impl PackageDir {
    /// Reads the package in `folder`. A package without a descriptor of its own needs a preset.
    ///
    /// # Errors
    /// If it is not a package: no or a bad descriptor, missing files, links that leave it, special files.
    pub fn read(folder: &Path, using: Option<Using<'_>>) -> Result<Self> {
        let fd =
            rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| HostError::io("open the package", folder.display(), errno))?;
        let mut items = BTreeMap::new();
        walk(fd.as_fd(), "", &mut items)?;
        let kinds: PackageFiles = items.iter().map(|(path, item)| (path.clone(), kind_of(item))).collect();
        let preset = using.map(|using| using.preset.name.to_owned());
        let (descriptor, text, findings, added) = match (read_text(&fd, DESCRIPTOR, folder)?, using) {
            (Some(text), _) => {
                let name = folder.join(DESCRIPTOR).display().to_string();
                let descriptor =
                    descriptor::parse(&name, &text).map_err(|findings| invalid(findings.to_string()))?;
                let findings = descriptor::check_files(&descriptor, &name, &text, &kinds);
                (descriptor, text, findings, BTreeMap::new())
            }
            (None, Some(Using { preset, version })) => {
                let file = read_text(&fd, preset::VERSION_FILE, folder)?;
                let version = preset.version(version, file.as_deref())?;
                let descriptor = preset::descriptor(preset, &version)?;
                let findings = preset.check_files(&descriptor, &kinds);
                let text = format!("{version}\n{}", preset.text);
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
            source: format!("dir:{}", folder.display()),
            preset,
            descriptor,
        };
        Ok(Self { folder: folder.to_owned(), added, package, items })
    }

    /// Copies it to `staging`, as it will be at `tree`, durably. `progress` gets the bytes copied so far. Returns the
    /// digest of the manifest that is written with it.
    ///
    /// # Errors
    /// If a file changed since it was read, or cannot be written.
    pub fn stage(
        &self,
        root: &HostRoot,
        staging: &HostPath,
        tree: &HostPath,
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
                    create(root, &target, &bytes, mode, &mut |written| progress(copied + written))?;
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

    fn file_bytes(&self, path: &PackagePath) -> Result<Vec<u8>> {
        if let Some(file) = self.added.get(path) {
            return Ok(file.text.as_bytes().to_vec());
        }
        let from = self.folder.join(path.as_str());
        let mut bytes = Vec::new();
        rustix::fs::open(&from, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(std::io::Error::from)
            .and_then(|fd| File::from(fd).read_to_end(&mut bytes))
            .map_err(|error| HostError::std_io("read", from.display(), error))?;
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

impl Item {
    const fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Folder | Self::Link { .. } => 0,
        }
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

fn no_descriptor(folder: &Path) -> HostError {
    invalid(format!("{} has no {DESCRIPTOR}", folder.display())).with_hint(
        "write one (docs/descriptor.md), or name a preset: --preset NAME (cofferdam catalog lists them)",
    )
}

fn read_text(fd: &OwnedFd, name: &str, folder: &Path) -> Result<Option<String>> {
    let shown = folder.join(name);
    let file = match rustix::fs::openat(fd, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(HostError::io("read", shown.display(), errno)),
    };
    let mut text = String::new();
    File::from(file)
        .read_to_string(&mut text)
        .map_err(|error| HostError::std_io("read", shown.display(), error))?;
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
    let leaves = || {
        invalid(format!("the link {path} -> {target} leaves the package"))
            .with_hint("make it relative, and end in the package")
    };
    if target.starts_with('/') {
        return Err(leaves());
    }
    let mut depth = path.split('/').count() - 1;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or_else(leaves)?,
            _ => depth += 1,
        }
    }
    Ok(target.to_owned())
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

/// Creates a file in the staging folder. Not synced one by one: [`sync`] does it once for all.
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
