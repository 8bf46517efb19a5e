//! The plan of a pull: a version's files come to the host, and nothing is registered.

use super::install::{installed, placing, refuse_missing_base};
use super::register::{ledger, place};
use super::{Package, Plan, PlanError, World};
use crate::record::{Change, Step, Unregistered};

/// Plans to bring the files of `package` to the host. Without steps, they are there already.
///
/// # Errors
/// If the base that it needs is not installed, there is no room, or something is in the way.
pub fn pull(world: &World<'_>, package: &Package) -> Result<Plan, PlanError> {
    let before = ledger(world);
    let name = package.descriptor.name.clone();
    let installed = installed(&before, package)?;
    refuse_missing_base(&before, package, &installed.tree)?;
    let is_known = before.trees().any(|(_, known)| known.tree == installed.tree);
    let (tree, placing) = (installed.tree.clone(), placing(world, package, &installed)?);

    let mut after = before;
    after.generation += 1;
    let change = Change::Pull { name: name.clone(), version: installed.version.clone() };
    if !is_known {
        after.pulled.push(Unregistered { name, installed });
    }
    let mut plan = Plan::new(change, after);
    place(world, &mut plan, &tree, placing)?;
    if !plan.is_empty() || !is_known {
        plan.steps.push(Step::Commit);
    }
    Ok(plan)
}
