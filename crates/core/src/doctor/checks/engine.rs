//! The engine and its configuration.

use super::{Looked, no, unseen, yes};
use crate::doctor::facts::CgroupDriver;
use crate::doctor::{Case, FaultKind, Unseen};
use crate::engine::EngineVersion;
use crate::engine::containerd::{Effective, FLOOR, Tree, import_patterns, recreates_pods};
use crate::name::HostPath;
use crate::observation::{CriObservation, CriReady, EngineObservation};

/// From here on the kubelet (1.31 and later) takes the cgroup driver from the engine.
const TELLS_DRIVER: EngineVersion = EngineVersion { major: 2, minor: 0, patch: 0 };

/// The engine, if it could be looked at.
pub(in crate::doctor) fn running<'a>(case: &Case<'a>) -> Result<&'a EngineObservation, Unseen> {
    case.engine.map_err(|fault| match fault.kind {
        FaultKind::NoProcess => Unseen::new("no containerd runs"),
        FaultKind::BinaryReplaced => Unseen::new("containerd's binary was replaced (see engine-binary)"),
        FaultKind::ConfigRefused => Unseen::new("containerd refuses its configuration (see engine-config)"),
        FaultKind::Other => Unseen::new(fault.text.clone()),
    })
}

/// The release is one that we know.
pub(in crate::doctor) fn version(case: &Case<'_>) -> Looked {
    let engine = running(case)?;
    match engine.version {
        Some(version) if version >= FLOOR => yes(format!("containerd {}", engine.version_text)),
        Some(_) => no(
            format!("containerd {} is older than {FLOOR}", engine.version_text),
            "upgrade containerd: 1.6 is the oldest that is supported",
        ),
        None => unseen("the release is not known; name it with --engine containerd@VERSION"),
    }
}

/// It runs, from the binary that is on disk.
pub(in crate::doctor) fn binary(case: &Case<'_>) -> Looked {
    match case.engine {
        Ok(EngineObservation { process: Some(process), .. }) => {
            let command = format!("{} {}", process.binary, process.args.join(" "));
            yes(format!("{} (pid {})", command.trim_end(), process.pid))
        }
        Ok(_) => unseen("no engine runs on an offline tree"),
        Err(fault) => match fault.kind {
            FaultKind::NoProcess => {
                no(fault.text.clone(), "start containerd; --unit names its unit if it is another one")
            }
            FaultKind::BinaryReplaced => no(fault.text.clone(), "restart containerd"),
            FaultKind::ConfigRefused => yes("it runs"),
            FaultKind::Other => unseen(fault.text.clone()),
        },
    }
}

/// It reads its configuration, and CRI is part of it.
pub(in crate::doctor) fn config(case: &Case<'_>) -> Looked {
    if let Err(fault) = case.engine
        && fault.kind == FaultKind::ConfigRefused
    {
        return no(fault.text.clone(), "mend the configuration: containerd would not start again");
    }
    let engine = running(case)?;
    let Some(dump) = &engine.dump else { return unseen("no engine was asked") };
    match Effective::parse(dump) {
        Err(error) => no(error.to_string(), "mend the engine's configuration"),
        Ok(effective) if !effective.cri_enabled() => no(
            format!("{} disables the CRI plugin", engine.config),
            "take cri out of disabled_plugins, or no kubelet can use this engine",
        ),
        Ok(_) if !engine.files.contains_key(&engine.config_resolved) => {
            yes(format!("{} does not exist: containerd's defaults", engine.config))
        }
        Ok(_) => {
            let imported = engine.files.len().saturating_sub(1);
            yes(format!("{}, {imported} imported", engine.config))
        }
    }
}

/// Each file that is imported by its name is there. Without it containerd does not start again.
pub(in crate::doctor) fn imports(case: &Case<'_>) -> Looked {
    let engine = running(case)?;
    let mut seen = 0;
    for (path, text) in &engine.files {
        let named = if *path == engine.config_resolved { &engine.config } else { path };
        for import in import_patterns(named, text) {
            seen += 1;
            if !import.contains('*') && !is_loaded(engine, &import) {
                return no(
                    format!("{path} imports {import}, which does not exist"),
                    "take it out of imports, or put the file back: containerd does not start without it",
                );
            }
        }
    }
    if seen == 0 {
        return yes("nothing is imported");
    }
    yes(format!("{seen} imports, and each file that they name exists"))
}

fn is_loaded(engine: &EngineObservation, import: &str) -> bool {
    HostPath::new(import).is_ok_and(|path| path == engine.config || engine.files.contains_key(&path))
}

/// A restart leaves pods as they are.
pub(in crate::doctor) fn restart(case: &Case<'_>) -> Looked {
    let engine = running(case)?;
    match engine.version {
        Some(version) if recreates_pods(version) => no(
            format!("containerd {version} recreates every pod when it is started again"),
            "upgrade containerd to 1.6.14 or later; that restarts all pods once",
        ),
        Some(version) => yes(format!("containerd {version} keeps pods over a restart")),
        None => unseen("the engine's release is not known"),
    }
}

fn ready<'a>(case: &Case<'a>) -> Result<&'a CriReady, Unseen> {
    match &running(case)?.cri {
        CriObservation::Ready(ready) => Ok(ready),
        CriObservation::Unavailable { reason, .. } => {
            Err(Unseen::new(format!("CRI does not answer: {reason}")))
        }
        CriObservation::Offline => Err(Unseen::new("no engine was asked")),
    }
}

/// CRI answers.
pub(in crate::doctor) fn cri(case: &Case<'_>) -> Looked {
    let unit = case.engine.ok().and_then(|engine| engine.unit.as_ref());
    let unit = unit.map_or("containerd", |unit| unit.name.as_str());
    let log = format!("journalctl -u {unit} says why");
    match &running(case)?.cri {
        CriObservation::Ready(ready) if ready.runtime_ready => {
            yes(format!("{} serves {}", ready.socket, ready.handlers.join(", ")))
        }
        CriObservation::Ready(_) => no("CRI says that the runtime is not ready", log),
        CriObservation::Unavailable { reason, .. } => no(reason.clone(), log),
        CriObservation::Offline => unseen("no engine was asked"),
    }
}

/// Pods get a network.
pub(in crate::doctor) fn cni(case: &Case<'_>) -> Looked {
    let ready = ready(case)?;
    if ready.network_ready {
        return yes("the pod network is ready");
    }
    no(
        format!("the pod network is not ready: {}", ready.network_message),
        "install a CNI plugin and its configuration: without one no sandbox starts, and nothing can be proven",
    )
}

/// The image is there from which sandboxes are made.
pub(in crate::doctor) fn pause_image(case: &Case<'_>) -> Looked {
    let ready = ready(case)?;
    if ready.sandbox_image.is_empty() {
        return unseen("the engine does not say which image it is");
    }
    if *case.facts.pause_image.as_ref()? {
        return yes(ready.sandbox_image.clone());
    }
    no(
        format!("the engine does not have {}", ready.sandbox_image),
        format!(
            "ctr -n k8s.io images pull {0} (or import it), so that no sandbox waits for a registry",
            ready.sandbox_image
        ),
    )
}

/// Engine and kubelet make pods' cgroups the same way.
pub(in crate::doctor) fn cgroup_driver(case: &Case<'_>) -> Looked {
    let engine = running(case)?;
    let Some(kubelet) = case.facts.kubelet.as_ref()? else {
        return yes("no kubelet has to agree with the engine");
    };
    let Some(dump) = &engine.dump else { return unseen("no engine was asked") };
    let effective = Effective::parse(dump).map_err(|error| Unseen::new(error.to_string()))?;
    let ours = engine_driver(&effective);
    match kubelet.cgroup_driver {
        None => yes(format!("{ours} in the engine; {} leaves it to the kubelet", kubelet.source)),
        Some(theirs) if theirs == ours => yes(format!("{ours} in the engine and in {}", kubelet.source)),
        Some(theirs) if engine.version >= Some(TELLS_DRIVER) => yes(format!(
            "{ours} in the engine, which a kubelet from 1.31 on follows; {} says {theirs}",
            kubelet.source
        )),
        Some(theirs) => no(
            format!("the engine uses {ours} and the kubelet {theirs} ({})", kubelet.source),
            "set SystemdCgroup in the options of containerd's runc to what the kubelet's cgroupDriver says",
        ),
    }
}

/// The driver of the default handler.
fn engine_driver(effective: &Effective) -> CgroupDriver {
    let handlers = effective.handlers();
    let default = handlers.get(effective.default_runtime_name().unwrap_or("runc"));
    match default.and_then(|handler| handler.table.get(&["options", "SystemdCgroup"])) {
        Some(Tree::Bool(true)) => CgroupDriver::Systemd,
        _ => CgroupDriver::Cgroupfs,
    }
}
