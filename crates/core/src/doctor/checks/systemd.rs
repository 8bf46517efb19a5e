//! The engine's unit.

use super::{Looked, no, unseen, yes};
use crate::doctor::Case;
use crate::doctor::checks::engine::running;
use crate::observation::UnitObservation;

/// systemd started the engine, so it can restart it.
pub(in crate::doctor) fn unit(case: &Case<'_>) -> Looked {
    let engine = running(case)?;
    match (&engine.unit, &engine.process) {
        (Some(unit), _) => yes(format!("{} is {}", unit.name, unit.active_state)),
        (None, Some(process)) => no(
            format!("containerd (pid {}) belongs to no systemd unit", process.pid),
            "start it by its systemd unit: nobody could restart it otherwise; --unit names another one",
        ),
        (None, None) => unseen("no engine runs"),
    }
}

/// A restart of the unit leaves sandboxes alone.
pub(in crate::doctor) fn kill_mode(case: &Case<'_>) -> Looked {
    let Some(UnitObservation { name, kill_mode, .. }) = &running(case)?.unit else {
        return unseen("the engine has no unit");
    };
    if matches!(kill_mode.as_str(), "process" | "none") {
        return yes(format!("KillMode={kill_mode}: sandboxes outlive a restart"));
    }
    no(
        format!("{name} has KillMode={kill_mode}: a restart kills running sandboxes"),
        format!("systemctl edit {name}: [Service] KillMode=process, as containerd's own unit has it"),
    )
}
