//! The plan of an installation.

use super::{Package, Plan, PlanError, World, engine, folders, units};
use crate::doctor::Gate;
use crate::engine::containerd;
use crate::name::{HandlerName, HostPath};
use crate::observation::{CriObservation, PathState};
use crate::record::{Change, Installed, Ledger, RUNTIME_ROOT, Step, Verdict};
use std::collections::BTreeMap;

/// Space that a transaction needs beside the package: records, the worker's copy, file system blocks.
const SLACK_BYTES: u64 = 64 << 20;

/// Plans the installation of `package`. Without steps, it is there already.
///
/// # Errors
/// If the host, the engine's configuration or what is installed does not allow it, or the doctor says no.
pub fn install(world: &World<'_>, package: &Package, rehearse: bool) -> Result<Plan, PlanError> {
    let draft = draft(world, package, rehearse);
    // What is there already needs nothing.
    if matches!(&draft, Err(PlanError::Unobserved(_))) || draft.as_ref().is_ok_and(Plan::is_empty) {
        return draft;
    }
    match world.fitness.unfit(world.engine, world.target, &package.descriptor) {
        // What can be overridden comes after what cannot.
        Some(unfit) if draft.is_ok() || unfit.gate == Gate::Closed => {
            Err(PlanError::Unfit { name: package.descriptor.name.clone(), unfit })
        }
        _ => draft,
    }
}

fn draft(world: &World<'_>, package: &Package, rehearse: bool) -> Result<Plan, PlanError> {
    let name = &package.descriptor.name;
    let before = ledger(world);
    let tree = tree_path(&before.prefix, package)?;
    refuse_other_version(&before, package)?;
    refuse_taken_handlers(&before, package)?;
    if let Some(base) = package.descriptor.base.as_ref().filter(|base| !before.runtimes.contains_key(*base)) {
        return Err(PlanError::BaseMissing { name: name.clone(), base: base.clone() });
    }

    let runtime_root = HostPath::new(RUNTIME_ROOT).map_err(|error| PlanError::Internal(error.to_string()))?;
    let entry = |handler| containerd::entry(handler, &tree, &runtime_root);
    let installed = Installed {
        version: package.descriptor.version.clone(),
        digest: package.digest,
        tree: tree.clone(),
        entries: package.descriptor.handlers.iter().map(entry).collect(),
        source: package.source.clone(),
        verdict: Verdict::Offline,
    };
    let mut want = before.registrations();
    want.insert(name.clone(), installed.entries.clone());
    let config = engine::change(world, &before, &want)?;

    let mut after = before.clone();
    after.generation += 1;
    let verdict = before.runtimes.get(name).map_or(Verdict::Offline, |present| present.verdict.clone());
    after.runtimes.insert(name.clone(), Installed { verdict, ..installed });
    let change = Change::Install { name: name.clone(), version: package.descriptor.version.clone() };
    let mut plan =
        Plan { change, steps: Vec::new(), blobs: BTreeMap::new(), after, files: Vec::new(), bytes: 0 };

    if matches!(world.state(&tree)?, PathState::Absent) {
        check_space(world, package)?;
        if let Some(folder) = tree.parent() {
            folders::ensure(world, &folder, &mut plan.after, &mut plan.steps)?;
        }
        plan.steps.push(Step::PlaceTree { tree });
        plan.bytes += package.bytes;
    }
    if let Some(worker) = world.worker {
        units::ensure(world, worker, &mut plan)?;
    }
    let handlers: Vec<_> = package.descriptor.handlers.iter().map(|handler| handler.name.clone()).collect();
    let served = config.is_empty() && is_served(world, &handlers);
    if plan.is_empty() && served {
        return Ok(plan);
    }
    prove(world, &mut plan, config, handlers, !served, rehearse)?;
    plan.steps.push(Step::Commit);
    Ok(plan)
}

/// Whether the running engine lists all handlers (offline, no engine has to).
fn is_served(world: &World<'_>, handlers: &[HandlerName]) -> bool {
    match &world.engine.cri {
        CriObservation::Ready(cri) => {
            handlers.iter().all(|h| cri.handlers.iter().any(|listed| listed == h.as_str()))
        }
        CriObservation::Unavailable { .. } => false,
        CriObservation::Offline => true,
    }
}

/// The steps that install and remove share: rehearse, write, restart once, verify. The commit follows.
pub(super) fn prove(
    world: &World<'_>,
    plan: &mut Plan,
    config: engine::ConfigChange,
    probe: Vec<HandlerName>,
    restart: bool,
    rehearse: bool,
) -> Result<(), PlanError> {
    let unit = if restart { restartable_unit(world)? } else { None };
    if rehearse && unit.is_some() && !config.is_empty() {
        plan.steps.push(Step::Rehearse);
    }
    config.enter(world, plan)?;
    if let Some(unit) = unit {
        plan.steps.push(Step::Restart { unit });
    }
    if world.engine.process.is_some() {
        plan.steps.push(Step::Verify { handlers: probe });
    }
    Ok(())
}

/// The unit to restart; none offline. Refuses what a restart would break.
fn restartable_unit(world: &World<'_>) -> Result<Option<String>, PlanError> {
    let Some(process) = &world.engine.process else { return Ok(None) };
    let Some(unit) = &world.engine.unit else { return Err(PlanError::NoUnit { pid: process.pid }) };
    let cri = match &world.engine.cri {
        CriObservation::Ready(cri) => cri,
        CriObservation::Unavailable { reason, .. } => {
            return Err(PlanError::CriUnavailable { reason: reason.clone() });
        }
        CriObservation::Offline => return Ok(None),
    };
    let running = cri.sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    if running > 0 && matches!(unit.kill_mode.as_str(), "control-group" | "mixed") {
        return Err(PlanError::KillMode {
            unit: unit.name.clone(),
            kill_mode: unit.kill_mode.clone(),
            sandboxes: running,
        });
    }
    Ok(Some(unit.name.clone()))
}

/// The present ledger; an empty one if there is none yet.
pub(super) fn ledger(world: &World<'_>) -> Ledger {
    world.ledger.cloned().unwrap_or_else(|| Ledger::empty(world.target.prefix.clone()))
}

fn tree_path(prefix: &HostPath, package: &Package) -> Result<HostPath, PlanError> {
    let Package { descriptor, digest, .. } = package;
    prefix
        .join(&format!("runtimes/{}/{}-{}", descriptor.name, descriptor.version, digest.short()))
        .map_err(|error| PlanError::Internal(error.to_string()))
}

fn refuse_other_version(ledger: &Ledger, package: &Package) -> Result<(), PlanError> {
    let name = &package.descriptor.name;
    match ledger.runtimes.get(name) {
        Some(present) if present.digest != package.digest => Err(PlanError::OtherVersion {
            name: name.clone(),
            installed: present.version.clone(),
            wanted: package.descriptor.version.clone(),
        }),
        _ => Ok(()),
    }
}

fn refuse_taken_handlers(ledger: &Ledger, package: &Package) -> Result<(), PlanError> {
    for handler in &package.descriptor.handlers {
        if let Some(owner) = ledger.owner_of(handler.name.as_str()).filter(|o| **o != package.descriptor.name)
        {
            return Err(PlanError::HandlerTaken { handler: handler.name.to_string(), owner: owner.clone() });
        }
    }
    Ok(())
}

fn check_space(world: &World<'_>, package: &Package) -> Result<(), PlanError> {
    let target = world.target;
    let bytes = package.bytes + world.worker.map_or(0, |worker| worker.size) + SLACK_BYTES;
    if target.free_bytes < bytes || target.free_inodes < package.entries {
        return Err(PlanError::NoSpace {
            prefix: target.prefix.clone(),
            free: target.free_bytes,
            inodes: target.free_inodes,
            bytes,
            entries: package.entries,
        });
    }
    Ok(())
}
