//! What is in the folder, by our own list: the file system is never asked.

use super::ArchiveError;
use super::names::folded;
use crate::package::Item;
use cofferdam_core::name::{FileDigest, PackagePath};
use std::collections::BTreeMap;
use std::ops::Bound;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File { size: u64, digest: FileDigest, executable: bool },
    Link { target: Box<str> },
}

impl From<Node> for Item {
    fn from(node: Node) -> Self {
        match node {
            Node::Folder => Self::Folder,
            Node::File { size, digest, executable } => Self::File { size, digest, executable, setuid: false },
            Node::Link { target } => Self::Link { target: target.into() },
        }
    }
}

struct Place {
    node: Node,
    /// How the path is written, if not as its key.
    written: Option<Box<str>>,
    /// The layer that put it there, or something below it.
    layer: u32,
}

/// The list. Paths that differ in case only have one place in it.
#[derive(Default)]
pub(super) struct Present {
    places: BTreeMap<Box<str>, Place>,
    layer: u32,
    names: u64,
}

impl Present {
    /// What comes from now on belongs to the next layer.
    pub(super) const fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// How many bytes all paths had that were ever put in.
    pub(super) const fn names(&self) -> u64 {
        self.names
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// If something with another spelling is.
    pub(super) fn get(&self, path: &str) -> Result<Option<&Node>, ArchiveError> {
        let key = folded(path);
        let Some(place) = self.places.get(key.as_str()) else { return Ok(None) };
        let written = place.written.as_deref().unwrap_or(&key);
        if written != path {
            return Err(ArchiveError::refused(format!("{path} and {written} differ in case only")));
        }
        Ok(Some(&place.node))
    }

    /// Puts `node` at `path`.
    pub(super) fn put(&mut self, path: &str, node: Node) {
        let key = folded(path);
        self.names += (key.len() + if let Node::Link { target } = &node { target.len() } else { 0 }) as u64;
        let written = (key != path).then(|| path.into());
        self.places.insert(key.into(), Place { node, written, layer: self.layer });
    }

    /// Marks `path` as the present layer's too.
    pub(super) fn touch(&mut self, path: &str) {
        if let Some(place) = self.places.get_mut(folded(path).as_str()) {
            place.layer = self.layer;
        }
    }

    /// Whether the present layer put something at `path` or below it.
    pub(super) fn is_of_layer(&self, path: &str) -> bool {
        self.places.get(folded(path).as_str()).is_some_and(|place| place.layer == self.layer)
    }

    /// What layers below put into `folder`, outermost first.
    pub(super) fn lower(&self, folder: &str) -> Vec<String> {
        let start = if folder.is_empty() { String::new() } else { format!("{}/", folded(folder)) };
        let below = self.places.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
        let below = below.take_while(|(path, _)| path.starts_with(&start));
        let lower = below.filter(|(_, place)| place.layer != self.layer);
        lower.map(|(path, place)| place.written.as_deref().unwrap_or(path).to_owned()).collect()
    }

    /// Takes `path` and all below it out.
    pub(super) fn take(&mut self, path: &str) {
        let key = folded(path);
        self.places.remove(key.as_str());
        let start = format!("{key}/");
        let below = self.places.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
        let below: Vec<Box<str>> =
            below.map(|(path, _)| path.clone()).take_while(|path| path.starts_with(&start)).collect();
        for path in below {
            self.places.remove(&path);
        }
    }

    /// All of it.
    pub(super) fn items(self) -> BTreeMap<PackagePath, Item> {
        let places = self.places.into_iter().filter_map(|(path, place)| {
            let path = PackagePath::new(place.written.unwrap_or(path)).ok()?;
            Some((path, place.node.into()))
        });
        places.collect()
    }
}
