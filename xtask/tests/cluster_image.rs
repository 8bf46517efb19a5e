//! The image of the program under test: the same bytes give the same digest, and the bill of materials names what is in it.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use xtask::task::image;
use xtask::testbed::command::Command;
use xtask::testbed::packages;
use xtask::testbed::trial::binary;

/// Where cargo keeps the sources of a registry's crates: panics name them.
const SOURCES: &[u8] = b"index.crates.io-";

#[test]
fn the_image_depends_on_the_programs_bytes_alone() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one");
    packages::ensure(&["binutils"]).unwrap();
    Command::new("strip").arg("-o").arg(&one).arg(binary().unwrap()).ok().unwrap();
    let first = image::build(&one, &folder.path().join("first")).unwrap();
    // Another path, mode and time.
    let other = folder.path().join("other-name");
    std::fs::copy(&one, &other).unwrap();
    std::fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
    let second = image::build(&other, &folder.path().join("second")).unwrap();
    assert_eq!(first, second);
    let bytes = |name: &str, file: &str| std::fs::read(folder.path().join(name).join(file)).unwrap();
    for file in ["index.json", "oci-layout", "sbom.cdx.json"] {
        assert_eq!(bytes("first", file), bytes("second", file), "{file}");
    }
    // Written again over the first one; and another program is another image.
    assert_eq!(image::build(&one, &folder.path().join("first")).unwrap(), first);
    let mut spoilt = std::fs::read(&one).unwrap();
    spoilt.push(0);
    std::fs::write(&other, spoilt).unwrap();
    assert_ne!(image::build(&other, &folder.path().join("second")).unwrap(), first);

    names_what_is_in_it(&one, &serde_json::from_slice(&bytes("first", "sbom.cdx.json")).unwrap(), &first);
}

/// Every crate whose source the program's own panics name stands in the bill of materials, in that version.
fn names_what_is_in_it(program: &Path, sbom: &Value, digest: &str) {
    assert_eq!(sbom["metadata"]["component"]["name"], "cofferdam");
    assert_eq!(sbom["metadata"]["component"]["properties"][0]["value"], digest);
    let listed: BTreeSet<String> = sbom["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| format!("{}-{}", part["name"].as_str().unwrap(), part["version"].as_str().unwrap()))
        .collect();
    let found = crates_in(&std::fs::read(program).unwrap());
    assert!(found.len() > 50, "only {} crates leave traces in the program", found.len());
    let missing: Vec<&String> = found.iter().filter(|name| !listed.contains(*name)).collect();
    assert!(missing.is_empty(), "in the program, but not in the bill of materials: {missing:?}");
    for name in ["openssl", "libz-sys", "cc", "proptest", "insta"] {
        assert!(!listed.iter().any(|part| part.rsplit_once('-').is_some_and(|(n, _)| n == name)), "{name}");
    }
}

/// `NAME-VERSION` of each source file that the program names.
fn crates_in(program: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for start in program.windows(SOURCES.len()).enumerate().filter(|(_, w)| *w == SOURCES).map(|(at, _)| at) {
        let path = &program[start..program.len().min(start + 200)];
        let mut parts = path.split(|byte| *byte == b'/').skip(1);
        if let (Some(name), Some(b"src")) = (parts.next(), parts.next()) {
            found.extend(std::str::from_utf8(name).ok().map(str::to_owned));
        }
    }
    found
}
