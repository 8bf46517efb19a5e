//! A package: read, checked, digested; then brought to where it will live.
//!
//! ```text
//! source   where packages are, and what opens the places that are not for everyone
//! trust    a source to what the policy has verified of it
//! open     a source to a package: what is elsewhere is fetched first
//! read     a folder to a package
//! base     the files of another runtime that a package needs
//! share    what installed trees hold already
//! held     layers that need not be fetched, since trees hold them
//! key      what a layer is known by
//! tarball  an archive to a folder
//! stage    a package to a tree, as it will be installed
//! layers   which files go into which layer
//! pack     a package to an image
//! ```

mod base;
mod held;
mod key;
mod layers;
mod open;
mod pack;
mod read;
mod share;
mod source;
mod stage;
mod tarball;
mod trust;

pub(crate) use held::Held;
pub use key::LayerKey;
pub use open::{Room, TemporaryRoom};
pub(crate) use share::{Entries, Shared};
pub use source::{Access, AccessFiles, ClientCertificate, Place, Remote, Source};

use crate::error::HostError;
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_core::name::{Digest, FileDigest, HostPath, PackagePath};
use cofferdam_core::plan::Package;
use cofferdam_core::preset::{Preset, PresetFile};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// The descriptor's name in a package.
pub const DESCRIPTOR: &str = "runtime.toml";

/// The manifest's name in an installed tree.
pub const MANIFEST: &str = ".cofferdam.json";

/// What describes a package that has no descriptor of its own.
#[derive(Clone, Copy, Debug)]
pub enum Using<'a> {
    /// A preset, and the version if the package does not say it.
    Preset(&'static Preset, Option<&'a str>),
    /// A descriptor's text.
    Text(&'a str),
}

/// A package that was read and found valid. Holding one means that every file was looked at once; copying it checks
/// that nothing changed since.
#[derive(Debug)]
pub struct PackageDir {
    folder: OwnedFd,
    /// The folder, for people.
    shown: String,
    /// Whether the files are ours alone, to be moved away.
    movable: bool,
    /// Files that the preset adds.
    added: BTreeMap<PackagePath, &'static PresetFile>,
    /// The runtime whose files it needs, and has.
    base: Option<base::Base>,
    /// Its descriptor's text, complete: a preset's with the version in it.
    descriptor: String,
    /// What the planner needs to know.
    pub package: Package,
    items: BTreeMap<PackagePath, Item>,
    /// The layers that it came in.
    layers: Layers,
}

/// One entry of a package. Permissions are normal: 0755 for folders and executables, 0644 for other files; 4755 for what the
/// descriptor names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Item {
    /// A folder.
    Folder,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its content's digest.
        digest: FileDigest,
        /// Whether it may be executed.
        executable: bool,
        /// Whether it runs with its owner's rights, since the descriptor asks for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        setuid: bool,
    },
    /// A symbolic link to something in the package.
    Link {
        /// Its target, as written.
        target: String,
    },
}

impl Item {
    const fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Folder | Self::Link { .. } => 0,
        }
    }

    /// The same; a program runs with its caller's rights.
    fn without_setuid(mut self) -> Self {
        if let Self::File { setuid, .. } = &mut self {
            *setuid = false;
        }
        self
    }

    /// Its permissions; a link has none.
    pub(crate) const fn mode(&self) -> u32 {
        match self {
            Self::File { setuid: true, .. } => 0o4755,
            Self::Folder | Self::File { executable: true, .. } => 0o755,
            Self::File { executable: false, .. } => 0o644,
            Self::Link { .. } => 0o777,
        }
    }
}

/// What an installed tree holds: written into it, read by later checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The package's digest.
    pub digest: Digest,
    /// What the package said of itself.
    pub descriptor: Descriptor,
    /// Its files as they were installed (relocated ones with their new content).
    pub items: BTreeMap<PackagePath, Item>,
    /// What the package had instead of those files that were changed for their new place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub relocated: BTreeMap<PackagePath, Original>,
    /// By the digests of layers that came whole, what was in them: a version that has them as well does not fetch them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: Layers,
    /// The tree of another runtime whose files are in it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<HostPath>,
}

/// What was unpacked, for whoever reads the package in it.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Each entry, as it is now.
    pub items: BTreeMap<PackagePath, Item>,
    /// The layers of which it has all.
    pub layers: Layers,
}

/// By their blobs, what was in each layer, in the order in which it can be made.
pub type Layers = BTreeMap<LayerKey, Vec<PackagePath>>;

/// A file as the package has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Its size in bytes.
    pub size: u64,
    /// Its content's digest.
    pub digest: FileDigest,
}

fn invalid(message: impl Into<String>) -> HostError {
    HostError::new(Class::Invalid, message)
}
