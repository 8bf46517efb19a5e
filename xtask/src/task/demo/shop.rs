//! A registry of the demo's, with an account, TLS by an authority of its own, and gVisor in it; and who signs.

use super::Stage;
use crate::testbed::{Registry, RegistrySpec, Signer};
use anyhow::{Context, Result};
use cofferdam_core::name::Digest;

/// How a command on the node gets there.
pub(super) const ACCESS: &str = "--auth-file auth.json --ca-file ca.pem";

/// Where gVisor is in it.
pub(super) const REPOSITORY: &str = "team/gvisor";

/// The registry, and the image.
pub(super) struct Shop {
    pub(super) registry: Registry,
    signer: Signer,
    /// The image by its tag.
    pub(super) tag: String,
    /// And by its digest.
    pub(super) pinned: String,
    image: Digest,
}

impl Shop {
    /// Starts it, and has the node pack its folder `gvisor` and push it.
    pub(super) fn open(stage: &mut Stage<'_>) -> Result<Self> {
        stage.screen.heading("Pack it, and push it to a registry");
        let registry = Registry::start(RegistrySpec::new(&stage.node.host_address()))?;
        let signer = Signer::new()?;
        let policy = format!(
            "schema = 1\n\n[[rule]]\nmatch = \"{}/team\"\naccept = \"key\"\nkeys = [\"acme.pub\"]\n",
            registry.address()
        );
        let ca = registry.ca_pem().unwrap_or_default();
        for (path, content, mode) in [
            ("/root/auth.json", registry.docker_config().as_str(), 0o600),
            ("/root/ca.pem", ca, 0o644),
            ("/root/acme.pub", signer.public_key().as_str(), 0o644),
            ("/root/policy.toml", policy.as_str(), 0o644),
        ] {
            stage.node.put(path, content, mode)?;
        }
        stage
            .screen
            .good("it asks for an account (auth.json), and only its own authority (ca.pem) vouches for it");
        let tag = format!("oci:{}/{REPOSITORY}:1", registry.address());
        let pack = format!("cofferdam pack dir:gvisor --preset gvisor-oci --tag {tag} --push {ACCESS}");
        let packed = stage.types(&pack, 0)?;
        let pinned = packed.stdout.lines().last().unwrap_or_default().trim().to_owned();
        let (_, digest) = pinned.split_once('@').context("the image's digest is not in the output")?;
        let image = Digest::try_from(digest.to_owned()).context("the image's digest is none")?;
        Ok(Self { registry, signer, tag, pinned, image })
    }

    /// Signs the image; the tag of the signature.
    pub(super) fn sign(&self) -> Result<String> {
        Ok(self.signer.sign(&self.registry, REPOSITORY, self.image)?)
    }
}
