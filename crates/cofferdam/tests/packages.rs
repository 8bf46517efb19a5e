//! Packages in every form: folders, archives, images here, artifacts of plain files; paths that follow the installation; files
//! of another runtime. With the real binary on offline trees.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use cofferdam_core::name::{Digest, FileDigest};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use support::{Bench, Ran, put, tar_of, tree};

const QEMU: &str = include_str!("../../core/tests/data/kata/configuration-qemu.toml");
const CLH: &str = include_str!("../../core/tests/data/kata/configuration-clh.toml");

const CONFIG: &str = "share/defaults/kata-containers/configuration-qemu.toml";
const SHIM: &str = "bin/containerd-shim-kata-v2";

/// What Kata's release has at `/opt/kata`, in small.
fn kata(folder: &Path) {
    put(&folder.join(SHIM), "#!/bin/sh\n", 0o755);
    put(&folder.join("bin/qemu-system-x86_64"), "#!/bin/sh\n# qemu\n", 0o755);
    put(&folder.join("libexec/virtiofsd"), "#!/bin/sh\n# virtiofsd\n", 0o755);
    put(&folder.join("share/kata-containers/vmlinux-6.12"), "kernel", 0o644);
    symlink("vmlinux-6.12", folder.join("share/kata-containers/vmlinux.container")).unwrap();
    put(&folder.join("share/kata-containers/kata-containers.img"), "image".repeat(1000), 0o644);
    put(&folder.join(CONFIG), QEMU, 0o644);
    put(&folder.join("share/defaults/kata-containers/configuration-clh.toml"), CLH, 0o644);
    symlink("configuration-qemu.toml", folder.join("share/defaults/kata-containers/configuration.toml"))
        .unwrap();
    put(&folder.join("VERSION"), "3.26.0\n", 0o644);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn manifest(tree: &Path) -> Value {
    serde_json::from_slice(&fs::read(tree.join(".cofferdam.json")).unwrap()).unwrap()
}

fn run(bench: &Bench, args: &[&str]) -> Ran {
    let mut command = bench.command();
    command.args(args);
    support::finish(command)
}

#[test]
fn katas_release_installs_from_any_archive_and_its_paths_follow() {
    let bench = Bench::new("containerd@2.4");
    kata(&bench.beside("release/opt/kata"));
    let plain = tar_of(&bench.beside("release"));
    let packed = [
        ("kata.tar", plain.clone()),
        ("kata.gz", gzip(&plain)),
        ("kata.zst", zstd(&plain)),
        ("kata", xz(&plain)),
    ];
    let before = bench.snapshot();
    let mut trees = BTreeSet::new();
    for (name, bytes) in packed {
        let file = bench.beside(name);
        fs::write(&file, bytes).unwrap();
        let file = file.to_str().unwrap();
        // By what is in it, and as it is told.
        for source in [file.to_owned(), format!("tar:{file}")] {
            bench.run(&["plan", &source, "--preset", "kata"]).expect(0).says("install kata 3.26.0:");
            bench.run(&["install", &source, "--preset", "kata"]).expect(0);
            bench.run(&["install", &source, "--preset", "kata"]).expect(0).says("nothing to do");
            bench.run(&["verify"]).expect(0);
            let (at, called) = tree(&bench, "kata");
            assert_eq!(fs::read_to_string(at.join(CONFIG)).unwrap(), expected(QEMU, &called), "{name}");
            assert!(at.join("share/kata-containers/vmlinux.container").is_symlink());
            let manifest = manifest(&at);
            let original = &manifest["relocated"][CONFIG];
            assert_eq!(original["digest"], json!(FileDigest::of(QEMU.as_bytes())));
            assert_eq!(original["size"], json!(QEMU.len()));
            assert_eq!(
                manifest["items"][CONFIG]["digest"],
                json!(FileDigest::of(expected(QEMU, &called).as_bytes()))
            );
            trees.insert(called);
            bench.run(&["remove", "kata"]).expect(0);
            support::assert_same(&before, &bench.snapshot(), name);
        }
    }
    let folder = bench.beside("release/opt/kata");
    bench.run(&["install", folder.to_str().unwrap(), "--preset", "kata"]).expect(0);
    trees.insert(tree(&bench, "kata").1);
    assert_eq!(trees.len(), 1, "the same files, the same tree: {trees:?}");
}

/// Values follow, comments stay.
fn expected(text: &str, tree: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| if line.starts_with('#') { line.to_owned() } else { line.replace("/opt/kata", tree) })
        .collect()
}

#[test]
fn a_broken_archive_changes_nothing() {
    let bench = Bench::new("containerd");
    kata(&bench.beside("release/opt/kata"));
    let plain = tar_of(&bench.beside("release"));
    let before = bench.snapshot();
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 40].to_vec();
    let mut flipped = xz(&plain);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    for (name, bytes) in [
        ("cut.gz", cut(gzip(&plain))),
        ("cut.zst", cut(zstd(&plain))),
        ("cut.xz", cut(xz(&plain))),
        ("flipped.xz", flipped),
        ("cut.tar", plain[..5000].to_vec()),
        ("no.tar", b"neither a tar nor anything else".repeat(100)),
    ] {
        fs::write(bench.beside(name), bytes).unwrap();
        let source = format!("tar:{}", bench.beside(name).display());
        bench.run(&["install", &source, "--preset", "kata"]).expect(2).says(name);
        support::assert_same(&before, &bench.snapshot(), name);
    }
}

#[test]
fn what_an_argument_means_is_told_or_asked() {
    let bench = Bench::new("containerd");
    let package = bench.package("toy");
    let folder = package.strip_prefix("dir:").unwrap();
    bench.run(&["plan", folder]).expect(0).says("install toy 1.0");
    let here = |name: &str| {
        let mut command = bench.command();
        command.current_dir(bench.beside("packages")).args(["plan", name, "--root"]).arg(bench.at("/"));
        command.args(["--engine", "containerd", "--no-systemd"]);
        support::finish(command)
    };
    here("toy-1.0").expect(0).says("install toy 1.0");
    here("./toy-1.0").expect(0).says("install toy 1.0");
    here("toy-1.1").expect(2).says("neither a file or folder here").says("tar:FILE").says("oci:REFERENCE");
    here("./toy-1.1").expect(2).says("there is no file or folder `./toy-1.1`");
    here("tar:").expect(2).says("a source is dir:PATH");
    fs::create_dir_all(bench.beside("packages/registry.example.com/toy")).unwrap();
    here("registry.example.com/toy").expect(2).says("write ./registry.example.com/toy or oci:");
    // Nothing of that name is here: it is a registry's, which does not answer.
    here("127.0.0.1:1/toy").expect(6).says("127.0.0.1:1");
    here("tar:toy-1.0").expect(2);
}

/// The `config` and `layers` of an image in `folder`, in the OCI layout.
fn layout(folder: &Path, config: (&str, &[u8]), layers: &[(&str, Vec<u8>, Value)], annotations: &Value) {
    let blob = |media_type: &str, bytes: &[u8], annotations: &Value| {
        let digest = Digest::of(bytes);
        put(&folder.join(format!("blobs/sha256/{}", digest.hex())), bytes, 0o644);
        let mut blob = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        if !annotations.is_null() {
            blob["annotations"] = annotations.clone();
        }
        blob
    };
    let none = Value::Null;
    let layers: Vec<Value> = layers.iter().map(|(kind, bytes, notes)| blob(kind, bytes, notes)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(config.0, config.1, &none), "layers": layers, "annotations": annotations,
    });
    let manifest = blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes(), &none);
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    put(&folder.join("index.json"), index.to_string(), 0o644);
    put(&folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}", 0o644);
}

const TITLE: &str = "org.opencontainers.image.title";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// An artifact as k8s-kata-manager takes them: `oras push REF vmlinuz… kata….img configuration….toml`.
fn plain_files(folder: &Path) {
    let text = "[hypervisor.qemu]\npath = \"/opt/kata/bin/qemu-system-x86_64\"\nkernel = \
                \"/opt/kata/share/kata-containers/vmlinuz-gpu\"\nimage = \"/opt/kata/share/kata-containers/gpu.img\"\n";
    let titled = |name: &str| json!({TITLE: name});
    let layers = [
        (TAR, b"gpu kernel".to_vec(), titled("vmlinuz-gpu")),
        (TAR, vec![7; 70_000], titled("gpu.img")),
        (TAR, text.as_bytes().to_vec(), titled("configuration-gpu.toml")),
    ];
    layout(folder, ("application/vnd.unknown.config.v1+json", b"{}"), &layers, &json!({}));
}

const GPU: &str = "schema = 1\nname = \"kata-gpu\"\nversion = \"1.2\"\n\n[[handler]]\nname = \"kata-gpu\"\nshim = \
                   \"bin/containerd-shim-kata-v2\"\nconfig = \"configuration-gpu.toml\"\n\n[base]\nruntime = \"kata\"\n\n[relocate]\nfiles \
                   = [\"configuration-gpu.toml\"]\nfrom = \"/opt/kata\"\nby-name = [\"hypervisor.*.kernel\", \"hypervisor.*.image\"]\n";

#[test]
fn an_artifact_of_plain_files_takes_the_rest_from_its_base() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    plain_files(&bench.beside("gpu"));
    let descriptor = bench.beside("gpu.toml");
    fs::write(&descriptor, GPU).unwrap();
    let gpu = [
        "install",
        &format!("layout:{}", bench.beside("gpu").display()),
        "--descriptor",
        descriptor.to_str().unwrap(),
    ];
    let empty = bench.snapshot();
    bench.run(&gpu).expect(2).says("kata-gpu needs the files of kata").says("install kata first");
    support::assert_same(&empty, &bench.snapshot(), "refused");

    kata(&bench.beside("release/opt/kata"));
    let release = bench.beside("release");
    let kata = ["install", release.to_str().unwrap(), "--preset", "kata"];
    bench.run(&kata).expect(0);
    bench.run(&gpu).expect(0);
    bench.run(&gpu).expect(0).says("nothing to do");
    bench.run(&["verify"]).expect(0);
    let (at, called) = tree(&bench, "kata-gpu");
    let config = fs::read_to_string(at.join("configuration-gpu.toml")).unwrap();
    assert_eq!(
        config,
        format!(
            "[hypervisor.qemu]\npath = \"{called}/bin/qemu-system-x86_64\"\nkernel = \"{called}/vmlinuz-gpu\"\nimage = \
             \"{called}/gpu.img\"\n"
        )
    );
    // What came from the base is complete, and names the new tree, not the base's.
    assert!(fs::metadata(at.join(SHIM)).unwrap().permissions().mode() & 0o111 != 0);
    assert_eq!(fs::read_to_string(at.join(CONFIG)).unwrap(), expected(QEMU, &called));
    let toml = bench.read("/etc/containerd/cofferdam.d/kata-gpu.toml");
    assert!(toml.contains(&format!("{called}/{SHIM}")), "{toml}");

    // What describes it is not in the package: a repair needs it, too.
    put(&at.join("gpu.img"), "other", 0o644);
    bench.run(&["repair"]).expect(2).says("if it was installed with --descriptor");
    bench.run(&["repair", "kata-gpu", "--descriptor", descriptor.to_str().unwrap()]).expect(0);
    bench.run(&["verify"]).expect(0);

    // The base may go: nothing of it is missing.
    bench.run(&["remove", "kata"]).expect(0);
    bench.run(&["verify"]).expect(0);
    bench.run(&gpu).expect(0).says("nothing to do");
    // Another base makes another tree, at the next installation.
    fs::write(bench.beside("release/opt/kata/libexec/virtiofsd"), "#!/bin/sh\n# newer\n").unwrap();
    fs::write(bench.beside("release/opt/kata/VERSION"), "3.27.0\n").unwrap();
    bench.run(&kata).expect(0);
    bench.run(&gpu).expect(0).says("upgrade kata-gpu");
    bench.run(&["gc", "--all"]).expect(0);
    let newer = tree(&bench, "kata-gpu");
    assert!(fs::read_to_string(newer.0.join("libexec/virtiofsd")).unwrap().contains("newer"));
    bench.run(&["remove", "kata-gpu"]).expect(0);
    bench.run(&["remove", "kata"]).expect(0);
    support::assert_same(&empty, &bench.snapshot(), "removed");
}

#[test]
fn a_damaged_base_is_not_taken_from() {
    let bench = Bench::new("containerd");
    kata(&bench.beside("release/opt/kata"));
    bench.run(&["install", bench.beside("release").to_str().unwrap(), "--preset", "kata"]).expect(0);
    plain_files(&bench.beside("gpu"));
    let descriptor = bench.beside("gpu.toml");
    fs::write(&descriptor, GPU).unwrap();
    let source = format!("layout:{}", bench.beside("gpu").display());
    let install = ["install", &source, "--descriptor", descriptor.to_str().unwrap()];
    let (at, _) = tree(&bench, "kata");
    put(&at.join("bin/qemu-system-x86_64"), "#!/bin/sh\n# other\n", 0o755);
    let before = bench.snapshot();
    bench.run(&install).expect(4).says("bin/qemu-system-x86_64").says("cofferdam repair");
    support::assert_same(&before, &bench.snapshot(), "a file of the base is not what it was");
    fs::write(at.join(".cofferdam.json"), "{}").unwrap();
    bench.run(&install).expect(4).says("damaged").says("cofferdam repair kata");
}

#[test]
fn what_oras_pushes_is_a_package() {
    let bench = Bench::new("containerd@2.4");
    let text = "schema = 1\nname = \"toy\"\nversion = \"1\"\n[[handler]]\nname = \"toy\"\nshim = \"bin/shim\"\n[[handler]]\nname = \
                \"toy-2\"\nshim = \"bin/other\"\n[[handler]]\nname = \"toy-3\"\nshim = \"sbin/third\"\n";
    let folder = bench.beside("tree");
    put(&folder.join("bin/shim"), "#!/bin/sh\n", 0o755);
    let archive = tar_of(&folder);
    let other = bench.beside("other");
    put(&other.join("sbin/third"), "#!/bin/sh\n", 0o755);
    let packed = tar_of(&other);
    let layers = |digest: Digest| {
        [
            // A prepared archive, pushed with its media type; oras adds its name.
            ("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&archive), json!({TITLE: "layer.tar.gz"})),
            // A folder.
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                gzip(&packed),
                json!({TITLE: "sbin", "io.deis.oras.content.unpack": "true", "io.deis.oras.content.digest": digest}),
            ),
            // Files.
            (TAR, b"#!/bin/sh\n".to_vec(), json!({TITLE: "bin/other", "dev.cofferdam.executable": "true"})),
            ("text/plain", b"read me".to_vec(), json!({TITLE: "README"})),
        ]
    };
    let config = ("application/vnd.cofferdam.runtime.descriptor.v1+toml", text.as_bytes());
    layout(&bench.beside("good"), config, &layers(Digest::of(&packed)), &json!({}));
    let good = bench.beside("good");
    bench.run(&["install", good.to_str().unwrap()]).expect(0).says("install toy 1: done");
    let (at, _) = tree(&bench, "toy");
    for (path, mode) in [("bin/shim", 0o755), ("bin/other", 0o755), ("sbin/third", 0o755), ("README", 0o644)]
    {
        assert_eq!(fs::metadata(at.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
    bench.run(&["remove", "toy"]).expect(0);

    let before = bench.snapshot();
    layout(&bench.beside("lie"), config, &layers(Digest::of(b"another")), &json!({}));
    bench.run(&["install", bench.beside("lie").to_str().unwrap()]).expect(2).says("uncompressed");
    let other = json!({"dev.cofferdam.platform": "linux/s390x"});
    layout(&bench.beside("s390x"), config, &layers(Digest::of(&packed)), &other);
    bench.run(&["install", bench.beside("s390x").to_str().unwrap()]).expect(3).says("linux/s390x");
    for name in ["../x", "/etc/x", "bin/shim/x", ".cofferdam.json"] {
        let mut bad = layers(Digest::of(&packed)).to_vec();
        bad.push((TAR, b"x".to_vec(), json!({TITLE: name})));
        let folder = bench.beside(&format!("bad-{}", Digest::of(name.as_bytes()).short()));
        layout(&folder, config, &bad, &json!({}));
        bench.run(&["install", folder.to_str().unwrap()]).expect(2);
    }
    support::assert_same(&before, &bench.snapshot(), "refused");
}

#[test]
fn images_in_archives_are_read_where_they_lie() {
    let bench = Bench::new("containerd@2.4");
    let package = bench.package("toy");
    let image = bench.beside("image");
    run(&bench, &["pack", &package, "-o", image.to_str().unwrap(), "-t", "example.com/toy:1"]).expect(0);
    let index: Value = serde_json::from_slice(&fs::read(image.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1");
    fs::write(bench.beside("image.tar"), tar_of(&image)).unwrap();

    // What `docker save` writes, of this release and of those before 25.
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let layer = tar_of(Path::new(package.strip_prefix("dir:").unwrap()));
    let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]}});
    let save = |name: &str, layer_path: &str, link: Option<&str>, layer: &[u8]| {
        let folder = bench.beside(name);
        put(&folder.join("c.json"), config.to_string(), 0o644);
        put(&folder.join(link.unwrap_or(layer_path)), layer, 0o644);
        if let Some(link) = link {
            fs::create_dir_all(folder.join(layer_path).parent().unwrap()).unwrap();
            symlink(format!("../{link}"), folder.join(layer_path)).unwrap();
        }
        let manifest = json!([{"Config": "c.json", "RepoTags": ["toy:1"], "Layers": [layer_path]}]);
        put(&folder.join("manifest.json"), manifest.to_string(), 0o644);
        fs::write(bench.beside(&format!("{name}.tar")), tar_of(&folder)).unwrap();
    };
    save("saved", "blobs/sha256/abc", None, &layer);
    save("older", "1/layer.tar", Some("2/layer.tar"), &layer);
    let mut wrong = layer.clone();
    let at = wrong.windows(9).position(|bytes| bytes == b"#!/bin/sh").unwrap();
    wrong[at + 2] = b'?';
    save("wrong", "1/layer.tar", None, &wrong);

    for name in ["image", "image.tar", "saved.tar", "older.tar"] {
        let source = bench.beside(name);
        for source in [source.display().to_string(), format!("layout:{}", source.display())] {
            bench.run(&["install", &source]).expect(0).says("install toy 1.0: done");
            bench.run(&["install", &source]).expect(0).says("nothing to do");
            bench.run(&["remove", "toy"]).expect(0);
        }
    }
    let wrong = bench.beside("wrong.tar").display().to_string();
    bench.run(&["install", &wrong]).expect(2).says("was asked for");
    let packed = bench.beside("image.tar.gz");
    fs::write(&packed, gzip(&fs::read(bench.beside("image.tar")).unwrap())).unwrap();
    bench.run(&["install", &format!("layout:{}", packed.display())]).expect(2).says("decompressed first");
}

#[test]
fn an_image_that_holds_a_runtime_somewhere() {
    let bench = Bench::new("containerd@2.4");
    kata(&bench.beside("image/opt/kata-artifacts/opt/kata"));
    put(&bench.beside("image/usr/bin/kata-deploy"), "#!/bin/sh\n", 0o755);
    bench.run(&["install", bench.beside("image").to_str().unwrap(), "--preset", "kata"]).expect(0);
    let (at, _) = tree(&bench, "kata");
    assert!(at.join(SHIM).is_file() && !at.join("usr").exists() && !at.join("opt").exists());
    bench.run(&["verify"]).expect(0);

    // A folder that is a link leads nowhere: the package's own top counts, and the files are not there.
    let odd = bench.beside("odd");
    fs::create_dir_all(odd.join("opt")).unwrap();
    symlink("../../image/opt/kata-artifacts/opt/kata", odd.join("opt/kata")).unwrap();
    let refused = bench
        .run(&["install", odd.to_str().unwrap(), "--preset", "kata", "--runtime-version", "9"])
        .expect(2);
    assert!(refused.err.contains("leaves the package") || refused.err.contains("no file"), "{refused}");
}

/// The same bytes may be an archive for one image and a plain file for the next, and have another name there.
#[test]
fn a_plain_file_is_known_by_its_content_and_no_archive_is_taken_for_it() {
    let bench = Bench::new("containerd@2.4");
    let folder = bench.beside("tree");
    put(&folder.join("bin/shim"), "#!/bin/sh\n", 0o755);
    let archive = gzip(&tar_of(&folder));
    let image = |version: &str, extra: &[(&str, Vec<u8>, Value)]| {
        let text = format!(
            "schema = 1\nname = \"toy\"\nversion = \"{version}\"\n[[handler]]\nname = \"toy\"\nshim = \"bin/shim\"\n"
        );
        let mut layers =
            vec![("application/vnd.oci.image.layer.v1.tar+gzip", archive.clone(), json!({TITLE: "x.tgz"}))];
        layers.extend_from_slice(extra);
        let at = bench.beside(version);
        let config = ("application/vnd.cofferdam.runtime.descriptor.v1+toml", text.as_bytes());
        layout(&at, config, &layers, &json!({}));
        at
    };
    let file = |version: &str, path: &str| {
        let mut trees = fs::read_dir(bench.at("/opt/cofferdam/runtimes/toy")).unwrap().map(Result::unwrap);
        let tree = trees.find(|tree| tree.file_name().to_string_lossy().starts_with(version)).unwrap();
        fs::read(tree.path().join(path)).unwrap()
    };
    let plain = |name: &str, bytes: &[u8]| ("text/plain", bytes.to_vec(), json!({TITLE: name}));
    let one = image("1", &[plain("README", b"read me")]);
    bench.run(&["install", one.to_str().unwrap()]).expect(0);

    let two = image("2", &[plain("READ.ME", b"read me"), plain("src/x.tgz", &archive)]);
    // Nobody may ask for what is there.
    fs::remove_file(two.join("blobs/sha256").join(Digest::of(b"read me").hex())).unwrap();
    bench.run(&["upgrade", two.to_str().unwrap()]).expect(0);
    assert_eq!(file("2-", "READ.ME"), b"read me");
    assert_eq!(file("2-", "src/x.tgz"), archive);

    // And the other way round: what was a file is an archive now.
    let three = image("3", &[plain("src/x.tgz", &archive)]);
    bench.run(&["upgrade", three.to_str().unwrap()]).expect(0);
    assert_eq!(file("3-", "bin/shim"), b"#!/bin/sh\n");
    assert_eq!(file("3-", "src/x.tgz"), archive);
    bench.run(&["store", "verify"]).expect(0);
}

/// What an upper layer replaced was in the lower one all the same, and comes with it in another image.
#[test]
fn a_layer_of_which_another_hid_something_is_fetched_again() {
    let bench = Bench::new("containerd@2.4");
    let package = bench.package("toy");
    let folder = Path::new(package.strip_prefix("dir:").unwrap());
    put(&folder.join("share/replaced"), "lower", 0o644);
    put(&folder.join("share/exchanged"), "lower", 0o644);
    put(&folder.join("share/deleted"), "lower", 0o644);
    let lower = tar_of(folder);
    let over = bench.beside("over");
    put(&over.join("share/replaced"), "upper", 0o644);
    put(&over.join("share/exchanged/inside"), "upper", 0o644);
    put(&over.join("share/.wh.deleted"), "", 0o644);
    let upper = tar_of(&over);
    let image = |name: &str, layers: &[&Vec<u8>]| {
        let diffs: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}});
        let layers: Vec<_> = layers.iter().map(|layer| (TAR, (*layer).clone(), Value::Null)).collect();
        let config = config.to_string();
        let at = bench.beside(name);
        layout(&at, ("application/vnd.oci.image.config.v1+json", config.as_bytes()), &layers, &json!({}));
        at.to_str().unwrap().to_owned()
    };
    let (both, one) = (image("both", &[&lower, &upper]), image("one", &[&lower]));
    bench.run(&["install", &both]).expect(0);
    let at = |file: &str| {
        let runtimes = fs::read_dir(bench.at("/opt/cofferdam/runtimes/toy")).unwrap();
        let mut found: Vec<String> =
            runtimes.filter_map(|tree| fs::read_to_string(tree.unwrap().path().join(file)).ok()).collect();
        found.sort();
        found
    };
    assert_eq!(at("share/replaced"), ["upper"]);
    bench.run(&["pull", &one]).expect(0);
    assert_eq!(at("share/replaced"), ["lower", "upper"]);
    assert_eq!(at("share/exchanged"), ["lower"]);
    assert_eq!(at("share/deleted"), ["lower"]);
    bench.run(&["store", "verify"]).expect(0);
}

#[test]
fn what_stays_behind_is_reported_and_what_is_no_toml_is_refused() {
    let bench = Bench::new("containerd@2.4");
    let package = bench.package("toy");
    let folder = PathBuf::from(package.strip_prefix("dir:").unwrap());
    let text = fs::read_to_string(folder.join("runtime.toml")).unwrap();
    let relocate = "\n[relocate]\nfiles = [\"etc/*.toml\"]\nfrom = \"/opt/toy\"\n";
    fs::write(folder.join("runtime.toml"), format!("{text}{relocate}")).unwrap();
    fs::write(folder.join("etc/toy.toml"), "binary_name = \"/opt/toy/bin/x\"\nnew = \"/opt/toy/y\"\n")
        .unwrap();
    bench.run(&["plan", &package]).expect(0).says("etc/toy.toml:2:7: `new`").says("`keys` in `[relocate]`");
    let plan = bench.run(&["plan", &package, "--json"]).expect(0).json();
    let finding = &plan["findings"][0];
    assert_eq!((&finding["kind"], &finding["place"]["line"]), (&json!("unknown-path"), &json!(2)), "{plan}");
    let events = bench.run(&["install", &package, "--json"]).expect(0).events();
    let told = |event: &&Value| {
        event["event"] == "note" && event["text"].as_str().unwrap().contains("etc/toy.toml:2:7")
    };
    assert_eq!(events.iter().filter(told).count(), 1, "{events:?}");
    let (at, called) = tree(&bench, "toy");
    let installed = fs::read_to_string(at.join("etc/toy.toml")).unwrap();
    assert_eq!(installed, format!("binary_name = \"{called}/bin/x\"\nnew = \"/opt/toy/y\"\n"));
    bench.run(&["remove", "toy"]).expect(0);

    let before = bench.snapshot();
    fs::write(folder.join("etc/toy.toml"), "a = 1\nb = /opt/toy\n").unwrap();
    bench.run(&["install", &package]).expect(2).says("etc/toy.toml:2:5: not TOML");
    fs::write(folder.join("etc/toy.toml"), [0xff, 0xfe]).unwrap();
    bench.run(&["install", &package]).expect(2).says("not UTF-8");
    support::assert_same(&before, &bench.snapshot(), "refused");
}

#[test]
fn what_is_packed_is_what_was_read() {
    let bench = Bench::new("containerd@2.4");
    kata(&bench.beside("release/opt/kata"));
    let release = bench.beside("release");
    let image = bench.beside("image");
    let packed = run(
        &bench,
        &["pack", release.to_str().unwrap(), "--preset", "kata", "-o", image.to_str().unwrap(), "--json"],
    );
    let packed = packed.expect(0).json();
    assert_eq!((&packed["name"], &packed["version"]), (&json!("kata"), &json!("3.26.0")));
    let index: Value = serde_json::from_slice(&fs::read(image.join("index.json")).unwrap()).unwrap();
    let hex = index["manifests"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let manifest_: Value =
        serde_json::from_slice(&fs::read(image.join("blobs/sha256").join(hex)).unwrap()).unwrap();
    assert_eq!(manifest_["artifactType"], "application/vnd.cofferdam.runtime.v1");
    let config = &manifest_["config"];
    assert_eq!(config["mediaType"], "application/vnd.cofferdam.runtime.descriptor.v1+toml");
    let hex = config["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let text = fs::read_to_string(image.join("blobs/sha256").join(hex)).unwrap();
    assert!(text.contains("name = \"kata\"\nversion = \"3.26.0\"\n"), "{text}");
    // It describes itself.
    bench.run(&["install", image.to_str().unwrap()]).expect(0);
    let (at, called) = tree(&bench, "kata");
    assert_eq!(fs::read_to_string(at.join(CONFIG)).unwrap(), expected(QEMU, &called));
    assert!(at.join("share/kata-containers/vmlinux.container").is_symlink());
    bench.run(&["verify"]).expect(0);
    let tag = run(&bench, &["pack", release.to_str().unwrap(), "--preset", "kata", "-t", "example.com/x"])
        .expect(2);
    assert!(tag.err.contains("--out"), "{tag}");
    // A package that needs a base is packed without it.
    let gpu = bench.beside("gpu");
    put(&gpu.join("runtime.toml"), GPU, 0o644);
    put(&gpu.join("configuration-gpu.toml"), "[hypervisor.qemu]\n", 0o644);
    run(&bench, &["pack", gpu.to_str().unwrap(), "-o", bench.beside("gpu-image").to_str().unwrap()])
        .expect(0);
    bench
        .run(&["install", bench.beside("gpu-image").to_str().unwrap()])
        .expect(0)
        .says("install kata-gpu 1.2: done");
}
