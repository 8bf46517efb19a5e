//! Manifests and configurations that lie.

use super::canary::Canary;
use super::streams::gzip;
use super::tar::tar;
use super::{Case, Class, Expected};
use cofferdam_core::name::Digest;
use cofferdam_host::archive::Lookup;
use cofferdam_host::package::{Place, Source, TemporaryRoom};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const DESCRIPTOR: &str = "schema = 1\nname = \"toy\"\nversion = \"1.0\"\n[[handler]]\nname = \"toy\"\n\
                          shim = \"bin/containerd-shim-toy-v1\"\n";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A sound image, in its parts.
pub struct Image {
    layer: Vec<u8>,
    pub config: Value,
    pub manifest: Value,
    /// Other blobs.
    pub more: Vec<Vec<u8>>,
    /// What the index names, if it is not the manifest.
    pub named: Option<Value>,
    /// The manifest's text, if it is not that of the value.
    pub text: Option<String>,
}

fn blob(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

impl Image {
    fn sound() -> Self {
        let archive = tar()
            .file("runtime.toml", DESCRIPTOR)
            .head(super::tar::Head::new(b'0', "bin/containerd-shim-toy-v1").mode(0o755), b"")
            .end();
        let layer = gzip(&archive);
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&archive).to_string()]},
        });
        let mut image =
            Self { layer, config, manifest: Value::Null, more: Vec::new(), named: None, text: None };
        image.manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [blob(LAYER, &image.layer)]});
        image
    }

    fn write(&mut self, folder: &Path) {
        let put = |bytes: &[u8]| {
            fs::write(folder.join("blobs/sha256").join(Digest::of(bytes).hex()), bytes).unwrap();
        };
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        let config = self.config.to_string();
        put(config.as_bytes());
        if self.manifest.get("config").is_none() {
            self.manifest["config"] = blob(CONFIG, config.as_bytes());
        }
        let manifest = self.text.clone().unwrap_or_else(|| self.manifest.to_string());
        put(manifest.as_bytes());
        put(&self.layer);
        self.more.iter().for_each(|bytes| put(bytes));
        let named = self.named.clone().unwrap_or_else(|| blob(MANIFEST, manifest.as_bytes()));
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]});
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
    }
}

/// The digest of the package in an image.
fn open(image: &mut Image) -> Result<Digest, String> {
    let folder = tempfile::tempdir().unwrap();
    image.write(folder.path());
    let source = Source::plain(Place::Layout(folder.path().to_owned()));
    let room = TemporaryRoom::default();
    room.open(&source, None, &mut |_| {}).map(|dir| dir.package.digest).map_err(|error| error.chain())
}

fn case(name: impl Into<String>, change: impl Fn(&mut Image) + 'static, expected: Expected) -> Case {
    let check = move |_: &Canary, _: Lookup| {
        let mut image = Image::sound();
        change(&mut image);
        let digest = open(&mut image)?;
        // Whatever else it says, the package is the same.
        assert_eq!(Ok(digest), open(&mut Image::sound()));
        Ok(())
    };
    Case { check: Some(Box::new(check)), ..Case::of(name, Vec::new(), expected) }
}

fn refused(name: impl Into<String>, words: &'static str, change: impl Fn(&mut Image) + 'static) -> Case {
    case(name, change, Expected::Refused(words))
}

fn same(name: impl Into<String>, change: impl Fn(&mut Image) + 'static) -> Case {
    case(name, change, Expected::Unpacked(Vec::new()))
}

/// A field of the only layer's descriptor.
fn layer_field(field: &'static str, value: Value, words: &'static str) -> Case {
    refused(format!("{field}: {value}"), words, move |image| {
        image.manifest["layers"][0][field] = value.clone()
    })
}

pub fn classes() -> Vec<Class> {
    let command = "binary:///bin/sh?-c=touch%20/tmp/cofferdam-hostile-archive";
    vec![
        Class {
            name: "labels and commands in a configuration",
            source: "CVE-2026-53488 (containerd), CVE-2025-23266 (NVIDIA: environment)",
            cases: vec![
                same("labels", move |image| {
                    image.config["config"] = json!({"Labels": {
                        "containerd.io/restart.loguri": command, "containerd.io/restart.status": "running",
                    }});
                }),
                same("environment", |image| {
                    image.config["config"] = json!({"Env": ["LD_PRELOAD=/tmp/x.so", "PATH=/evil"]});
                }),
                same("commands", |image| {
                    image.config["config"] = json!({
                        "Entrypoint": ["/bin/sh"], "Cmd": ["-c", "touch /tmp/cofferdam-hostile-archive"],
                        "User": "../../root", "WorkingDir": "/../..", "Volumes": {"/": {}},
                        "Healthcheck": {"Test": ["CMD-SHELL", "touch /tmp/cofferdam-hostile-archive"]},
                        "OnBuild": ["RUN touch /tmp/x"],
                    });
                }),
                same("annotations", move |image| {
                    image.manifest["annotations"] = json!({"io.containerd.x": command, "../..": "x"});
                    image.manifest["layers"][0]["annotations"] =
                        json!({"org.opencontainers.image.title": "../../x"});
                }),
                same("history", |image| image.config["history"] = json!([{"created_by": "\u{1b}[2J"}])),
            ],
        },
        Class {
            name: "layers that are elsewhere",
            source: "CVE-2020-15157 (containerd: credentials to a foreign layer's address)",
            cases: vec![same("an address", |image| {
                image.manifest["layers"][0]["urls"] = json!(["http://169.254.169.254/latest/meta-data"]);
            })],
        },
        Class {
            name: "a manifest that is an index too",
            source: "CVE-2021-41190 (OCI: two readings of one text)",
            cases: vec![
                same("the type decides", |image| image.manifest["manifests"] = json!([])),
                refused("an index with layers", "nothing that it names", |image| {
                    image.manifest["mediaType"] = json!(INDEX);
                    image.manifest["manifests"] = json!([]);
                }),
            ],
        },
        Class {
            name: "digests that are paths",
            source: "a digest becomes a path in a store",
            cases: vec![
                layer_field("digest", json!("sha256:../../../../secret"), "is not `sha256:`"),
                layer_field("digest", json!("../../secret"), "is not `sha256:`"),
                layer_field("digest", json!("/etc/shadow"), "is not `sha256:`"),
                layer_field("digest", json!(""), "is not `sha256:`"),
                layer_field("digest", json!("md5:d41d8cd98f00b204e9800998ecf8427e"), "is not `sha256:`"),
                layer_field("digest", json!("sha256:abc"), "is not `sha256:`"),
                layer_field("digest", json!(["sha256"]), "expected"),
            ],
        },
        Class {
            name: "sizes that are not so",
            source: "CVE-2025-62518, one level up",
            cases: vec![
                layer_field("size", json!(1), "announced"),
                layer_field("size", json!(100_000), "announced"),
                layer_field("size", json!(-1), "expected"),
                layer_field("size", json!(1.5), "expected"),
                layer_field("size", json!(u64::MAX), "the limit is"),
                layer_field("size", json!("100"), "expected"),
            ],
        },
        Class {
            name: "blobs that are not what was named",
            source: "OCI: content is verified by its digest",
            cases: vec![
                refused("another content", "uncompressed, has the digest", |image| {
                    image.config["rootfs"]["diff_ids"] = json!([Digest::of(b"another").to_string()]);
                }),
                refused("more contents than layers", "names 2 layers", |image| {
                    let digest = Digest::of(b"").to_string();
                    image.config["rootfs"]["diff_ids"] = json!([digest, digest]);
                }),
                refused("no contents", "names 0 layers", |image| {
                    image.config["rootfs"]["diff_ids"] = json!([])
                }),
            ],
        },
        Class {
            name: "types that are no archives",
            source: "CVE-2014-9357 (Docker guesses)",
            cases: ["text/plain", "", "application/x-sh", "application/vnd.oci.image.layer.v1.tar+xz"]
                .into_iter()
                .map(|kind| layer_field("mediaType", json!(kind), "no archive"))
                .collect(),
        },
        Class {
            name: "manifests that are too much",
            source: "memory and time: distribution's limits",
            cases: vec![
                refused("layers", "200 layers", |image| {
                    let layer = image.manifest["layers"][0].clone();
                    image.manifest["layers"] = json!(vec![layer; 200]);
                }),
                refused("none", "no layers", |image| image.manifest["layers"] = json!([])),
                refused("nested", "cannot be used", |image| image.text = Some("[".repeat(100_000))),
                refused("no text", "cannot be used", |image| image.text = Some("\u{0}".repeat(100))),
                refused("a number", "cannot be used", |image| image.text = Some("1e999".to_owned())),
                refused("a configuration of gigabytes", "the limit is", |image| {
                    image.manifest["config"] = json!({"mediaType": CONFIG, "digest": Digest::of(b"").to_string(), "size": 1u64 << 40});
                }),
            ],
        },
        Class {
            name: "the same key twice",
            source: "two readers keep different ones",
            cases: vec![refused("layers", "duplicate field", |image| {
                let text = json!({"schemaVersion": 2, "mediaType": MANIFEST}).to_string();
                let rest = "\"layers\":[],\"layers\":[],\"config\":{}}";
                image.text = Some(format!("{},{rest}", text.trim_end_matches('}')));
            })],
        },
    ]
}
