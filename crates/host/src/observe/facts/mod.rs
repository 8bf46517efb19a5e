//! Facts for the doctor's checks: one file a concern, judged in [`cofferdam_core::doctor`].
//!
//! Everything is read through the root. What is about the machine that runs (its processor, kernel, mounts) is not
//! looked at on an offline tree: it will run on others.

mod kubelet;
mod kvm;
mod modules;
mod places;
mod security;
mod traces;

use super::Options;
use crate::cri::Cri;
use crate::root::HostRoot;
use crate::store::Store;
use cofferdam_core::doctor::facts::{Clock, DEVICES, OsRelease};
use cofferdam_core::doctor::{Fact, Facts, Unseen};
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{CriObservation, EngineObservation};
pub use kubelet::has_kubelet;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
pub(crate) use security::label_at;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

const OFFLINE: &str = "an offline tree does not tell on which machine it will run";

/// The file that systemd-timesyncd makes once the clock is right.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Looks at everything that checks ask for. `engine` is none where it could not be observed.
pub fn facts(root: &HostRoot, prefix: &HostPath, engine: Option<&EngineObservation>) -> Facts {
    let files = Facts {
        os: os(root),
        records: places::records(root),
        config: places::config(root, engine),
        traces: traces::traces(root),
        interrupted: interrupted(root),
        ..Facts::unseen(OFFLINE)
    };
    if !root.is_live() {
        return files;
    }
    Facts {
        cpu: kvm::cpu(root),
        kvm: kvm::device(root),
        kvm_parameters: kvm::parameters(root),
        devices: devices(root),
        modules: modules::modules(root),
        kernel_lock: security::kernel_lock(root),
        cgroups: security::cgroups(root),
        selinux: security::selinux(root, prefix),
        apparmor: security::apparmor(root, engine.and_then(|engine| engine.process.as_ref())),
        clock: clock(root),
        kubelet: kubelet::kubelet(root),
        mounts: places::mounts(root, prefix, engine),
        pause_image: pause_image(engine, Options::default().limit),
        ..files
    }
}

/// A constant's path.
fn path(text: &str) -> Fact<HostPath> {
    HostPath::new(text).map_err(|error| Unseen::new(error.to_string()))
}

/// A file's text; none if there is no such file.
fn text(root: &HostRoot, file: &str) -> Fact<Option<String>> {
    let bytes = root.read(&path(file)?).map_err(|error| Unseen::new(error.chain()))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The text of a file that every Linux system has.
fn sure_text(root: &HostRoot, file: &str) -> Fact<String> {
    text(root, file)?.ok_or_else(|| Unseen::new(format!("there is no {file}")))
}

/// Whether something is at a path, links followed. Nothing is opened: a device may act on it.
fn exists(root: &HostRoot, file: &str) -> Fact<bool> {
    match root.open_at(&path(file)?, OFlags::PATH, Mode::empty()) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(Unseen::new(format!("{file}: {errno}"))),
    }
}

fn devices(root: &HostRoot) -> Fact<BTreeMap<String, bool>> {
    DEVICES.iter().map(|file| Ok(((*file).to_owned(), exists(root, file)?))).collect()
}

fn os(root: &HostRoot) -> Fact<Option<OsRelease>> {
    let text = match text(root, "/etc/os-release")? {
        None => text(root, "/usr/lib/os-release")?,
        found => found,
    };
    Ok(text.as_deref().map(OsRelease::parse))
}

fn clock(root: &HostRoot) -> Fact<Clock> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // Its absence says nothing: another service may keep the time.
    Ok(Clock { now, synchronised: exists(root, SYNCHRONISED)?.then_some(true) })
}

fn interrupted(root: &HostRoot) -> Fact<Option<String>> {
    let journal = Store::new(root).and_then(|store| store.journal());
    journal
        .map(|journal| journal.map(|journal| journal.change.to_string()))
        .map_err(|error| Unseen::new(error.chain()))
}

fn pause_image(engine: Option<&EngineObservation>, limit: Duration) -> Fact<bool> {
    let Some(CriObservation::Ready(ready)) = engine.map(|engine| &engine.cri) else {
        return Err(Unseen::new("CRI does not answer"));
    };
    Cri::connect_with(Path::new(ready.socket.as_str()), limit)
        .and_then(|cri| cri.has_image(&ready.sandbox_image))
        .map_err(|error| Unseen::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with these files.
    pub(super) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let root = HostRoot::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn an_offline_tree_tells_about_its_files_only() {
        let (_folder, root) = tree(&[("/usr/lib/os-release", "ID=talos\n"), ("/opt/kata/bin/x", "")]);
        let facts = facts(&root, &path("/opt/cofferdam").unwrap(), None);
        assert_eq!(facts.os.unwrap().unwrap().id, "talos");
        assert_eq!(facts.traces.unwrap().len(), 1);
        assert_eq!(facts.interrupted, Ok(None));
        assert!(!facts.records.unwrap().read_only);
        assert_eq!(facts.kvm, Err(Unseen::new(OFFLINE)));
        assert_eq!(facts.mounts, Err(Unseen::new(OFFLINE)));
    }

    #[test]
    fn a_running_machine_tells_nearly_all() {
        let root = HostRoot::open(Path::new("/")).unwrap();
        let facts = facts(&root, &path("/opt/cofferdam").unwrap(), None);
        let mounts = facts.mounts.unwrap();
        assert_eq!(mounts.len(), 2, "no engine, so no configuration of one: {mounts:?}");
        assert!(facts.modules.unwrap().release.contains('.'));
        assert!(facts.clock.unwrap().now > 1_600_000_000);
        assert!(facts.cgroups.is_ok() && facts.devices.is_ok() && facts.kernel_lock.is_ok());
        assert!(facts.pause_image.is_err());
    }

    #[test]
    fn a_change_under_way_is_seen_and_an_unreadable_record_is_told() {
        let (_folder, root) = tree(&[("/var/lib/cofferdam/journal.json", "{\"schema\": 99}")]);
        let error = interrupted(&root).unwrap_err();
        assert!(error.0.contains("schema 99"), "{error:?}");
    }

    #[test]
    fn device_files_are_looked_at() {
        let (_folder, root) = tree(&[("/dev/vhost-net", "")]);
        let devices = devices(&root).unwrap();
        assert!(devices["/dev/vhost-net"] && !devices["/dev/vhost-vsock"]);
        let (_folder, root) = tree(&[(SYNCHRONISED, "")]);
        assert_eq!(clock(&root).unwrap().synchronised, Some(true));
    }
}
