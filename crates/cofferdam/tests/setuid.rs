//! Programs that run with root's rights: only those that the descriptor names. With the real binary on offline trees.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use cofferdam_core::name::Digest;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{Bench, put, tar_of, tree};

fn pack(bench: &Bench, folder: &Path, out: &Path) {
    let mut command = bench.command();
    command.arg("pack").arg(folder).arg("-o").arg(out);
    support::finish(command).expect(0);
}

#[test]
fn programs_are_setuid_where_the_descriptor_asks_and_nowhere_else() {
    let bench = Bench::new("containerd@2.4");
    let folder = bench.beside("toy");
    let text =
        "schema = 1\nname = \"toy\"\nversion = \"1\"\n[[handler]]\nname = \"toy\"\nshim = \"bin/shim\"\n";
    let asking = text.replace("[[handler]]", "setuid = [\"bin/helper\"]\n[[handler]]");
    put(&folder.join("bin/shim"), "#!/bin/sh\n", 0o755);
    put(&folder.join("bin/helper"), "#!/bin/sh\n# helper\n", 0o4711);
    put(&folder.join("share/plain"), "plain", 0o644);
    let describe = |text: &str| fs::write(folder.join("runtime.toml"), text).unwrap();
    let source = folder.to_str().unwrap();
    let empty = bench.snapshot();
    describe(text);
    bench.run(&["install", source]).expect(2).says("bin/helper is setuid").says("`setuid` of runtime.toml");
    for (wrong, says) in [
        ("bin/none", "the package has no file `bin/none`"),
        ("share/plain", "`share/plain` is not executable"),
        ("../helper", "leaves the package"),
    ] {
        describe(&asking.replace("bin/helper", wrong));
        put(&folder.join("bin/helper"), "#!/bin/sh\n# helper\n", 0o755);
        bench.run(&["install", source]).expect(2).says(says);
    }
    support::assert_same(&empty, &bench.snapshot(), "refused");

    // From the folder, from an image of it, from an archive.
    put(&folder.join("bin/helper"), "#!/bin/sh\n# helper\n", 0o4711);
    describe(&asking);
    let image = bench.beside("image");
    pack(&bench, &folder, &image);
    let archive = bench.beside("toy.tar");
    fs::remove_file(folder.join("runtime.toml")).unwrap();
    fs::write(&archive, tar_of(&folder)).unwrap();
    let descriptor = bench.beside("toy.toml");
    fs::write(&descriptor, &asking).unwrap();
    let without = bench.beside("without.toml");
    fs::write(&without, text).unwrap();
    let by = |descriptor: &Path| ["--descriptor".to_owned(), descriptor.to_str().unwrap().to_owned()];
    let (by_asking, by_other) = (by(&descriptor), by(&without));
    let from = |source: &str, more: &[String]| {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        bench.run(&[&["install", source], &more[..]].concat())
    };
    from(archive.to_str().unwrap(), &by_other).expect(2).says("bin/helper is setuid");
    for (source, more) in [
        (source, &by_asking[..]),
        (image.to_str().unwrap(), &by_asking[..0]),
        (archive.to_str().unwrap(), &by_asking[..]),
    ] {
        from(source, more).expect(0);
        let (at, _) = tree(&bench, "toy");
        let mode = |file: &str| fs::metadata(at.join(file)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("bin/helper"), mode("bin/shim")), (0o4755, 0o755), "{source}");
        bench.run(&["verify"]).expect(0);
        fs::set_permissions(at.join("bin/shim"), fs::Permissions::from_mode(0o4755)).unwrap();
        bench.run(&["verify"]).expect(4).says("bin/shim");
        bench.run(&["remove", "toy"]).expect(0);
        support::assert_same(&empty, &bench.snapshot(), "removed");
    }
}

/// Its layers are here already, with a program in them that another version asked for.
#[test]
fn what_another_version_asked_for_is_not_taken_over() {
    let bench = Bench::new("containerd@2.4");
    let folder = bench.beside("toy");
    put(&folder.join("bin/shim"), "#!/bin/sh\n", 0o755);
    put(&folder.join("bin/helper"), "#!/bin/sh\n# helper\n", 0o4755);
    let text = "schema = 1\nname = \"toy\"\nversion = \"1\"\nsetuid = [\"bin/helper\"]\n[[handler]]\nname = \"toy\"\n\
                shim = \"bin/shim\"\n";
    fs::write(folder.join("runtime.toml"), text).unwrap();
    let image = bench.beside("image");
    pack(&bench, &folder, &image);
    bench.run(&["install", image.to_str().unwrap()]).expect(0);

    let second =
        text.replace("version = \"1\"", "version = \"2\"").replace("setuid = [\"bin/helper\"]\n", "");
    describe_anew(&image, &second);
    let before = bench.snapshot();
    bench.run(&["upgrade", image.to_str().unwrap()]).expect(2).says("bin/helper is setuid or setgid");
    support::assert_same(&before, &bench.snapshot(), "refused");

    // Nor by whoever takes the files as a base.
    put(&folder.join("bin/other"), "#!/bin/sh\n", 0o755);
    fs::remove_file(folder.join("bin/helper")).unwrap();
    let based = "schema = 1\nname = \"other\"\nversion = \"1\"\n[[handler]]\nname = \"other\"\nshim = \"bin/other\"\n[base]\n\
                 runtime = \"toy\"\n";
    fs::write(folder.join("runtime.toml"), based).unwrap();
    bench.run(&["install", folder.to_str().unwrap()]).expect(0);
    let (at, _) = tree(&bench, "other");
    let mode = fs::metadata(at.join("bin/helper")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    bench.run(&["verify"]).expect(0);
}

/// Gives an image another descriptor, and leaves its layers as they are.
fn describe_anew(image: &Path, text: &str) {
    let blob =
        |digest: &Digest| image.join("blobs/sha256").join(digest.to_string().split_once(':').unwrap().1);
    let write = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blob(&digest), bytes).unwrap();
        (json!(digest.to_string()), json!(bytes.len()))
    };
    let path = image.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let old = Digest::try_from(index["manifests"][0]["digest"].as_str().unwrap().to_owned()).unwrap();
    let mut manifest: Value = serde_json::from_slice(&fs::read(blob(&old)).unwrap()).unwrap();
    (manifest["config"]["digest"], manifest["config"]["size"]) = write(text.as_bytes());
    (index["manifests"][0]["digest"], index["manifests"][0]["size"]) = write(manifest.to_string().as_bytes());
    fs::write(path, index.to_string()).unwrap();
}
