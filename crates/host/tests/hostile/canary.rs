//! A folder to unpack into, and around it a tree that nobody may touch.

use cofferdam_core::name::{FileDigest, PackagePath};
use cofferdam_host::package::Item;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A name that no archive may make anywhere.
pub const ABSOLUTE: &str = "/tmp/cofferdam-hostile-archive";

pub struct Canary {
    folder: TempDir,
    before: BTreeMap<String, String>,
    own: Option<String>,
}

impl Canary {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        fs::create_dir_all(top.join("above/stage")).unwrap();
        fs::create_dir_all(top.join("above/beside/deep")).unwrap();
        fs::create_dir_all(top.join("outside")).unwrap();
        fs::set_permissions(top.join("outside"), fs::Permissions::from_mode(0o700)).unwrap();
        for file in ["secret", "above/secret", "above/beside/deep/secret", "outside/secret"] {
            fs::write(top.join(file), "untouched").unwrap();
            fs::set_permissions(top.join(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        symlink("../outside", top.join("above/link")).unwrap();
        let before = around(top, None);
        let canary = Self { folder, before, own: None };
        canary.clear();
        canary
    }

    /// The same, where something of the test's own lies beside the canaries.
    pub fn seen_now_except(mut self, own: &Path) -> Self {
        self.own = Some(own.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned());
        self
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("above/stage")
    }

    /// The folder to unpack into.
    pub fn inside(&self) -> OwnedFd {
        fs::File::open(self.path()).unwrap().into()
    }

    /// Empties it.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(self.path());
        fs::create_dir(self.path()).unwrap();
        assert!(!Path::new(ABSOLUTE).exists(), "{ABSOLUTE}");
    }

    /// What changed outside of it.
    pub fn change(&self) -> Option<String> {
        if fs::symlink_metadata(ABSOLUTE).is_ok() {
            return Some(ABSOLUTE.to_owned());
        }
        let now = around(self.folder.path(), self.own.as_deref());
        (now != self.before).then(|| format!("{:#?} became {now:#?}", self.before))
    }

    /// Each path with what it is: `/`, a target, or mode and content.
    pub fn shown(&self) -> Vec<String> {
        let mut shown = Vec::new();
        walk(&self.path(), "", &mut |name, path| {
            let kind = fs::symlink_metadata(path).unwrap();
            shown.push(if kind.is_dir() {
                format!("{name} /")
            } else if kind.is_symlink() {
                format!("{name} -> {}", fs::read_link(path).unwrap().display())
            } else {
                let content = fs::read(path).unwrap();
                let content = match content.len() {
                    ..100 => String::from_utf8_lossy(&content).into_owned(),
                    more => format!("{more} bytes"),
                };
                format!("{name} {:o} {content}", kind.mode() & 0o7777)
            });
            true
        });
        shown
    }

    /// Each path with its digest, as the list of what was unpacked has it.
    pub fn shown_digests(&self) -> Vec<String> {
        let mut shown = Vec::new();
        walk(&self.path(), "", &mut |name, path| {
            let kind = fs::symlink_metadata(path).unwrap();
            shown.push(if kind.is_dir() {
                format!("{name} /")
            } else if kind.is_symlink() {
                format!("{name} -> {}", fs::read_link(path).unwrap().display())
            } else {
                let digest = FileDigest::of(&fs::read(path).unwrap());
                format!("{name} {} {digest} {}", kind.len(), kind.mode() & 0o111 != 0)
            });
            true
        });
        shown.sort();
        shown
    }
}

/// The same for a list.
pub fn of_items(items: &BTreeMap<PackagePath, Item>) -> Vec<String> {
    let shown = items.iter().map(|(path, item)| match item {
        Item::Folder => format!("{path} /"),
        Item::Link { target } => format!("{path} -> {target}"),
        Item::File { size, digest, executable, .. } => format!("{path} {size} {digest} {executable}"),
    });
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

/// All that is around the inner folder: what it is, whose, how many names it has, when it changed.
fn around(top: &Path, own: Option<&str>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(top, "", &mut |name, path| {
        // What is unpacked into changes all the time, and so does what holds it.
        if name == "above/stage" || own == Some(name) {
            return false;
        }
        if name == "above" {
            return true;
        }
        let data = fs::symlink_metadata(path).unwrap();
        let content = match data.is_file() {
            true => fs::read_to_string(path).unwrap(),
            false => String::new(),
        };
        let what = format!(
            "{:o} {}:{} {} {} {}.{} {}.{} {content}",
            data.mode(),
            data.uid(),
            data.gid(),
            data.ino(),
            data.nlink(),
            data.mtime(),
            data.mtime_nsec(),
            data.ctime(),
            data.ctime_nsec()
        );
        found.insert(name.to_owned(), what);
        true
    });
    found
}

/// Tells of each path, and goes into the folders for which the answer is yes.
fn walk(folder: &Path, prefix: &str, tell: &mut dyn FnMut(&str, &Path) -> bool) {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for file in names {
        let path = folder.join(&file);
        let name = format!("{prefix}{}", file.to_string_lossy());
        // A symlink to a folder is not gone into.
        if tell(&name, &path) && fs::symlink_metadata(&path).unwrap().is_dir() {
            walk(&path, &format!("{name}/"), tell);
        }
    }
}
