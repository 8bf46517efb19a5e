//! A control group of its own for each node, in every hierarchy.
//!
//! Without one, two nodes that were started from the same group would share systemd's tree, and each would
//! tidy up the other's services.

use super::super::error::{Error, Result};
use super::super::host;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether this machine's own systemd manages the groups: then nspawn asks it for a scope, and we make none.
pub(super) fn managed_by_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The group `name` in each hierarchy, made if need be.
pub(super) fn make(name: &str) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).map_err(Error::io("create the control group", &group))?;
        // A new v1 cpuset has neither CPUs nor memory nodes, and nothing can be moved into it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(hierarchy.join(file)) {
                let to = group.join(file);
                fs::write(&to, value.trim()).map_err(Error::io("write", &to))?;
            }
        }
        let inherit = group.join("cgroup.clone_children");
        if group.join("cpuset.cpus").exists() && inherit.exists() {
            fs::write(&inherit, "1").map_err(Error::io("write", &inherit))?;
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Removes the group `name` and those below it; no process may be left in them.
pub(super) fn remove(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        remove_below(&hierarchy.join(name));
    }
    Ok(())
}

fn remove_below(group: &Path) {
    // Files cannot be removed and need not be: rmdir takes an empty group with its files.
    for child in host::children(group).unwrap_or_default() {
        if child.is_dir() {
            remove_below(&child);
        }
    }
    // A group lives on for a moment after its last process.
    for _ in 0..50 {
        if fs::remove_dir(group).is_ok() || !group.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The groups in which a command for the node should run: where its systemd sees its own root.
pub(super) fn payload(name: &str) -> Vec<PathBuf> {
    let hierarchies = hierarchies().unwrap_or_default();
    let groups = hierarchies.iter().map(|h| {
        // nspawn puts the container one level deeper in the hierarchies that systemd uses.
        let payload = h.join(name).join("payload");
        if payload.is_dir() { payload } else { h.join(name) }
    });
    groups.filter(|g| g.is_dir()).collect()
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = host::mounts()?;
    let whole =
        mounts.into_iter().filter(|m| m.root == "/" && matches!(m.kind.as_str(), "cgroup" | "cgroup2"));
    let mut points: Vec<PathBuf> =
        whole.map(|m| m.point).filter(|p| p.starts_with("/sys/fs/cgroup")).collect();
    points.sort();
    points.dedup();
    Ok(points)
}
