//! What an effective configuration (`containerd config dump`) means.

use super::error::{DialectError, Place};
use super::tree::Tree;
use super::{IMAGES, Tables};
use std::collections::BTreeMap;

/// An effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    tree: Tree,
}

/// A handler in an effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerView<'a> {
    /// `runtime_type`; empty if it has none.
    pub runtime_type: &'a str,
    /// The whole table.
    pub table: &'a Tree,
}

/// Names in `disabled_plugins` that take CRI away.
pub(super) const CRI_PLUGINS: [&str; 4] =
    ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"];

impl Effective {
    /// Reads a dump.
    ///
    /// # Errors
    /// If it is not TOML.
    pub fn parse(dump: &str) -> Result<Self, DialectError> {
        let doc = toml_edit::Document::parse(dump).map_err(|error| DialectError::Parse {
            place: Place::default(),
            message: error.message().to_owned(),
        })?;
        Ok(Self { tree: Tree::of_item(doc.as_item()).unwrap_or_else(|| Tree::Table(BTreeMap::new())) })
    }

    /// The whole of it.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// `version`; 1 if it is absent.
    pub fn version(&self) -> i64 {
        match self.tree.get(&["version"]) {
            Some(Tree::Integer(number)) => *number,
            _ => 1,
        }
    }

    /// Whether no name in `disabled_plugins` takes CRI away.
    pub fn cri_enabled(&self) -> bool {
        !self.list(&["disabled_plugins"]).iter().any(|name| CRI_PLUGINS.contains(name))
    }

    /// The handlers by name.
    pub fn handlers(&self) -> BTreeMap<&str, HandlerView<'_>> {
        Tables::ALL
            .into_iter()
            .filter_map(|tables| self.tree.get(&tables.runtimes()))
            .flat_map(Tree::entries)
            .map(|(name, table)| {
                let runtime_type = table.get(&["runtime_type"]).and_then(Tree::text).unwrap_or_default();
                (name.as_str(), HandlerView { runtime_type, table })
            })
            .collect()
    }

    /// `default_runtime_name`.
    pub fn default_runtime_name(&self) -> Option<&str> {
        self.cri(&["containerd", "default_runtime_name"])
    }

    /// The pause image.
    pub fn sandbox_image(&self) -> Option<&str> {
        self.image(&["pinned_images", "sandbox"]).or_else(|| self.cri(&["sandbox_image"]))
    }

    /// The default snapshotter.
    pub fn snapshotter(&self) -> Option<&str> {
        self.image(&["snapshotter"]).or_else(|| self.cri(&["containerd", "snapshotter"]))
    }

    /// The folders with CNI plugins: `bin_dir`, then `bin_dirs`.
    pub fn cni_bin_dirs(&self) -> Vec<&str> {
        let mut dirs: Vec<&str> = self.cri(&["cni", "bin_dir"]).into_iter().collect();
        for tables in Tables::ALL {
            dirs.extend(self.list(&["plugins", tables.plugin(), "cni", "bin_dirs"]));
        }
        dirs
    }

    /// The folder with CNI configurations.
    pub fn cni_conf_dir(&self) -> Option<&str> {
        self.cri(&["cni", "conf_dir"])
    }

    /// Folders that describe registries' hosts, separated by colons.
    pub fn registry_config_path(&self) -> Option<&str> {
        self.image(&["registry", "config_path"]).or_else(|| self.cri(&["registry", "config_path"]))
    }

    /// `root`: persistent state.
    pub fn root(&self) -> Option<&str> {
        self.text(&["root"])
    }

    /// `state`: state until the next boot.
    pub fn state(&self) -> Option<&str> {
        self.text(&["state"])
    }

    /// The socket's address. In version 4 it belongs to a plugin.
    pub fn address(&self) -> Option<&str> {
        self.text(&["plugins", "io.containerd.server.v1.grpc", "address"])
            .or_else(|| self.text(&["grpc", "address"]))
    }

    /// `imports`, as the dump prints them.
    pub fn imports(&self) -> Vec<&str> {
        self.list(&["imports"])
    }

    fn text(&self, path: &[&str]) -> Option<&str> {
        self.tree.get(path).and_then(Tree::text).filter(|text| !text.is_empty())
    }

    fn list(&self, path: &[&str]) -> Vec<&str> {
        self.tree.get(path).map(Tree::texts).unwrap_or_default()
    }

    fn cri(&self, rest: &[&str]) -> Option<&str> {
        Tables::ALL.into_iter().rev().find_map(|tables| {
            let path: Vec<&str> =
                ["plugins", tables.plugin()].into_iter().chain(rest.iter().copied()).collect();
            self.text(&path)
        })
    }

    fn image(&self, rest: &[&str]) -> Option<&str> {
        let path: Vec<&str> = ["plugins", IMAGES].into_iter().chain(rest.iter().copied()).collect();
        self.text(&path)
    }
}
