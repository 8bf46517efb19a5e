//! The plan of a removal.

use super::collect::{self, Scope};
use super::register::{ledger, prove};
use super::{Overwrite, Plan, PlanError, World, engine, folders, units, users};
use crate::name::RuntimeName;
use crate::observation::PathState;
use crate::record::{Change, Step};

/// What to do about sandboxes that use what goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refuse.
    No,
    /// The caller has stopped them, or means to.
    Yes,
}

/// Plans the removal of the runtime `name`.
///
/// # Errors
/// If it is not installed, in use, or the engine's configuration does not allow it.
pub fn remove(
    world: &World<'_>,
    name: &RuntimeName,
    force: Force,
    rehearse: bool,
) -> Result<Plan, PlanError> {
    let before = ledger(world);
    let installed = before.runtimes.get(name).ok_or_else(|| PlanError::NotInstalled(name.clone()))?;
    let users = users::runtime_users(&world.engine.cri, world.uses, &before, name);
    if force == Force::No && !users.is_empty() {
        return Err(PlanError::InUse { name: name.clone(), users });
    }
    let mut want = before.registrations();
    want.remove(name);
    let config = engine::change(world, &before, &want, Overwrite::No)?;

    let mut after = before.clone();
    after.generation += 1;
    after.runtimes.remove(name);
    let change = Change::Remove { name: name.clone() };
    let mut plan = Plan::new(change, after);
    let restart = !config.is_empty();
    prove(world, &mut plan, config, Vec::new(), restart, rehearse)?;
    if force == Force::Yes && world.engine.process.is_some() && !users.is_empty() {
        plan.steps.push(Step::StopSandboxes { handlers: installed.handlers().cloned().collect() });
    }
    plan.steps.push(Step::Commit);

    for others in [&mut plan.after.retired, &mut plan.after.pulled] {
        others.retain(|other| other.name != *name);
    }
    for (_, version) in before.trees().filter(|(owner, _)| *owner == name) {
        if !matches!(world.state(&version.tree)?, PathState::Absent) {
            plan.steps.push(Step::RemoveTree { tree: version.tree.clone() });
        }
    }
    collect::release(world, &mut plan, Scope::Spare);
    if plan.after.runtimes.is_empty() {
        units::release(&mut plan)?;
    }
    folders::release(&mut plan.after, &mut plan.steps);
    if plan.after.is_empty() {
        plan.steps.push(Step::Forget);
    }
    Ok(plan)
}
