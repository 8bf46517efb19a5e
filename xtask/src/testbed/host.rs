//! The few things that several parts do to this machine: mounts, removal, names; and copies of programs.

use super::command::Command;
use super::error::{Error, Result};
use super::packages;
use rustix::mount::{UnmountFlags, unmount};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Writes a copy of a program without debug information, which makes a test's program five times as large.
pub(crate) fn strip(program: &Path, out: &Path) -> Result<()> {
    packages::ensure(&["binutils"])?;
    Command::new("strip").arg("--strip-debug").arg("-o").arg(out).arg(program).ok().map(drop)
}

/// One line of `/proc/self/mountinfo`.
pub(crate) struct Mount {
    /// Where.
    pub(crate) point: PathBuf,
    /// The file system type.
    pub(crate) kind: String,
    /// What of the file system is mounted: `/` for the whole.
    pub(crate) root: String,
}

/// Every mount that this process sees, in the order in which they were made.
pub(crate) fn mounts() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(text.lines().filter_map(mount).collect())
}

fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let root = left.next()?.to_owned();
    // The kernel writes a space as \040; no path of ours has one.
    let point = PathBuf::from(left.next()?);
    Some(Mount { point, kind: right.split(' ').next()?.to_owned(), root })
}

/// Unmounts everything at and below a directory, the latest mount first.
pub(crate) fn unmount_below(dir: &Path) -> Result<()> {
    for mount in mounts()?.iter().rev().filter(|m| m.point.starts_with(dir)) {
        let plain = unmount(&mount.point, UnmountFlags::empty());
        if plain.is_err() {
            unmount(&mount.point, UnmountFlags::DETACH).map_err(Error::io("unmount", &mount.point))?;
        }
    }
    Ok(())
}

/// Removes a directory tree, mounts in it first; absent is fine.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    // debootstrap mounts /proc into its target; a killed one leaves it, and removal would walk into it.
    unmount_below(dir)?;
    let removed = match fs::symlink_metadata(dir) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(dir),
        Ok(_) => fs::remove_file(dir),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io("remove", dir)),
    }
}

/// What lies in a directory.
pub(crate) fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(Error::io("list", dir))?;
    entries.map(|e| e.map(|e| e.path()).map_err(Error::io("list", dir))).collect()
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    fs::write(path, bytes).map_err(Error::io("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("set the mode of", path))
}
