//! The descriptor (`runtime.toml`): what a package says of itself.
//!
//! ```text
//! parse        text -> Descriptor, or all findings (keys: docs/descriptor.md)
//! overrides    its [handler.engine.*] tables
//! files        Descriptor + the package's paths -> findings
//! pattern      which files `[relocate]` selects
//! relocation   absolute paths in them -> the installed tree; what is not understood is reported
//! finding      what is wrong, where, what to do; how a terminal shows it
//! requirement  what `requires` may name
//! reader       typed access to a parsed document that turns every surprise into a finding
//! ```

mod files;
pub(crate) mod finding;
mod overrides;
mod parse;
mod pattern;
mod quantity;
pub(crate) mod reader;
mod relocation;
mod requirement;
pub(crate) mod spelling;

pub use files::{FileKind, PackageFiles, check_files};
pub use finding::{Finding, FindingKind, Findings, Place};
pub use parse::parse;
pub(crate) use parse::{VersionSource, parse_with, schema, syntax};
pub use relocation::Relocated;
pub use requirement::Requirement;

use crate::name::{HandlerName, HostPath, PackagePath, RuntimeName, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A valid descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The runtime's name.
    pub name: RuntimeName,
    /// The runtime's version.
    pub version: Version,
    /// Its handlers, at least one, with distinct names, in the order of the file.
    pub handlers: Vec<Handler>,
    /// Another runtime whose files this package needs.
    pub base: Option<RuntimeName>,
    /// Files whose absolute paths follow the installation.
    pub relocate: Option<Relocate>,
    /// Where the package's top is: the first of these folders that is there, else where the package was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<PackagePath>,
    /// Programs that run with their owner's rights, which is root: below the package's top.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setuid: Vec<PackagePath>,
}

impl Descriptor {
    /// Where in an image or archive the programs of [`Self::setuid`] may be, for whoever does not know its top yet.
    pub fn setuid_anywhere(&self) -> impl Iterator<Item = PackagePath> {
        let below = |prefix: &PackagePath| {
            let below = move |path: &PackagePath| PackagePath::new(format!("{prefix}/{path}")).ok();
            self.setuid.iter().filter_map(below).collect::<Vec<_>>()
        };
        self.setuid.iter().cloned().chain(self.prefix.iter().flat_map(below))
    }
}

/// One configuration of a runtime, under the name by which an engine knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// What `RuntimeClass.handler` names.
    pub name: HandlerName,
    /// How an engine calls the runtime.
    pub call: Call,
    /// The runtime's own configuration file (shims only).
    pub config: Option<PackagePath>,
    /// Pod annotations passed to the runtime (patterns).
    pub pod_annotations: Vec<String>,
    /// Container annotations passed to the runtime (patterns).
    pub container_annotations: Vec<String>,
    /// Whether privileged containers get no host devices.
    pub privileged_without_host_devices: bool,
    /// A snapshotter of its own, where one is needed.
    pub snapshotter: Option<String>,
    /// What a sandbox costs beside its containers (Kubernetes quantities).
    pub overhead: Option<Overhead>,
    /// What this handler asks of its host.
    pub requires: Vec<Requirement>,
    /// Overrides for containerd: verbatim keys of the runtime's entry or its options.
    pub containerd: ContainerdOverrides,
}

/// The two ways in which an engine calls a runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// A containerd shim (shim API v2).
    Shim(PackagePath),
    /// An OCI runtime (runc's command line).
    OciRuntime(PackagePath),
}

/// A sandbox's overhead, as Kubernetes quantities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overhead {
    /// CPU, e.g. `250m`.
    pub cpu: Option<String>,
    /// Memory, e.g. `320Mi`.
    pub memory: Option<String>,
}

/// `[handler.engine.containerd]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerdOverrides {
    /// `runtime-type`: replaces the derived `runtime_type`.
    pub runtime_type: Option<String>,
    /// `config-type-url`: the `TypeUrl` beside `ConfigPath` in the entry's options.
    pub config_type_url: Option<String>,
    /// `entry`: further keys of the runtime's table (strings, booleans, integers, arrays of strings).
    pub entry: BTreeMap<String, crate::engine::Value>,
    /// `options`: further keys of the entry's `options` table.
    pub options: BTreeMap<String, crate::engine::Value>,
}

/// `[relocate]`: in the TOML files `files`, paths beneath `from` follow the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocate {
    /// Patterns of package paths; `*` stands for any run of characters but `/`.
    pub files: Vec<String>,
    /// The absolute path for which the package was built.
    pub from: HostPath,
    /// Patterns of further keys that name files of the package, with dots between a key's parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Keys whose values stay, whatever they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// Keys that name files of the package by their path or, if there is none there, one at its top by the last component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_name: Vec<String>,
}
