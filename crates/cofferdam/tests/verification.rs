//! The verification policy with the real binary: what is refused leaves no trace, and who signed is on record.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
// The image is for this architecture.
#![cfg(target_arch = "x86_64")]

mod registry;
mod support;

use registry::{Manner, Registry};
use std::path::{Path, PathBuf};
use support::{Bench, Ran, assert_same};

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

/// The public key of that name, as a policy's file.
fn other_key(name: &str) -> String {
    signed().join(name).display().to_string()
}

/// Applies a SandboxRuntime with the image of `registry`, which asks for a signature with this key.
fn apply(bench: &Bench, registry: &Registry, key: Option<&str>, args: &[&str]) -> Ran {
    let verify = key.map_or_else(String::new, |key| {
        let text = std::fs::read_to_string(signed().join(key)).unwrap();
        let text: String = text.lines().map(|line| format!("        {line}\n")).collect();
        format!("    verify:\n      keys:\n      - |\n{text}")
    });
    let file = bench.beside("runtimes.yaml");
    let reference = registry.reference();
    let text = format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: SandboxRuntime\nmetadata:\n  name: toy\nspec:\n  package:\n    source:\n      \
         oci:\n        reference: {reference}\n        plainHttp: true\n{verify}"
    );
    std::fs::write(&file, text).unwrap();
    bench.run(&[&["apply", "-f", file.to_str().unwrap()], args].concat())
}

#[test]
fn a_file_that_asks_for_a_signature_is_obeyed() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let folder = tempfile::tempdir().unwrap();
    unsigned(folder.path());
    let (good, bad) =
        (Registry::serve(&signed(), Manner::Open), Registry::serve(folder.path(), Manner::Open));
    let before = bench.snapshot();
    for args in [&["--dry-run"][..], &[]] {
        apply(&bench, &bad, Some("p256.pub"), args).expect(2).says("is not signed");
        apply(&bench, &good, Some("ed25519.pub"), args).expect(2).says("package.verify");
    }
    assert_same(&before, &bench.snapshot(), "refused");
    apply(&bench, &good, Some("p256.pub"), &["--dry-run"]).expect(0).says("install toy 1.0:");
    apply(&bench, &good, Some("p256.pub"), &[]).expect(0).says("install toy 1.0: done");
    bench.run(&["status"]).expect(0).says("signed with the key keys[0]");
    // A file that asks for another key is newer than what is installed.
    apply(&bench, &good, Some("ed25519.pub"), &[]).expect(2);
    apply(&bench, &good, Some("p384.pub"), &[]).expect(0).says("nothing to do");
}

#[test]
fn whoever_applies_a_file_asks_for_more_never_for_less() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let folder = tempfile::tempdir().unwrap();
    unsigned(folder.path());
    let (good, bad) =
        (Registry::serve(&signed(), Manner::Open), Registry::serve(folder.path(), Manner::Open));
    let policy = folder.path().join("policy.toml");
    let policy_of = |place: &str| {
        let text = format!("schema = 1\n[[rule]]\nmatch = \"{place}\"\naccept = \"anything\"\n");
        std::fs::write(&policy, text).unwrap();
        policy.display().to_string()
    };
    let before = bench.snapshot();
    // The file asks for nothing, or for what is fulfilled.
    apply(&bench, &bad, None, &["--verify-key", &key()]).expect(2).says("is not signed");
    let ed25519 = other_key("ed25519.pub");
    apply(&bench, &good, Some("p256.pub"), &["--verify-key", &ed25519]).expect(2).says("--verify-key");
    apply(&bench, &good, Some("p256.pub"), &["--policy", &policy_of("ghcr.io")]).expect(2).says("no rule of");
    apply(&bench, &good, None, &["--verify-key", "absent.pub"]).expect(2).says("absent.pub");
    // The machine asks for nothing.
    apply(&bench, &bad, Some("p256.pub"), &["--policy", &policy_of("*")]).expect(2).says("is not signed");
    assert_same(&before, &bench.snapshot(), "refused");
    let p384 = other_key("p384.pub");
    apply(&bench, &good, Some("p256.pub"), &["--verify-key", &p384]).expect(0).says("toy 1.0: done");
    bench.run(&["status"]).expect(0).says("keys[0]");
}

#[test]
fn doctor_and_repair_ask_the_policy() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (format!("layout:{}", signed().display()), unsigned(folder.path()));
    bench.run(&["doctor", &bad, "--verify-key", &key()]).expect(2).says("is not signed");
    bench.run(&["doctor", &good, "--verify-key", &key()]).expect_one_of(&[0, 3]).says(&good);

    bench.run(&["install", &bad]).expect(0);
    let status = bench.run(&["status", "--json"]).expect(0).json();
    let tree = bench.at(status["runtimes"][0]["tree"].as_str().unwrap());
    let manifest = std::fs::read(tree.join(".cofferdam.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let is_file = |(_, item): &(&String, &serde_json::Value)| item["type"] == "file";
    let (path, _) = manifest["items"].as_object().unwrap().iter().find(is_file).unwrap();
    std::fs::write(tree.join(path), "something else").unwrap();
    let damaged = bench.snapshot();
    bench.run(&["repair", "toy", "--verify-key", &key()]).expect(2).says("is not signed");
    bench.run(&["repair", "toy", "--from", &bad, "--verify-key", &key()]).expect(2).says("is not signed");
    assert_same(&damaged, &bench.snapshot(), "refused");
    bench.run(&["repair", "toy", "--from", &good, "--verify-key", &key()]).expect(0);
    bench.run(&["verify"]).expect(0);
}
