//! What is installed, and where it comes from.

#![allow(unreachable_pub)] // what KubeSchema derives

use super::VerifySpec;
use cofferdam_core::name::Digest;
use cofferdam_core::reference::Reference;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of the longest reference.
const MOST_REFERENCE: usize = 512;

/// A runtime's package: where its files are, and what describes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.preset) && has(self.descriptor))").message("give a preset or a descriptor, not both"))]
#[x_kube(validation = Rule::new("!has(self.version) || has(self.preset)").message("version goes with a preset: a descriptor has its own"))]
#[x_kube(validation = Rule::new("!has(self.verify) || has(self.source.oci) || has(self.source.layout)").message("files have no signature: verify goes with source.oci and source.layout"))]
pub struct PackageSpec {
    /// Where the files are.
    pub source: SourceSpec,
    /// The preset that describes a package without a descriptor of its own (`cofferdam catalog`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub preset: Option<String>,
    /// The package's version, with a preset, if the package has no file VERSION.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version: Option<String>,
    /// A descriptor (the text of a runtime.toml) for a package that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub descriptor: Option<String>,
    /// What is asked of it before it is unpacked. Without it, nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySpec>,
    /// For a package that is larger than others, or is to be kept smaller (docs/archives.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
}

/// How much of a package is unpacked. What is not set is as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Bytes of all its files (8589934592, that is 8 GiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_125_899_906_842_624_u64))]
    pub max_bytes: Option<u64>,
    /// Its files, folders and links (200000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_entries: Option<u64>,
    /// Folders within each other (64).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_depth: Option<u16>,
    /// How many times as large as the archive its content may be (200).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_ratio: Option<u64>,
    /// The window that zstd may ask for, in bytes (8388608, that is 8 MiB): so much memory is needed on each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 2_147_483_648_u64))]
    pub zstd_window: Option<u64>,
}

/// Where a package's files are: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.oci), has(self.layout), has(self.tar), has(self.directory)].filter(x, x).size() == 1").message("give exactly one of oci, layout, tar and directory"))]
pub struct SourceSpec {
    /// An image or artifact in a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
    /// On each node, a folder with an image in the OCI layout, or an archive of one or of `docker save`: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = "^/"))]
    pub layout: Option<String>,
    /// On each node, an archive (plain, or compressed by gzip, zstd or xz) that holds the files: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = "^/"))]
    pub tar: Option<String>,
    /// A directory on each node: an absolute path. For nodes whose image brings the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = "^/"))]
    pub directory: Option<String>,
}

/// An image or artifact in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// Its reference, with a tag or (better: every node gets the same) a digest.
    #[schemars(length(min = 1, max = MOST_REFERENCE))]
    pub reference: String,
    /// The name of a pull secret that is mounted into the agents (chart value `agent.pullSecrets`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pull_secret: Option<String>,
    /// Certificates (PEM) of the authorities that may have signed the registry's, beside the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262144))]
    pub ca_bundle: Option<String>,
    /// Speak plain http: everybody on the way can change what is installed, unless the reference has a digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

impl SourceSpec {
    /// The places on a node, by their keys: at most one is given.
    pub(crate) fn local(&self) -> [(&'static str, Option<&str>); 3] {
        let Self { oci: _, layout, tar, directory } = self;
        [("layout", layout.as_deref()), ("tar", tar.as_deref()), ("directory", directory.as_deref())]
    }
}

/// What a sandbox costs beside its containers, as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overhead {
    /// E.g. `250m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cpu: Option<String>,
    /// E.g. `320Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub memory: Option<String>,
}

/// A package in one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageRevision {
    /// Which.
    pub revision: Revision,
    /// The package.
    pub package: PackageSpec,
    /// Checks of the doctor's whose "no" is overridden for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_checks: Vec<String>,
}

impl PackageRevision {
    /// The revision of what a node is told about a package.
    pub fn of(package: &PackageSpec, skip_checks: &[String]) -> Self {
        // Serialising plain structs cannot fail, and their fields have one order.
        let bytes = serde_json::to_vec(&(package, skip_checks)).unwrap_or_default();
        let digest = Sha256::digest(&bytes);
        let revision = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { revision: Revision(revision), package: package.clone(), skip_checks: skip_checks.to_vec() }
    }

    /// The same revision, of that very image: its tag may stand for another one by now. A digest that is there stays.
    #[must_use]
    pub(crate) fn pinned(mut self, image: Digest) -> Self {
        if let Some(oci) = &mut self.package.source.oci
            && let Ok(reference) = Reference::new(&*oci.reference)
            && reference.digest().is_none()
        {
            let pinned = reference.pinned(image).to_string();
            // The API server would refuse a longer one.
            if pinned.len() <= MOST_REFERENCE {
                oci.reference = pinned;
            }
        }
        self
    }

    /// Whether its reference has a digest.
    pub(crate) fn is_pinned(&self) -> bool {
        self.package.source.oci.as_ref().is_some_and(|oci| oci.reference.contains('@'))
    }
}

/// One content of a [`PackageRevision`]: twelve hexadecimal digits of a hash over it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Revision(pub String);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
