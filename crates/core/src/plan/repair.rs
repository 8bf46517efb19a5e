//! The plans that put back what drifted: a runtime's files, and what the engine and systemd hold of ours.

use super::collect::{self, Scope};
use super::register::{Placing, is_served, ledger, place, prove};
use super::{Overwrite, Package, Plan, PlanError, World, engine, folders, units};
use crate::name::HandlerName;
use crate::observation::TreeState;
use crate::record::{Change, Installed, Ledger, Step};

/// Plans a new copy of the tree that was made of `package`, if its files are not as they were installed.
///
/// # Errors
/// If no tree was made of it, or there is no room for the copy.
pub fn repair_tree(world: &World<'_>, package: &Package) -> Result<Plan, PlanError> {
    let before = ledger(world);
    let name = &package.descriptor.name;
    let same = |(owner, installed): &(_, &Installed)| *owner == name && installed.digest == package.digest;
    let (_, installed) = before.trees().find(same).ok_or_else(|| other_package(&before, package))?;
    let change = Change::RepairTree { name: name.clone(), version: installed.version.clone() };
    let placing = match world.tree(&installed.tree, installed.manifest)? {
        TreeState::Sound => Placing::There,
        TreeState::Absent => Placing::New(package),
        TreeState::Damaged { .. } => Placing::Instead(package),
    };
    let mut after = before.clone();
    after.generation += 1;
    let mut plan = Plan::new(change, after);
    place(world, &mut plan, &installed.tree, placing)?;
    if plan.is_empty() {
        return Ok(plan);
    }
    let present = before.runtimes.get(name).filter(|present| present.tree == installed.tree);
    let handlers: Vec<HandlerName> = present.into_iter().flat_map(Installed::handlers).cloned().collect();
    // What the engine does not serve now is the other repair's business; of an earlier version it serves nothing.
    if world.engine.process.is_some() && !handlers.is_empty() && is_served(world, &handlers) {
        plan.steps.push(Step::Verify { handlers });
    }
    plan.steps.push(Step::Commit);
    Ok(plan)
}

fn other_package(ledger: &Ledger, package: &Package) -> PlanError {
    let name = &package.descriptor.name;
    let versions: Vec<String> = ledger
        .trees()
        .filter(|(owner, _)| *owner == name)
        .map(|(_, installed)| format!("{} ({})", installed.version, installed.digest.short()))
        .collect();
    if versions.is_empty() {
        return PlanError::NotInstalled(name.clone());
    }
    PlanError::OtherPackage {
        name: name.clone(),
        wanted: package.digest.short(),
        installed: versions.join(", "),
    }
}

/// Plans what puts registrations, units and links back as the ledger says. Without steps, they are so.
///
/// # Errors
/// If someone else's edit of ours stands in the way and must not be overwritten.
pub fn repair(world: &World<'_>, overwrite: Overwrite, rehearse: bool) -> Result<Plan, PlanError> {
    let before = ledger(world);
    let want = before.registrations();
    let config = engine::change(world, &before, &want, overwrite)?;
    let mut after = before.clone();
    after.generation += 1;
    let mut plan = Plan::new(Change::Repair, after);
    if before.runtimes.is_empty() {
        return Ok(plan);
    }
    if let Some(worker) = world.worker {
        units::ensure(world, worker, overwrite, &mut plan)?;
    }
    let all: Vec<HandlerName> = before.runtimes.values().flat_map(|r| r.handlers().cloned()).collect();
    let served = is_served(world, &all);
    if plan.is_empty() && config.is_empty() && served {
        return Ok(plan);
    }
    let restart = !config.is_empty() || !served;
    // What is only a unit's needs no proof.
    if restart {
        let misfits = engine::registered(world.engine, &before).unwrap_or_default();
        let mended = |h: &HandlerName| {
            misfits.iter().any(|misfit| misfit.handler == *h) || !is_served(world, std::slice::from_ref(h))
        };
        let mended = all.into_iter().filter(mended).collect();
        prove(world, &mut plan, config, mended, restart, rehearse)?;
    }
    plan.steps.push(Step::Commit);
    collect::release(world, &mut plan, Scope::Spare);
    folders::release(&mut plan.after, &mut plan.steps);
    Ok(plan)
}
