//! containerd: configuration versions 1 to 4, by splices.
//!
//! ```text
//! Effective::parse   what `config dump` says
//! layout             where and how entries go: in place (versions 1 and 2) or as drop-ins (3 and 4)
//! write_root         a text without anything of ours -> the text with it, and the record of what is ours
//! drop_in            one file per runtime
//! cut_root           a text (perhaps edited by others since) -> the text without anything of ours
//! revert             a text edited by others in the middle of a change -> the text without the change
//! compare            what else changed between two dumps: nothing may
//! ```
//!
//! Sources of facts: containerd's `cmd/containerd/server/config` and `internal/cri/config`, and what the daemons
//! 1.6.20, 1.7.24, 2.1.9 and 2.4.2 did with the texts in the tests.

mod admit;
mod compare;
mod cut;
mod effective;
mod error;
mod imports;
mod layout;
mod locate;
mod misfit;
mod render;
mod rendered;
mod revert;
mod scan;
mod traces;
mod tree;
mod version;
mod write;

pub use admit::{FLOOR, admit, dismiss, foreign_handlers, recreates_pods, supported};
pub use compare::{Difference, compare};
pub use cut::{Cut, cut_root, holds, same, settled};
pub use effective::{Effective, HandlerView};
pub use error::{DialectError, Place};
pub use imports::{import_matches, import_patterns, imported_by_name};
pub use layout::{ConfigInput, Import, Layout, Placement, layout};
pub use misfit::{Flaw, Misfit, registered};
pub use render::drop_in;
pub use revert::revert;
pub use traces::{Traces, only_ours};
pub use tree::Tree;
pub use write::{Piece, PieceKind, RootOwned, RootText, write_root};

use super::{Overwrite, Value};
use crate::descriptor::{Call, Handler};
use crate::name::{HandlerName, HostPath, RuntimeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One runtime table: `runtimes.<handler>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The table's name.
    pub handler: HandlerName,
    /// The table's keys but `options`, in the order in which they are written.
    pub keys: Vec<(String, Value)>,
    /// The keys of its `options` table.
    pub options: Vec<(String, Value)>,
}

/// Every runtime's entries that the configuration shall hold, or holds by our hand.
pub type Registrations = BTreeMap<RuntimeName, Vec<Entry>>;

/// The `version` of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "i64", try_from = "i64")]
pub enum ConfigVersion {
    /// The first one, which says no version. 2.0 to 2.2 do not apply its CRI settings.
    V1,
    /// Since containerd 1.3.
    V2,
    /// Since containerd 2.0.
    V3,
    /// Since containerd 2.3: as 3, with the servers' tables moved to plugins.
    V4,
}

impl From<ConfigVersion> for i64 {
    fn from(version: ConfigVersion) -> Self {
        match version {
            ConfigVersion::V1 => 1,
            ConfigVersion::V2 => 2,
            ConfigVersion::V3 => 3,
            ConfigVersion::V4 => 4,
        }
    }
}

impl TryFrom<i64> for ConfigVersion {
    type Error = String;
    fn try_from(number: i64) -> Result<Self, String> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            4 => Ok(Self::V4),
            other => Err(format!("configuration version {other} is not 1, 2, 3 or 4")),
        }
    }
}

/// Which plugin's tables hold the runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tables {
    /// `cri`, in version 1.
    Cri,
    /// `io.containerd.grpc.v1.cri`, in version 2.
    Grpc,
    /// `io.containerd.cri.v1.runtime`, with images apart. In version 2 it overrules the older tables on 2.x, and means
    /// nothing on 1.x.
    Runtime,
}

/// The plugin that holds image settings in the newer generation of tables.
pub(crate) const IMAGES: &str = "io.containerd.cri.v1.images";

/// Where a handler's snapshotter is said once more.
pub(crate) const PLATFORMS: [&str; 3] = ["plugins", IMAGES, "runtime_platforms"];

impl Tables {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Cri, Self::Grpc, Self::Runtime];

    /// The plugin's id.
    pub const fn plugin(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::Grpc => "io.containerd.grpc.v1.cri",
            Self::Runtime => "io.containerd.cri.v1.runtime",
        }
    }

    /// The path of the table of runtimes.
    pub(crate) const fn runtimes(self) -> [&'static str; 4] {
        ["plugins", self.plugin(), "containerd", "runtimes"]
    }
}

/// What the shim's runtime class for OCI runtimes is.
const RUNC_SHIM: &str = "io.containerd.runc.v2";

/// containerd's entry for `handler`, whose package lies at `tree` (a versioned path that never moves).
///
/// An OCI runtime gets a state root of its own beneath `runtime_root`: containerd would let it share runc's.
/// A shim is named by its absolute path as `runtime_type`: with `runtime_path`, 2.x kills app containers at every
/// restart.
pub fn entry(handler: &Handler, tree: &HostPath, runtime_root: &HostPath) -> Entry {
    let text = |path: HostPath| Value::Text(path.into());
    let mut keys = Vec::new();
    let mut options = Vec::new();
    match &handler.call {
        Call::Shim(shim) => {
            keys.push(("runtime_type".to_owned(), text(tree.with(shim))));
            if let Some(url) = &handler.containerd.config_type_url {
                options.push(("TypeUrl".to_owned(), Value::Text(url.clone())));
            }
            if let Some(config) = &handler.config {
                options.push(("ConfigPath".to_owned(), text(tree.with(config))));
            }
        }
        Call::OciRuntime(binary) => {
            keys.push(("runtime_type".to_owned(), Value::Text(RUNC_SHIM.to_owned())));
            options.push(("BinaryName".to_owned(), text(tree.with(binary))));
            let root = format!("{}/{}", runtime_root.as_str().trim_end_matches('/'), handler.name);
            options.push(("Root".to_owned(), Value::Text(root)));
        }
    }
    for (key, list) in [
        ("pod_annotations", &handler.pod_annotations),
        ("container_annotations", &handler.container_annotations),
    ] {
        if !list.is_empty() {
            keys.push((key.to_owned(), Value::List(list.clone())));
        }
    }
    if handler.privileged_without_host_devices {
        keys.push(("privileged_without_host_devices".to_owned(), Value::Bool(true)));
    }
    if let Some(snapshotter) = &handler.snapshotter {
        keys.push(("snapshotter".to_owned(), Value::Text(snapshotter.clone())));
    }
    if let Some(runtime_type) = &handler.containerd.runtime_type {
        set(&mut keys, "runtime_type", &Value::Text(runtime_type.clone()));
    }
    for (key, value) in &handler.containerd.entry {
        set(&mut keys, key, value);
    }
    for (key, value) in &handler.containerd.options {
        set(&mut options, key, value);
    }
    Entry { handler: handler.name.clone(), keys, options }
}

fn set(keys: &mut Vec<(String, Value)>, key: &str, value: &Value) {
    match keys.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => *old = value.clone(),
        None => keys.push((key.to_owned(), value.clone())),
    }
}

impl Entry {
    /// The entry's snapshotter, if it names one.
    pub(crate) fn snapshotter(&self) -> Option<&str> {
        self.keys.iter().find_map(|(key, value)| match value {
            Value::Text(text) if key == "snapshotter" => Some(text.as_str()),
            _ => None,
        })
    }

    /// The table beside the image settings, where the entry needs one.
    pub(crate) fn platform(&self) -> Option<Self> {
        let snapshotter = self.snapshotter()?;
        let keys = vec![("snapshotter".to_owned(), Value::Text(snapshotter.to_owned()))];
        Some(Self { handler: self.handler.clone(), keys, options: Vec::new() })
    }

    /// Keys of ours that `table`, the handler's table in an effective configuration, does not hold as we wrote them.
    /// Keys that the engine adds with their defaults do not count.
    pub fn lost_in(&self, table: &Tree) -> Vec<String> {
        let lost = |prefix: &'static str, keys: &[(String, Value)]| -> Vec<String> {
            let differs = |key: &str, value: &Value| {
                let path: Vec<&str> = prefix.split_terminator('.').chain([key]).collect();
                table.get(&path) != Some(&Tree::from(value))
            };
            let lost = keys.iter().filter(|(key, value)| differs(key, value));
            lost.map(|(key, _)| format!("{prefix}{key}")).collect()
        };
        let mut all = lost("", &self.keys);
        all.extend(lost("options.", &self.options));
        all
    }

    /// What the entry means.
    pub(crate) fn tree(&self) -> Tree {
        let pairs = |keys: &[(String, Value)]| -> BTreeMap<String, Tree> {
            keys.iter().map(|(key, value)| (key.clone(), Tree::from(value))).collect()
        };
        let mut table = pairs(&self.keys);
        if !self.options.is_empty() {
            table.insert("options".to_owned(), Tree::Table(pairs(&self.options)));
        }
        Tree::Table(table)
    }
}
