//! The steps of a transaction: what the executor can do, and nothing else.

use crate::name::{Digest, HandlerName, HostPath};
use serde::{Deserialize, Serialize};

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
    /// Exchange a damaged tree for the staged copy, at once: its path always names whole files.
    ReplaceTree {
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
    /// [`Step::ReplaceTree`].
    ReplaceTree,
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
    pub const ALL: [Self; 16] = [
        Self::MakeFolder,
        Self::PlaceTree,
        Self::ReplaceTree,
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
            Self::ReplaceTree => "replace-tree",
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
            Self::ReplaceTree { .. } => StepKind::ReplaceTree,
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
            Self::ReplaceTree { tree } => write!(f, "replace {tree}"),
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
