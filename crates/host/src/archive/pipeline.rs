//! One layer over two cores: the caller's thread fetches and inflates, a second one hashes and writes.
//!
//! ```text
//! caller: read -> digest of the blob (the caller's reader) -> inflate -> |buffers| -> digest of the layer -> files :second
//! ```
//!
//! A few buffers go round. Neither side ever holds more than them, however large the layer or a file in it is.

use super::compression::{Compression, TooWide, decompress};
use super::limits::Limits;
use super::{ArchiveError, Unpacking};
use cofferdam_core::name::Digest;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::io::{BufRead, Error, ErrorKind, Read};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The size of a buffer.
const BUFFER: usize = 256 << 10;

/// How many there are.
const BUFFERS: usize = 8;

impl Unpacking {
    /// Unpacks one layer that is compressed, reads it to its end, and tells the digest of what it holds.
    ///
    /// # Errors
    /// As for [`Unpacking::layer`], and if it cannot be read or is compressed in another way.
    pub fn compressed_layer(
        &mut self,
        compressed: impl Read,
        how: Compression,
    ) -> Result<Digest, ArchiveError> {
        let limits = self.options().limits;
        let (full, filled) = sync_channel(BUFFERS);
        let (emptied, empty) = sync_channel(BUFFERS);
        let (inflated, unpacked) = std::thread::scope(|scope| {
            let second = std::thread::Builder::new().name("unpack".to_owned());
            let second = second.spawn_scoped(scope, move || {
                let mut archive = Filled::new(filled, emptied);
                self.layer(&mut archive).map(|()| archive.digest())
            });
            match second {
                Ok(second) => {
                    let inflated = inflate(compressed, how, &limits, &full, &empty);
                    // The other side sees the end.
                    drop(full);
                    let gone = || Err(ArchiveError::Read(Error::other("the thread that unpacks ended")));
                    (inflated, second.join().unwrap_or_else(|_| gone()))
                }
                Err(error) => (Ok(()), Err(ArchiveError::Read(error))),
            }
        });
        // If both failed, it was for the first one's reason.
        inflated.and(unpacked)
    }
}

/// What goes from one side to the other; nothing if the stream broke.
type Part = Option<Vec<u8>>;

fn inflate(
    compressed: impl Read,
    how: Compression,
    limits: &Limits,
    full: &SyncSender<Part>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(), ArchiveError> {
    let result = inflate_parts(compressed, how, limits, full, empty);
    if result.is_err() {
        // So that the other side takes the end for no end. If it is gone, it has its own reason.
        let _ = full.send(None);
    }
    result
}

fn inflate_parts(
    compressed: impl Read,
    how: Compression,
    limits: &Limits,
    full: &SyncSender<Part>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(), ArchiveError> {
    let came = Rc::new(Cell::new(0));
    let counted = Counted { inner: compressed, bytes: Rc::clone(&came) };
    let mut reader = decompress(counted, how, limits.window);
    let (mut content, mut made) = (0, 0);
    loop {
        let mut buffer = match empty.try_recv() {
            Ok(buffer) => buffer,
            Err(_) if made < BUFFERS => {
                made += 1;
                Vec::new()
            }
            Err(_) => match empty.recv() {
                Ok(buffer) => buffer,
                Err(_) => return Ok(()),
            },
        };
        buffer.resize(BUFFER, 0);
        let n = fill(&mut reader, &mut buffer).map_err(|error| broken(error, how))?;
        buffer.truncate(n);
        content += n as u64;
        if limits.is_bomb(content, came.get()) {
            return Err(ArchiveError::TooLarge(format!(
                "{} bytes of it become {content} (the limit is {} times as many)",
                came.get(),
                limits.ratio
            )));
        }
        if n == 0 || full.send(Some(buffer)).is_err() {
            return Ok(());
        }
    }
}

/// What an error of a decompressor means.
fn broken(error: Error, how: Compression) -> ArchiveError {
    if let Some(wide) = error.get_ref().and_then(|inner| inner.downcast_ref::<TooWide>()) {
        return ArchiveError::TooLarge(wide.to_string());
    }
    ArchiveError::Read(match error.kind() {
        ErrorKind::UnexpectedEof => Error::new(ErrorKind::UnexpectedEof, "it ends in the middle"),
        ErrorKind::InvalidData | ErrorKind::InvalidInput => {
            Error::new(ErrorKind::InvalidData, format!("its {how} stream is broken: {error}"))
        }
        _ => error,
    })
}

/// Fills `buffer`, unless the stream ends before.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + n as u64);
        Ok(n)
    }
}

/// The buffers as a stream, which is hashed.
struct Filled {
    filled: Receiver<Part>,
    emptied: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    hash: Sha256,
}

impl Filled {
    fn new(filled: Receiver<Part>, emptied: SyncSender<Vec<u8>>) -> Self {
        Self { filled, emptied, buffer: Vec::new(), at: 0, hash: Sha256::new() }
    }

    fn digest(self) -> Digest {
        Digest::from_bytes(self.hash.finalize().into())
    }
}

impl Read for Filled {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Filled {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.at >= self.buffer.len() {
            let used = std::mem::take(&mut self.buffer);
            self.at = 0;
            if used.capacity() > 0 {
                // There is room for all of them. If nobody wants one any more, so be it.
                let _ = self.emptied.try_send(used);
            }
            match self.filled.recv() {
                Ok(Some(buffer)) => {
                    self.hash.update(&buffer);
                    self.buffer = buffer;
                }
                Ok(None) => return Err(ErrorKind::BrokenPipe.into()),
                Err(_) => {}
            }
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}
