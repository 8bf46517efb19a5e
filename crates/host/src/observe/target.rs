//! The place where trees go.

use super::ObserveError;
use crate::root::HostRoot;
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::TargetObservation;
use rustix::fs::StatVfsMountFlags;
use std::path::PathBuf;

/// Looks at the file system that holds `prefix`, or would hold it: that of its nearest existing ancestor.
///
/// # Errors
/// If no ancestor can be examined.
pub fn target(root: &HostRoot, prefix: &HostPath) -> Result<TargetObservation, ObserveError> {
    let mut folder = prefix.clone();
    let stat = loop {
        match rustix::fs::statvfs(root.outside(&folder)) {
            Ok(stat) => break stat,
            // Something that is no folder is in the way: the planner says so, with its path.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                let gone = ObserveError::Read {
                    path: PathBuf::from(folder.as_str()),
                    source: std::io::ErrorKind::NotFound.into(),
                };
                folder = folder.parent().ok_or(gone)?;
            }
            Err(error) => {
                return Err(ObserveError::Read {
                    path: PathBuf::from(folder.as_str()),
                    source: error.into(),
                });
            }
        }
    };
    Ok(TargetObservation {
        prefix: prefix.clone(),
        read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        noexec: stat.f_flag.contains(StatVfsMountFlags::NOEXEC),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        // btrfs and others have no fixed number of inodes and say 0 of 0.
        free_inodes: if stat.f_files == 0 { u64::MAX } else { stat.f_favail },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_prefix_is_judged_by_its_ancestor() {
        let folder = tempfile::tempdir().unwrap();
        let there = HostPath::new(folder.path().to_str().unwrap()).unwrap();
        let absent = there.join("a/b/c").unwrap();
        let live = HostRoot::open(std::path::Path::new("/")).unwrap();
        let seen = target(&live, &absent).unwrap();
        assert_eq!(seen.prefix, absent);
        assert!(!seen.read_only && seen.free_bytes > 0 && seen.free_inodes > 0);
        // /proc is noexec on every Linux system that mounts it as systemd does; its flags are read, not guessed.
        let proc = target(&live, &HostPath::new("/proc").unwrap()).unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/proc")).unwrap();
        assert_eq!(proc.noexec, line.split([' ', ',']).any(|option| option == "noexec"));
    }
}
