//! What else changed between two effective configurations: nothing may.

use super::effective::Effective;
use super::tree::Tree;
use super::{PLATFORMS, Tables};
use crate::name::HandlerName;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// One difference in meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key, dotted.
    pub path: String,
    /// The value before, as containerd would write it; none if there was none.
    pub before: Option<String>,
    /// The value after.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "(absent)".to_owned());
        write!(f, "{}: {} -> {}", self.path, show(&self.before), show(&self.after))
    }
}

/// Every difference in meaning but the handlers `ours`, `version` and `imports`.
///
/// Absent, `""`, `0`, `false`, `[]` and `{}` are the same to containerd, whose dump prints every default that is
/// not one of these.
pub fn compare(before: &Effective, after: &Effective, ours: &BTreeSet<HandlerName>) -> Vec<Difference> {
    let (mut before, mut after) = (before.tree().clone(), after.tree().clone());
    for tree in [&mut before, &mut after] {
        for key in ["version", "imports"] {
            tree.remove(&[key], false);
        }
        for handler in ours {
            for tables in Tables::ALL {
                let [plugins, plugin, containerd, runtimes] = tables.runtimes();
                tree.remove(&[plugins, plugin, containerd, runtimes, handler.as_str()], true);
            }
            let [plugins, images, platforms] = PLATFORMS;
            tree.remove(&[plugins, images, platforms, handler.as_str()], true);
        }
    }
    let mut found = Vec::new();
    walk(&mut Vec::new(), Some(&before), Some(&after), &mut found);
    found
}

/// The first difference between two trees, for messages; none if they are equal but for empty values.
pub(super) fn first_difference(before: &Tree, after: &Tree) -> Option<Difference> {
    all_differences(before, after).into_iter().next()
}

/// Every difference between two trees.
pub(super) fn all_differences(before: &Tree, after: &Tree) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(&mut Vec::new(), Some(before), Some(after), &mut found);
    found
}

fn walk<'t>(
    path: &mut Vec<&'t str>,
    before: Option<&'t Tree>,
    after: Option<&'t Tree>,
    found: &mut Vec<Difference>,
) {
    let before = before.filter(|tree| !tree.is_empty());
    let after = after.filter(|tree| !tree.is_empty());
    match (before, after) {
        (None, None) => {}
        (Some(Tree::Table(_)) | None, Some(Tree::Table(_)) | None) => {
            let keys = [before, after].into_iter().flatten().flat_map(Tree::entries).map(|(key, _)| key);
            for key in keys.collect::<BTreeSet<_>>() {
                let of = |side: Option<&'t Tree>| side.and_then(|tree| tree.get(&[key]));
                path.push(key);
                walk(path, of(before), of(after), found);
                path.pop();
            }
        }
        (Some(a), Some(b)) if a == b => {}
        (a, b) => found.push(Difference {
            path: path.iter().map(|key| quote_key(key)).collect::<Vec<_>>().join("."),
            before: a.map(ToString::to_string),
            after: b.map(ToString::to_string),
        }),
    }
}

/// A key as it must be written.
pub(super) fn quote_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")) }
}
