//! Folders that must exist, and those that nobody needs any more.

use super::{PlanError, World};
use crate::name::HostPath;
use crate::observation::PathState;
use crate::record::{Ledger, STATE, Step};

/// Adds the steps that make `folder` and whatever is missing above it; what is made is recorded as owned.
pub(super) fn ensure(
    world: &World<'_>,
    folder: &HostPath,
    after: &mut Ledger,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let mut missing = Vec::new();
    let mut at = Some(folder.clone());
    while let Some(path) = at {
        if after.folders.contains(&path) && !matches!(world.state(&path)?, PathState::Absent) {
            break;
        }
        if steps.iter().any(|step| matches!(step, Step::MakeFolder { path: made } if *made == path)) {
            break;
        }
        match world.state(&path)? {
            PathState::Folder | PathState::Link { .. } => break,
            PathState::Absent => missing.push(path.clone()),
            PathState::File { .. } => {
                return Err(PlanError::InTheWay { path, found: "a file", wanted: "a folder" });
            }
            PathState::Other => {
                return Err(PlanError::InTheWay { path, found: "a special file", wanted: "a folder" });
            }
        }
        at = path.parent();
    }
    for path in missing.into_iter().rev() {
        if !after.folders.contains(&path) {
            after.folders.push(path.clone());
        }
        steps.push(Step::MakeFolder { path });
    }
    Ok(())
}

/// Takes the folders that hold nothing of ours any more out of the ledger and adds the steps that delete them.
pub(super) fn release(after: &mut Ledger, steps: &mut Vec<Step>) {
    // Our records stay until the last runtime goes, and so do the folders made for them.
    let records = HostPath::new(STATE).ok().filter(|_| !after.is_empty());
    let needed = |folder: &HostPath| {
        let trees = after.trees().map(|(_, installed)| &installed.tree).chain(&records);
        trees.chain(after.files.keys()).chain(after.links.keys()).any(|path| path.is_within(folder))
    };
    let (keep, gone): (Vec<_>, Vec<_>) = after.folders.iter().cloned().partition(needed);
    after.folders = keep;
    // The folder of our records goes last of all, with the records (`Step::Forget`).
    let of_records = |path: &HostPath| HostPath::new(STATE).is_ok_and(|state| state.is_within(path));
    let gone = gone.into_iter().rev().filter(|path| !of_records(path));
    steps.extend(gone.map(|path| Step::RemoveFolder { path }));
}
