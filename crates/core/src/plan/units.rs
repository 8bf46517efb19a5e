//! The unit that mends files at boot, its link and the worker's copy that it runs.

use super::{Blob, FileChange, Overwrite, Plan, PlanError, WorkerBinary, World, folders};
use crate::name::{Digest, HostPath};
use crate::observation::PathState;
use crate::record::{OwnedFile, Part, STATE, Step};

/// Mends files at boot, before engines start.
pub const RECOVER_UNIT: &str = "cofferdam-recover.service";

/// The transient unit that carries a transaction out. One name: it is a lock, too.
pub const WORKER_UNIT: &str = "cofferdam-worker.service";

const UNIT_FOLDER: &str = "/etc/systemd/system";
const WANTS_FOLDER: &str = "/etc/systemd/system/multi-user.target.wants";

/// Engines that must find mended files. Names that a host lacks order nothing.
const ENGINES: &str = "containerd.service docker.service crio.service k3s.service k3s-agent.service \
                       rke2-server.service rke2-agent.service";

/// The unit's text. It never restarts an engine, which is ordered after it and would wait for it; and its
/// failure or time limit never keeps an engine from starting, since `Before=` orders but does not require.
fn unit_text(binary: &HostPath, engine: Option<&str>) -> String {
    let own = engine.filter(|unit| !ENGINES.split(' ').any(|known| known == *unit));
    let engines = own.map_or_else(|| ENGINES.to_owned(), |unit| format!("{ENGINES} {unit}"));
    format!(
        "# Written by Cofferdam; deleted with the last runtime.\n\
         [Unit]\n\
         Description=Cofferdam: mend the files of an interrupted change before engines start\n\
         ConditionPathExists={STATE}/journal.json\n\
         RequiresMountsFor={STATE} {binary}\n\
         Before={engines}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={binary} recover --boot\n\
         TimeoutStartSec=60\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn path(text: &str) -> Result<HostPath, PlanError> {
    HostPath::new(text).map_err(|error| PlanError::Internal(error.to_string()))
}

fn binary_path(prefix: &HostPath) -> Result<HostPath, PlanError> {
    prefix.join("bin/cofferdam").map_err(|error| PlanError::Internal(error.to_string()))
}

/// Adds what puts the unit, its link and the worker's copy in place, where they are not as they should be.
pub(super) fn ensure(
    world: &World<'_>,
    worker: WorkerBinary,
    overwrite: Overwrite,
    plan: &mut Plan,
) -> Result<(), PlanError> {
    let binary = binary_path(&plan.after.prefix)?;
    let unit = path(&format!("{UNIT_FOLDER}/{RECOVER_UNIT}"))?;
    let link = path(&format!("{WANTS_FOLDER}/{RECOVER_UNIT}"))?;
    let text = unit_text(&binary, world.engine.unit.as_ref().map(|unit| unit.name.as_str()));

    let copy = Whole { digest: worker.digest, mode: 0o755, blob: Blob::Worker, size: worker.size };
    write_whole(world, plan, &binary, copy, overwrite)?;
    let (digest, size) = (Digest::of(text.as_bytes()), text.len() as u64);
    let text = Whole { digest, mode: 0o644, blob: Blob::Text(text), size };
    let reload = write_whole(world, plan, &unit, text, overwrite)?;

    let target = unit.to_string();
    let linked = match world.state(&link)? {
        PathState::Link { target: found } if *found == target => false,
        PathState::Absent => true,
        _ => {
            return Err(PlanError::InTheWay {
                path: link,
                found: "something else",
                wanted: "our link or nothing",
            });
        }
    };
    if linked {
        folders::ensure(world, &path(WANTS_FOLDER)?, &mut plan.after, &mut plan.steps)?;
        plan.steps.push(Step::MakeLink { path: link.clone(), target: target.clone() });
        plan.after.links.insert(link, target);
    }
    if reload || linked {
        plan.steps.push(Step::ReloadSystemd);
    }
    Ok(())
}

/// A file that is wholly ours.
struct Whole {
    digest: Digest,
    mode: u32,
    blob: Blob,
    size: u64,
}

/// Returns whether it has to be written.
fn write_whole(
    world: &World<'_>,
    plan: &mut Plan,
    path: &HostPath,
    Whole { digest, mode, blob, size }: Whole,
    overwrite: Overwrite,
) -> Result<bool, PlanError> {
    let owned = plan.after.files.get(path);
    let before = match world.state(path)? {
        PathState::File { digest: found, .. } if *found == digest && owned.is_some() => return Ok(false),
        PathState::File { digest: found, .. } if owned.is_some_and(|o| o.after == *found) => Some(*found),
        PathState::File { digest: found, .. } if owned.is_some() && overwrite == Overwrite::Yes => {
            Some(*found)
        }
        PathState::Absent => None,
        _ if owned.is_some() => return Err(PlanError::Changed(path.clone())),
        _ => {
            return Err(PlanError::InTheWay {
                path: path.clone(),
                found: "a file that is not ours",
                wanted: "nothing",
            });
        }
    };
    if let Some(parent) = path.parent() {
        folders::ensure(world, &parent, &mut plan.after, &mut plan.steps)?;
    }
    let diff = match &blob {
        Blob::Text(text) => crate::diff::unified(path.as_str(), before.map(|_| ""), Some(text)),
        Blob::Worker => format!("--- /dev/null\n+++ {path}\n(this program, {size} bytes)\n"),
    };
    plan.files.push(FileChange { path: path.clone(), diff });
    plan.steps.push(Step::WriteFile { path: path.clone(), before, after: digest, mode });
    plan.blobs.insert(digest, blob);
    plan.bytes += size;
    plan.after.files.insert(path.clone(), OwnedFile { before: None, after: digest, part: Part::Whole });
    Ok(true)
}

/// Adds what takes unit, link and worker's copy away again. The unit goes before the binary that it runs.
pub(super) fn release(plan: &mut Plan) -> Result<(), PlanError> {
    let binary = binary_path(&plan.after.prefix)?;
    let unit = path(&format!("{UNIT_FOLDER}/{RECOVER_UNIT}"))?;
    for (link, target) in std::mem::take(&mut plan.after.links) {
        plan.steps.push(Step::RemoveLink { path: link, target });
    }
    if let Some(owned) = plan.after.files.remove(&unit) {
        plan.steps.push(Step::RemoveFile { path: unit, before: owned.after, mode: 0o644 });
        plan.steps.push(Step::ReloadSystemd);
    }
    if let Some(owned) = plan.after.files.remove(&binary) {
        plan.steps.push(Step::RemoveFile { path: binary, before: owned.after, mode: 0o755 });
    }
    Ok(())
}
