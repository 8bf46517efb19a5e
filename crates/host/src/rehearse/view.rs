//! What the second daemon sees: the host's files with the candidates in place, and nothing of the live engine.
//!
//! A candidate may be a new file in a new folder, and an overlay is not to be had on every host (a root that is
//! itself an overlay of overlays, a kernel without it). So the nearest existing folder is *mirrored*: a tmpfs with every
//! entry of the folder bound into it, mounted over the folder, in which the candidates are then plain files.

use super::Candidate;
use cofferdam_core::name::HostPath;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change, mount_move,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// A failure to make the view.
#[derive(Debug)]
pub(super) struct ViewError {
    pub(super) step: String,
    pub(super) reason: String,
}

type Result<T> = std::result::Result<T, ViewError>;

fn failed<E: std::fmt::Display>(step: String) -> impl FnOnce(E) -> ViewError {
    move |error| ViewError { step, reason: error.to_string() }
}

/// Keeps all later mounts to this namespace.
pub(super) fn make_private() -> Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(failed("making the mounts private".to_owned()))
}

/// Mounts an empty tmpfs over a folder.
pub(super) fn hide(folder: &Path) -> Result<()> {
    tmpfs(folder).map_err(failed(format!("hiding {}", folder.display())))
}

fn tmpfs(folder: &Path) -> std::result::Result<(), Errno> {
    const OPTIONS: &CStr = c"mode=755";
    mount("cofferdam", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, OPTIONS)
}

/// Mounts a fresh /proc, for the PID namespace of this process.
pub(super) fn mount_proc() -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, c"").map_err(failed("mounting /proc".to_owned()))
}

/// Puts the candidates in place. `scratch` is an empty folder in this namespace's own tmpfs.
pub(super) fn place(candidates: &[Candidate], scratch: &Path) -> Result<()> {
    let mut folders: BTreeMap<PathBuf, Vec<(PathBuf, &Candidate)>> = BTreeMap::new();
    for candidate in candidates {
        let (folder, below) = existing_folder(&candidate.path)?;
        folders.entry(folder).or_default().push((below, candidate));
    }
    // In the order of their names, so that an outer folder is mirrored before one inside it.
    for (number, (folder, files)) in folders.iter().enumerate() {
        if folder == Path::new("/") {
            let shown: Vec<&str> = files.iter().map(|(_, candidate)| candidate.path.as_str()).collect();
            return Err(ViewError {
                step: format!("showing {}", shown.join(", ")),
                reason: "its folder would lie in /".to_owned(),
            });
        }
        let own: BTreeSet<&Path> = files.iter().map(|(below, _)| below.as_path()).collect();
        let stage = scratch.join(number.to_string());
        mirror(folder, &stage, &own)?;
        for (below, candidate) in files {
            write(&stage.join(below), candidate)?;
        }
        mount_move(&stage, folder).map_err(failed(format!("mounting over {}", folder.display())))?;
    }
    Ok(())
}

/// The nearest folder above `path` that exists, links followed, and the path below it.
fn existing_folder(path: &HostPath) -> Result<(PathBuf, PathBuf)> {
    let whole = Path::new(path.as_str());
    for folder in whole.ancestors().skip(1) {
        match fs::canonicalize(folder) {
            Ok(real) => {
                let below = whole.strip_prefix(folder).unwrap_or(whole).to_owned();
                return Ok((real, below));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(format!("looking for {path}"))(error)),
        }
    }
    Err(ViewError { step: format!("looking for {path}"), reason: "no folder above it exists".to_owned() })
}

/// Makes `stage` a tmpfs that shows `folder` without the entries in `own`.
fn mirror(folder: &Path, stage: &Path, own: &BTreeSet<&Path>) -> Result<()> {
    let step = || format!("mirroring {}", folder.display());
    fs::create_dir_all(stage).map_err(failed(step()))?;
    tmpfs(stage).map_err(failed(step()))?;
    let like = fs::metadata(folder).map_err(failed(step()))?;
    chown(stage, Some(like.uid()), Some(like.gid())).map_err(failed(step()))?;
    fs::set_permissions(stage, fs::Permissions::from_mode(like.mode() & 0o7777)).map_err(failed(step()))?;
    for entry in fs::read_dir(folder).map_err(failed(step()))? {
        let entry = entry.map_err(failed(step()))?;
        let name = PathBuf::from(entry.file_name());
        if !own.contains(name.as_path()) {
            show(&entry.path(), &stage.join(&name))
                .map_err(failed(format!("showing {}", entry.path().display())))?;
        }
    }
    Ok(())
}

/// Shows `from` at `to`, which does not exist.
fn show(from: &Path, to: &Path) -> std::io::Result<()> {
    let kind = match fs::symlink_metadata(from) {
        Ok(metadata) => metadata.file_type(),
        // Gone since the folder was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else {
        fs::write(to, b"")?;
    }
    Ok(mount_bind_recursive(from, to)?)
}

fn write(path: &Path, candidate: &Candidate) -> Result<()> {
    let Some(content) = &candidate.content else { return Ok(()) };
    let step = || format!("showing {}", candidate.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed(step()))?;
    }
    fs::write(path, content).map_err(failed(step()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_is_found_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir(base.join("real")).unwrap();
        symlink("real", base.join("link")).unwrap();
        let path = HostPath::new(base.join("link/new/x.toml").to_str().unwrap()).unwrap();
        assert_eq!(existing_folder(&path).unwrap(), (base.join("real"), PathBuf::from("new/x.toml")));
    }
}
