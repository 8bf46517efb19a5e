//! OCI layouts as other tools leave them: several images in one, several names of one, indexes in indexes.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use cofferdam_core::name::Digest;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::Bench;

const NAME: &str = "org.opencontainers.image.ref.name";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A packed version of the runtime `toy`.
fn packed(bench: &Bench, version: &str) -> PathBuf {
    let package = bench.package_with("toy", version, &["toy"]);
    let image = bench.beside(&format!("image-{version}"));
    let mut command = bench.command();
    command
        .args(["pack", &package, "-o", image.to_str().unwrap(), "-t"])
        .arg(format!("example.com/toy:{version}"));
    support::finish(command).expect(0);
    image
}

/// What the index of a layout names first.
fn named(layout: &Path) -> Value {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"][0].clone()
}

fn write_index(layout: &Path, manifests: &[Value]) {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

/// Puts a document into a layout, and returns what names it.
fn put(layout: &Path, document: &Value, media_type: &str) -> Value {
    let text = document.to_string();
    let digest = Digest::of(text.as_bytes());
    fs::write(layout.join("blobs/sha256").join(digest.hex()), &text).unwrap();
    json!({"mediaType": media_type, "digest": digest, "size": text.len()})
}

#[test]
fn of_several_images_none_is_guessed() {
    let bench = Bench::new("containerd@2.4");
    let (one, two) = (packed(&bench, "1.0"), packed(&bench, "2.0"));
    let (first, second) = (named(&one), named(&two));
    for blob in fs::read_dir(two.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        fs::copy(blob.path(), one.join("blobs/sha256").join(blob.file_name())).unwrap();
    }
    let plain = |named: &Value| {
        let mut named = named.clone();
        named.as_object_mut().unwrap().remove("platform");
        named
    };
    let install = || bench.run(&["install", one.to_str().unwrap()]);
    for both in [[first.clone(), second.clone()], [plain(&first), plain(&second)]] {
        write_index(&one, &both);
        install().expect(2).says("2 images for this machine (1.0, 2.0)").says("skopeo copy");
    }
    // One that is for another machine does not count, and a second name is no second image.
    let mut other = second;
    other["platform"] = json!({"architecture": "s390x", "os": "linux"});
    let mut again = first.clone();
    again["annotations"][NAME] = json!("latest");
    for names in [vec![first.clone(), other], vec![first.clone(), again]] {
        write_index(&one, &names);
        install().expect(0).says("install toy 1.0: done");
        bench.run(&["remove", "toy"]).expect(0);
    }
}

#[test]
fn an_index_says_what_its_manifests_are() {
    let bench = Bench::new("containerd@2.4");
    let image = packed(&bench, "1.0");
    let first = named(&image);
    let path = image.join("blobs/sha256").join(first["digest"].as_str().unwrap().split_once(':').unwrap().1);
    let mut manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    manifest.as_object_mut().unwrap().remove("mediaType");
    let mut manifest = put(&image, &manifest, "application/vnd.oci.image.manifest.v1+json");
    manifest["platform"] = first["platform"].clone();
    let inner = put(&image, &json!({"schemaVersion": 2, "manifests": [manifest]}), INDEX);
    write_index(&image, &[inner]);
    bench.run(&["install", image.to_str().unwrap()]).expect(0).says("install toy 1.0: done");
}
