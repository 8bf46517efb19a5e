//! What Cofferdam writes down: the ledger (what is installed) and the journal (what is being done).
//!
//! ```text
//! /var/lib/cofferdam/
//!   lock            flock: one transaction at a time
//!   ledger.json     the committed generation: runtimes, and every object on the host that we own
//!   journal.json    the transaction under way; no file, none is
//!   backup/<sha256> bytes of before (and of after) that the ledger or the journal names
//!   tmp/            files being written, on their way to a rename
//! ```
//!
//! A transaction is committed by the rename that puts `ledger.json` of the next generation in place.
//! Ownership is recorded before a change: the journal names each object before it exists.

use crate::engine::containerd::{Entry, Registrations, RootOwned};
use crate::name::{Digest, HandlerName, HostPath, RuntimeName, Version};
use crate::observation::{EngineProcess, Sandbox};
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
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            folders: Vec::new(),
        }
    }

    /// What the engine's configuration holds by our hand.
    pub fn registrations(&self) -> Registrations {
        self.runtimes.iter().map(|(name, installed)| (name.clone(), installed.entries.clone())).collect()
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
    /// What its probe said.
    pub verdict: Verdict,
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
    /// Remove a runtime.
    Remove {
        /// Which.
        name: RuntimeName,
    },
}

impl Change {
    /// The runtime that it is about.
    pub const fn runtime(&self) -> &RuntimeName {
        match self {
            Self::Install { name, .. } | Self::Remove { name } => name,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Install { name, version } => write!(f, "install {name} {version}"),
            Self::Remove { name } => write!(f, "remove {name}"),
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

/// One step. The executor makes no choices: a step says all there is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Make a folder (0755).
    MakeFolder {
        /// Which.
        path: HostPath,
    },
    /// Move the staged tree to its place.
    PlaceTree {
        /// Its place.
        tree: HostPath,
    },
    /// Start the engine's own binary on the candidate files, where nobody sees it.
    Rehearse,
    /// Replace or create a file. Its bytes are in `backup/`.
    WriteFile {
        /// Its real path.
        path: HostPath,
        /// What must be there.
        before: Option<Digest>,
        /// What shall be there.
        after: Digest,
        /// Permission bits for a new file; an old one keeps its own.
        mode: u32,
    },
    /// Delete a file that is ours.
    RemoveFile {
        /// Its path.
        path: HostPath,
        /// What must be there.
        before: Digest,
        /// Permission bits, should it have to come back.
        mode: u32,
    },
    /// Make a symbolic link.
    MakeLink {
        /// Its path.
        path: HostPath,
        /// Its target.
        target: String,
    },
    /// Delete a link of ours.
    RemoveLink {
        /// Its path.
        path: HostPath,
        /// What it must point to.
        target: String,
    },
    /// systemd reads its units again.
    ReloadSystemd,
    /// Restart the engine.
    Restart {
        /// Its unit.
        unit: String,
    },
    /// Prove the handlers, and that everything else is as before.
    Verify {
        /// The handlers to prove; empty for a removal.
        handlers: Vec<HandlerName>,
    },
    /// Stop and remove the sandboxes of handlers that go (a forced removal). This cannot be taken back.
    StopSandboxes {
        /// Whose.
        handlers: Vec<HandlerName>,
    },
    /// Put the next generation of the ledger in place.
    Commit,
    /// Delete a tree that nothing names any more.
    RemoveTree {
        /// Which.
        tree: HostPath,
    },
    /// Delete a folder of ours, if it is empty.
    RemoveFolder {
        /// Which.
        path: HostPath,
    },
    /// Delete ledger and backups: nothing of ours is left on the host.
    Forget,
}

/// The kind of a step, without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// [`Step::MakeFolder`].
    MakeFolder,
    /// [`Step::PlaceTree`].
    PlaceTree,
    /// [`Step::Rehearse`].
    Rehearse,
    /// [`Step::WriteFile`].
    WriteFile,
    /// [`Step::RemoveFile`].
    RemoveFile,
    /// [`Step::MakeLink`].
    MakeLink,
    /// [`Step::RemoveLink`].
    RemoveLink,
    /// [`Step::ReloadSystemd`].
    ReloadSystemd,
    /// [`Step::Restart`].
    Restart,
    /// [`Step::Verify`].
    Verify,
    /// [`Step::StopSandboxes`].
    StopSandboxes,
    /// [`Step::Commit`].
    Commit,
    /// [`Step::RemoveTree`].
    RemoveTree,
    /// [`Step::RemoveFolder`].
    RemoveFolder,
    /// [`Step::Forget`].
    Forget,
}

impl StepKind {
    /// Every kind, for tests that must reach each.
    pub const ALL: [Self; 15] = [
        Self::MakeFolder,
        Self::PlaceTree,
        Self::Rehearse,
        Self::WriteFile,
        Self::RemoveFile,
        Self::MakeLink,
        Self::RemoveLink,
        Self::ReloadSystemd,
        Self::Restart,
        Self::Verify,
        Self::StopSandboxes,
        Self::Commit,
        Self::RemoveTree,
        Self::RemoveFolder,
        Self::Forget,
    ];

    /// The name in events and failpoints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MakeFolder => "make-folder",
            Self::PlaceTree => "place-tree",
            Self::Rehearse => "rehearse",
            Self::WriteFile => "write-file",
            Self::RemoveFile => "remove-file",
            Self::MakeLink => "make-link",
            Self::RemoveLink => "remove-link",
            Self::ReloadSystemd => "reload-systemd",
            Self::Restart => "restart",
            Self::Verify => "verify",
            Self::StopSandboxes => "stop-sandboxes",
            Self::Commit => "commit",
            Self::RemoveTree => "remove-tree",
            Self::RemoveFolder => "remove-folder",
            Self::Forget => "forget",
        }
    }
}

impl Step {
    /// Its kind.
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::MakeFolder { .. } => StepKind::MakeFolder,
            Self::PlaceTree { .. } => StepKind::PlaceTree,
            Self::Rehearse => StepKind::Rehearse,
            Self::WriteFile { .. } => StepKind::WriteFile,
            Self::RemoveFile { .. } => StepKind::RemoveFile,
            Self::MakeLink { .. } => StepKind::MakeLink,
            Self::RemoveLink { .. } => StepKind::RemoveLink,
            Self::ReloadSystemd => StepKind::ReloadSystemd,
            Self::Restart { .. } => StepKind::Restart,
            Self::Verify { .. } => StepKind::Verify,
            Self::StopSandboxes { .. } => StepKind::StopSandboxes,
            Self::Commit => StepKind::Commit,
            Self::RemoveTree { .. } => StepKind::RemoveTree,
            Self::RemoveFolder { .. } => StepKind::RemoveFolder,
            Self::Forget => StepKind::Forget,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MakeFolder { path } => write!(f, "make folder {path}"),
            Self::PlaceTree { tree } => write!(f, "place {tree}"),
            Self::Rehearse => f.write_str("rehearse: the engine starts on the new configuration, isolated"),
            Self::WriteFile { path, before: None, .. } => write!(f, "create {path}"),
            Self::WriteFile { path, .. } => write!(f, "change {path}"),
            Self::RemoveFile { path, .. } => write!(f, "delete {path}"),
            Self::MakeLink { path, target } => write!(f, "link {path} -> {target}"),
            Self::RemoveLink { path, .. } => write!(f, "delete link {path}"),
            Self::ReloadSystemd => f.write_str("reload systemd's units"),
            Self::Restart { unit } => write!(f, "restart {unit}"),
            Self::Verify { handlers } if handlers.is_empty() => {
                f.write_str("verify the engine and its sandboxes")
            }
            Self::Verify { handlers } => {
                let names: Vec<_> = handlers.iter().map(HandlerName::as_str).collect();
                write!(f, "verify the engine and its sandboxes, probe {}", names.join(", "))
            }
            Self::StopSandboxes { handlers } => {
                let names: Vec<_> = handlers.iter().map(HandlerName::as_str).collect();
                write!(f, "stop and remove the sandboxes under {}", names.join(", "))
            }
            Self::Commit => f.write_str("commit"),
            Self::RemoveTree { tree } => write!(f, "delete {tree}"),
            Self::RemoveFolder { path } => write!(f, "delete folder {path} if it is empty"),
            Self::Forget => f.write_str("delete our records"),
        }
    }
}
