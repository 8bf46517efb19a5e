//! Manifests, indexes, configurations; the choice of a platform.

use super::RegistryError;
use cofferdam_core::name::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The largest manifest that is read; the specification asks registries to take 4 MiB.
pub(super) const MOST_MANIFEST: usize = 4 << 20;

/// The largest configuration that is read.
pub(super) const MOST_CONFIG: u64 = 8 << 20;

/// The most layers that an image may have.
const MOST_LAYERS: usize = 128;

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a registry is told that we understand.
pub(super) const ACCEPT: [&str; 4] = [INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// What names a blob or a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

/// For which machines something is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

impl Platform {
    /// This machine's.
    pub(crate) fn own() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { architecture: architecture.to_owned(), os: "linux".to_owned() }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// The manifest of one image or artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Manifests for several platforms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Blob>,
}

/// What of an image's configuration counts here. The rest (what to run, as whom) is for containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) platform: Platform,
    pub(crate) rootfs: RootFs,
}

/// The digests of the uncompressed layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) diff_ids: Vec<Digest>,
}

/// One or several images.
#[derive(Debug)]
pub(super) enum Document {
    Manifest(Manifest),
    Index(Index),
}

impl Document {
    /// Reads a manifest or an index. The media type in it counts; without one, the one that it was sent with.
    pub(super) fn parse(bytes: &[u8], sent_as: &str, what: &str) -> Result<Self, RegistryError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            schema_version: u32,
            #[serde(default)]
            media_type: String,
        }
        let refuse = |reason: String| RegistryError::Manifest { what: what.to_owned(), reason };
        let broken = |error: serde_json::Error| refuse(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(broken)?;
        if head.schema_version != 2 {
            return Err(refuse(format!("it has the schema {}, and 2 is understood", head.schema_version)));
        }
        let sent_as = sent_as.split(';').next().unwrap_or_default().trim();
        let media_type = if head.media_type.is_empty() { sent_as } else { head.media_type.as_str() };
        match media_type {
            INDEX | DOCKER_INDEX => Ok(Self::Index(serde_json::from_slice(bytes).map_err(broken)?)),
            MANIFEST | DOCKER_MANIFEST => {
                let manifest: Manifest = serde_json::from_slice(bytes).map_err(broken)?;
                match manifest.layers.len() {
                    0 => Err(refuse("it has no layers".to_owned())),
                    1..=MOST_LAYERS => Ok(Self::Manifest(manifest)),
                    count => Err(refuse(format!("it has {count} layers (the limit is {MOST_LAYERS})"))),
                }
            }
            other => Err(refuse(format!("its media type is `{other}`"))),
        }
    }
}

impl Index {
    /// The manifest for this machine.
    pub(super) fn choose(&self, own: &Platform, what: &str) -> Result<&Blob, RegistryError> {
        let fits = |blob: &&Blob| blob.platform.as_ref() == Some(own);
        if let Some(found) = self.manifests.iter().find(fits) {
            return Ok(found);
        }
        match self.manifests.as_slice() {
            // Says nothing of platforms: its configuration will.
            [only] if only.platform.is_none() => return Ok(only),
            _ => {}
        }
        let found: Vec<String> = self
            .manifests
            .iter()
            .filter_map(|blob| blob.platform.as_ref())
            .map(ToString::to_string)
            .collect();
        let found = if found.is_empty() { "nothing that it names".to_owned() } else { found.join(", ") };
        Err(RegistryError::Platform { what: what.to_owned(), wanted: own.to_string(), found })
    }
}

impl Manifest {
    /// Whether its configuration is an image's. An artifact's says nothing that we understand.
    pub(super) fn is_image(&self) -> bool {
        matches!(self.config.media_type.as_str(), CONFIG | DOCKER_CONFIG)
    }
}

impl Config {
    /// Reads the configuration of an image with `layers` layers.
    pub(super) fn parse(
        bytes: &[u8],
        layers: usize,
        own: &Platform,
        what: &str,
    ) -> Result<Self, RegistryError> {
        let refuse =
            |reason: String| RegistryError::Manifest { what: format!("the configuration of {what}"), reason };
        let config: Self = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        if config.platform != *own {
            let found = config.platform.to_string();
            return Err(RegistryError::Platform { what: what.to_owned(), wanted: own.to_string(), found });
        }
        let count = config.rootfs.diff_ids.len();
        if count != layers {
            return Err(refuse(format!("it names {count} layers, and the manifest {layers}")));
        }
        Ok(config)
    }
}
