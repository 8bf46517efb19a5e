//! Manifests, indexes, and the index of a layout: read, followed to the layers that are there, unpacked or refused.
//!
//! The input is the manifest of an image in a layout, and then a layout's index. The blobs that the seeds name are there.

#![no_main]

use cofferdam_core::name::Digest;
use cofferdam_host::package::{Place, Source, TemporaryRoom};
use cofferdam_host::registry::Layout;
use libfuzzer_sys::fuzz_target;
use std::cell::LazyCell;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A layer, an image's configuration, a descriptor: the digests stand in the seeds.
const BLOBS: [&[u8]; 4] = [
    include_bytes!("../blobs/layer.tar"),
    include_bytes!("../blobs/layer.tar.gz"),
    include_bytes!("../blobs/config.json"),
    include_bytes!("../blobs/runtime.toml"),
];

struct Layouts {
    folder: TempDir,
}

impl Layouts {
    fn new() -> Self {
        let layouts = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["of-manifest", "of-index"] {
            std::fs::create_dir_all(layouts.at(name).join("blobs/sha256")).unwrap();
            std::fs::write(layouts.at(name).join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")
                .unwrap();
            for blob in BLOBS {
                std::fs::write(layouts.blob(name, blob), blob).unwrap();
            }
        }
        layouts
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn blob(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.at(name).join("blobs/sha256").join(Digest::of(bytes).hex())
    }
}

thread_local! {
    static LAYOUTS: LazyCell<Layouts> = const { LazyCell::new(Layouts::new) };
}

fuzz_target!(|bytes: &[u8]| {
    LAYOUTS.with(|layouts| {
        let folder = layouts.at("of-manifest");
        let blob = layouts.blob("of-manifest", bytes);
        let is_new = !blob.exists();
        std::fs::write(&blob, bytes).unwrap();
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{"mediaType": "", "digest": Digest::of(bytes).to_string(), "size": bytes.len()}],
        });
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        open(&folder);
        if is_new {
            std::fs::remove_file(blob).unwrap();
        }

        let folder = layouts.at("of-index");
        std::fs::write(folder.join("index.json"), bytes).unwrap();
        if Layout::open(&folder).is_ok() {
            open(&folder);
        }
    });
});

/// Neither may crash; an error tells something.
fn open(folder: &Path) {
    let source = Source::plain(Place::Layout(folder.to_owned()));
    let told = TemporaryRoom::default().look(&source, None, &mut |_| {}).map(drop);
    let opened = TemporaryRoom::default().open(&source, None, &mut |_| {}).map(drop);
    for error in [told, opened].into_iter().filter_map(Result::err) {
        assert!(!error.chain().is_empty());
    }
}
