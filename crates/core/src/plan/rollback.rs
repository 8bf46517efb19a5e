//! The plan of a rollback: the version of before is registered again, from the tree that was kept.

use super::register::{Placing, Wanted, ledger, register};
use super::{Plan, PlanError, World};
use crate::name::RuntimeName;
use crate::observation::TreeState;
use crate::record::Change;

/// Plans the return to the version of `name` that was registered before the present one. The present one stays, so
/// that a second rollback brings it back.
///
/// # Errors
/// If there is no such version, its files are not whole, or the engine's configuration does not allow it.
pub fn rollback(world: &World<'_>, name: &RuntimeName, rehearse: bool) -> Result<Plan, PlanError> {
    let before = ledger(world);
    let present = before.runtimes.get(name).ok_or_else(|| PlanError::NotInstalled(name.clone()))?;
    let target = before.rollback_target(name).ok_or_else(|| PlanError::NoEarlier(name.clone()))?.clone();
    let damage = match world.tree(&target.tree, target.manifest)? {
        TreeState::Sound => Vec::new(),
        TreeState::Absent => vec!["all are gone".to_owned()],
        TreeState::Damaged { damage } => damage.iter().map(ToString::to_string).collect(),
    };
    if !damage.is_empty() {
        let (name, version) = (name.clone(), target.version);
        return Err(PlanError::Damaged { name, version, tree: target.tree, damage });
    }
    let change =
        Change::Rollback { name: name.clone(), from: present.version.clone(), to: target.version.clone() };
    let wanted = Wanted { name, installed: target, change, placing: Placing::There, rehearse };
    register(world, before, wanted)
}
