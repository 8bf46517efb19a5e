//! The engine's configuration: from the present files and the wanted registrations to file steps.

mod bases;
mod change;
mod drop_ins;

use super::{Overwrite, PlanError, World};
use crate::engine::containerd::{self, ConfigInput, Effective, Layout, Misfit, Registrations};
use crate::name::{Digest, HandlerName, HostPath};
use crate::observation::EngineObservation;
use crate::record::{Installed, Ledger, OwnedFile, Part};
use bases::{Base, bases};
pub(super) use change::ConfigChange;
use change::{Removal, Write};
use std::collections::{BTreeMap, BTreeSet};

/// Compares what the configuration holds with `want`. What we wrote is found wherever it stands by now, and what `want`
/// asks for goes where the present root file needs it.
///
/// # Errors
/// If the configuration does not allow it, or if someone edited what is ours and it must not be overwritten.
pub(super) fn change(
    world: &World<'_>,
    ledger: &Ledger,
    want: &Registrations,
    overwrite: Overwrite,
) -> Result<ConfigChange, PlanError> {
    let bases = bases(world, ledger, overwrite)?;
    let layout = decide(world, ledger, &bases, want)?;
    let mut change = ConfigChange::default();
    let wanted = layout.as_ref().map(|layout| drop_ins::wanted(layout, want)).unwrap_or_default();
    drop_ins::change(world, ledger, overwrite, &wanted, &mut change)?;
    let edited = layout.as_ref().map(|layout| &layout.file);
    if let Some(layout) = &layout {
        edit(layout, bases.get(&layout.file), want, &mut change)?;
    }
    for (path, base) in bases.into_iter().filter(|(path, _)| Some(path) != edited) {
        restore(path, base, &mut change);
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

/// Where entries go, looking at the files as they are without us. None: none are to go anywhere.
fn decide(
    world: &World<'_>,
    ledger: &Ledger,
    bases: &BTreeMap<HostPath, Base>,
    want: &Registrations,
) -> Result<Option<Layout>, PlanError> {
    let effective = world.engine.dump.as_deref().map(Effective::parse).transpose()?;
    let texts = bases.iter().filter_map(|(path, base)| Some((path.clone(), base.text.clone()?)));
    let files = texts.collect();
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

/// Writes what `want` asks of the file that the layout names, unless it says so already in others' words.
fn edit(
    layout: &Layout,
    base: Option<&Base>,
    want: &Registrations,
    change: &mut ConfigChange,
) -> Result<(), PlanError> {
    let text = base.and_then(|base| base.text.clone());
    let present = base.and_then(|base| base.present.clone());
    let (wanted, owned) = containerd::write_root(layout, text.as_deref(), want)?;
    let ours = !owned.pieces.is_empty();
    if !ours && text.is_none() {
        return Ok(());
    }
    if present.as_deref().is_some_and(|present| containerd::settled(present, text.as_deref(), &owned)) {
        return Ok(());
    }
    let before = text.as_ref().map(|text| Digest::of(text.as_bytes()));
    let after = Digest::of(wanted.text.as_bytes());
    change.writes.push(Write {
        path: layout.file.clone(),
        before: present.as_ref().map(|text| Digest::of(text.as_bytes())),
        present,
        wanted: wanted.text,
        owned: ours.then_some(OwnedFile { before, after, part: Part::Containerd(owned) }),
        base: text,
    });
    Ok(())
}

/// Leaves a file as it is without us.
fn restore(path: HostPath, base: Base, change: &mut ConfigChange) {
    match (base.text, base.present) {
        // Nothing of ours is in it (any more), or someone deleted it.
        (Some(wanted), Some(present)) if wanted == present => change.forgotten.push(path),
        (_, None) => change.forgotten.push(path),
        (Some(wanted), Some(present)) => change.writes.push(Write {
            before: Some(Digest::of(present.as_bytes())),
            present: Some(present),
            wanted,
            owned: None,
            base: None,
            path,
        }),
        (None, Some(present)) => change.removals.push(Removal {
            path,
            before: Digest::of(present.as_bytes()),
            present: Some(present),
        }),
    }
}
