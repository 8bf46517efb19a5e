//! How packages come here: what is told of it, what opens registries, how much is taken. With the real binary on offline trees.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod registry;
mod support;

use registry::{Manner, Registry};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{Bench, Ran, noise};

/// A package of 17 MB, in several layers when it is packed.
fn large(folder: &Path, version: u32) {
    let descriptor = format!(
        "schema = 1\nname = \"large\"\nversion = \"{version}\"\n[[handler]]\nname = \"large\"\nshim = \
         \"bin/containerd-shim-large-v1\"\n"
    );
    support::make_package(folder, &descriptor, "large");
    fs::create_dir_all(folder.join("share")).unwrap();
    fs::write(folder.join("share/guest.img"), noise(1, 7 << 20)).unwrap();
    for i in 0..100 {
        let file = folder.join(format!("share/d{}/f", i));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, noise(i + 9, 100_000)).unwrap();
    }
}

fn run(bench: &Bench, args: &[&str]) -> Ran {
    let mut command = bench.command();
    command.args(args);
    support::finish(command)
}

/// An image of `folder`, in the OCI layout.
fn pack(bench: &Bench, folder: &Path, name: &str) -> PathBuf {
    let image = bench.beside(name);
    run(bench, &["pack", folder.to_str().unwrap(), "-o", image.to_str().unwrap()]).expect(0);
    image
}

/// The manifest of an image.
fn manifest_of(image: &Path) -> Value {
    let json = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let index = json(image.join("index.json"));
    let hex = index["manifests"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    json(image.join("blobs/sha256").join(hex))
}

/// The layers of an image, with their sizes.
fn layers(image: &Path) -> BTreeMap<String, u64> {
    let manifest = manifest_of(image);
    let of = |layer: &Value| (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap());
    manifest["layers"].as_array().unwrap().iter().map(of).collect()
}

/// The events about what came.
fn fetched(ran: &Ran) -> Vec<Value> {
    ran.events().into_iter().filter(|event| event["event"] == "fetched").collect()
}

#[test]
fn every_layer_is_told_of_once_it_is_there() {
    let bench = Bench::new("containerd@2.4");
    let folder = bench.beside("large");
    large(&folder, 1);
    let first = pack(&bench, &folder, "first");
    let expected = layers(&first);
    assert!(expected.len() > 3, "{expected:?}");
    let total: u64 = expected.values().sum();

    let events = fetched(&bench.run(&["install", first.to_str().unwrap(), "--json"]).expect(0));
    let ends: Vec<&Value> =
        events.iter().filter(|event| event["layer"]["bytes"] == event["layer"]["size"]).collect();
    let found: BTreeMap<String, u64> = ends
        .iter()
        .map(|event| {
            let layer = &event["layer"];
            (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(found, expected);
    let indexes: Vec<u64> = ends.iter().map(|event| event["layer"]["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, (1..=expected.len() as u64).collect::<Vec<_>>(), "each once, in order");
    for event in &events {
        assert_eq!((&event["total"], &event["layer"]["of"]), (&json!(total), &json!(expected.len())));
        assert_eq!(event["layer"]["held"], false);
    }
    assert_eq!(events.last().unwrap()["bytes"], total);
    assert!(events.is_sorted_by_key(|event| event["bytes"].as_u64()), "{events:?}");

    // Another version: what is the same is here.
    large(&folder, 2);
    fs::write(folder.join("share/d7/f"), noise(4711, 100_000)).unwrap();
    let second = pack(&bench, &folder, "second");
    let (expected, before) = (layers(&second), expected);
    let new: u64 =
        expected.iter().filter(|(digest, _)| !before.contains_key(*digest)).map(|(_, size)| size).sum();
    let events = fetched(&bench.run(&["upgrade", second.to_str().unwrap(), "--json"]).expect(0));
    let held: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["layer"]["held"] == true)
        .map(|event| event["layer"]["digest"].as_str().unwrap())
        .collect();
    let same: BTreeSet<&str> =
        expected.keys().map(String::as_str).filter(|digest| before.contains_key(*digest)).collect();
    assert!(held.len() > 2);
    assert_eq!(held, same);
    assert_eq!(events[0]["total"], new, "what is here does not count from the first event on");
    let last = events.last().unwrap();
    assert_eq!((&last["bytes"], &last["total"]), (&json!(new), &json!(new)));
}

#[test]
fn without_a_terminal_it_is_one_line_in_the_end() {
    let bench = Bench::new("containerd@2.4");
    let folder = bench.beside("large");
    large(&folder, 1);
    let first = pack(&bench, &folder, "first");
    let count = layers(&first).len();
    let lines = |ran: &Ran| -> Vec<String> {
        let is_about = |line: &&str| line.contains("fetch") || line.contains("layer");
        ran.out.lines().filter(is_about).map(str::to_owned).collect()
    };
    let found = lines(&bench.run(&["install", first.to_str().unwrap()]).expect(0));
    // A machine that is busy may take a while.
    let [.., end] = found.as_slice() else { panic!("{found:?}") };
    assert!(found.len() < count, "{found:?}");
    assert!(
        end.starts_with("  fetched 16.") && end.contains(&format!(" MiB in {count} layers")),
        "{found:?}"
    );

    large(&folder, 2);
    fs::write(folder.join("share/d7/f"), noise(4711, 100_000)).unwrap();
    let second = pack(&bench, &folder, "second");
    let plan = lines(&bench.run(&["plan", second.to_str().unwrap()]).expect(0));
    assert!(plan.is_empty(), "a plan needs no layer: {plan:?}");
    let quiet = bench.run(&["pull", second.to_str().unwrap(), "-q"]).expect(0);
    assert!(lines(&quiet).is_empty(), "{quiet}");
    bench.run(&["gc", "--all"]).expect(0);
    let found = lines(&bench.run(&["upgrade", second.to_str().unwrap()]).expect(0));
    let [.., end] = found.as_slice() else { panic!("{found:?}") };
    assert!(end.contains(" MiB of 16.") && end.contains(", the others were here"), "{found:?}");
}

#[test]
fn an_archive_comes_in_one_piece() {
    let bench = Bench::new("containerd@2.4");
    let folder = bench.beside("large");
    large(&folder, 1);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", &folder).unwrap();
    let bytes = builder.into_inner().unwrap();
    let file = bench.beside("large.tar");
    fs::write(&file, &bytes).unwrap();
    let events = fetched(&bench.run(&["install", file.to_str().unwrap(), "--json"]).expect(0));
    assert!(events.iter().all(|event| event.get("layer").is_none() && event["total"] == bytes.len()));
    let ends = events.iter().filter(|event| event["bytes"] == event["total"]).count();
    assert_eq!(ends, 1, "{events:?}");
}

#[test]
fn what_is_packed_is_the_same_each_time_and_comes_out_again() {
    let bench = Bench::new("containerd@2.4");
    let folder = bench.beside("large");
    large(&folder, 1);
    // Something to compress, beside the noise.
    let text: String = (0..200_000).map(|i| format!("{i} {}\n", i % 977)).collect();
    fs::write(folder.join("share/words"), text).unwrap();
    let mut digests = BTreeSet::new();
    let mut trees = BTreeSet::new();
    for (compression, kind) in [("gzip", "tar+gzip"), ("zstd", "tar+zstd")] {
        let pack = |name: &str| {
            let image = bench.beside(&format!("{compression}-{name}"));
            let args =
                ["pack", folder.to_str().unwrap(), "-o", image.to_str().unwrap(), "--json", "--compression"];
            let packed = run(&bench, &[&args[..], &[compression]].concat()).expect(0).json();
            (image, packed["digest"].as_str().unwrap().to_owned())
        };
        let ((image, one), (_, two)) = (pack("one"), pack("two"));
        assert_eq!(one, two, "{compression}");
        digests.insert(one);
        assert!(layers(&image).values().sum::<u64>() < 19_000_000, "{compression}");
        for digest in layers(&image).keys() {
            let hex = digest.strip_prefix("sha256:").unwrap();
            let head = fs::read(image.join("blobs/sha256").join(hex)).unwrap();
            let magic: &[u8] = if compression == "gzip" { &[0x1f, 0x8b] } else { &[0x28, 0xb5, 0x2f, 0xfd] };
            assert!(head.starts_with(magic), "{compression}");
        }
        let manifest = manifest_of(&image);
        let kinds: BTreeSet<&str> = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["mediaType"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, BTreeSet::from([&*format!("application/vnd.oci.image.layer.v1.{kind}")]));
        bench.run(&["install", image.to_str().unwrap()]).expect(0);
        bench.run(&["verify"]).expect(0);
        let status = bench.run(&["status", "--json"]).expect(0).json();
        let tree = status["runtimes"][0]["tree"].as_str().unwrap().to_owned();
        for file in ["share/guest.img", "share/words", "share/d7/f", "bin/containerd-shim-large-v1"] {
            assert!(
                fs::read(bench.at(&tree).join(file)).unwrap() == fs::read(folder.join(file)).unwrap(),
                "{file}"
            );
        }
        trees.insert(tree);
        bench.run(&["remove", "large"]).expect(0);
    }
    assert_eq!((digests.len(), trees.len()), (2, 1), "two images, one tree: {trees:?}");
    // Without the option it is gzip.
    let image = pack(&bench, &folder, "plain");
    assert_eq!(layers(&image), layers(&bench.beside("gzip-one")));
}

#[test]
fn limits_are_asked_for_on_the_command_line() {
    let bench = Bench::new("containerd@2.4");
    let folder = PathBuf::from(bench.package("toy").strip_prefix("dir:").unwrap());
    fs::create_dir_all(folder.join("a/b/c/d")).unwrap();
    // 68 MB of nothing: from 64 MiB on it is looked at how much of it there was.
    fs::write(folder.join("a/zeros"), vec![0; 68 << 20]).unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", &folder).unwrap();
    let plain = builder.into_inner().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&plain).unwrap();
    let packed = bench.beside("toy.tar.gz");
    fs::write(&packed, encoder.finish().unwrap()).unwrap();
    // A window of 16 MiB, blocks that are not compressed.
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 14 << 3];
    let mut blocks = plain.chunks(128 << 10).peekable();
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        frame.extend_from_slice(&(((block.len() as u32) << 3) | last).to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    let wide = bench.beside("toy.tar.zst");
    fs::write(&wide, frame).unwrap();
    let image = pack(&bench, &folder, "image");

    let before = bench.snapshot();
    let sources = [packed.to_str().unwrap(), wide.to_str().unwrap(), image.to_str().unwrap()];
    let refused = [
        (0, &["--max-ratio", "50"][..], "times as many"),
        (1, &[], "window of more than 8388608 bytes"),
        (2, &["--max-ratio", "20"], "times as many"),
        (0, &["--max-ratio", "5000", "--max-bytes", "60MiB"], "62914560"),
        (0, &["--max-ratio", "5000", "--max-entries", "3"], "more than 3 entries"),
        (0, &["--max-ratio", "5000", "--max-depth", "3"], "more than 3 folders deep"),
        (2, &["--max-ratio", "5000", "--max-entries", "3"], "more than 3 entries"),
    ];
    for (source, args, words) in refused {
        let ran = bench.run(&[&["install", sources[source]], args].concat()).expect(2);
        assert!(ran.err.contains(words) && ran.err.contains("docs/archives.md"), "{args:?}: {ran}");
    }
    bench.run(&["pack", sources[0], "-o", bench.beside("x").to_str().unwrap()]).expect(2);
    for wrong in
        [["--max-bytes", "1GB"], ["--max-bytes", "0"], ["--max-depth", "0"], ["--zstd-window", "99999999TiB"]]
    {
        bench.run(&[&["install", sources[0]], &wrong[..]].concat()).expect(2).says(wrong[0]);
    }
    support::assert_same(&before, &bench.snapshot(), "refused");
    for (source, args) in
        [(0, ["--max-ratio", "5000"]), (1, ["--zstd-window", "16MiB"]), (2, ["--max-ratio", "5000"])]
    {
        bench.run(&[&["install", sources[source]], &args[..]].concat()).expect(0);
        bench.run(&["remove", "toy"]).expect(0);
    }
}

#[test]
fn credential_helpers_run_only_where_it_is_asked_for() {
    let bench = Bench::new("containerd@2.4");
    let image = pack(&bench, Path::new(bench.package("toy").strip_prefix("dir:").unwrap()), "image");
    // ann:x
    let registry = Registry::serve(&image, Manner::Closed("Basic YW5uOng="));
    let (folder, marker) = (bench.beside("bin"), bench.beside("ran"));
    fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "#!/bin/sh\ncat >{}\nprintf '{{\"Username\": \"ann\", \"Secret\": \"x\"}}'\n",
        marker.display()
    );
    let helper = folder.join("docker-credential-ours");
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let config = bench.beside("config.json");
    fs::write(&config, json!({"credHelpers": {registry.host(): "ours"}}).to_string()).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let install = |more: &[&str]| {
        let mut command = bench.command();
        let source = format!("oci:{}", registry.reference());
        command.args(["install", &source, "--plain-http", "--tries", "1"]).args(more).env("PATH", &path);
        command.arg("--root").arg(bench.at("/")).args(["--engine", "containerd@2.4", "--no-systemd"]);
        support::finish(command)
    };
    let config = config.to_str().unwrap();
    install(&["--auth-file", config]).expect(2).says("401");
    assert!(!marker.exists(), "nobody asked for it");
    install(&["--credential-helpers"]).expect(2).says("--auth-file");
    install(&["--auth-file", config, "--credential-helpers"]).expect(0).says("install toy 1.0: done");
    assert_eq!(fs::read_to_string(marker).unwrap(), registry.host());
}

#[test]
fn patience_is_asked_for_on_the_command_line() {
    let bench = Bench::new("containerd@2.4");
    let broken = Registry::serve(Path::new("/"), Manner::Broken);
    let source = format!("oci:{}", broken.reference());
    for tries in ["1", "2"] {
        let before = broken.asked();
        bench.run(&["install", &source, "--plain-http", "--tries", tries]).expect(6).says("503");
        assert_eq!((broken.asked() - before).to_string(), tries);
    }
    let silent = Registry::serve(Path::new("/"), Manner::Silent);
    let source = format!("oci:{}", silent.reference());
    let begun = Instant::now();
    bench.run(&["install", &source, "--plain-http", "--tries", "1", "--stall-limit", "1s"]).expect(6);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    bench.run(&["install", &source, "--stall-limit", "0s"]).expect(2).says("--stall-limit");
    bench.run(&["install", &source, "--tries", "0"]).expect(2).says("--tries");
}

#[test]
fn client_certificates_are_files() {
    let bench = Bench::new("containerd@2.4");
    let registry = Registry::serve(Path::new("/"), Manner::Broken);
    let source = format!("oci:{}", registry.reference());
    let file = bench.beside("client.pem");
    let client = file.to_str().unwrap();
    let install = |args: &[&str]| bench.run(&[&["install", &source, "--tries", "1"], args].concat());
    install(&["--client-cert", client]).expect(2).says(client);
    install(&["--client-key", client]).expect(2).says("--client-cert");
    fs::write(&file, "no certificate").unwrap();
    install(&["--client-cert", client]).expect(2).says("certificate");
}
