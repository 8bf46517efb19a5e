//! A source to a package: what is elsewhere is fetched first.

use super::{Held, Layers, Manifest, PackageDir, Place, Source, Unpacked, Using, tarball};
use crate::archive::{Label, Options};
use crate::error::{HostError, Result};
use crate::event::Transfer;
use crate::package::{Item, MANIFEST};
use crate::registry::files::Described;
use crate::registry::{self, Attached, Layout};
use crate::root::HostRoot;
use crate::tree;
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::{self, Descriptor, PackageFiles};
use cofferdam_core::name::{Digest, FileDigest, HostPath, PackagePath};
use cofferdam_core::observation::TreeState;
use cofferdam_core::plan::Package;
use cofferdam_core::preset::{self, PresetFile};
use cofferdam_core::record::{Installed, Ledger};
use cofferdam_core::trust::Verified;
use rustix::fs::{Mode, OFlags};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where a package is put together, and what is known already.
pub struct Room<'a> {
    /// The root beneath which `folder` is.
    pub root: &'a HostRoot,
    /// A folder for what is fetched; it is made if it is needed, and the caller's to delete.
    pub folder: HostPath,
    /// A host with installed packages: what they hold is not fetched again.
    pub installed: Option<(&'a HostRoot, &'a Ledger)>,
    /// The SELinux label of what comes into it, where SELinux is on: from here it is moved to its place.
    pub label: Option<String>,
    /// Gets how far the package is on its way here.
    pub progress: &'a mut dyn FnMut(Transfer),
}

/// A room of one's own, in memory or wherever temporary files go: made when something is put in, deleted in the end.
#[derive(Debug, Default)]
pub struct TemporaryRoom(OnceCell<TemporaryFolder>);

#[derive(Debug)]
struct TemporaryFolder {
    path: PathBuf,
    root: HostRoot,
}

impl TemporaryRoom {
    /// Its folder.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn path(&self) -> Result<&Path> {
        Ok(&self.folder()?.path)
    }

    /// The package of `source`, for as long as this is there.
    ///
    /// # Errors
    /// If it cannot be fetched or read.
    pub fn open(
        &self,
        source: &Source,
        installed: Option<(&HostRoot, &Ledger)>,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<PackageDir> {
        // What lies here is read where it lies: there may be no room for temporary files.
        if let Place::Dir(folder) = &source.place {
            return source.read_dir(folder, installed);
        }
        let folder = host_path("/package")?;
        source.open(&mut Room { root: &self.folder()?.root, folder, installed, label: None, progress })
    }

    /// What the planner needs to know of the package of `source`: without fetching its files, where that can be had.
    ///
    /// # Errors
    /// If it cannot be fetched or read.
    pub fn look(
        &self,
        source: &Source,
        installed: Option<(&HostRoot, &Ledger)>,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<Package> {
        match source.described(installed)? {
            Some(package) => Ok(package),
            None => Ok(self.open(source, installed, progress)?.package),
        }
    }

    fn folder(&self) -> Result<&TemporaryFolder> {
        if self.0.get().is_none() {
            // Nobody else can have set it meanwhile: a cell is not shared between threads.
            let _ = self.0.set(TemporaryFolder::new()?);
        }
        self.0.get().ok_or_else(|| HostError::new(Class::Internal, "the temporary folder is gone"))
    }
}

impl TemporaryFolder {
    fn new() -> Result<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let name = format!("cofferdam-{}-{:x}", std::process::id(), now.as_nanos());
        let path = std::env::temp_dir().join(name);
        // Not recursive: what is there already is somebody else's.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| HostError::std_io("make the folder", path.display(), error))?;
        let root = HostRoot::open(&path)?;
        Ok(Self { path, root })
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Source {
    /// The package.
    ///
    /// # Errors
    /// If it cannot be fetched, is not what it should be, or is no package.
    pub fn open(&self, room: &mut Room<'_>) -> Result<PackageDir> {
        let (image, verified, fetched) = match &self.place {
            Place::Dir(folder) => return self.read_dir(folder, room.installed),
            Place::Layout(path) if path.is_dir() => self.fetch(&Layout::open(path)?, room)?,
            Place::Layout(path) => self.fetch(&registry::Tarred::open(path)?, room)?,
            Place::Tar(file) => return self.unpack(file, room),
            Place::Oci(remote) => self.fetch(&registry::Registry::new(remote)?, room)?,
        };
        let mut dir = match fetched {
            Fetched::Installed(dir) => *dir,
            Fetched::Folder(folder, unpacked) => {
                let shown = self.place.to_string();
                let dir = PackageDir::read(folder, &shown, self.using()?, room.installed, Some(unpacked))?;
                PackageDir { movable: true, ..dir }
            }
        };
        dir.package.source = self.place.to_string();
        dir.package.image = Some(image);
        dir.package.verified = verified;
        Ok(dir)
    }

    fn read_dir(&self, folder: &Path, installed: Option<(&HostRoot, &Ledger)>) -> Result<PackageDir> {
        let verified = self.verify_files()?;
        let shown = folder.display().to_string();
        let mut dir = PackageDir::read(open_folder(folder)?, &shown, self.using()?, installed, None)?;
        dir.package.verified = verified;
        Ok(dir)
    }

    /// What an image says of its package. None: it has to be unpacked.
    fn described(&self, installed: Option<(&HostRoot, &Ledger)>) -> Result<Option<Package>> {
        let (image, verified, described) = match &self.place {
            Place::Dir(_) | Place::Tar(_) => return Ok(None),
            Place::Layout(path) if path.is_dir() => self.describe(&Layout::open(path)?, installed)?,
            Place::Layout(path) => self.describe(&registry::Tarred::open(path)?, installed)?,
            Place::Oci(remote) => self.describe(&registry::Registry::new(remote)?, installed)?,
        };
        let Some(Described { descriptor, digest, bytes, entries }) = described else { return Ok(None) };
        let name = format!("the descriptor of {}", self.place);
        let descriptor = descriptor::parse(&name, &descriptor)
            .map_err(|findings| HostError::new(Class::Invalid, findings.to_string()))?;
        // What a base adds to it is not known to whoever packed it.
        if descriptor.base.is_some() {
            return Ok(None);
        }
        Ok(Some(Package {
            descriptor,
            digest,
            bytes,
            entries,
            source: self.place.to_string(),
            preset: self.preset.clone(),
            image: Some(image),
            verified,
            findings: Vec::new(),
        }))
    }

    fn describe(
        &self,
        origin: &dyn Attached,
        installed: Option<(&HostRoot, &Ledger)>,
    ) -> Result<(Digest, Option<Verified>, Option<Described>)> {
        let image = origin.resolve()?;
        // What would be refused is not planned either.
        let verified = self.verify(origin, image, installed.map(|(_, ledger)| ledger))?;
        // What is installed already is looked at where it is.
        let is_there = installed
            .is_some_and(|(_, ledger)| ledger.trees().any(|(_, installed)| installed.image == Some(image)));
        Ok((image, verified, if is_there { None } else { registry::described(origin, image)? }))
    }

    /// The package in an archive.
    fn unpack(&self, file: &Path, room: &mut Room<'_>) -> Result<PackageDir> {
        let verified = self.verify_files()?;
        let folder = empty(room)?;
        let unpacked =
            tarball::unpack(file, folder()?, self.options(room)?, room.progress).inspect_err(|_| {
                let _ = room.root.delete_all(&room.folder);
            })?;
        let shown = self.place.to_string();
        let mut dir = PackageDir::read(folder()?, &shown, self.using()?, room.installed, Some(unpacked))?;
        dir.movable = true;
        dir.package.source = self.place.to_string();
        dir.package.verified = verified;
        Ok(dir)
    }

    /// Brings the image of `origin` into the room, unless it is installed.
    fn fetch(
        &self,
        origin: &dyn Attached,
        room: &mut Room<'_>,
    ) -> Result<(Digest, Option<Verified>, Fetched)> {
        let image = origin.resolve()?;
        // Before a byte of it is fetched, and of what is installed as well: the policy may be newer.
        let verified = self.verify(origin, image, room.installed.map(|(_, ledger)| ledger))?;
        if let Some(dir) = self.present(image, room)? {
            return Ok((image, verified, Fetched::Installed(Box::new(dir))));
        }
        let held = Held::of(room)?;
        let open = empty(room)?;
        let options = self.options(room)?;
        let unpacked = registry::unpack(origin, image, open()?, options, &held, room.progress);
        let unpacked = unpacked.inspect_err(|error| {
            // What came whole from a registry that then went away is good.
            if !error.is_of_others() {
                let _ = room.root.delete_all(&room.folder);
            }
        })?;
        held.clear()?;
        Ok((image, verified, Fetched::Folder(open()?, unpacked)))
    }

    fn options(&self, room: &Room<'_>) -> Result<Options> {
        // A preset's programs have their caller's rights.
        let setuid = match self.using()? {
            Some(Using::Text(text)) => descriptor::parse("the descriptor", text)
                .map_err(|findings| HostError::new(Class::Invalid, findings.to_string()))?
                .setuid_anywhere()
                .collect(),
            Some(Using::Preset(..)) | None => BTreeSet::new(),
        };
        Ok(Options { label: room.label.clone(), setuid, ..self.limits.into() })
    }

    /// The package of `image` as it is installed, if its tree is sound: then nothing has to be fetched.
    fn present(&self, image: Digest, room: &Room<'_>) -> Result<Option<PackageDir>> {
        let Some((root, ledger)) = room.installed else { return Ok(None) };
        for (_, installed) in ledger.trees().filter(|(_, installed)| installed.image == Some(image)) {
            let version = self.version.as_deref().filter(|_| self.preset.is_some());
            let same = installed.preset == self.preset
                && version.is_none_or(|version| version == installed.version.as_str());
            let sound = || tree::check(root, &installed.tree, installed.manifest.as_ref());
            if same
                && sound()? == TreeState::Sound
                && let Some(dir) = self.of_tree(root, ledger, installed)?
            {
                return Ok(Some(dir));
            }
        }
        Ok(None)
    }

    /// Whether the package would be described, and added to, as it was: presets change with Cofferdam, and texts with
    /// whoever writes them.
    fn still_describes(
        &self,
        installed: &Installed,
        descriptor: &Descriptor,
        items: &BTreeMap<PackagePath, Item>,
    ) -> Result<bool> {
        let preset = match self.using()? {
            None => return Ok(true),
            Some(Using::Text(text)) => {
                return Ok(descriptor::parse("the descriptor", text).ok().as_ref() == Some(descriptor));
            }
            Some(Using::Preset(preset, _)) => preset,
        };
        let is_there = |path: &PackagePath, file: &PresetFile| match items.get(path) {
            Some(Item::File { digest, .. }) => *digest == FileDigest::of(file.text.as_bytes()),
            _ => false,
        };
        let nothing = PackageFiles::new();
        let mut added = preset.added(&nothing);
        Ok(preset::descriptor(preset, &installed.version).ok().as_ref() == Some(descriptor)
            && added.all(|(path, file)| is_there(&path, file)))
    }

    fn of_tree(&self, root: &HostRoot, ledger: &Ledger, installed: &Installed) -> Result<Option<PackageDir>> {
        let internal = |error: &dyn std::fmt::Display| HostError::new(Class::Internal, error.to_string());
        let path = installed.tree.join(MANIFEST).map_err(|error| internal(&error))?;
        let Some(bytes) = root.read(&path)? else { return Ok(None) };
        let Manifest { digest, descriptor, items, base, .. } =
            serde_json::from_slice(&bytes).map_err(|error| internal(&error))?;
        if !self.still_describes(installed, &descriptor, &items)? {
            return Ok(None);
        }
        // Its base is another one by now: it is put together again. Without one it is as good as it was.
        let present = descriptor.base.as_ref().and_then(|base| ledger.runtimes.get(base));
        if present.is_some_and(|present| Some(&present.tree) != base.as_ref()) {
            return Ok(None);
        }
        let package = Package {
            digest,
            bytes: items.values().map(Item::size).sum(),
            entries: items.len() as u64,
            source: String::new(),
            preset: installed.preset.clone(),
            image: installed.image,
            verified: None,
            findings: Vec::new(),
            descriptor,
        };
        let folder = root
            .open_at(&installed.tree, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|errno| HostError::io("open", &installed.tree, errno))?;
        let (shown, added, layers) = (installed.tree.to_string(), BTreeMap::new(), Layers::new());
        // Nothing is packed from here: an installed tree is no package.
        let descriptor = String::new();
        Ok(Some(PackageDir {
            folder,
            shown,
            movable: false,
            added,
            base: None,
            descriptor,
            package,
            items,
            layers,
        }))
    }
}

/// Makes the room's folder, empty, and tells how it is opened.
fn empty<'r>(room: &Room<'r>) -> Result<impl Fn() -> Result<OwnedFd> + use<'r>> {
    let (root, folder) = (room.root, room.folder.clone());
    root.delete_all(&folder)?;
    let _label = Label::of_new_files(room.label.as_deref())
        .map_err(|error| HostError::new(Class::Unsupported, error.to_string()))?;
    root.make_folder(&folder, 0o700)?;
    Ok(move || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        root.open_at(&folder, flags, Mode::empty()).map_err(|errno| HostError::io("open", &folder, errno))
    })
}

enum Fetched {
    /// It is installed already.
    Installed(Box<PackageDir>),
    /// Its files lie here.
    Folder(OwnedFd, Unpacked),
}

fn open_folder(folder: &Path) -> Result<OwnedFd> {
    rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| HostError::io("open the package", folder.display(), errno))
}

fn host_path(text: &str) -> Result<HostPath> {
    HostPath::new(text).map_err(|error| HostError::new(Class::Internal, error.to_string()))
}
