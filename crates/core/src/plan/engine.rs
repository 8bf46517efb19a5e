//! The engine's configuration: from the present files and the wanted registrations to file steps.

use super::{Blob, FileChange, Overwrite, Plan, PlanError, World, folders};
use crate::diff;
use crate::engine::containerd::{
    self, ConfigInput, Effective, Layout, Misfit, Placement, Registrations, Traces,
};
use crate::name::{Digest, HandlerName, HostPath};
use crate::observation::{EngineObservation, PathState};
use crate::record::{Installed, Ledger, OwnedFile, Part, Step};
use crate::splice;
use std::collections::{BTreeMap, BTreeSet};

/// The permission bits of configuration files that we create.
const MODE: u32 = 0o644;

/// What has to change in the engine's configuration.
#[derive(Debug, Default)]
pub(super) struct ConfigChange {
    /// New contents: (path, present text, wanted text, what the ledger will say).
    writes: Vec<Write>,
    /// Files of ours that go.
    removals: Vec<Removal>,
    /// Files of ours that are gone already.
    forgotten: Vec<HostPath>,
}

#[derive(Debug)]
struct Removal {
    path: HostPath,
    before: Digest,
    /// Its text, if the configuration loads it.
    present: Option<String>,
}

#[derive(Debug)]
struct Write {
    path: HostPath,
    before: Option<Digest>,
    /// Its text, if the configuration loads it.
    present: Option<String>,
    wanted: String,
    /// None: nothing of ours is left in it.
    owned: Option<OwnedFile>,
    /// The text without anything of ours, to be kept.
    base: Option<String>,
}

impl ConfigChange {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.removals.is_empty()
    }

    /// Refuses to delete a file that someone imports by its name: containerd would not start without it.
    fn refuse_dangling(self, world: &World<'_>) -> Result<Self, PlanError> {
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
    pub(super) fn enter(self, world: &World<'_>, plan: &mut Plan) -> Result<(), PlanError> {
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

/// Compares what the configuration holds with `want`.
pub(super) fn change(
    world: &World<'_>,
    ledger: &Ledger,
    want: &Registrations,
) -> Result<ConfigChange, PlanError> {
    let bases = bases(world, ledger)?;
    let layout = decide(world, ledger, &bases, want)?;
    let mut change = ConfigChange::default();
    let wanted = layout.as_ref().map(|layout| drop_ins(layout, want)).unwrap_or_default();
    drop_in_changes(world, ledger, wanted, &mut change)?;

    let untouched = !bases.is_empty() && !want.is_empty() && ledger.registrations() == *want;
    if untouched && bases.values().all(|base| base.holds) {
        return change.refuse_dangling(world);
    }
    let edited = layout.as_ref().map(|layout| &layout.file);
    if let Some(layout) = &layout {
        edit(world, ledger, layout, bases.get(&layout.file), want, &mut change)?;
    }
    for (path, base) in bases.into_iter().filter(|(path, _)| Some(path) != edited) {
        restore(world, path, base, &mut change);
    }
    change.refuse_dangling(world)
}

/// Every registration in `ledger` that does not fit the configuration that `engine` reads.
///
/// # Errors
/// If the configuration cannot be read, or cannot hold registrations at all: the reason, as an installation gives it.
pub fn registered(engine: &EngineObservation, ledger: &Ledger) -> Result<Vec<Misfit>, PlanError> {
    let effective = engine.dump.as_deref().map(Effective::parse).transpose()?;
    let ours = handlers(ledger);
    let input = ConfigInput {
        engine: engine.version,
        config: &engine.config,
        root: &engine.config_resolved,
        files: &engine.files,
        effective: effective.as_ref(),
        ours: &ours,
    };
    Ok(containerd::registered(&input, &engine.apart, &ledger.traces())?)
}

fn handlers(ledger: &Ledger) -> BTreeSet<HandlerName> {
    ledger.runtimes.values().flat_map(|runtime| runtime.handlers().cloned()).collect()
}

/// A file that the dialect edited before.
struct Base {
    /// Its text without anything of ours. None: no file.
    text: Option<String>,
    /// Whether all that we wrote stands in it.
    holds: bool,
}

/// Where entries go, looking at the files as they are without us. None: none are to go anywhere.
fn decide(
    world: &World<'_>,
    ledger: &Ledger,
    bases: &BTreeMap<HostPath, Base>,
    want: &Registrations,
) -> Result<Option<Layout>, PlanError> {
    let effective = world.engine.dump.as_deref().map(Effective::parse).transpose()?;
    let mut files = world.engine.files.clone();
    files.retain(|path, _| ledger.files.get(path).is_none_or(|owned| owned.part != Part::DropIn));
    for (path, base) in bases {
        match &base.text {
            Some(text) => files.insert(path.clone(), text.clone()),
            None => files.remove(path),
        };
    }
    let ours = handlers(ledger);
    let input = ConfigInput {
        engine: world.engine.version,
        config: &world.engine.config,
        root: &world.engine.config_resolved,
        files: &files,
        effective: effective.as_ref(),
        ours: &ours,
    };
    containerd::supported(input.engine)?;
    containerd::dismiss(&input, &going(ledger, want))?;
    if want.is_empty() {
        return Ok(None);
    }
    let layout = containerd::layout(&input)?;
    containerd::admit(&input, want)?;
    Ok(Some(layout))
}

/// Handlers of ours that `want` has no more.
fn going(ledger: &Ledger, want: &Registrations) -> BTreeSet<HandlerName> {
    let stays = |handler: &&HandlerName| want.values().flatten().any(|entry| entry.handler == **handler);
    ledger
        .runtimes
        .values()
        .flat_map(Installed::handlers)
        .filter(|handler| !stays(handler))
        .cloned()
        .collect()
}

/// The files that the dialect edited, without anything of ours. If nobody touched one since, that is the kept bytes;
/// else ours is cut out.
fn bases(world: &World<'_>, ledger: &Ledger) -> Result<BTreeMap<HostPath, Base>, PlanError> {
    let mut bases = BTreeMap::new();
    for (path, record) in &ledger.files {
        let Part::Containerd(owned) = &record.part else { continue };
        // Someone may have deleted the kept bytes: then ours is cut out. Only the record says that there was no file.
        let kept = match &record.before {
            None => Some(None),
            Some(digest) => world.kept.get(digest).cloned().map(Some),
        };
        let base = match world.engine.files.get(path) {
            None => Base { text: None, holds: false },
            Some(present) if Digest::of(present.as_bytes()) == record.after && kept.is_some() => {
                Base { text: kept.flatten(), holds: true }
            }
            Some(present) => {
                let cut = containerd::cut_root(present, owned, &Traces::default(), Overwrite::No)?;
                let text = splice::apply(present, &cut.splices)
                    .map_err(|error| PlanError::Internal(format!("{path}: {error}")))?;
                let gone = owned.created && text.trim().is_empty();
                Base { text: (!gone).then_some(text), holds: containerd::holds(present, owned) }
            }
        };
        bases.insert(path.clone(), base);
    }
    Ok(bases)
}

/// Writes what `want` asks of the file that the layout names.
fn edit(
    world: &World<'_>,
    ledger: &Ledger,
    layout: &Layout,
    base: Option<&Base>,
    want: &Registrations,
    change: &mut ConfigChange,
) -> Result<(), PlanError> {
    let path = &layout.file;
    let present = world.engine.files.get(path);
    let text = base.map_or_else(|| present.cloned(), |base| base.text.clone());
    let (wanted, owned) = containerd::write_root(layout, text.as_deref(), want)?;
    let ours = !owned.pieces.is_empty();
    if !ours && text.is_none() || present == Some(&wanted.text) && ours == ledger.files.contains_key(path) {
        return Ok(());
    }
    let before = text.as_ref().map(|text| Digest::of(text.as_bytes()));
    let after = Digest::of(wanted.text.as_bytes());
    change.writes.push(Write {
        path: path.clone(),
        before: present.map(|text| Digest::of(text.as_bytes())),
        present: present.cloned(),
        wanted: wanted.text,
        owned: ours.then_some(OwnedFile { before, after, part: Part::Containerd(owned) }),
        base: text,
    });
    Ok(())
}

/// Leaves a file as it is without us.
fn restore(world: &World<'_>, path: HostPath, base: Base, change: &mut ConfigChange) {
    match (base.text, world.engine.files.get(&path)) {
        (Some(wanted), Some(present)) => change.writes.push(Write {
            before: Some(Digest::of(present.as_bytes())),
            present: Some(present.clone()),
            wanted,
            owned: None,
            base: None,
            path,
        }),
        (None, Some(present)) => change.removals.push(Removal {
            path,
            before: Digest::of(present.as_bytes()),
            present: Some(present.clone()),
        }),
        // Someone deleted it: there is nothing to restore.
        (_, None) => change.forgotten.push(path),
    }
}

fn drop_ins(layout: &Layout, want: &Registrations) -> BTreeMap<HostPath, String> {
    match &layout.placement {
        Placement::InPlace => BTreeMap::new(),
        Placement::DropIn { .. } => want
            .iter()
            .filter_map(|(runtime, entries)| {
                Some((layout.drop_in_path(runtime)?, containerd::drop_in(layout, runtime, entries)))
            })
            .collect(),
    }
}

fn drop_in_changes(
    world: &World<'_>,
    ledger: &Ledger,
    wanted: BTreeMap<HostPath, String>,
    change: &mut ConfigChange,
) -> Result<(), PlanError> {
    for (path, text) in &wanted {
        let digest = Digest::of(text.as_bytes());
        let found = file_digest(world, path)?;
        match (found, ledger.files.get(path)) {
            (Some(found), Some(_)) if found == digest => continue,
            (Some(found), Some(owned)) if found != owned.after => {
                return Err(PlanError::Changed(path.clone()));
            }
            (Some(_), None) => return Err(in_the_way(path)),
            _ => {}
        }
        change.writes.push(Write {
            path: path.clone(),
            before: found,
            present: world.engine.files.get(path).cloned(),
            wanted: text.clone(),
            owned: Some(OwnedFile { before: None, after: digest, part: Part::DropIn }),
            base: None,
        });
    }
    for (path, owned) in &ledger.files {
        if owned.part != Part::DropIn || wanted.contains_key(path) {
            continue;
        }
        match file_digest(world, path)? {
            Some(found) if found == owned.after => {
                let present = world.engine.files.get(path).cloned();
                change.removals.push(Removal { path: path.clone(), before: found, present });
            }
            Some(_) => return Err(PlanError::Changed(path.clone())),
            None => change.forgotten.push(path.clone()),
        }
    }
    Ok(())
}

/// What the file at `path` holds, whether or not the configuration imports it (others may have dropped the import).
fn file_digest(world: &World<'_>, path: &HostPath) -> Result<Option<Digest>, PlanError> {
    if let Some(text) = world.engine.files.get(path) {
        return Ok(Some(Digest::of(text.as_bytes())));
    }
    match world.state(path)? {
        PathState::Absent => Ok(None),
        PathState::File { digest, .. } => Ok(Some(*digest)),
        PathState::Link { .. } | PathState::Folder | PathState::Other => Err(in_the_way(path)),
    }
}

fn in_the_way(path: &HostPath) -> PlanError {
    PlanError::InTheWay { path: path.clone(), found: "a file that is not ours", wanted: "nothing" }
}
