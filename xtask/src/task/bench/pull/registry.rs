//! A registry on a port of this machine that counts what it gives: images of one layer, and what `cofferdam pack` wrote.

use super::data::{Data, Packed};
use anyhow::{Context, Result};
use cofferdam_core::name::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const REPOSITORY: &str = "/v2/bench/runtime";

#[derive(Clone)]
enum Content {
    Bytes(Vec<u8>),
    File(PathBuf, u64),
}

#[derive(Default)]
struct Shelf {
    contents: Mutex<BTreeMap<String, Content>>,
    /// Bytes of all bodies that were sent.
    given: AtomicU64,
}

/// Serves until the process ends.
pub(super) struct Server {
    port: u16,
    shelf: Arc<Shelf>,
}

impl Server {
    pub(super) fn start() -> Result<Self> {
        let shelf = Arc::new(Shelf::default());
        shelf.put("/v2/".to_owned(), Content::Bytes(b"{}".to_vec()));
        let listener = TcpListener::bind("127.0.0.1:0").context("no port on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let served = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&served);
                std::thread::spawn(move || {
                    // Whoever asked has the error: the connection ends.
                    let _ = shelf.answer(stream);
                });
            }
        });
        Ok(Self { port, shelf })
    }

    /// Puts the runtime there, as an image of one layer for each way of compressing it.
    pub(super) fn put_layers(&self, data: &Data) {
        let blob = |media_type: &str, digest: &Digest, size: u64| -> Value {
            json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
        };
        for packed in &data.packed {
            let config = json!({
                "architecture": "amd64", "os": "linux", "config": {},
                "rootfs": {"type": "layers", "diff_ids": [data.diff.to_string()]},
            });
            let config = config.to_string().into_bytes();
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": blob(CONFIG, &Digest::of(&config), config.len() as u64),
                "layers": [blob(packed.media_type, &packed.digest, packed.size)],
            });
            self.shelf.put(blob_path(&Digest::of(&config)), Content::Bytes(config));
            self.shelf.put(blob_path(&packed.digest), Content::File(packed.file.clone(), packed.size));
            self.put_manifest(packed.name, manifest.to_string().into_bytes());
        }
    }

    /// Puts the image of a layout there.
    pub(super) fn put_layout(&self, folder: &Path, tag: &str) -> Result<()> {
        let layout = cofferdam_host::registry::Layout::open(folder)?;
        let blobs = folder.join("blobs/sha256");
        for entry in std::fs::read_dir(&blobs)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let size = entry.metadata()?.len();
            self.shelf.put(format!("{REPOSITORY}/blobs/sha256:{name}"), Content::File(entry.path(), size));
        }
        self.put_manifest(tag, std::fs::read(blobs.join(layout.digest().hex()))?);
        Ok(())
    }

    fn put_manifest(&self, tag: &str, bytes: Vec<u8>) {
        let digest = Digest::of(&bytes);
        self.shelf.put(format!("{REPOSITORY}/manifests/{digest}"), Content::Bytes(bytes.clone()));
        self.shelf.put(format!("{REPOSITORY}/manifests/{tag}"), Content::Bytes(bytes));
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn reference(&self, tag: &str) -> String {
        format!("127.0.0.1:{}/bench/runtime:{tag}", self.port)
    }

    /// How many bytes it gave so far, manifests among them.
    pub(super) fn given(&self) -> u64 {
        self.shelf.given.load(Ordering::SeqCst)
    }
}

/// Where a layer is.
pub(super) fn path_of(packed: &Packed) -> String {
    blob_path(&packed.digest)
}

fn blob_path(digest: &Digest) -> String {
    format!("{REPOSITORY}/blobs/{digest}")
}

impl Shelf {
    fn put(&self, path: String, content: Content) {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).insert(path, content);
    }

    fn find(&self, path: &str) -> Option<Content> {
        let path = path.split('?').next().unwrap_or_default();
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut first = String::new();
        reader.by_ref().take(8192).read_line(&mut first)?;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.by_ref().take(8192).read_line(&mut line)? == 0 {
                break;
            }
        }
        let mut words = first.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let Some(content) = self.find(path) else {
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            return stream.write_all(answer);
        };
        let (length, digest) = match &content {
            Content::Bytes(bytes) => (bytes.len() as u64, Digest::of(bytes).to_string()),
            Content::File(_, size) => (*size, path.rsplit('/').next().unwrap_or_default().to_owned()),
        };
        let kind = if path.contains("/manifests/") { MANIFEST } else { "application/octet-stream" };
        // In one piece, at once: else whoever asked waits for the rest of it.
        stream.set_nodelay(true)?;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-type: {kind}\r\ndocker-content-digest: {digest}\r\n\
             docker-distribution-api-version: registry/2.0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        if method == "HEAD" {
            return Ok(());
        }
        // Before: whoever got it all may be done before we are.
        self.given.fetch_add(length, Ordering::SeqCst);
        match content {
            Content::Bytes(bytes) => stream.write_all(&bytes),
            // By sendfile: it costs the others little.
            Content::File(file, _) => std::io::copy(&mut File::open(file)?, &mut stream).map(drop),
        }
    }
}
