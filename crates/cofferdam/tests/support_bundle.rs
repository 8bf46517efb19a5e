//! `cofferdam support-bundle`: it holds what is needed, and nothing of what was planted as a secret.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{Bench, CONFIG};

/// Each of them is planted once or more. The second is the first in base64, and is what `auth` holds.
const SECRETS: [&str; 3] = ["ann:hunter2", "YW5uOmh1bnRlcjI=", "hunter2"];

const ROOT: &str = r#"version = 3 # registry password: hunter2
imports = ["/etc/containerd/conf.d/*.toml"]
# hunter2

[plugins."io.containerd.cri.v1.images".registry.configs."example.org".auth]
  username = "hunter2"
  password = 'hunter2'
  auth = "YW5uOmh1bnRlcjI="
  identitytoken = """hunter2
hunter2"""

[plugins."io.containerd.cri.v1.images".registry.mirrors."https://ann:hunter2@mirror.example.org"]
  endpoint = ["https://ann:hunter2@mirror.example.org/v2?sig=hunter2"]
"#;

const IMPORTED: &str = r#"version = 3
[plugins."io.containerd.cri.v1.images".registry.headers]
  "X-Meta" = ["hunter2"]
[stream_processors.one]
  args = ["--access-token", "hunter2", "--level=1"]
  env = ["KEYS_PASSWORD=hunter2", "HTTP_PROXY=http://ann:hunter2@proxy:3128"]
"#;

const HOSTS: &str = r#"server = "https://ann:hunter2@example.org"
[host."https://example.org"]
  capabilities = ["pull"]
[host."https://example.org".header]
  authorization = "Basic YW5uOmh1bnRlcjI="
  x-custom = ["hunter2"]
"#;

fn unpack(archive: &Path) -> BTreeMap<String, String> {
    let file = std::fs::File::open(archive).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        })
        .collect()
}

fn planted() -> Bench {
    let bench = Bench::new("containerd@2.4").with_config(ROOT);
    bench.write("/etc/containerd/conf.d/theirs.toml", IMPORTED);
    bench.write("/etc/containerd/certs.d/example.org/hosts.toml", HOSTS);
    bench
}

fn assert_no_secrets(files: &BTreeMap<String, String>) {
    for (name, text) in files {
        for secret in SECRETS {
            assert!(!name.contains(secret) && !text.contains(secret), "{secret} is in {name}:\n{text}");
        }
    }
}

#[test]
fn it_holds_what_is_needed_and_no_secrets() {
    let bench = planted();
    bench.run(&["install", &bench.package("toy")]).expect(0);
    let before = bench.snapshot();
    let file = bench.beside("bundle.tar.gz");
    let ran = bench.run(&["support-bundle", file.to_str().unwrap()]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "the tree");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    let files = unpack(&file);
    assert_no_secrets(&files);
    for name in [
        "versions.json",
        "status.json",
        "doctor.json",
        "verify.json",
        "log.json",
        "ledger.json",
        "engine/etc/containerd/config.toml",
        "engine/etc/containerd/conf.d/theirs.toml",
        "engine/etc/containerd/conf.d/cofferdam-toy.toml",
        "engine/etc/containerd/certs.d/example.org/hosts.toml",
    ] {
        assert!(files.contains_key(&format!("cofferdam-support/{name}")), "no {name} in {:?}", files.keys());
        assert!(ran.out.contains(name), "{name} is not named: {ran}");
    }
    // What stays is what one looks for.
    let config = &files["cofferdam-support/engine/etc/containerd/config.toml"];
    assert!(config.contains("imports = [\"/etc/containerd/conf.d/*.toml\"]"), "{config}");
    assert!(config.contains("@mirror.example.org/v2"), "{config}");
    assert_eq!(config.lines().count(), ROOT.lines().count() - 1, "lines stay where they were: {config}");
    let ours = &files["cofferdam-support/engine/etc/containerd/conf.d/cofferdam-toy.toml"];
    assert_eq!(*ours, bench.read("/etc/containerd/conf.d/cofferdam-toy.toml"));
    let log: serde_json::Value = serde_json::from_str(&files["cofferdam-support/log.json"]).unwrap();
    assert_eq!(log[0]["change"], "install toy 1.0");

    bench.run(&["support-bundle", file.to_str().unwrap()]).expect(2).says("is there already").says("hint: ");
}

#[test]
fn what_cannot_be_read_is_told_and_not_shown() {
    let bench = planted();
    bench.write(CONFIG, "version = 3\npassword = \"hunter2\nauth = [");
    bench.write("/var/lib/cofferdam/ledger.json", "{\"schema\": 1, \"password\": \"hunter2\"");
    let file = bench.beside("bundle.tar.gz");
    let listing = bench.run(&["support-bundle", file.to_str().unwrap(), "--json"]).expect(0).json();
    assert_eq!(listing["file"], file.to_str().unwrap());
    let files = unpack(&file);
    assert_no_secrets(&files);
    let why = &files["cofferdam-support/engine/etc/containerd/config.toml.txt"];
    assert!(why.starts_with("withheld, since it is not TOML: "), "{why}");
    assert!(files["cofferdam-support/status.json.txt"].contains("ledger.json cannot be understood"));
}
