//! How much may be unpacked, and what is taken over only where somebody asked for it.

use cofferdam_core::name::PackagePath;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How much may be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of all files, those that a later layer replaces and the holes of sparse ones included.
    pub bytes: u64,
    /// Entries of all layers, with the folders that their paths imply.
    pub entries: u64,
    /// Bytes of all paths and links' targets together: they are held in memory.
    pub names: u64,
    /// Folders within each other.
    pub depth: usize,
    /// How many times as large as the archive its content may be. The first megabytes may be larger.
    pub ratio: u64,
    /// The largest zstd window: what a decoder has to hold in memory.
    pub window: u64,
}

/// What may come out before the ratio is looked at: a small archive of zeros harms nobody.
pub(super) const RATIO_FROM: u64 = 64 << 20;

impl Limits {
    /// More than any runtime that we know of needs, and less than fills a node's disk with nothing.
    pub const NORMAL: Self =
        Self { bytes: 8 << 30, entries: 200_000, names: 16 << 20, depth: 64, ratio: 200, window: 8 << 20 };

    /// Whether `content` bytes are too many to come from `archive` bytes.
    pub(super) const fn is_bomb(&self, content: u64, archive: u64) -> bool {
        content > RATIO_FROM && content / self.ratio > archive
    }
}

/// What somebody asks for, who knows a package that needs more or deserves less. What is not asked for is as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// For [`Limits::bytes`].
    pub bytes: Option<u64>,
    /// For [`Limits::entries`], and for names that so many have.
    pub entries: Option<u64>,
    /// For [`Limits::depth`].
    pub depth: Option<usize>,
    /// For [`Limits::ratio`].
    pub ratio: Option<u64>,
    /// For [`Limits::window`].
    pub window: Option<u64>,
}

impl Asked {
    /// What is asked for, and `usual` of the rest.
    #[must_use]
    pub fn over(self, usual: Limits) -> Limits {
        let each = Limits::NORMAL.names / Limits::NORMAL.entries;
        let names = self.entries.map_or(0, |entries| entries.saturating_mul(each));
        Limits {
            bytes: self.bytes.unwrap_or(usual.bytes),
            entries: self.entries.unwrap_or(usual.entries),
            names: usual.names.max(names),
            depth: self.depth.unwrap_or(usual.depth),
            ratio: self.ratio.unwrap_or(usual.ratio),
            window: self.window.unwrap_or(usual.window),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NORMAL
    }
}

/// How a path beneath the folder is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lookup {
    /// By openat2, or step by step where the kernel has none (before Linux 5.6).
    #[default]
    Kernel,
    /// Step by step.
    Steps,
}

/// How to unpack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How much.
    pub limits: Limits,
    /// Files that may be setuid, since a descriptor asks for it. Any other one is refused, as are setgid and capabilities.
    pub setuid: BTreeSet<PackagePath>,
    /// Names of extended attributes that are taken over, or their beginnings with a `*`. Those that say who may do what,
    /// and those that overlay file systems believe, never are.
    pub xattrs: Vec<String>,
    /// How paths are opened.
    pub lookup: Lookup,
    /// The SELinux label of what is made, where SELinux is on.
    pub label: Option<String>,
}

impl From<Limits> for Options {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

impl Options {
    /// Whether the extended attribute `name` is taken over.
    pub(super) fn takes(&self, name: &str) -> bool {
        const NEVER: [&str; 5] = ["security.", "trusted.", "system.", "user.overlay.", "user.containers."];
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        !NEVER.iter().any(|start| name.starts_with(start)) && self.xattrs.iter().any(matches)
    }
}
