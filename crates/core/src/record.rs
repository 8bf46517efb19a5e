//! What Cofferdam writes down: the ledger (what is installed) and the journal (what is being done).
//!
//! ```text
//! /var/lib/cofferdam/
//!   lock            flock: one transaction at a time
//!   ledger.json     the committed generation: runtimes, and every object on the host that we own
//!   journal.json    the transaction under way; no file, none is
//!   log             what was done, a JSON line for each ended transaction (crate::history)
//!   backup/<sha256> bytes of before (and of after) that the ledger or the journal names
//!   tmp/            files being written, on their way to a rename
//! ```
//!
//! A transaction is committed by the rename that puts `ledger.json` of the next generation in place.
//! Ownership is recorded before a change: the journal names each object before it exists.

use crate::engine::containerd::{Entry, PieceKind, Registrations, RootOwned, Traces};
use crate::history::Asker;
use crate::name::{Digest, HandlerName, HostPath, RuntimeName, Version};
use crate::observation::{EngineProcess, Sandbox};
pub use crate::step::{Step, StepKind};
use crate::trust::Verified;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The schema of both files. A newer one is refused, never guessed at.
pub const SCHEMA: u32 = 1;

/// The default prefix for trees and the worker's copy.
pub const PREFIX: &str = "/opt/cofferdam";

/// Where ledger, journal and backups live.
pub const STATE: &str = "/var/lib/cofferdam";

/// Beneath it, each OCI runtime keeps its state in a folder of its own (runc and every runsc would share one).
/// Engines make it; it lies on a tmpfs.
pub const RUNTIME_ROOT: &str = "/run/cofferdam/oci";

/// What is installed, and every object on the host that we own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Counts committed transactions.
    pub generation: u64,
    /// Where trees live.
    pub prefix: HostPath,
    /// The installed runtimes.
    pub runtimes: BTreeMap<RuntimeName, Installed>,
    /// Earlier versions whose trees are still there, the oldest first: sandboxes of before run from them, and the
    /// last one of a runtime can be rolled back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Unregistered>,
    /// Versions whose trees are there before anything is registered: an installation finds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pulled: Vec<Unregistered>,
    /// Files that we created or changed, by their real path.
    pub files: BTreeMap<HostPath, OwnedFile>,
    /// Links that we made, with their targets.
    pub links: BTreeMap<HostPath, String>,
    /// Folders that we made, parents first. A folder that others use by then stays.
    pub folders: Vec<HostPath>,
}

impl Ledger {
    /// The ledger of a host on which nothing was done yet.
    pub fn empty(prefix: HostPath) -> Self {
        Self {
            schema: SCHEMA,
            generation: 0,
            prefix,
            runtimes: BTreeMap::new(),
            retired: Vec::new(),
            pulled: Vec::new(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            folders: Vec::new(),
        }
    }

    /// What the engine's configuration holds by our hand.
    pub fn registrations(&self) -> Registrations {
        self.runtimes.iter().map(|(name, installed)| (name.clone(), installed.entries.clone())).collect()
    }

    /// What of ours may stand in any file of the engine's configuration.
    pub fn traces(&self) -> Traces {
        let pieces = self.files.values().flat_map(|file| match &file.part {
            Part::Containerd(owned) => owned.pieces.as_slice(),
            Part::Whole | Part::DropIn => &[],
        });
        let imports = pieces.filter_map(|piece| match &piece.kind {
            PieceKind::Import { pattern, .. } => Some(pattern.clone()),
            _ => None,
        });
        Traces { entries: self.registrations(), imports: imports.collect() }
    }

    /// Every tree that it names, with the runtime and the version that it holds.
    pub fn trees(&self) -> impl Iterator<Item = (&RuntimeName, &Installed)> {
        let others = self.retired.iter().chain(&self.pulled);
        self.runtimes.iter().chain(others.map(|other| (&other.name, &other.installed)))
    }

    /// Whether nothing is on the host by our hand, and nothing is to be.
    pub fn is_empty(&self) -> bool {
        self.runtimes.is_empty() && self.pulled.is_empty()
    }

    /// The version that `rollback` brings back: the one that was registered last before the present one.
    pub fn rollback_target(&self, name: &RuntimeName) -> Option<&Installed> {
        self.retired.iter().rev().find(|retired| retired.name == *name).map(|retired| &retired.installed)
    }

    /// Puts `installed` in the place of what is registered as `name`, whose tree stays as the newest retired one.
    pub fn replace(&mut self, name: &RuntimeName, installed: Installed) {
        for others in [&mut self.retired, &mut self.pulled] {
            others.retain(|other| other.installed.tree != installed.tree);
        }
        if let Some(old) = self.runtimes.insert(name.clone(), installed)
            && self.runtimes.get(name).is_some_and(|new| new.tree != old.tree)
        {
            self.retired.push(Unregistered { name: name.clone(), installed: old });
        }
    }

    /// Which runtime offers `handler`.
    pub fn owner_of(&self, handler: &str) -> Option<&RuntimeName> {
        self.runtimes
            .iter()
            .find(|(_, installed)| installed.handlers().any(|h| h.as_str() == handler))
            .map(|(name, _)| name)
    }
}

/// One installed runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its version.
    pub version: Version,
    /// Its package's digest.
    pub digest: Digest,
    /// Where its files are.
    pub tree: HostPath,
    /// What the engine was told.
    pub entries: Vec<Entry>,
    /// Where the package came from, for people.
    pub source: String,
    /// The preset that described it, if it has no descriptor of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The digest of the image that it was unpacked from, as the registry names it (for several platforms, the index's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// The digest of its tree's manifest. None: nothing was staged yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// What was verified before it was unpacked. None: no policy asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// What its probe said.
    pub verdict: Verdict,
    /// Whether a declarative file brought it: then one without it may take it away (`cofferdam apply --prune`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub declared: bool,
}

/// A version that is not registered (any more, or yet), but whose tree is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unregistered {
    /// The runtime.
    pub name: RuntimeName,
    /// What it was, or will be.
    pub installed: Installed,
}

impl Installed {
    /// Its handlers' names.
    pub fn handlers(&self) -> impl Iterator<Item = &HandlerName> {
        self.entries.iter().map(|entry| &entry.handler)
    }
}

/// How much is known about whether handlers start sandboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// A sandbox and a container in it ran under each handler.
    Proven,
    /// The engine serves the handlers, but no probe could run.
    Unproven {
        /// Why.
        reason: String,
    },
    /// An offline tree: no engine was asked.
    Offline,
}

/// A file that we created or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnedFile {
    /// The content without anything of ours, kept in `backup/`. None: there was no file.
    pub before: Option<Digest>,
    /// The content that we left.
    pub after: Digest,
    /// Which part of it is ours.
    pub part: Part,
}

/// Which part of a file is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "part")]
pub enum Part {
    /// All of it.
    Whole,
    /// All of it: a drop-in of the engine's configuration.
    DropIn,
    /// What the containerd dialect wrote into someone else's configuration.
    Containerd(RootOwned),
}

/// The transaction under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Unique on this host; part of temporary names.
    pub id: String,
    /// What is being done.
    pub change: Change,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asker: Option<Asker>,
    /// How far it is.
    pub phase: Phase,
    /// Its steps.
    pub steps: Vec<Step>,
    /// The ledger of before.
    pub before: Option<Ledger>,
    /// The ledger that commits it.
    pub after: Ledger,
    /// The engine's process when it began.
    pub engine: Option<EngineProcess>,
    /// The engine's unit.
    pub unit: Option<String>,
    /// The boot in which it began (/proc/sys/kernel/random/boot_id): no container outlives a boot.
    pub boot: String,
    /// Handlers that the engine listed when it began.
    pub handlers: Vec<String>,
    /// Handlers of others, and of ours, that a probe proved just before: they must pass again.
    pub proven: Vec<String>,
    /// Sandboxes that existed when it began: each container must survive.
    pub sandboxes: Vec<Sandbox>,
    /// Whether the engine was told to restart: then it may have read the new files.
    pub restarted: bool,
    /// Why it is being taken back.
    pub reason: Option<String>,
    /// Folders for our records that were made for this transaction.
    pub made: Vec<HostPath>,
}

impl Journal {
    /// Whether `ledger` on disk is the one that commits this transaction.
    pub fn is_committed(&self, ledger: Option<&Ledger>) -> bool {
        self.phase == Phase::Cleaning || ledger.is_some_and(|l| l.generation == self.after.generation)
    }
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    /// Install a runtime.
    Install {
        /// Which.
        name: RuntimeName,
        /// Its version.
        version: Version,
    },
    /// Install another version beside the present one and register it instead.
    Upgrade {
        /// Which.
        name: RuntimeName,
        /// The version of before.
        from: Version,
        /// The new one.
        to: Version,
    },
    /// Register the version of before again.
    Rollback {
        /// Which.
        name: RuntimeName,
        /// The version that is left.
        from: Version,
        /// The version that comes back.
        to: Version,
    },
    /// Bring a version's files to the host, and register nothing.
    Pull {
        /// Of which runtime.
        name: RuntimeName,
        /// The version.
        version: Version,
    },
    /// Remove a runtime.
    Remove {
        /// Which.
        name: RuntimeName,
    },
    /// Replace a runtime's tree, of which files changed, by a new copy.
    RepairTree {
        /// Which.
        name: RuntimeName,
        /// The tree's version.
        version: Version,
    },
    /// Put registrations and units back as the ledger says.
    Repair,
    /// Delete trees that nothing needs any more.
    Collect,
}

impl Change {
    /// The runtime that it is about, if it is about one.
    pub const fn runtime(&self) -> Option<&RuntimeName> {
        match self {
            Self::Install { name, .. }
            | Self::Upgrade { name, .. }
            | Self::Rollback { name, .. }
            | Self::Pull { name, .. }
            | Self::Remove { name }
            | Self::RepairTree { name, .. } => Some(name),
            Self::Repair | Self::Collect => None,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Install { name, version } => write!(f, "install {name} {version}"),
            Self::Upgrade { name, from, to } => write!(f, "upgrade {name} {from} to {to}"),
            Self::Rollback { name, from, to } => write!(f, "roll {name} back from {from} to {to}"),
            Self::Pull { name, version } => write!(f, "pull {name} {version}"),
            Self::Remove { name } => write!(f, "remove {name}"),
            Self::RepairTree { name, version } => write!(f, "repair the files of {name} {version}"),
            Self::Repair => f.write_str("repair registrations and units"),
            Self::Collect => f.write_str("collect trees that nothing needs"),
        }
    }
}

/// How far a transaction is. What is not committed is taken back after a crash; what is, is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Files are copied where no engine looks.
    Staging,
    /// Steps are carried out; the engine may pick files up at any time.
    Applying,
    /// The engine was told to restart.
    Restarting,
    /// Steps are taken back.
    RollingBack,
    /// Files are as before; the engine was not asked yet (at boot it is not up).
    Mended,
    /// Committed; what is no longer needed is cleared away.
    Cleaning,
}
