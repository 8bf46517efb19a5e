//! The files of another runtime that a package needs: they become part of its own tree, so that neither an upgrade nor the
//! removal of that runtime takes them away.

use super::{Item, MANIFEST, Manifest, invalid};
use crate::error::{HostError, Result};
use crate::root::HostRoot;
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Relocate;
use cofferdam_core::name::{Digest, HostPath, PackagePath, RuntimeName};
use cofferdam_core::record::Ledger;
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

/// A host with what is installed on it.
pub(super) type Installed<'a> = Option<(&'a HostRoot, &'a Ledger)>;

/// An installed runtime's tree, as far as a package takes files from it.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) folder: OwnedFd,
    pub(super) tree: HostPath,
    /// What comes from it.
    pub(super) paths: BTreeSet<PackagePath>,
    /// What of it names its own tree, and must name another one.
    relocated: BTreeSet<PackagePath>,
    relocate: Option<Relocate>,
}

impl Base {
    /// The runtime `name` and its files. None: it is not installed, or nobody knows what is.
    pub(super) fn find(
        installed: Installed<'_>,
        name: &RuntimeName,
    ) -> Result<Option<(Self, BTreeMap<PackagePath, Item>)>> {
        let Some((root, ledger)) = installed else { return Ok(None) };
        let Some(runtime) = ledger.runtimes.get(name) else { return Ok(None) };
        let path = runtime
            .tree
            .join(MANIFEST)
            .map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        let bytes = root.read(&path)?.filter(|bytes| Some(Digest::of(bytes)) == runtime.manifest);
        let manifest = bytes.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
        let Some(Manifest { descriptor, items, relocated, .. }) = manifest else {
            let text = format!("the files of the runtime {name}, which the package needs, are damaged");
            return Err(
                HostError::new(Class::Conflict, text).with_hint(format!("run cofferdam repair {name}"))
            );
        };
        let folder = root
            .open_at(&runtime.tree, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|errno| HostError::io("open", &runtime.tree, errno))?;
        let tree = runtime.tree.clone();
        // What stood in its files moved once; from its tree it moves by the same keys.
        let relocate = descriptor.relocate.map(|relocate| Relocate { from: tree.clone(), ..relocate });
        let relocated = relocated.into_keys().collect();
        Ok(Some((Self { folder, tree, paths: BTreeSet::new(), relocated, relocate }, items)))
    }

    /// Adds those of its `items` that the package has not, and which do not stand in the way of what it has.
    pub(super) fn lend(
        &mut self,
        from: BTreeMap<PackagePath, Item>,
        items: &mut BTreeMap<PackagePath, Item>,
    ) -> Result<()> {
        for (path, item) in from {
            if items.contains_key(&path) {
                continue;
            }
            let below_a_file =
                above(&path)?.iter().any(|at| items.get(at).is_some_and(|at| *at != Item::Folder));
            if below_a_file {
                return Err(invalid(format!(
                    "{path} of the base lies in what is a file or a link in the package"
                ))
                .with_hint("give the file of the package another name"));
            }
            self.paths.insert(path.clone());
            // What the base asked for is not asked for by who takes its files.
            items.insert(path, item.without_setuid());
        }
        Ok(())
    }

    /// How the paths in a file of it follow.
    pub(super) fn relocate(&self, path: &PackagePath) -> Option<&Relocate> {
        self.relocate.as_ref().filter(|_| self.relocated.contains(path))
    }
}

/// The folders above `path`.
pub(super) fn above(path: &PackagePath) -> Result<Vec<PackagePath>> {
    let folders = path.as_str().match_indices('/').filter_map(|(at, _)| path.as_str().get(..at));
    folders.map(|folder| PackagePath::new(folder).map_err(|error| invalid(error.to_string()))).collect()
}
