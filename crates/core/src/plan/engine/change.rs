//! A change of the engine's configuration, as steps of a plan.

use super::super::{Blob, FileChange, Plan, PlanError, World, folders};
use crate::diff;
use crate::engine::containerd;
use crate::name::{Digest, HostPath};
use crate::record::{OwnedFile, Step};

/// The permission bits of configuration files that we create.
const MODE: u32 = 0o644;

/// What has to change in the engine's configuration.
#[derive(Debug, Default)]
pub(in crate::plan) struct ConfigChange {
    /// New contents: (path, present text, wanted text, what the ledger will say).
    pub(super) writes: Vec<Write>,
    /// Files of ours that go.
    pub(super) removals: Vec<Removal>,
    /// Files of ours that are gone already.
    pub(super) forgotten: Vec<HostPath>,
}

#[derive(Debug)]
pub(super) struct Removal {
    pub(super) path: HostPath,
    pub(super) before: Digest,
    /// Its text, if it is known.
    pub(super) present: Option<String>,
}

#[derive(Debug)]
pub(super) struct Write {
    pub(super) path: HostPath,
    pub(super) before: Option<Digest>,
    /// Its text, if it is known.
    pub(super) present: Option<String>,
    pub(super) wanted: String,
    /// None: nothing of ours is left in it.
    pub(super) owned: Option<OwnedFile>,
    /// The text without anything of ours, to be kept.
    pub(super) base: Option<String>,
}

impl ConfigChange {
    pub(in crate::plan) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.removals.is_empty()
    }

    /// Refuses to delete a file that someone imports by its name: containerd would not start without it.
    pub(super) fn refuse_dangling(self, world: &World<'_>) -> Result<Self, PlanError> {
        let engine = world.engine;
        let mut files = engine.files.clone();
        files.extend(self.writes.iter().map(|write| (write.path.clone(), write.wanted.clone())));
        files.retain(|path, _| self.removals.iter().all(|gone| gone.path != *path));
        for Removal { path, .. } in &self.removals {
            if let Some(by) =
                containerd::imported_by_name(&engine.config, &engine.config_resolved, &files, path)
            {
                return Err(PlanError::ImportedByName { path: path.clone(), by: by.clone() });
            }
        }
        Ok(self)
    }

    /// Adds the steps to `plan` and takes the files into its ledger. Each state between two steps starts: the
    /// import is a glob, which may match nothing.
    pub(in crate::plan) fn enter(self, world: &World<'_>, plan: &mut Plan) -> Result<(), PlanError> {
        for write in self.writes {
            if let Some(parent) = write.path.parent() {
                folders::ensure(world, &parent, &mut plan.after, &mut plan.steps)?;
            }
            let after = Digest::of(write.wanted.as_bytes());
            let shown = diff::unified(write.path.as_str(), write.present.as_deref(), Some(&write.wanted));
            plan.files.push(FileChange { path: write.path.clone(), diff: shown });
            plan.steps.push(Step::WriteFile {
                path: write.path.clone(),
                before: write.before,
                after,
                mode: MODE,
            });
            plan.bytes += write.wanted.len() as u64;
            for text in [Some(write.wanted), write.base].into_iter().flatten() {
                plan.blobs.insert(Digest::of(text.as_bytes()), Blob::Text(text));
            }
            match write.owned {
                Some(owned) => plan.after.files.insert(write.path, owned),
                None => plan.after.files.remove(&write.path),
            };
        }
        for Removal { path, before, present } in self.removals {
            let shown = diff::unified(path.as_str(), present.as_deref(), None);
            plan.files.push(FileChange { path: path.clone(), diff: shown });
            plan.steps.push(Step::RemoveFile { path: path.clone(), before, mode: MODE });
            plan.after.files.remove(&path);
        }
        for path in self.forgotten {
            plan.after.files.remove(&path);
        }
        Ok(())
    }
}
