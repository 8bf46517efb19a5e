//! Signatures that cosign made (`tests/data/signature/cosign/README`).

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
// The image is for this architecture.
#![cfg(target_arch = "x86_64")]

use cofferdam_core::trust::{Covers, Form, Policy, Signer, Verified};
use cofferdam_host::error::HostError;
use cofferdam_host::package::{Place, Source, TemporaryRoom};
use cofferdam_host::signature::policy_of_keys;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/signature/cosign").join(name)
}

/// The image in a folder of the test's, with what of its tags `keep` keeps.
fn layout(keep: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(data("blobs"), folder.path().join("blobs")).unwrap();
    std::fs::copy(data("oci-layout"), folder.path().join("oci-layout")).unwrap();
    let mut index: Value = serde_json::from_slice(&std::fs::read(data("index.json")).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().retain(|one| {
        let name = one["annotations"]["org.opencontainers.image.ref.name"].as_str();
        name.is_none_or(|name| keep.contains(&if name.ends_with(".sig") { "tag" } else { "bundle" }))
    });
    std::fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
    folder
}

fn open(folder: &Path, policy: Policy) -> Result<Verified, HostError> {
    let source = Source { policy: Some(policy), ..Source::plain(Place::Layout(folder.to_owned())) };
    let room = TemporaryRoom::default();
    Ok(room.open(&source, None, &mut |_| {})?.package.verified.unwrap())
}

#[test]
fn what_cosign_signs_is_accepted_in_both_forms() {
    for (kept, expected) in [("tag", Form::Tag), ("bundle", Form::Bundle)] {
        let folder = layout(&[kept]);
        for key in ["p256", "p384", "rsa"] {
            let policy = policy_of_keys(&[data(&format!("{key}.pub"))]).unwrap();
            let verified =
                open(folder.path(), policy).unwrap_or_else(|error| panic!("{key}, {kept}: {error}"));
            let Signer::Key { name, form, .. } = &verified.by else { panic!("{verified:?}") };
            assert!(name.ends_with(&format!("{key}.pub")), "{name}");
            assert_eq!((*form, verified.covers), (expected, Covers::Manifest), "{key}");
        }
        // Prehashed (Ed25519ph): ring does not know it, so it is no signature.
        let error = open(folder.path(), policy_of_keys(&[data("ed25519.pub")]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("not made with a key that the rule names"), "{error}");
    }
}

#[test]
fn without_its_tags_the_image_is_not_signed() {
    let policy = || policy_of_keys(&[data("p256.pub")]).unwrap();
    let error = open(layout(&[]).path(), policy()).unwrap_err();
    assert!(error.to_string().contains("is not signed"), "{error}");
    // A key that cosign never saw.
    let folder = layout(&["tag", "bundle"]);
    let own = folder.path().join("own.pub");
    std::fs::write(&own, rcgen::KeyPair::generate().unwrap().public_key_pem()).unwrap();
    let error = open(folder.path(), policy_of_keys(&[own]).unwrap()).unwrap_err();
    assert_eq!(error.to_string().matches("not made with a key").count(), 5, "{error}");
    assert!(error.to_string().ends_with("; 3 more"), "{error}");
}
