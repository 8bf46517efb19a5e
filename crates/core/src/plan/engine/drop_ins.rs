//! Our drop-ins: files that are wholly ours, wherever others have put them.

use super::super::{Overwrite, PlanError, World};
use super::change::{ConfigChange, Removal, Write};
use crate::engine::containerd::{self, Layout, Placement, Registrations, Traces};
use crate::name::{Digest, HostPath};
use crate::observation::PathState;
use crate::record::{Ledger, OwnedFile, Part};
use std::collections::BTreeMap;

/// The drop-ins that `want` needs.
pub(super) fn wanted(layout: &Layout, want: &Registrations) -> BTreeMap<HostPath, String> {
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

/// Whether the engine reads `path` as a drop-in of ours: by the ledger, or by its bytes, if someone moved it.
pub(super) fn is_ours(ledger: &Ledger, path: &HostPath, text: &str) -> bool {
    match ledger.files.get(path) {
        Some(owned) => owned.part == Part::DropIn,
        None => is_copy(ledger, Digest::of(text.as_bytes())),
    }
}

/// Whether a file of this content is what we wrote as a drop-in.
fn is_copy(ledger: &Ledger, found: Digest) -> bool {
    ledger.files.values().any(|owned| owned.part == Part::DropIn && owned.after == found)
}

/// Someone's edit in a drop-in of ours counts if it changes the meaning.
struct Edits<'a> {
    traces: &'a Traces,
    overwrite: Overwrite,
}

impl Edits<'_> {
    /// Whether `text` says what is wanted, and nothing of others.
    fn none(&self, path: &HostPath, text: &str, wanted: &str) -> bool {
        containerd::only_ours(path, text, self.traces) && containerd::same(path, text, wanted)
    }

    fn refuse(&self, path: &HostPath, text: Option<&str>) -> Result<(), PlanError> {
        let ours = text.is_some_and(|text| containerd::only_ours(path, text, self.traces));
        if ours || self.overwrite == Overwrite::Yes { Ok(()) } else { Err(PlanError::Changed(path.clone())) }
    }
}

/// Brings the drop-ins to what is `wanted`.
pub(super) fn change(
    world: &World<'_>,
    ledger: &Ledger,
    overwrite: Overwrite,
    wanted: &BTreeMap<HostPath, String>,
    change: &mut ConfigChange,
) -> Result<(), PlanError> {
    let traces = ledger.traces();
    let edits = Edits { traces: &traces, overwrite };
    for (path, text) in wanted {
        place(world, ledger, &edits, path, text, change)?;
    }
    for (path, owned) in &ledger.files {
        if owned.part == Part::DropIn && !wanted.contains_key(path) {
            take_away(world, &edits, path, owned, change)?;
        }
    }
    // Copies that someone moved to where the engine reads them.
    for (path, text) in &world.engine.files {
        let root = *path == world.engine.config_resolved;
        let known = root || ledger.files.contains_key(path) || wanted.contains_key(path);
        if !known && is_ours(ledger, path, text) {
            let before = Digest::of(text.as_bytes());
            change.removals.push(Removal { path: path.clone(), before, present: Some(text.clone()) });
        }
    }
    Ok(())
}

fn place(
    world: &World<'_>,
    ledger: &Ledger,
    edits: &Edits<'_>,
    path: &HostPath,
    text: &str,
    change: &mut ConfigChange,
) -> Result<(), PlanError> {
    let digest = Digest::of(text.as_bytes());
    let found = file_digest(world, path)?;
    let present = world.config_text(path);
    match (found, ledger.files.get(path)) {
        (Some(found), Some(_)) if found == digest => return Ok(()),
        (Some(_), Some(_)) if present.is_some_and(|present| edits.none(path, present, text)) => {
            return Ok(());
        }
        (Some(found), Some(owned)) if found != owned.after => edits.refuse(path, present)?,
        (Some(found), None) if found != digest && !is_copy(ledger, found) => return Err(in_the_way(path)),
        _ => {}
    }
    change.writes.push(Write {
        path: path.clone(),
        before: found,
        present: present.map(str::to_owned).or_else(|| (found == Some(digest)).then(|| text.to_owned())),
        wanted: text.to_owned(),
        owned: Some(OwnedFile { before: None, after: digest, part: Part::DropIn }),
        base: None,
    });
    Ok(())
}

fn take_away(
    world: &World<'_>,
    edits: &Edits<'_>,
    path: &HostPath,
    owned: &OwnedFile,
    change: &mut ConfigChange,
) -> Result<(), PlanError> {
    let present = world.config_text(path).map(str::to_owned);
    match file_digest(world, path)? {
        None => change.forgotten.push(path.clone()),
        Some(found) => {
            if found != owned.after {
                edits.refuse(path, present.as_deref())?;
            }
            change.removals.push(Removal { path: path.clone(), before: found, present });
        }
    }
    Ok(())
}

/// What the file at `path` holds, whether or not the configuration imports it (others may have dropped the import).
fn file_digest(world: &World<'_>, path: &HostPath) -> Result<Option<Digest>, PlanError> {
    if let Some(text) = world.config_text(path) {
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
