//! The checks' functions: each looks at a survey and answers.

use super::Answer;
use crate::store::Store;
use crate::survey::Survey;
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::engine::containerd::Effective;
use cofferdam_core::observation::{CriObservation, CriReady};

/// The oldest containerd that is supported.
const FLOOR: EngineVersion = EngineVersion { major: 1, minor: 7, patch: 0 };

/// Less than that is too little for any runtime with its next version beside it.
const LEAST_FREE: u64 = 512 << 20;

fn yes(seen: impl Into<String>) -> Answer {
    Answer::Yes { seen: seen.into() }
}

fn no(because: impl Into<String>, remedy: impl Into<String>) -> Answer {
    Answer::No { because: because.into(), remedy: remedy.into() }
}

fn unknown(why: impl Into<String>) -> Answer {
    Answer::Unknown { why: why.into() }
}

pub(super) fn engine_version(survey: &Survey<'_>) -> Answer {
    let text = &survey.engine.version_text;
    match survey.engine.version {
        Some(version) if version >= FLOOR => yes(format!("containerd {text}")),
        Some(_) => no(format!("containerd {text} is older than {FLOOR}"), "upgrade containerd"),
        None => unknown("the engine's release is not known on an offline tree"),
    }
}

pub(super) fn engine_binary(survey: &Survey<'_>) -> Answer {
    match &survey.engine.process {
        Some(process) => yes(format!("{} {} (pid {})", process.binary, process.args.join(" "), process.pid)),
        None => unknown("no engine runs on an offline tree"),
    }
}

pub(super) fn engine_config(survey: &Survey<'_>) -> Answer {
    let engine = &survey.engine;
    let Some(dump) = &engine.dump else { return unknown("no engine was asked on an offline tree") };
    match Effective::parse(dump) {
        Err(error) => no(error.to_string(), "mend the engine's configuration"),
        Ok(effective) if !effective.cri_enabled() => no(
            format!("{} disables the CRI plugin", engine.config),
            "take cri out of disabled_plugins, or no kubelet can use this engine",
        ),
        Ok(_) => {
            let imports = engine.files.len().saturating_sub(1);
            match engine.files.contains_key(&engine.config_resolved) {
                true => yes(format!("{} and {imports} imported files", engine.config)),
                false => yes(format!("{} does not exist: containerd's defaults", engine.config)),
            }
        }
    }
}

fn ready<'s>(survey: &'s Survey<'_>) -> Result<&'s CriReady, Answer> {
    match &survey.engine.cri {
        CriObservation::Ready(ready) => Ok(ready),
        CriObservation::Unavailable { reason, .. } => Err(unknown(format!("CRI does not answer: {reason}"))),
        CriObservation::Offline => Err(unknown("no engine was asked on an offline tree")),
    }
}

pub(super) fn cri(survey: &Survey<'_>) -> Answer {
    match &survey.engine.cri {
        CriObservation::Ready(ready) if ready.runtime_ready => {
            yes(format!("{} serves {}", ready.socket, ready.handlers.join(", ")))
        }
        CriObservation::Ready(_) => no("CRI says that the runtime is not ready", "see the engine's log"),
        CriObservation::Unavailable { reason, .. } => no(reason.clone(), "see the engine's log"),
        CriObservation::Offline => unknown("no engine was asked on an offline tree"),
    }
}

pub(super) fn cni(survey: &Survey<'_>) -> Answer {
    match ready(survey) {
        Ok(ready) if ready.network_ready => yes("the pod network is ready"),
        Ok(ready) => no(
            format!("the pod network is not ready: {}", ready.network_message),
            "install a CNI plugin: without one no sandbox starts, and no runtime can be proven",
        ),
        Err(answer) => answer,
    }
}

pub(super) fn pause_image(survey: &Survey<'_>) -> Answer {
    match ready(survey) {
        Ok(ready) if ready.sandbox_image.is_empty() => unknown("the engine does not say which image it is"),
        Ok(ready) => yes(ready.sandbox_image.clone()),
        Err(answer) => answer,
    }
}

pub(super) fn unit(survey: &Survey<'_>) -> Answer {
    match (&survey.engine.unit, &survey.engine.process) {
        (Some(unit), _) => yes(format!("{} is {}", unit.name, unit.active_state)),
        (None, Some(process)) => no(
            format!("containerd (pid {}) belongs to no systemd unit", process.pid),
            "start it by its unit: nobody could restart it otherwise",
        ),
        (None, None) => unknown("no engine runs on an offline tree"),
    }
}

pub(super) fn kill_mode(survey: &Survey<'_>) -> Answer {
    match &survey.engine.unit {
        Some(unit) if matches!(unit.kill_mode.as_str(), "process" | "none") => {
            yes(format!("KillMode={}: sandboxes outlive a restart", unit.kill_mode))
        }
        Some(unit) => no(
            format!("{} has KillMode={}: a restart kills running sandboxes", unit.name, unit.kill_mode),
            format!("systemctl edit {}, [Service] KillMode=process", unit.name),
        ),
        None => unknown("there is no unit"),
    }
}

pub(super) fn target_writable(survey: &Survey<'_>) -> Answer {
    let target = &survey.target;
    if target.read_only {
        return no(
            format!("{} is on a read-only file system", target.prefix),
            "choose another place with --prefix",
        );
    }
    yes(target.prefix.to_string())
}

pub(super) fn target_exec(survey: &Survey<'_>) -> Answer {
    let target = &survey.target;
    if target.noexec {
        return no(
            format!("{} is on a file system mounted noexec", target.prefix),
            "choose another place with --prefix",
        );
    }
    yes("programs run from there")
}

pub(super) fn target_space(survey: &Survey<'_>) -> Answer {
    let target = &survey.target;
    let seen = format!("{} MiB and {} inodes free", target.free_bytes >> 20, target.free_inodes);
    if target.free_bytes < LEAST_FREE {
        return no(seen, format!("make room at {}", target.prefix));
    }
    yes(seen)
}

pub(super) fn interrupted(survey: &Survey<'_>) -> Answer {
    match Store::new(survey.root()).and_then(|store| store.journal()) {
        Ok(None) => yes("no change is under way"),
        Ok(Some(journal)) => no(
            format!("\"{}\" is under way or was interrupted", journal.change),
            "if nothing is running, cofferdam recover finishes it",
        ),
        Err(error) => unknown(error.chain()),
    }
}
