//! The plan of a removal.

use super::install::{ledger, prove};
use super::{Plan, PlanError, World, engine, folders, units};
use crate::name::RuntimeName;
use crate::observation::{CriObservation, PathState, TreeUse, TreeUses};
use crate::record::{Change, Installed, Step};
use std::collections::BTreeMap;

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
    let users = users(&world.engine.cri, world.uses, installed);
    if force == Force::No && !users.is_empty() {
        return Err(PlanError::InUse { name: name.clone(), users });
    }
    let mut want = before.registrations();
    want.remove(name);
    let config = engine::change(world, &before, &want)?;

    let mut after = before.clone();
    after.generation += 1;
    after.runtimes.remove(name);
    let change = Change::Remove { name: name.clone() };
    let mut plan =
        Plan { change, steps: Vec::new(), blobs: BTreeMap::new(), after, files: Vec::new(), bytes: 0 };
    let restart = !config.is_empty();
    prove(world, &mut plan, config, Vec::new(), restart, rehearse)?;
    if force == Force::Yes && world.engine.process.is_some() && !users.is_empty() {
        plan.steps.push(Step::StopSandboxes { handlers: installed.handlers().cloned().collect() });
    }
    plan.steps.push(Step::Commit);

    if !matches!(world.state(&installed.tree)?, PathState::Absent) {
        plan.steps.push(Step::RemoveTree { tree: installed.tree.clone() });
    }
    let last = plan.after.runtimes.is_empty();
    if last {
        units::release(&mut plan)?;
    }
    folders::release(&mut plan.after, &mut plan.steps);
    if last {
        plan.steps.push(Step::Forget);
    }
    Ok(plan)
}

/// Everyone who uses the runtime, in people's words: pods by name, then whatever else names its tree.
pub fn users(cri: &CriObservation, uses: &TreeUses, installed: &Installed) -> Vec<String> {
    let mut users = Vec::new();
    let mut known = Vec::new();
    if let CriObservation::Ready(cri) = cri {
        for sandbox in &cri.sandboxes {
            if installed.handlers().any(|handler| handler.as_str() == sandbox.handler) {
                users.push(format!("pod {}/{}", sandbox.namespace, sandbox.name));
                known.push(sandbox.id.as_str());
                known.extend(sandbox.containers.iter().map(|container| container.id.as_str()));
            }
        }
    }
    let found_pods = !users.is_empty();
    for usage in uses.get(&installed.tree).into_iter().flatten() {
        match usage {
            TreeUse::Bundle { id, .. } if known.contains(&id.as_str()) => {}
            TreeUse::Bundle { id, namespace } => {
                users.push(format!("container {id} (namespace {namespace})"))
            }
            // The processes of pods that are named already would only make the message longer.
            TreeUse::Process { .. } if found_pods => {}
            TreeUse::Process { pid, comm } => users.push(format!("process {pid} ({comm})")),
        }
    }
    users
}
