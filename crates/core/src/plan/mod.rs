//! The planner: what was observed and what is wanted, to ordered steps. Pure: equal inputs give equal plans.

mod collect;
mod drift;
mod engine;
mod error;
mod folders;
mod install;
mod pull;
mod register;
mod remove;
mod repair;
mod rollback;
mod units;
mod users;

pub use collect::{Kept, Scope, Why, collect};
pub use drift::{Drift, FileDrift, drift};
pub use engine::registered;
pub use error::PlanError;
pub use install::{Expect, install};
pub use pull::pull;
pub use remove::{Force, remove};
pub use repair::{repair, repair_tree};
pub use rollback::rollback;
pub use units::{RECOVER_UNIT, WORKER_UNIT};
pub use users::{User, tree_users, users_of};

use crate::descriptor::{Descriptor, Finding};
use crate::doctor::Fitness;
pub use crate::engine::Overwrite;
use crate::name::{Digest, HostPath};
use crate::observation::{EngineObservation, PathState, TargetObservation, TreeState, TreeUses};
use crate::record::{Change, Ledger, Step, StepKind};
use crate::trust::Verified;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// What is installed. None: nothing ever was.
    pub ledger: Option<&'a Ledger>,
    /// The engine.
    pub engine: &'a EngineObservation,
    /// Where trees go.
    pub target: &'a TargetObservation,
    /// Who uses the installed trees.
    pub uses: &'a TreeUses,
    /// The state of paths. What is missing is asked for with [`PlanError::Unobserved`].
    pub paths: &'a BTreeMap<HostPath, PathState>,
    /// The state of trees. What is missing is asked for with [`PlanError::Unchecked`].
    pub trees: &'a BTreeMap<HostPath, TreeState>,
    /// The kept texts that the ledger's files name as `before`.
    pub kept: &'a BTreeMap<Digest, String>,
    /// The worker's binary. None: no systemd here, so no recovery unit either.
    pub worker: Option<WorkerBinary>,
    /// What the doctor looks at: an installation is refused where a check that applies says no.
    pub fitness: &'a Fitness,
}

impl World<'_> {
    /// The text of a configuration file that the engine reads, or that we wrote and it reads no more.
    fn config_text(&self, path: &HostPath) -> Option<&str> {
        self.engine.files.get(path).or_else(|| self.engine.apart.get(path)).map(String::as_str)
    }

    fn state(&self, path: &HostPath) -> Result<&PathState, PlanError> {
        self.paths.get(path).ok_or_else(|| PlanError::Unobserved(path.clone()))
    }

    /// The state of a tree, judged by the manifest of that digest.
    fn tree(&self, tree: &HostPath, manifest: Option<Digest>) -> Result<&TreeState, PlanError> {
        self.trees.get(tree).ok_or_else(|| PlanError::Unchecked { tree: tree.clone(), manifest })
    }
}

/// The binary that is copied to the host to carry on after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerBinary {
    /// Its content's digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A package that was read and found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What it says of itself.
    pub descriptor: Descriptor,
    /// The digest of its files.
    pub digest: Digest,
    /// The size of its files in bytes.
    pub bytes: u64,
    /// How many files, links and folders it has.
    pub entries: u64,
    /// Where it came from, for people.
    pub source: String,
    /// The preset that describes it, if it has no descriptor of its own.
    pub preset: Option<String>,
    /// The digest of the image that it was unpacked from.
    pub image: Option<Digest>,
    /// What the policy had verified of it. None: there is no policy.
    pub verified: Option<Verified>,
    /// What is worth knowing about its files, and no error.
    pub findings: Vec<Finding>,
}

/// The bytes of a file that a plan writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blob {
    /// A text.
    Text(String),
    /// The worker's own binary.
    Worker,
}

/// How a file changes, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Which file.
    pub path: HostPath,
    /// A unified diff; for the worker's binary, one line that says so.
    pub diff: String,
}

/// The ordered steps from what a node has to what it should have. Without steps there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it does.
    pub change: Change,
    /// Its steps.
    pub steps: Vec<Step>,
    /// The bytes of the files that it writes, and the texts without anything of ours that the ledger names.
    pub blobs: BTreeMap<Digest, Blob>,
    /// The ledger that commits it.
    pub after: Ledger,
    /// How files change.
    pub files: Vec<FileChange>,
    /// Bytes that will be written to the host.
    pub bytes: u64,
    /// Trees of earlier versions that stay, and why: those of the runtime that changes, or all at a collection.
    pub kept: Vec<Kept>,
    /// What is worth knowing about the package's files.
    pub findings: Vec<Finding>,
}

impl Plan {
    /// A plan without steps.
    fn new(change: Change, after: Ledger) -> Self {
        let (blobs, files) = Default::default();
        let (steps, kept, findings) = Default::default();
        Self { change, steps, blobs, after, files, bytes: 0, kept, findings }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The units that it restarts.
    pub fn restarts(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Restart { unit } => Some(unit.as_str()),
            _ => None,
        })
    }

    /// Whether it has a step of this kind.
    pub fn has(&self, kind: StepKind) -> bool {
        self.steps.iter().any(|step| step.kind() == kind)
    }
}
