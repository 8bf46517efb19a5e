//! A registry on this machine, as far as the program asks one.

// Each test binary uses a part of this; helpers fail their test by panicking.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a registry behaves.
#[derive(Clone, Debug)]
pub enum Manner {
    /// As it should.
    Open,
    /// It wants to know who asks: this `Authorization`.
    Closed(&'static str),
    /// It is not able to.
    Broken,
    /// It gives so many more blobs, and then is not able to.
    Falters(Arc<AtomicUsize>),
    /// It takes connections and says nothing.
    Silent,
}

/// A registry that serves an image in the OCI layout under any repository.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Registry {
    pub fn serve(layout: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let (layout, count) = (layout.to_owned(), Arc::clone(&asked));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (layout, count, manner) = (layout.clone(), Arc::clone(&count), manner.clone());
                std::thread::spawn(move || answer(connection, &layout, &manner, &count));
            }
        });
        Self { port, asked }
    }

    /// Its name.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The image by a tag.
    pub fn reference(&self) -> String {
        format!("{}/team/toy:1", self.host())
    }

    /// How often it was asked for a manifest.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut connection: TcpStream, layout: &Path, manner: &Manner, asked: &AtomicUsize) {
    let mut lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let (method, path) = first.split_once(' ').unwrap();
    let path = path.split([' ', '?']).next().unwrap();
    if path.contains("/manifests/") {
        asked.fetch_add(1, Ordering::SeqCst);
    }
    let is_known = |wanted: &str| {
        let sent = headers.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("authorization").then_some(value)
        });
        sent == Some(wanted)
    };
    let (status, head, body) = match manner {
        Manner::Silent => {
            std::thread::sleep(std::time::Duration::from_secs(60));
            return;
        }
        Manner::Broken => ("503 Service Unavailable", String::new(), Vec::new()),
        Manner::Closed(wanted) if !is_known(wanted) => {
            ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), Vec::new())
        }
        Manner::Falters(left)
            if path.contains("/blobs/")
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_err() =>
        {
            ("503 Service Unavailable", String::new(), Vec::new())
        }
        Manner::Open | Manner::Closed(_) | Manner::Falters(_) => match found(layout, path) {
            Some((head, body)) => ("200 OK", head, body),
            None => ("404 Not Found", String::new(), Vec::new()),
        },
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{head}\r\n");
    let _ = connection.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = connection.write_all(&body);
    }
}

/// Headers and content of what is at `path`.
fn found(layout: &Path, path: &str) -> Option<(String, Vec<u8>)> {
    if path == "/v2/" {
        return Some((String::new(), Vec::new()));
    }
    let (rest, name) = path.rsplit_once('/')?;
    let blob = |digest: &str| -> Option<PathBuf> {
        Some(layout.join("blobs/sha256").join(digest.strip_prefix("sha256:")?))
    };
    if rest.ends_with("/blobs") {
        return Some((String::new(), std::fs::read(blob(name)?).ok()?));
    }
    if !rest.ends_with("/manifests") {
        return None;
    }
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).ok()?).ok()?;
    let entries = index["manifests"].as_array()?;
    // The image has the tag that is asked for, what belongs to it the tags that it says.
    let tag = |entry: &Value| {
        let own = entry["annotations"]["org.opencontainers.image.ref.name"].as_str();
        own.unwrap_or("1").to_owned()
    };
    let named =
        entries.iter().find(|entry| tag(entry) == name).map(|entry| entry["digest"].as_str().unwrap());
    let digest = if name.starts_with("sha256:") { name } else { named? };
    let bytes = std::fs::read(blob(digest)?).ok()?;
    let manifest: Value = serde_json::from_slice(&bytes).ok()?;
    let kind = manifest["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json");
    Some((format!("Content-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\n"), bytes))
}
