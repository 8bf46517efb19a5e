//! The verification policy with the real binary: what is refused leaves no trace, and who signed is on record.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
// The image is for this architecture.
#![cfg(target_arch = "x86_64")]

mod support;

use std::path::{Path, PathBuf};
use support::{Bench, assert_same};

/// An image that cosign signed.
fn signed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/tests/data/signature/cosign")
}

fn key() -> String {
    signed().join("p256.pub").display().to_string()
}

/// The same image without its signatures.
fn unsigned(folder: &Path) -> String {
    std::os::unix::fs::symlink(signed().join("blobs"), folder.join("blobs")).unwrap();
    std::fs::copy(signed().join("oci-layout"), folder.join("oci-layout")).unwrap();
    let index = std::fs::read(signed().join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    index["manifests"].as_array_mut().unwrap().truncate(1);
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    format!("layout:{}", folder.display())
}

#[test]
fn who_signed_stands_in_the_status() {
    let bench = Bench::new("containerd@2.4");
    let image = format!("layout:{}", signed().display());
    bench.run(&["install", &image, "--verify-key", &key()]).expect(0).says("install toy 1.0: done");
    bench.run(&["status"]).expect(0).says("signed with the key ").says("p256.pub (");
    let status = bench.run(&["status", "--json"]).expect(0);
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    let verified = &status["runtimes"][0]["verified"];
    assert_eq!((&verified["by"]["signer"], &verified["by"]["form"]), (&"key".into(), &"tag".into()));
    assert_eq!((&verified["covers"], &verified["rule"]), (&"manifest".into(), &"*".into()));
    assert_eq!(verified["subject"], status["runtimes"][0]["image"]);
    let before = bench.snapshot();
    bench.run(&["install", &image, "--verify-key", &key()]).expect(0).says("nothing to do");
    assert_same(&before, &bench.snapshot(), "installed twice");
    bench.run(&["remove", "toy"]).expect(0);
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let folder = tempfile::tempdir().unwrap();
    let image = unsigned(folder.path());
    let before = bench.snapshot();
    for command in ["plan", "install"] {
        bench
            .run(&[command, &image, "--verify-key", &key()])
            .expect(2)
            .says("is not signed")
            .says("cosign sign");
    }
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "schema = 1\n[[rule]]\nmatch = \"ghcr.io\"\naccept = \"anything\"\n").unwrap();
    let policy = policy.display().to_string();
    bench.run(&["install", &image, "--policy", &policy]).expect(2).says("no rule of").says("[[rule]]");
    bench.run(&["install", &bench.package("toy"), "--verify-key", &key()]).expect(2).says("only images");
    std::fs::write(&policy, "schema = 1\n[[rules]]\n").unwrap();
    bench.run(&["install", &image, "--policy", &policy]).expect(2).says("policy.toml:2:3: unknown key");
    assert_same(&before, &bench.snapshot(), "refused");
}
