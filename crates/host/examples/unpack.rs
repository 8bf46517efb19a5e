//! What `cargo xtask bench --pull` measures beside `cofferdam pull`: an image from a registry to a folder, durably, by our
//! unpacking alone or by the floor.
//!
//! ```text
//! unpack ours  REFERENCE FOLDER
//! unpack floor ADDRESS BLOB COMPRESSION SPLIT FOLDER
//! ```
//!
//! The floor is what the same decompressor, both digests, the same files and one syncfs cost, with nothing checked.

use cofferdam_core::reference::Reference;
use cofferdam_host::archive::{Limits, Options};
use cofferdam_host::package::{Access, Remote};
use cofferdam_host::registry::{Registry, unpack_image};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ours", reference, folder] => ours(reference, folder)?,
        ["floor", address, blob, compression, split, folder] => {
            floor(address, blob, compression, split.parse()?, Path::new(folder))?;
        }
        _ => {
            return Err(
                "unpack ours REFERENCE FOLDER | unpack floor ADDRESS BLOB COMPRESSION SPLIT FOLDER".into()
            );
        }
    }
    Ok(())
}

fn ours(reference: &str, folder: &str) -> Result<()> {
    let reference = Reference::new(reference.to_owned())?;
    let access = Access { plain_http: true, ..Access::default() };
    let registry = Registry::new(&Remote { reference, access }).map_err(|error| error.chain())?;
    let opened = File::open(folder)?;
    let options = Options::from(Limits::NORMAL);
    unpack_image(&registry, opened.try_clone()?.into(), options, &mut |_| {})
        .map_err(|error| error.chain())?;
    rustix::fs::syncfs(&opened)?;
    Ok(())
}

/// One buffer after the other to another thread, and back when it was read.
struct Sending {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

struct Receiving {
    full: Receiver<Vec<u8>>,
    empty: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
}

const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 8;

fn channel() -> (Sending, Receiving) {
    let (full, filled) = sync_channel(BUFFERS);
    let (emptied, empty) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        let _ = emptied.send(vec![0; BUFFER]);
    }
    (Sending { full, empty }, Receiving { full: filled, empty: emptied, buffer: Vec::new(), at: 0 })
}

impl Sending {
    /// Sends all that `source` gives.
    fn send(&self, source: &mut dyn Read) -> Result<()> {
        while let Ok(mut buffer) = self.empty.recv() {
            buffer.resize(BUFFER, 0);
            let mut filled = 0;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match source.read(rest)? {
                    0 => break,
                    n => filled += n,
                }
            }
            buffer.truncate(filled);
            if filled == 0 || self.full.send(buffer).is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl Read for Receiving {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.at += n;
        Ok(n)
    }
}

impl BufRead for Receiving {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.at >= self.buffer.len() {
            let used = std::mem::take(&mut self.buffer);
            if used.capacity() > 0 {
                let _ = self.empty.try_send(used);
            }
            (self.buffer, self.at) = (self.full.recv().unwrap_or_default(), 0);
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hash: Rc<RefCell<Sha256>>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.borrow_mut().update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

fn hashing<R: Read>(inner: R) -> Hashing<R> {
    Hashing { inner, hash: Rc::default() }
}

fn inflate<'r>(compressed: impl Read + 'r, compression: &str) -> Result<Box<dyn Read + 'r>> {
    let compressed = BufReader::with_capacity(128 << 10, compressed);
    Ok(match compression {
        "gzip" => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
        "zstd" => Box::new(zstd::Decoder::with_buffer(compressed)?),
        _ => Box::new(compressed),
    })
}

/// By which thread does what:
///
/// ```text
/// 1  fetch, digest of the blob, inflate | digest of the layer, files
/// 2  fetch, digest of the blob, inflate, digest of the layer | files
/// 3  fetch, inflate | both digests would need the blob twice: the blob's digest on a third thread | as 1
/// ```
fn floor(address: &str, blob: &str, compression: &str, split: u8, folder: &Path) -> Result<()> {
    let opened = File::open(folder)?;
    std::thread::scope(|scope| -> Result<()> {
        let (sending, receiving) = channel();
        let second = scope.spawn(move || -> Result<()> {
            match split {
                2 => files(receiving, folder),
                _ => files(hashing(receiving), folder),
            }
        });
        if split == 3 {
            let (fetching, fetched) = channel();
            let third = scope.spawn(move || fetching.send(&mut hashing(get(address, blob)?)));
            sending.send(&mut inflate(fetched, compression)?)?;
            third.join().map_err(|_| "a thread panicked")??;
        } else {
            let inflated = inflate(hashing(get(address, blob)?), compression)?;
            match split {
                2 => sending.send(&mut hashing(inflated))?,
                _ => sending.send(&mut { inflated })?,
            }
        }
        drop(sending);
        second.join().map_err(|_| "a thread panicked")?
    })?;
    rustix::fs::syncfs(&opened)?;
    Ok(())
}

fn get(address: &str, blob: &str) -> Result<impl Read> {
    let mut stream = TcpStream::connect(address.parse::<std::net::SocketAddr>()?)?;
    write!(stream, "GET {blob} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(128 << 10, stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err("no answer".into());
        }
    }
    Ok(reader)
}

/// The files, without a look at what they are called.
fn files(archive: impl Read, folder: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(archive);
    let mut buffer = vec![0; BUFFER];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = folder.join(entry.path()?);
        if entry.header().entry_type().is_dir() {
            std::fs::create_dir_all(path)?;
            continue;
        }
        let mut file = File::create(path)?;
        loop {
            match entry.read(&mut buffer)? {
                0 => break,
                n => file.write_all(buffer.get(..n).unwrap_or_default())?,
            }
        }
    }
    // To the end, which the digest needs.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink())?;
    Ok(())
}
