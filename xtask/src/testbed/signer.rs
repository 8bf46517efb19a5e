//! Somebody who signs images as `cosign sign --key` does, in its old form: the tag `sha256-<digest>.sig` beside the image.

use super::error::{Error, Result};
use super::{Registry, host};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cofferdam_core::name::Digest;
use cofferdam_core::reference::Reference;
use cofferdam_host::error::HostError;
use cofferdam_host::package::{Access, Remote};
use cofferdam_host::registry::{self, HostSettings, Keyring, Layout};
use rcgen::{KeyPair, SigningKey};
use serde_json::{Value, json};
use std::path::Path;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// A key.
#[derive(Debug)]
pub struct Signer {
    key: KeyPair,
}

impl Signer {
    /// With a new key: ECDSA on P-256, as cosign's own are.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        Ok(Self { key })
    }

    /// The public key, as PEM.
    pub fn public_key(&self) -> String {
        self.key.public_key_pem()
    }

    /// Signs the image of `repository` (`team/name`) with that manifest, and puts the signature beside it. Returns the tag.
    ///
    /// # Errors
    /// The registry does not take it.
    pub fn sign(&self, registry: &Registry, repository: &str, image: Digest) -> Result<String> {
        let name = format!("{}/{repository}", registry.address());
        let folder = tempfile::tempdir().map_err(Error::io("make a folder in", &std::env::temp_dir()))?;
        let tag = format!("sha256-{}.sig", image.hex());
        self.write(folder.path(), &name, image)?;
        let reference = Reference::new(format!("{name}:{tag}")).map_err(|error| failed(&error))?;
        let refused = |error: HostError| failed(&error.chain());
        let keyring =
            Keyring::parse(&registry.docker_config(), "its account").map_err(|error| failed(&error))?;
        let ca = registry.ca_pem().map(str::to_owned);
        let plain_http = ca.is_none();
        let access = Access { keyring, ca, plain_http, settings: HostSettings::none(), ..Access::default() };
        let layout = Layout::open(folder.path()).map_err(refused)?;
        let to = registry::Registry::to_push(&Remote { reference, access }).map_err(refused)?;
        registry::push(&layout, &to).map_err(refused)?;
        Ok(tag)
    }

    /// The signature as an image in a layout: its payload is the layer, what was signed of it an annotation.
    fn write(&self, folder: &Path, name: &str, image: Digest) -> Result<()> {
        let critical = json!({
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": image.to_string()},
            "type": "cosign container image signature",
        });
        let payload = json!({"critical": critical, "optional": null}).to_string();
        let signature = self.key.sign(payload.as_bytes()).map_err(|error| failed(&error))?;
        let mut layer = blob(folder, PAYLOAD, &payload)?;
        set(
            &mut layer,
            "annotations",
            json!({"dev.cosignproject.cosign/signature": STANDARD.encode(signature)}),
        );
        let diffs = [Digest::of(payload.as_bytes()).to_string()];
        let config = json!({
            "architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs},
        });
        let config = blob(folder, CONFIG, &config.to_string())?;
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let manifest = blob(folder, MANIFEST, &manifest.to_string())?;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
        host::write(&folder.join("index.json"), index.to_string(), 0o644)?;
        host::write(&folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}", 0o644)
    }
}

/// Writes a blob; what names it.
fn blob(folder: &Path, media_type: &str, text: &str) -> Result<Value> {
    let digest = Digest::of(text.as_bytes());
    host::write(&folder.join("blobs/sha256").join(digest.hex()), text, 0o644)?;
    Ok(json!({"mediaType": media_type, "digest": digest.to_string(), "size": text.len()}))
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

fn failed(why: &dyn std::fmt::Display) -> Error {
    Error::Unexpected {
        what: "a signature".into(),
        why: why.to_string(),
        next: "look at the registry's log, and whether it has the image".into(),
    }
}
