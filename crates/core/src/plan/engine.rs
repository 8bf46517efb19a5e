//! The engine's configuration: from the present files and the wanted registrations to file steps.

use super::{Blob, FileChange, Plan, PlanError, World, folders};
use crate::diff;
use crate::engine::containerd::{self, ConfigInput, Effective, Layout, Placement, Registrations};
use crate::name::{Digest, HostPath};
use crate::observation::PathState;
use crate::record::{Ledger, OwnedFile, Part, Step};
use std::collections::BTreeMap;

/// The permission bits of configuration files that we create.
const MODE: u32 = 0o644;

/// What has to change in the engine's configuration.
#[derive(Debug, Default)]
pub(super) struct ConfigChange {
    /// New contents: (path, present text, wanted text, what the ledger will say).
    writes: Vec<Write>,
    /// Files of ours that go.
    removals: Vec<(HostPath, String)>,
}

#[derive(Debug)]
struct Write {
    path: HostPath,
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

    /// Adds the steps to `plan` and takes the files into its ledger. Each state between two steps starts: the
    /// import is a glob, which may match nothing.
    pub(super) fn enter(self, world: &World<'_>, plan: &mut Plan) -> Result<(), PlanError> {
        for write in self.writes {
            if let Some(parent) = write.path.parent() {
                folders::ensure(world, &parent, &mut plan.after, &mut plan.steps)?;
            }
            let after = Digest::of(write.wanted.as_bytes());
            let before = write.present.as_ref().map(|text| Digest::of(text.as_bytes()));
            let shown = diff::unified(write.path.as_str(), write.present.as_deref(), Some(&write.wanted));
            plan.files.push(FileChange { path: write.path.clone(), diff: shown });
            plan.steps.push(Step::WriteFile { path: write.path.clone(), before, after, mode: MODE });
            plan.bytes += write.wanted.len() as u64;
            for text in [write.present, Some(write.wanted), write.base].into_iter().flatten() {
                plan.blobs.insert(Digest::of(text.as_bytes()), Blob::Text(text));
            }
            match write.owned {
                Some(owned) => plan.after.files.insert(write.path, owned),
                None => plan.after.files.remove(&write.path),
            };
        }
        for (path, present) in self.removals {
            let before = Digest::of(present.as_bytes());
            let shown = diff::unified(path.as_str(), Some(&present), None);
            plan.files.push(FileChange { path: path.clone(), diff: shown });
            plan.steps.push(Step::RemoveFile { path: path.clone(), before, mode: MODE });
            plan.blobs.insert(before, Blob::Text(present));
            plan.after.files.remove(&path);
        }
        Ok(())
    }
}

/// Compares what the configuration holds with `want`.
pub(super) fn change(world: &World<'_>, ledger: &Ledger, want: &Registrations) -> Result<ConfigChange, PlanError> {
    let effective = world.engine.dump.as_deref().map(Effective::parse).transpose()?;
    let root = &world.engine.config_resolved;
    let present = world.engine.files.get(root);
    let record = ledger.files.get(root);
    let unchanged = is_unchanged(ledger, want, present, record);
    let base = base_text(world, root, present, record)?;

    let mut files = world.engine.files.clone();
    for (path, owned) in &ledger.files {
        if owned.part == Part::DropIn {
            files.remove(path);
        }
    }
    match &base {
        Some(text) => files.insert(root.clone(), text.clone()),
        None => files.remove(root),
    };
    let input = ConfigInput { engine: world.engine.version, root, files: &files, effective: effective.as_ref() };

    let mut change = ConfigChange::default();
    let layout = if want.is_empty() { None } else { Some(containerd::layout(&input)?) };
    if let Some(layout) = &layout {
        containerd::check(&input, layout, want, &ledger.registrations())?;
    }
    let drop_ins = layout.as_ref().map(|layout| drop_ins(layout, want)).unwrap_or_default();
    drop_in_changes(world, ledger, drop_ins, &mut change)?;
    if unchanged {
        return Ok(change);
    }
    root_change(root, present, base, record, layout.as_ref(), want, &mut change)?;
    Ok(change)
}

/// Whether the root file holds all that `want` asks of it, whatever others did to it since.
fn is_unchanged(ledger: &Ledger, want: &Registrations, present: Option<&String>, record: Option<&OwnedFile>) -> bool {
    if ledger.registrations() != *want || want.is_empty() {
        return false;
    }
    match (present, record) {
        (Some(text), Some(OwnedFile { part: Part::Containerd(owned), .. })) => containerd::holds(text, owned),
        // Drop-ins under an import that was there before: the root holds nothing of ours.
        (_, None) => true,
        _ => false,
    }
}

/// The root file without anything of ours. If nobody touched it since, the kept bytes; else ours is cut out.
fn base_text(
    world: &World<'_>,
    root: &HostPath,
    present: Option<&String>,
    record: Option<&OwnedFile>,
) -> Result<Option<String>, PlanError> {
    let (Some(present), Some(record)) = (present, record) else { return Ok(present.cloned()) };
    if Digest::of(present.as_bytes()) == record.after {
        let Some(before) = record.before else { return Ok(None) };
        let kept = world.kept.get(&before).ok_or_else(|| PlanError::KeptMissing(root.clone()))?;
        return Ok(Some(kept.clone()));
    }
    match &record.part {
        Part::Whole | Part::DropIn => Err(PlanError::Changed(root.clone())),
        Part::Containerd(owned) => {
            let cut = containerd::cut_root(root.as_str(), present, owned)?;
            let text = crate::splice::apply(present, &cut).map_err(|error| PlanError::Internal(error.to_string()))?;
            Ok(Some(text))
        }
    }
}

fn root_change(
    root: &HostPath,
    present: Option<&String>,
    base: Option<String>,
    record: Option<&OwnedFile>,
    layout: Option<&Layout>,
    want: &Registrations,
    change: &mut ConfigChange,
) -> Result<(), PlanError> {
    let written = match layout {
        Some(layout) => containerd::write_root(layout, base.as_deref(), want)?,
        None => None,
    };
    match (written, present) {
        (Some((wanted, owned)), present) => {
            if present == Some(&wanted) && record.is_some() {
                return Ok(());
            }
            let before = base.as_ref().map(|text| Digest::of(text.as_bytes()));
            let after = Digest::of(wanted.as_bytes());
            change.writes.push(Write {
                path: root.clone(),
                present: present.cloned(),
                wanted,
                owned: Some(OwnedFile { before, after, part: Part::Containerd(owned) }),
                base,
            });
        }
        (None, Some(present)) => match base {
            Some(base) if base != *present => change.writes.push(Write {
                path: root.clone(),
                present: Some(present.clone()),
                wanted: base,
                owned: None,
                base: None,
            }),
            Some(_) => {}
            None => change.removals.push((root.clone(), present.clone())),
        },
        (None, None) => {}
    }
    Ok(())
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
        let owned = ledger.files.get(path);
        let present = world.engine.files.get(path);
        let found = present.map(|text| Digest::of(text.as_bytes()));
        match (present, found, owned) {
            (Some(_), Some(found), Some(_)) if found == digest => continue,
            (Some(_), Some(found), Some(owned)) if found != owned.after => {
                return Err(PlanError::Changed(path.clone()));
            }
            (Some(_), _, None) => return Err(in_the_way(path)),
            (None, _, _) if !matches!(world.state(path)?, PathState::Absent) => return Err(in_the_way(path)),
            _ => {}
        }
        change.writes.push(Write {
            path: path.clone(),
            present: present.cloned(),
            wanted: text.clone(),
            owned: Some(OwnedFile { before: None, after: digest, part: Part::DropIn }),
            base: None,
        });
    }
    for (path, owned) in &ledger.files {
        if owned.part != Part::DropIn || wanted.contains_key(path) {
            continue;
        }
        match world.engine.files.get(path) {
            Some(present) if Digest::of(present.as_bytes()) == owned.after => {
                change.removals.push((path.clone(), present.clone()));
            }
            Some(_) => return Err(PlanError::Changed(path.clone())),
            None => {}
        }
    }
    Ok(())
}

fn in_the_way(path: &HostPath) -> PlanError {
    PlanError::InTheWay { path: path.clone(), found: "a file that is not ours", wanted: "nothing" }
}
