//! Where files go.

use super::{Looked, no, yes};
use crate::doctor::Case;
use crate::doctor::facts::{Mount, OsRelease};
use crate::observation::TargetObservation;

/// Less than that is too little for any runtime with its next version beside it, in bytes and inodes.
const TREES_NEED: (u64, u64) = (512 << 20, 5_000);

/// The same for records: texts of before, ledger, journal.
const RECORDS_NEED: (u64, u64) = (16 << 20, 200);

const ELSEWHERE: &str = "choose another place with --prefix DIR";

/// The distribution lets files be added to it.
pub(in crate::doctor) fn host_system(case: &Case<'_>) -> Looked {
    let Some(os) = case.facts.os.as_ref()? else {
        return yes("no /etc/os-release: nothing speaks against it");
    };
    match immutable(os) {
        Some(instead) => {
            no(format!("{} is an immutable system that its own API configures", os.name), instead)
        }
        None => yes(os.name.clone()),
    }
}

/// What to do on systems that take no change from outside.
fn immutable(os: &OsRelease) -> Option<&'static str> {
    match os.id.as_str() {
        "talos" => Some(
            "add the system extension (siderolabs/gvisor, siderolabs/kata-containers) to the machine's image",
        ),
        "bottlerocket" => {
            Some("use nodes of another system for sandboxes: Bottlerocket takes no further runtime")
        }
        "cos" => Some(
            "use GKE Sandbox (gVisor), or a node pool with Ubuntu: /etc of this system is made anew at each boot",
        ),
        "rhcos" | "rhel-coreos" => {
            Some("let the machine config operator do it: OpenShift sandboxed containers, or a MachineConfig")
        }
        "chromeos" => Some("use a node of another system"),
        _ => None,
    }
}

/// Trees can be written.
pub(in crate::doctor) fn target_writable(case: &Case<'_>) -> Looked {
    let target = case.target?;
    if target.read_only {
        return no(format!("{} is on a read-only file system", target.prefix), ELSEWHERE);
    }
    yes(target.prefix.to_string())
}

/// Programs run from there.
pub(in crate::doctor) fn target_exec(case: &Case<'_>) -> Looked {
    let target = case.target?;
    if target.noexec {
        return no(
            format!(
                "{} is on a file system mounted noexec: the engine could start nothing from there",
                target.prefix
            ),
            ELSEWHERE,
        );
    }
    yes("programs run from there")
}

/// There is room for trees.
pub(in crate::doctor) fn target_space(case: &Case<'_>) -> Looked {
    let target = case.target?;
    space(target, TREES_NEED, &format!("make room at {}, or {ELSEWHERE}", target.prefix))
}

fn space(place: &TargetObservation, (bytes, inodes): (u64, u64), remedy: &str) -> Looked {
    let free = match place.free_inodes {
        u64::MAX => "inodes without limit".to_owned(),
        free => format!("{free} inodes"),
    };
    let seen = format!("{} MiB and {free} free for {}", place.free_bytes >> 20, place.prefix);
    if place.free_bytes < bytes || place.free_inodes < inodes {
        return no(format!("only {seen}"), remedy);
    }
    yes(seen)
}

/// The engine's configuration can be changed.
pub(in crate::doctor) fn config_writable(case: &Case<'_>) -> Looked {
    let config = case.facts.config.as_ref()?;
    if !config.read_only {
        return yes(config.prefix.to_string());
    }
    // Flatcar has it in /usr, and its unit asks for the variable.
    let flatcar = case.facts.os.iter().flatten().any(|os| os.id == "flatcar");
    let copy = if flatcar {
        "copy it to /etc/containerd/config.toml, and systemctl edit containerd: [Service] \
         Environment=CONTAINERD_CONFIG=/etc/containerd/config.toml"
    } else {
        "let containerd read a copy of it on a file system that can be written (--config in its unit)"
    };
    no(format!("{} is on a read-only file system", config.prefix), copy)
}

/// Records can be written.
pub(in crate::doctor) fn records_writable(case: &Case<'_>) -> Looked {
    let records = case.facts.records.as_ref()?;
    if records.read_only {
        return no(
            format!("{} is on a read-only file system", records.prefix),
            "mount something there that can be written and stays",
        );
    }
    yes(records.prefix.to_string())
}

/// There is room for records.
pub(in crate::doctor) fn records_space(case: &Case<'_>) -> Looked {
    let records = case.facts.records.as_ref()?;
    space(records, RECORDS_NEED, &format!("make room at {}", records.prefix))
}

/// What is written is still there after the next boot.
pub(in crate::doctor) fn lasting(case: &Case<'_>) -> Looked {
    let mounts = case.facts.mounts.as_ref()?;
    if let Some(fleeting) = mounts.iter().find_map(Mount::fleeting) {
        return no(
            format!("{fleeting}: it is empty after the next boot"),
            "install on a file system that stays; for an image that is booted anew each time, install into the \
             image (--root)",
        );
    }
    let shown = mounts.iter().map(|mount| format!("{} on {}", mount.of, mount.kind));
    yes(shown.collect::<Vec<_>>().join(", "))
}
