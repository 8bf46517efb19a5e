//! A registry on a port of this machine, whose every answer the test decides.

// Not every test needs all of it.
#![allow(dead_code)]

pub mod bench;
pub mod proxy;
pub mod secure;

use cofferdam_core::name::Digest;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut_at: Option<usize>,
    /// After so many bytes of the body nothing more comes, and the connection stays.
    pub stall_at: Option<usize>,
    /// The body comes in pieces of so many bytes, with a pause after each.
    pub trickle: Option<(usize, Duration)>,
    /// What the head says of the body's length, if not the truth.
    pub length: Option<usize>,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        let (headers, body) = Default::default();
        Self { status, headers, body, cut_at: None, stall_at: None, trickle: None, length: None }
    }

    pub fn ok(body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::status(200) }
    }

    /// The part of it that `request` asks for.
    pub fn ranged(mut self, request: &Request) -> Self {
        let range = request.header("range").and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-'));
        let Some(start) = range.map(|text| text.parse::<usize>().unwrap()) else { return self };
        let size = self.body.len();
        if start >= size {
            return Self::status(416);
        }
        self.body.drain(..start);
        self.status = 206;
        self.with("content-range", &format!("bytes {start}-{}/{size}", size - 1))
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

pub struct Fake {
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || talk(stream.unwrap(), &*answer, &log));
            }
        });
        Self { port, seen }
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// One request for each connection.
fn talk(mut stream: TcpStream, answer: &dyn Fn(&Request) -> Answer, seen: &Mutex<Vec<Request>>) {
    let mut first = [0];
    if stream.peek(&mut first).unwrap_or(0) == 0 {
        return;
    }
    // As web servers do when somebody speaks TLS to them.
    if !first[0].is_ascii_alphabetic() {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
        return;
    }
    converse(&mut stream, answer, seen);
}

fn converse(
    stream: &mut (impl Read + Write),
    answer: &dyn Fn(&Request) -> Answer,
    seen: &Mutex<Vec<Request>>,
) {
    let Some(request) = read(stream) else { return };
    let Answer { status, headers, body, cut_at, stall_at, trickle, length } = answer(&request);
    let is_head = request.method == "HEAD";
    seen.lock().unwrap().push(request);
    let length = length.unwrap_or(body.len());
    let mut head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    if is_head {
        return;
    }
    let body = &body[..cut_at.or(stall_at).unwrap_or(body.len())];
    let (piece, pause) = trickle.unwrap_or((body.len().max(1), Duration::ZERO));
    for bytes in body.chunks(piece) {
        if stream.write_all(bytes).is_err() {
            return;
        }
        std::thread::sleep(pause);
    }
    if stall_at.is_some() {
        // Until the other side gives up.
        let _ = stream.read(&mut [0]);
    }
}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    Some(Request { method, path, headers, body: String::from_utf8_lossy(&bytes).into_owned(), bytes })
}

/// What a registry says that has the image of `layout` as `team/toy:1.0`.
pub fn serve_layout(layout: &Path, manifest: &Digest, request: &Request) -> Answer {
    let blob = |digest: &str| std::fs::read(layout.join("blobs/sha256").join(digest)).ok();
    let path = request.path.split('?').next().unwrap_or_default();
    let Some((kind, name)) = path.strip_prefix("/v2/team/toy/").and_then(|path| path.split_once('/')) else {
        return Answer::status(if path == "/v2/" { 200 } else { 404 });
    };
    let name = name.split('?').next().unwrap_or_default();
    let wanted = if (kind, name) == ("manifests", "1.0") { manifest.to_string() } else { name.to_owned() };
    let Some(bytes) = wanted.strip_prefix("sha256:").and_then(blob) else { return Answer::status(404) };
    let answer = Answer::ok(&bytes).with("docker-content-digest", &wanted);
    match kind {
        "manifests" => answer.with("content-type", "application/vnd.oci.image.manifest.v1+json"),
        _ => answer,
    }
}

/// A registry that keeps what it is sent.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Store {
    pub fn answer(&self, request: &Request) -> Answer {
        let mut kept = self.0.lock().unwrap();
        let path = request.path.clone();
        match request.method.as_str() {
            "POST" => Answer::status(202).with("location", "/v2/team/toy/blobs/uploads/1?state=x"),
            "PUT" if path.contains("/uploads/") => {
                let digest = path.split("digest=").nth(1).unwrap();
                assert_eq!(digest, Digest::of(&request.bytes).to_string());
                assert!(path.contains("state=x"), "{path}");
                kept.insert(format!("/v2/team/toy/blobs/{digest}"), request.bytes.clone());
                Answer::status(201)
            }
            "PUT" => {
                let digest = Digest::of(&request.bytes);
                kept.insert(path, request.bytes.clone());
                kept.insert(format!("/v2/team/toy/manifests/{digest}"), request.bytes.clone());
                Answer::status(201)
            }
            _ => match kept.get(&path) {
                Some(bytes) => {
                    Answer::ok(bytes).with("docker-content-digest", &Digest::of(bytes).to_string())
                }
                None => Answer::status(404),
            },
        }
    }
}
