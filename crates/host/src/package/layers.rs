//! Which files go into which layer, so that an upgrade moves what changed.
//!
//! Layers begin and end with files. A large file has one to itself; small ones are together with those of their folder,
//! in one of a number of groups that follows from their names alone. So a file that changes, comes or goes touches one
//! layer, and the others keep their digests: a registry that has them takes them for there, and whoever installs does.

use super::Item;
use cofferdam_core::name::{Digest, PackagePath};
use std::collections::BTreeMap;

/// From how many bytes on a file has a layer to itself.
const LARGE: u64 = 4 << 20;

/// How many have one; those beyond are with the small ones. An image may have 128 layers.
const MOST_ALONE: usize = 56;

/// How many bytes of small files a group is made for.
const GROUP: u64 = 2 << 20;

/// How many groups there are at most; a power of two.
const MOST_GROUPS: u64 = 64;

/// The layers of a package, each with its entries in their order.
pub(super) fn layers(items: &BTreeMap<PackagePath, Item>) -> Vec<Vec<&PackagePath>> {
    let size = |path: &PackagePath| items.get(path).map_or(0, Item::size);
    let (files, shape): (Vec<_>, Vec<_>) = items
        .iter()
        .map(|(path, item)| (path, matches!(item, Item::File { .. })))
        .partition(|(_, is_file)| *is_file);
    let (mut large, mut small): (Vec<&PackagePath>, Vec<&PackagePath>) =
        files.into_iter().map(|(path, _)| path).partition(|path| size(path) >= LARGE);
    large.sort_by_key(|path| (std::cmp::Reverse(size(path)), *path));
    small.extend(large.split_off(large.len().min(MOST_ALONE)));
    large.sort();
    small.sort();

    let bytes: u64 = small.iter().map(|path| size(path)).sum();
    let groups = (bytes / GROUP).max(1).next_power_of_two().min(MOST_GROUPS);
    let mut folders: BTreeMap<&str, u64> = BTreeMap::new();
    for path in &small {
        *folders.entry(folder(path)).or_default() += size(path);
    }
    let mut grouped: BTreeMap<u64, Vec<&PackagePath>> = BTreeMap::new();
    for path in small {
        // What a folder has beyond a group's worth goes into the groups after its own, by the files' names.
        let bytes = folders.get(folder(path)).copied().unwrap_or_default();
        let width = (bytes / (2 * GROUP)).max(1).next_power_of_two().min(groups);
        let group = (bucket(folder(path), groups) + bucket(path.as_str(), width)) % groups;
        grouped.entry(group).or_default().push(path);
    }

    let shape: Vec<&PackagePath> = shape.into_iter().map(|(path, _)| path).collect();
    let mut layers: Vec<Vec<&PackagePath>> = grouped.into_values().collect();
    layers.extend(large.into_iter().map(|path| vec![path]));
    if let [only] = layers.as_mut_slice() {
        only.extend(shape);
        only.sort();
    } else if layers.is_empty() || !shape.is_empty() {
        // Folders and links: a layer in which no file's content is.
        layers.insert(0, shape);
    }
    layers
}

fn folder(path: &PackagePath) -> &str {
    path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Where a name belongs among `groups`, the same on every machine.
fn bucket(name: &str, groups: u64) -> u64 {
    let hex = Digest::of(name.as_bytes()).short();
    u64::from_str_radix(&hex, 16).unwrap_or_default() % groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_core::name::FileDigest;

    fn file(size: u64) -> Item {
        Item::File { size, digest: FileDigest::of(b""), executable: false, setuid: false }
    }

    fn items(files: impl IntoIterator<Item = (String, u64)>) -> BTreeMap<PackagePath, Item> {
        files.into_iter().map(|(path, size)| (PackagePath::new(path).unwrap(), file(size))).collect()
    }

    #[test]
    fn every_entry_is_in_one_layer_and_there_are_not_too_many() {
        for count in [1, 30, 3000] {
            let mut all = items((0..count).map(|i| (format!("d{}/f{i}", i % 90), (i * i * 997) % (9 << 20))));
            all.insert(PackagePath::new("d0").unwrap(), Item::Folder);
            let layers = layers(&all);
            let mut found: Vec<_> = layers.concat();
            found.sort();
            assert_eq!(found, all.keys().collect::<Vec<_>>());
            assert!(layers.len() <= 128 && layers.iter().all(|layer| !layer.is_empty()), "{}", layers.len());
        }
    }

    #[test]
    fn a_small_package_is_one_layer() {
        let all = items((0..200).map(|i| (format!("d{i}/f"), 1000)));
        assert_eq!(layers(&all).len(), 1);
    }

    #[test]
    fn a_file_that_comes_leaves_the_other_layers_alone() {
        let before = items((0..2000).map(|i| (format!("d{}/f{i}", i % 100), 50_000)));
        let mut after = before.clone();
        after.insert(PackagePath::new("d7/new").unwrap(), file(10));
        let (before, after) = (layers(&before), layers(&after));
        let same = after.iter().filter(|layer| before.contains(layer)).count();
        assert_eq!(same, after.len() - 1);
    }
}
