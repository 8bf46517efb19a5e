//! The file systems that take what is written.

use super::{path, sure_text};
use crate::observe::target;
use crate::root::HostRoot;
use cofferdam_core::doctor::facts::{Mount, mount_of};
use cofferdam_core::doctor::{Fact, Unseen};
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{EngineObservation, TargetObservation};
use cofferdam_core::record::STATE;

pub(super) fn records(root: &HostRoot) -> Fact<TargetObservation> {
    place(root, &path(STATE)?)
}

pub(super) fn config(root: &HostRoot, engine: Option<&EngineObservation>) -> Fact<TargetObservation> {
    let engine = engine.ok_or_else(|| Unseen::new("no engine tells where its configuration is"))?;
    place(root, &engine.config_resolved)
}

fn place(root: &HostRoot, path: &HostPath) -> Fact<TargetObservation> {
    target(root, path).map_err(|error| Unseen::new(error.to_string()))
}

/// What holds trees, records and the engine's configuration.
pub(super) fn mounts(
    root: &HostRoot,
    prefix: &HostPath,
    engine: Option<&EngineObservation>,
) -> Fact<Vec<Mount>> {
    let mountinfo = sure_text(root, "/proc/self/mountinfo")?;
    let paths = [prefix.clone(), path(STATE)?];
    let config = engine.map(|engine| engine.config_resolved.clone());
    let mount = |path: HostPath| {
        let real = root.real(&path).map_err(|error| Unseen::new(error.chain()))?;
        let mount = mount_of(&mountinfo, &real);
        let mount = mount.ok_or_else(|| Unseen::new(format!("no mount is known to hold {path}")))?;
        Ok(Mount { of: path, ..mount })
    };
    paths.into_iter().chain(config).map(mount).collect()
}
