//! One layer over the cores: the caller's thread fetches, and one each inflates, hashes and writes.
//!
//! ```text
//! caller: read -> digest of the blob (the caller's reader) |buffers| inflate |buffers| digest of the layer |buffers| files
//! ```
//!
//! What takes longest differs by compression and by machine: with a thread for each the cores are never short of work. One
//! more has the disk write while they compute: else it would idle until the end, when all wait for it.
//!
//! A few buffers go round behind the first one, and a few behind the second. There are never more, however large the layer
//! or a file in it is.

use super::compression::{Compression, TooWide, decompress};
use super::limits::Limits;
use super::{ArchiveError, Unpacking};
use cofferdam_core::name::Digest;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::io::{BufRead, Error, ErrorKind, Read};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// The size of a buffer.
const BUFFER: usize = 256 << 10;

/// How many go round from a thread that fills them to one that empties them.
const BUFFERS: usize = 8;

/// After so many bytes what was unpacked is written back.
const WRITE_BACK: u64 = 128 << 20;

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
        std::thread::scope(|scope| {
            let (to_inflate, fetched) = channel();
            let (to_hash, inflated) = channel();
            let (due, dues) = sync_channel(1);
            let folder = self.folder();
            let writing_back = spawn(scope, "write back", move || {
                // What cannot be written is told by the sync in the end.
                while let (Ok(folder), Ok(())) = (&folder, dues.recv()) {
                    let _ = rustix::fs::syncfs(folder);
                }
                Ok(())
            });
            let inflating = spawn(scope, "inflate", move || inflate(fetched, how, &limits, to_hash));
            let (passing, mut archive) = inflated.divided();
            let hashing = spawn(scope, "hash", move || Ok(passing.hash(&due)));
            let unpacking = spawn(scope, "unpack", move || self.layer(&mut archive));
            let read = to_inflate.all_of(compressed, |_| Ok(())).map_err(|error| broken(error, how));
            let (inflated, unpacked) = (ended(inflating), ended(unpacking));
            let (hashed, _) = (ended(hashing), ended(writing_back));
            // If several failed, it was for the first one's reason.
            read.and(inflated).and(hashed).and_then(|digest| unpacked.map(|()| digest))
        })
    }
}

/// A thread of the pipeline. If there cannot be one, its ends of the channels are gone, and the others end.
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'scope,
) -> std::io::Result<ScopedJoinHandle<'scope, Result<T, ArchiveError>>> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, work)
}

/// What came of a thread.
fn ended<T>(
    thread: std::io::Result<ScopedJoinHandle<'_, Result<T, ArchiveError>>>,
) -> Result<T, ArchiveError> {
    let gone = |_| Err(ArchiveError::Read(Error::other("a thread that unpacks ended")));
    thread.map_err(ArchiveError::Read)?.join().unwrap_or_else(gone)
}

/// What the fetched bytes hold, to those who unpack it.
fn inflate(fetched: Filled, how: Compression, limits: &Limits, to: Filling) -> Result<(), ArchiveError> {
    let came = Rc::new(Cell::new(0));
    let counted = Counted { inner: fetched, bytes: Rc::clone(&came) };
    let reader = decompress(counted, how, limits.window).map_err(ArchiveError::Read)?;
    let check = |content| match limits.is_bomb(content, came.get()) {
        false => Ok(()),
        true => Err(Error::other(Bomb { archive: came.get(), content, ratio: limits.ratio })),
    };
    to.all_of(reader, check).map_err(|error| broken(error, how))
}

/// Content that is too large for the archive that it comes from.
#[derive(Debug, thiserror::Error)]
#[error("{archive} bytes of it become {content} (the limit is {ratio} times as many)")]
struct Bomb {
    archive: u64,
    content: u64,
    ratio: u64,
}

/// What an error of a decompressor means.
fn broken(error: Error, how: Compression) -> ArchiveError {
    let inner = error.get_ref();
    let wide = inner.and_then(|inner| inner.downcast_ref::<TooWide>()).map(ToString::to_string);
    let bomb = inner.and_then(|inner| inner.downcast_ref::<Bomb>()).map(ToString::to_string);
    if let Some(text) = wide.or(bomb) {
        return ArchiveError::too_large(text);
    }
    ArchiveError::Read(match error.kind() {
        ErrorKind::UnexpectedEof => Error::new(ErrorKind::UnexpectedEof, "it ends in the middle"),
        ErrorKind::InvalidData | ErrorKind::InvalidInput => {
            Error::new(ErrorKind::InvalidData, format!("its {how} stream is broken: {error}"))
        }
        _ => error,
    })
}

/// What goes from one thread to the next; nothing if the stream broke.
type Part = Option<Vec<u8>>;

/// Buffers from one thread to another, and back when they were read.
fn channel() -> (Filling, Filled) {
    let (full, filled) = sync_channel(BUFFERS);
    let (emptied, empty) = sync_channel(BUFFERS);
    (Filling { full, empty }, Filled { filled, emptied, buffer: Vec::new(), at: 0 })
}

/// The end of those who fill buffers.
struct Filling {
    full: SyncSender<Part>,
    empty: Receiver<Vec<u8>>,
}

impl Filling {
    /// Sends all that `source` gives, unless nobody wants it any more: that one has its own reason. `check` is told how
    /// much it was.
    fn all_of(self, source: impl Read, check: impl Fn(u64) -> std::io::Result<()>) -> std::io::Result<()> {
        let sent = self.parts_of(source, check);
        if sent.is_err() {
            // So that the other side takes the end for no end.
            let _ = self.full.send(None);
        }
        sent
    }

    fn parts_of(
        &self,
        mut source: impl Read,
        check: impl Fn(u64) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let (mut sent, mut made) = (0, 0);
        loop {
            let mut buffer = match self.empty.try_recv() {
                Ok(buffer) => buffer,
                Err(_) if made < BUFFERS => {
                    made += 1;
                    Vec::new()
                }
                Err(_) => match self.empty.recv() {
                    Ok(buffer) => buffer,
                    Err(_) => return Ok(()),
                },
            };
            buffer.resize(BUFFER, 0);
            let n = fill(&mut source, &mut buffer)?;
            buffer.truncate(n);
            sent += n as u64;
            check(sent)?;
            if n == 0 || self.full.send(Some(buffer)).is_err() {
                return Ok(());
            }
        }
    }
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

/// The other end: the buffers as a stream.
struct Filled {
    filled: Receiver<Part>,
    emptied: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
}

impl Filled {
    /// Goes to the next buffer, which is empty at the end.
    fn next(&mut self) -> std::io::Result<()> {
        let used = std::mem::take(&mut self.buffer);
        self.at = 0;
        if used.capacity() > 0 {
            // There is room for all of them. If nobody wants one any more, so be it.
            let _ = self.emptied.try_send(used);
        }
        match self.filled.recv() {
            Ok(Some(buffer)) => self.buffer = buffer,
            Ok(None) => return Err(ErrorKind::BrokenPipe.into()),
            Err(_) => {}
        }
        Ok(())
    }

    /// The same in two steps: someone looks at the buffers before they can be read.
    fn divided(self) -> (Passing, Self) {
        let (to, filled) = sync_channel(BUFFERS);
        (Passing { from: self.filled, to }, Self { filled, ..self })
    }

    /// What of the buffer was not read yet.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
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
        if self.rest().is_empty() {
            self.next()?;
        }
        Ok(self.rest())
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

/// Buffers on their way, which are hashed; and from time to time it is due to write back what was made of them.
struct Passing {
    from: Receiver<Part>,
    to: SyncSender<Part>,
}

impl Passing {
    /// The digest of all that passes.
    fn hash(self, due: &SyncSender<()>) -> Digest {
        let mut hash = Sha256::new();
        let mut bytes = 0;
        for part in self.from {
            if let Some(buffer) = &part {
                hash.update(buffer);
                bytes += buffer.len() as u64;
            }
            if bytes >= WRITE_BACK {
                bytes = 0;
                // If it is still at it, so much the more is done the next time.
                let _ = due.try_send(());
            }
            if self.to.send(part).is_err() {
                // Nobody wants it any more: that one has its own reason.
                break;
            }
        }
        Digest::from_bytes(hash.finalize().into())
    }
}
