//! Whether a tree is as it was installed, by the manifest that was written with it.

use crate::error::{HostError, Result};
use crate::hashing::{Blake3, digest_of};
use crate::package::{Item, MANIFEST, Manifest};
use crate::root::HostRoot;
use cofferdam_core::class::Class;
use cofferdam_core::name::{Digest, HostPath, PackagePath};
use cofferdam_core::observation::{DamageKind, PathState, TreeDamage, TreeState};
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;

/// Compares each path of `tree` with the manifest whose digest is `manifest`. Without that digest, nothing in the
/// folder can be trusted.
///
/// # Errors
/// If something cannot be read.
pub(crate) fn check(root: &HostRoot, tree: &HostPath, manifest: Option<&Digest>) -> Result<TreeState> {
    match root.state(tree)? {
        PathState::Absent => return Ok(TreeState::Absent),
        PathState::Folder => {}
        PathState::File { .. } | PathState::Link { .. } | PathState::Other => {
            return Ok(damaged(vec![damage("", DamageKind::Changed)]));
        }
    }
    let Some(Manifest { mut items, .. }) = recorded(root, tree, manifest)? else {
        return Ok(damaged(vec![damage(MANIFEST, DamageKind::Unrecorded)]));
    };
    let mut found = Vec::new();
    compare(root, tree, "", &mut items, &mut found)?;
    found.extend(items.keys().map(|path| damage(path.as_str(), DamageKind::Missing)));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(if found.is_empty() { TreeState::Sound } else { damaged(found) })
}

const fn damaged(damage: Vec<TreeDamage>) -> TreeState {
    TreeState::Damaged { damage }
}

fn damage(path: &str, kind: DamageKind) -> TreeDamage {
    TreeDamage { path: path.to_owned(), kind }
}

/// What the tree should hold. None: the manifest is not the one that was written.
///
/// # Errors
/// If something cannot be read.
pub(crate) fn recorded(
    root: &HostRoot,
    tree: &HostPath,
    manifest: Option<&Digest>,
) -> Result<Option<Manifest>> {
    let path = tree.join(MANIFEST).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
    let Some(manifest) = manifest else { return Ok(None) };
    let bytes = match root.state(&path)? {
        PathState::File { digest, .. } if digest == *manifest => root.read(&path)?.unwrap_or_default(),
        _ => return Ok(None),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| HostError::new(Class::Internal, format!("{path}: {error}")))
}

/// Takes what is as recorded out of `items`, and puts what is not into `found`.
fn compare(
    root: &HostRoot,
    tree: &HostPath,
    prefix: &str,
    items: &mut BTreeMap<PackagePath, Item>,
    found: &mut Vec<TreeDamage>,
) -> Result<()> {
    let folder = if prefix.is_empty() { tree.clone() } else { in_tree(tree, prefix)? };
    for entry in root.list(&folder)? {
        let name = if prefix.is_empty() { entry.name } else { format!("{prefix}/{}", entry.name) };
        if name == MANIFEST {
            continue;
        }
        let Some(item) = PackagePath::new(name.as_str()).ok().and_then(|path| items.remove(&path)) else {
            found.push(damage(&name, DamageKind::Additional));
            continue;
        };
        let path = in_tree(tree, &name)?;
        if !is_as(root, &path, &item)? {
            found.push(damage(&name, DamageKind::Changed));
        }
        if entry.kind == FileType::Directory && item == Item::Folder {
            compare(root, tree, &name, items, found)?;
        }
    }
    Ok(())
}

fn in_tree(tree: &HostPath, path: &str) -> Result<HostPath> {
    tree.join(path).map_err(|error| HostError::new(Class::Conflict, error.to_string()))
}

fn is_as(root: &HostRoot, path: &HostPath, item: &Item) -> Result<bool> {
    Ok(match item {
        Item::Folder => root.state(path)? == PathState::Folder,
        Item::Link { target } => root.state(path)? == PathState::Link { target: target.clone() },
        Item::File { .. } => open_as(root, path, item)?.is_some(),
    })
}

/// The file at `path`, if it is what `item` says.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn open_as(root: &HostRoot, path: &HostPath, item: &Item) -> Result<Option<File>> {
    let Item::File { size, digest, .. } = item else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Ok(fd) = root.open_at(path, flags, Mode::empty()) else { return Ok(None) };
    let stat = rustix::fs::fstat(&fd).map_err(|errno| HostError::io("look at", path, errno))?;
    let fits = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_mode & 0o7777 == item.mode()
        && stat.st_size.unsigned_abs() == *size;
    if !fits {
        return Ok(None);
    }
    let file = File::from(fd);
    let found = digest_of::<Blake3>(&file).map_err(|error| HostError::std_io("read", path, error))?;
    Ok((found == *digest).then_some(file))
}
