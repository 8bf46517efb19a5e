//! What every plan that registers a version shares: its tree, our units, the configuration, the proof.

use super::collect::{self, Scope};
use super::{Overwrite, Package, Plan, PlanError, World, engine, folders, units, users};
use crate::name::{HandlerName, HostPath, RuntimeName};
use crate::observation::CriObservation;
use crate::record::{Change, Installed, Ledger, Step, Verdict};

/// Space that a transaction needs beside the package: records, the worker's copy, file system blocks.
const SLACK_BYTES: u64 = 64 << 20;

/// What is to be registered.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a RuntimeName,
    pub(super) installed: Installed,
    pub(super) change: Change,
    pub(super) placing: Placing<'a>,
    pub(super) rehearse: bool,
}

/// How its tree comes to its place.
#[derive(Clone, Copy)]
pub(super) enum Placing<'a> {
    /// It is there.
    There,
    /// From this package.
    New(&'a Package),
    /// From this package, instead of damaged files.
    Instead(&'a Package),
}

/// Plans the registration. What was registered under the name before stays on the host as a retired version.
pub(super) fn register(world: &World<'_>, before: Ledger, wanted: Wanted<'_>) -> Result<Plan, PlanError> {
    let Wanted { name, installed, change, placing, rehearse } = wanted;
    refuse_taken_handlers(&before, name, &installed)?;
    refuse_dropped_handlers(world, &before, name, &installed)?;
    let mut want = before.registrations();
    want.insert(name.clone(), installed.entries.clone());
    let config = engine::change(world, &before, &want, Overwrite::No)?;
    let handlers: Vec<HandlerName> = installed.handlers().cloned().collect();
    // The same files by another image: worth a line in the ledger, so that it is not fetched again.
    let present = before.runtimes.get(name).map(|present| present.image);
    let renamed = installed.image.is_some() && present.is_some_and(|image| image != installed.image);
    let moved = before.runtimes.get(name).is_none_or(|present| present.tree != installed.tree);
    // What nobody could prove then may be provable now: the pod network came, or the image was booted.
    let settled = installed.verdict == Verdict::Proven || world.engine.process.is_none();

    let mut after = before;
    after.generation += 1;
    let tree = installed.tree.clone();
    after.replace(name, installed);
    let mut plan = Plan::new(change, after);
    place(world, &mut plan, &tree, placing)?;
    if let Some(worker) = world.worker {
        units::ensure(world, worker, Overwrite::No, &mut plan)?;
    }
    let served = config.is_empty() && is_served(world, &handlers);
    if plan.is_empty() && served && !moved && settled {
        if renamed {
            plan.steps.push(Step::Commit);
        }
        return Ok(plan);
    }
    prove(world, &mut plan, config, handlers, !served, rehearse)?;
    plan.steps.push(Step::Commit);
    collect::release(world, &mut plan, Scope::Spare);
    folders::release(&mut plan.after, &mut plan.steps);
    Ok(plan)
}

/// Adds the steps that bring a tree to its place.
pub(super) fn place(
    world: &World<'_>,
    plan: &mut Plan,
    tree: &HostPath,
    placing: Placing<'_>,
) -> Result<(), PlanError> {
    let (package, step) = match placing {
        Placing::There => return Ok(()),
        Placing::New(package) => (package, Step::PlaceTree { tree: tree.clone() }),
        Placing::Instead(package) => (package, Step::ReplaceTree { tree: tree.clone() }),
    };
    check_space(world, package)?;
    if let Some(folder) = tree.parent() {
        folders::ensure(world, &folder, &mut plan.after, &mut plan.steps)?;
    }
    plan.steps.push(step);
    plan.bytes += package.bytes;
    plan.findings.extend(package.findings.iter().cloned());
    Ok(())
}

/// Whether the running engine lists all handlers (offline, no engine has to).
pub(super) fn is_served(world: &World<'_>, handlers: &[HandlerName]) -> bool {
    match &world.engine.cri {
        CriObservation::Ready(cri) => {
            handlers.iter().all(|h| cri.handlers.iter().any(|listed| listed == h.as_str()))
        }
        CriObservation::Unavailable { .. } => false,
        CriObservation::Offline => true,
    }
}

/// The steps between a changed configuration and the commit: rehearse, write, restart once, verify.
pub(super) fn prove(
    world: &World<'_>,
    plan: &mut Plan,
    config: engine::ConfigChange,
    probe: Vec<HandlerName>,
    restart: bool,
    rehearse: bool,
) -> Result<(), PlanError> {
    let unit = if restart { restartable_unit(world)? } else { None };
    // Also if no file of ours changes: what others changed since its start is read at a restart, too.
    if rehearse && unit.is_some() {
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

fn refuse_taken_handlers(
    ledger: &Ledger,
    name: &RuntimeName,
    installed: &Installed,
) -> Result<(), PlanError> {
    for handler in installed.handlers() {
        if let Some(owner) = ledger.owner_of(handler.as_str()).filter(|owner| *owner != name) {
            return Err(PlanError::HandlerTaken { handler: handler.to_string(), owner: owner.clone() });
        }
    }
    Ok(())
}

/// An engine that no longer knows a sandbox's handler starts no second container in it.
fn refuse_dropped_handlers(
    world: &World<'_>,
    ledger: &Ledger,
    name: &RuntimeName,
    installed: &Installed,
) -> Result<(), PlanError> {
    let present = ledger.runtimes.get(name).into_iter().flat_map(Installed::handlers);
    for handler in present.filter(|handler| installed.handlers().all(|stays| stays != *handler)) {
        let users = users::handler_users(&world.engine.cri, handler);
        if !users.is_empty() {
            return Err(PlanError::HandlerInUse {
                name: name.clone(),
                version: installed.version.clone(),
                handler: handler.clone(),
                users,
            });
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
