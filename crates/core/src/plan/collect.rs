//! Garbage: trees of earlier versions that nothing needs any more.

use super::register::ledger;
use super::users::tree_users;
use super::{Plan, PlanError, World, folders};
use crate::name::{HostPath, RuntimeName, Version};
use crate::record::{Change, Ledger, Step, Unregistered};
use serde::Serialize;

/// What may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// What nothing runs from, but the version that a rollback would bring back, and what was pulled.
    Spare,
    /// Everything that nothing runs from.
    All,
}

/// A tree that stays although it is not registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The runtime.
    pub name: RuntimeName,
    /// Its version.
    pub version: Version,
    /// The tree.
    pub tree: HostPath,
    /// Why.
    #[serde(flatten)]
    pub why: Why,
}

/// Why a tree stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Why {
    /// `rollback` brings it back.
    Rollback,
    /// It was pulled, for an installation to come.
    Pulled,
    /// Something runs from it.
    Used {
        /// What.
        users: Vec<String>,
    },
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, version, tree, why } = self;
        match why {
            Why::Rollback => write!(f, "{tree} stays: rollback would bring {name} {version} back"),
            Why::Pulled => write!(f, "{tree} stays: {name} {version} was pulled and is not installed yet"),
            Why::Used { users } => {
                write!(f, "{tree} stays: {name} {version} is used by {}", users.join(", "))
            }
        }
    }
}

/// Plans to delete what nothing needs. Without steps, there is nothing to delete; `kept` says why.
///
/// # Errors
/// If the planner needs to know more.
pub fn collect(world: &World<'_>, scope: Scope) -> Result<Plan, PlanError> {
    let mut after = ledger(world);
    after.generation += 1;
    let mut plan = Plan::new(Change::Collect, after);
    release(world, &mut plan, scope);
    if !plan.is_empty() {
        plan.steps.insert(0, Step::Commit);
        folders::release(&mut plan.after, &mut plan.steps);
        if plan.after.is_empty() {
            plan.steps.push(Step::Forget);
        }
    }
    Ok(plan)
}

/// Takes trees that nothing needs out of the plan's ledger, and adds the steps (after its commit) that delete them.
pub(super) fn release(world: &World<'_>, plan: &mut Plan, scope: Scope) {
    let spared = if scope == Scope::Spare { targets(&plan.after) } else { Vec::new() };
    let retired = std::mem::take(&mut plan.after.retired);
    plan.after.retired =
        release_some(world, plan, retired, |tree| spared.contains(tree).then_some(Why::Rollback));
    let pulled = std::mem::take(&mut plan.after.pulled);
    plan.after.pulled = release_some(world, plan, pulled, |_| (scope == Scope::Spare).then_some(Why::Pulled));
}

/// Those that stay: something runs from them, or `spared` says why.
fn release_some(
    world: &World<'_>,
    plan: &mut Plan,
    versions: Vec<Unregistered>,
    spared: impl Fn(&HostPath) -> Option<Why>,
) -> Vec<Unregistered> {
    let mut stay = Vec::new();
    for version in versions {
        let Unregistered { name, installed } = &version;
        let tree = installed.tree.clone();
        let users = tree_users(&world.engine.cri, world.uses, &tree);
        let why = if users.is_empty() { spared(&tree) } else { Some(Why::Used { users }) };
        let Some(why) = why else {
            plan.steps.push(Step::RemoveTree { tree });
            continue;
        };
        if plan.change == Change::Collect || plan.change.runtime() == Some(name) {
            let (name, version) = (name.clone(), installed.version.clone());
            plan.kept.push(Kept { name, version, tree, why });
        }
        stay.push(version);
    }
    stay
}

/// The trees that rollbacks would bring back.
fn targets(ledger: &Ledger) -> Vec<HostPath> {
    let targets = ledger.runtimes.keys().filter_map(|name| ledger.rollback_target(name));
    targets.map(|installed| installed.tree.clone()).collect()
}
