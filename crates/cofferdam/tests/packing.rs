//! How an image is made of a package. With the real binary.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::{Bench, noise, put};

/// The blobs of a layout with their sizes.
fn blobs(layout: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
}

#[test]
fn an_upgrade_moves_what_changed() {
    let bench = Bench::new("containerd");
    let folder = bench.beside("big");
    support::make_package(
        &folder,
        "schema = 1\nname = \"big\"\nversion = \"1\"\n[[handler]]\nname = \"big\"\nshim = \"bin/containerd-shim-big-v1\"\n",
        "big",
    );
    // 24 MB: a guest image, a hypervisor, and 1200 files in 60 folders.
    put(&folder.join("share/guest.img"), noise(1, 7 << 20), 0o644);
    put(&folder.join("bin/qemu"), noise(2, 5 << 20), 0o755);
    let small = |i: u64| folder.join(format!("share/d{}/f{i}", i / 20));
    for i in 0..1200 {
        put(&small(i), noise(i + 9, 10_000), 0o644);
    }
    let pack = |name: &str| {
        let out = bench.beside(name);
        let mut command = bench.command();
        command.args(["pack", folder.to_str().unwrap(), "-o", out.to_str().unwrap()]);
        support::finish(command).expect(0);
        blobs(&out)
    };
    let first = pack("one");
    let total: u64 = first.values().sum();
    for i in [0, 7] {
        put(&small(i), noise(i + 9, 10_000), 0o644);
    }
    assert_eq!(pack("again"), first, "times say nothing");
    // Layers, and the configuration and the manifest.
    assert!((10..=130).contains(&first.len()), "{} blobs", first.len());

    let moved = |name: &str| {
        let blobs = pack(name);
        blobs.iter().filter(|(name, _)| !first.contains_key(*name)).map(|(_, size)| size).sum::<u64>()
    };
    let percent = |bytes: u64| bytes as f64 * 100.0 / total as f64;
    let mut image = noise(1, 7 << 20);
    image[5_000_000] ^= 1;
    put(&folder.join("share/guest.img"), &image, 0o644);
    let one_byte = moved("byte");
    assert!(one_byte < (7 << 20) + 100_000, "{one_byte}");
    put(&folder.join("share/guest.img"), noise(1, 7 << 20), 0o644);

    // 5% of the files: those of three folders, then as many all over the package.
    for i in 240..300 {
        put(&small(i), noise(i + 5000, 10_000), 0o644);
    }
    let together = moved("together");
    for i in 240..300 {
        put(&small(i), noise(i + 9, 10_000), 0o644);
    }
    for i in 0..60 {
        put(&small(i * 20 + 3), noise(i + 7000, 10_000), 0o644);
    }
    let scattered = moved("scattered");
    println!(
        "of {total} bytes in {} blobs: one byte of the image {one_byte} ({:.1}%), 5% of the files in three folders {together} ({:.1}%), \
         5% all over {scattered} ({:.1}%)",
        first.len(),
        percent(one_byte),
        percent(together),
        percent(scattered),
    );
    assert!(percent(together) < 30.0, "{together} of {total}");
}
