//! All that a tree holds, to compare.

use rustix::fs::XattrFlags;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One file, folder or link: type and content, mode, owner, extended attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub mode: u32,
    pub owner: (u32, u32),
    pub content: Vec<u8>,
    pub attributes: BTreeMap<String, Vec<u8>>,
}

/// Everything in a tree.
pub type Snapshot = BTreeMap<String, Node>;

/// It holds times, and tells what leaves the rest as it was. Were it left behind, so would be its folder.
const LOG: &str = "/var/lib/cofferdam/log";

/// Everything in `root`.
pub fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    walk(root, "/", &mut |path, shown, stat| {
        if shown == LOG {
            return;
        }
        let content = match stat.file_type() {
            kind if kind.is_symlink() => {
                std::fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
            }
            kind if kind.is_file() => std::fs::read(path).unwrap(),
            _ => Vec::new(),
        };
        let node = Node {
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            content,
            attributes: attributes(path),
        };
        found.insert(shown.to_owned(), node);
    });
    found
}

/// What changes whenever something is written: inode, modification and status change of everything in `root`.
pub fn stamps(root: &Path) -> BTreeMap<String, (u64, i64, i64, i64, i64)> {
    let mut found = BTreeMap::new();
    walk(root, "/", &mut |_, shown, stat| {
        let stamp = (stat.ino(), stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec());
        found.insert(shown.to_owned(), stamp);
    });
    found
}

fn walk(path: &Path, shown: &str, visit: &mut dyn FnMut(&Path, &str, &std::fs::Metadata)) {
    let stat = std::fs::symlink_metadata(path).unwrap();
    visit(path, shown, &stat);
    if stat.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            let name = entry.unwrap().file_name();
            let shown = format!("{}/{}", shown.trim_end_matches('/'), name.to_string_lossy());
            walk(&path.join(&name), &shown, visit);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let size = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        if let Ok(size) = rustix::fs::lgetxattr(path, name, value.as_mut_slice()) {
            value.truncate(size);
            found.insert(String::from_utf8_lossy(name).into_owned(), value);
        }
    }
    found
}

/// Sets an extended attribute; false where the file system has none.
pub fn mark(path: &Path, name: &str, value: &[u8]) -> bool {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).is_ok()
}

/// Paths in which two trees differ, with how.
pub fn differences(left: &Snapshot, right: &Snapshot) -> Vec<String> {
    let mut found = Vec::new();
    for (path, node) in left {
        match right.get(path) {
            None => found.push(format!("{path}: gone")),
            Some(other) if other.content != node.content => {
                let text = String::from_utf8_lossy(&other.content);
                let start: String = text.chars().take(1500).collect();
                found.push(format!("{path}: other content: {start}"));
            }
            Some(other) if other != node => {
                found.push(format!(
                    "{path}: {:o} {:?} instead of {:o} {:?}",
                    other.mode, other.owner, node.mode, node.owner
                ));
            }
            Some(_) => {}
        }
    }
    found.extend(right.keys().filter(|path| !left.contains_key(*path)).map(|path| format!("{path}: new")));
    found
}

/// Fails the test if two trees differ.
#[track_caller]
pub fn assert_same(before: &Snapshot, now: &Snapshot, context: &str) {
    let found = differences(before, now);
    assert!(found.is_empty(), "{context}: the tree differs:\n  {}", found.join("\n  "));
}
