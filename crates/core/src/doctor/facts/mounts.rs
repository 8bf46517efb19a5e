//! What is mounted where files of ours go.

use crate::name::HostPath;
use serde::{Deserialize, Serialize};

/// File systems that live in memory.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// The file system that holds a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The path.
    pub of: HostPath,
    /// Where the file system is mounted.
    pub point: String,
    /// Its type, e.g. `ext4`.
    pub kind: String,
    /// Of an overlay: the type of the file system that takes what is written. None if that is not mounted in sight.
    pub upper: Option<String>,
}

impl Mount {
    /// Why nothing stays there beyond the next boot; none if it does, as far as can be seen.
    pub fn fleeting(&self) -> Option<String> {
        if IN_MEMORY.contains(&self.kind.as_str()) {
            return Some(format!("{} is on {} in memory (at {})", self.of, self.kind, self.point));
        }
        let upper = self.upper.as_deref().filter(|upper| IN_MEMORY.contains(upper))?;
        Some(format!(
            "{} is on an overlay (at {}) that keeps changes on {upper} in memory",
            self.of, self.point
        ))
    }
}

/// The mount of /proc/self/mountinfo (proc(5)) that holds `path`, links in it already followed.
pub fn mount_of(mountinfo: &str, path: &HostPath) -> Option<Mount> {
    let line = holding(mountinfo, path.as_str())?;
    // What an overlay writes to may itself be hidden below it, as in a live image that was switched to.
    let folder = line.options.split(',').find_map(|option| option.strip_prefix("upperdir="));
    let above = folder.and_then(|folder| holding(mountinfo, folder)).filter(|above| above.kind != "overlay");
    let upper = (line.kind == "overlay").then_some(above).flatten().map(|above| above.kind.to_owned());
    Some(Mount { of: path.clone(), point: line.point.clone(), kind: line.kind.to_owned(), upper })
}

struct Line<'t> {
    point: String,
    kind: &'t str,
    options: &'t str,
}

/// The last mount on the longest mount point that is `path` or above it.
fn holding<'t>(mountinfo: &'t str, path: &str) -> Option<Line<'t>> {
    let above = |point: &str| {
        let point = point.trim_end_matches('/');
        path.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mountinfo.lines().filter_map(line).filter(|line| above(&line.point)).max_by_key(|line| line.point.len())
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(text: &str) -> Option<Line<'_>> {
    let (mount, file_system) = text.split_once(" - ")?;
    let point = unescaped(mount.split(' ').nth(4)?);
    let mut rest = file_system.split(' ');
    Some(Line { point, kind: rest.next()?, options: rest.nth(1).unwrap_or_default() })
}

/// Blanks and backslashes stand as three octal digits.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "\
        22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/run/rootfs,upperdir=/run/live/rw,workdir=/run/live/work\n\
        23 22 0:21 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,size=1k\n\
        24 22 8:1 / /var/lib rw - ext4 /dev/sda1 rw\n\
        25 22 8:2 / /opt\\040x rw - xfs /dev/sdb rw\n\
        26 24 0:30 / /var/lib/cofferdam rw - tmpfs none rw\n\
        27 22 8:3 / /srv rw - ext4 /dev/sdc rw\n\
        28 27 0:31 / /srv rw - ramfs none rw\n";

    fn mount(path: &str) -> Mount {
        mount_of(LIVE, &HostPath::new(path).unwrap()).unwrap()
    }

    #[test]
    fn the_nearest_and_last_mount_holds_a_path() {
        assert_eq!(mount("/var/lib/containerd").kind, "ext4");
        assert_eq!(mount("/var/library").kind, "overlay");
        assert_eq!(mount("/opt x/y").kind, "xfs");
        assert_eq!(mount("/srv/a").kind, "ramfs");
        assert_eq!(mount("/").point, "/");
    }

    #[test]
    fn memory_is_fleeting_behind_an_overlay_too() {
        assert!(mount("/opt").fleeting().unwrap().contains("overlay"));
        assert!(mount("/var/lib/cofferdam/backup").fleeting().unwrap().contains("tmpfs in memory"));
        assert!(mount("/srv").fleeting().is_some());
        assert_eq!(mount("/var/lib/containerd").fleeting(), None);
        // A node in a container: the upper folder is out of sight.
        let outside = LIVE.replace("/run/live/rw", "/srv/nodes/1/upper");
        let seen =
            mount_of(&outside.replace("/srv r", "/elsewhere r"), &HostPath::new("/opt").unwrap()).unwrap();
        assert_eq!((seen.upper.as_deref(), seen.fleeting()), (None, None));
    }
}
