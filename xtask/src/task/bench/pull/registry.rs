//! A registry on a port of this machine, with one image for each way of compressing its layer.

use super::data::{Data, Packed};
use anyhow::{Context, Result};
use cofferdam_core::name::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

enum Content {
    Bytes(Vec<u8>),
    File(PathBuf, u64),
}

/// Serves until the process ends.
pub(super) struct Server {
    port: u16,
}

impl Server {
    pub(super) fn start(data: &Data) -> Result<Self> {
        let mut contents = BTreeMap::new();
        for packed in &data.packed {
            let config = json!({
                "architecture": "amd64", "os": "linux", "config": {},
                "rootfs": {"type": "layers", "diff_ids": [data.diff.to_string()]},
            });
            let config = config.to_string().into_bytes();
            let blob = |media_type: &str, digest: Digest, size: u64| -> Value {
                json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
            };
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": blob("application/vnd.oci.image.config.v1+json", Digest::of(&config), config.len() as u64),
                "layers": [blob(packed.media_type, packed.digest, packed.size)],
            });
            let manifest = manifest.to_string().into_bytes();
            let digest = Digest::of(&manifest);
            contents.insert(blob_path(&Digest::of(&config)), Content::Bytes(config));
            contents.insert(blob_path(&packed.digest), Content::File(packed.file.clone(), packed.size));
            contents
                .insert(format!("/v2/bench/runtime/manifests/{digest}"), Content::Bytes(manifest.clone()));
            contents.insert(format!("/v2/bench/runtime/manifests/{}", packed.name), Content::Bytes(manifest));
        }
        contents.insert("/v2/".to_owned(), Content::Bytes(b"{}".to_vec()));
        let listener = TcpListener::bind("127.0.0.1:0").context("no port on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let contents = Arc::new(contents);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let contents = Arc::clone(&contents);
                std::thread::spawn(move || {
                    // Whoever asked has the error: the connection ends.
                    let _ = answer(stream, &contents);
                });
            }
        });
        Ok(Self { port })
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn reference(&self, tag: &str) -> String {
        format!("127.0.0.1:{}/bench/runtime:{tag}", self.port)
    }

    #[allow(clippy::unused_self, reason = "a path of this server")]
    pub(super) fn blob(&self, packed: &Packed) -> String {
        blob_path(&packed.digest)
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("/v2/bench/runtime/blobs/{digest}")
}

fn answer(mut stream: TcpStream, contents: &BTreeMap<String, Content>) -> std::io::Result<()> {
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
    let Some(content) = contents.get(path) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let (length, digest) = match content {
        Content::Bytes(bytes) => (bytes.len() as u64, Digest::of(bytes).to_string()),
        Content::File(_, size) => (*size, path.rsplit('/').next().unwrap_or_default().to_owned()),
    };
    let kind = if path.contains("/manifests/") { MANIFEST } else { "application/octet-stream" };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-type: {kind}\r\ndocker-content-digest: {digest}\r\n\
         docker-distribution-api-version: registry/2.0\r\nconnection: close\r\n\r\n"
    )?;
    if method == "HEAD" {
        return Ok(());
    }
    match content {
        Content::Bytes(bytes) => stream.write_all(bytes),
        // By sendfile: it costs the others little.
        Content::File(file, _) => std::io::copy(&mut File::open(file)?, &mut stream).map(drop),
    }
}
