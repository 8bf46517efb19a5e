//! Digests and sizes of what streams by.

use crate::hashing::{Hashing, Sha256};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

/// What streamed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured<D> {
    /// The digest of it.
    pub(crate) digest: D,
    /// How many bytes it was.
    pub(crate) bytes: u64,
}

#[derive(Default)]
struct Count<H> {
    hash: H,
    bytes: u64,
}

/// Measures what is read or written through it. A clone measures the same stream: one stays outside of the readers that
/// own the other.
pub(crate) struct Measuring<S, H = Sha256> {
    inner: S,
    count: Rc<RefCell<Count<H>>>,
}

/// The measure of a stream that someone else reads or writes.
#[derive(Clone)]
pub(crate) struct Gauge<H>(Rc<RefCell<Count<H>>>);

impl<H: Hashing> Gauge<H> {
    /// What streamed by so far.
    pub(crate) fn measured(&self) -> Measured<H::Digest> {
        let count = self.0.borrow();
        Measured { digest: count.hash.so_far(), bytes: count.bytes }
    }
}

impl<S, H: Hashing> Measuring<S, H> {
    /// Around `inner`.
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, count: Rc::default() }
    }

    /// Its measure, to be kept outside.
    pub(crate) fn gauge(&self) -> Gauge<H> {
        Gauge(Rc::clone(&self.count))
    }

    /// What it was around.
    pub(crate) fn into_inner(self) -> S {
        self.inner
    }

    fn add(&self, bytes: &[u8]) {
        let mut count = self.count.borrow_mut();
        count.hash.add(bytes);
        count.bytes += bytes.len() as u64;
    }
}

impl<R: Read, H: Hashing> Read for Measuring<R, H> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.add(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

impl<W: Write, H: Hashing> Write for Measuring<W, H> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.add(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Tells how much was read through it.
pub(crate) struct Telling<'t, R> {
    inner: R,
    so_far: u64,
    tell: &'t mut dyn FnMut(u64),
}

impl<'t, R> Telling<'t, R> {
    /// Around `inner`; `tell` gets the bytes so far.
    pub(crate) fn new(inner: R, tell: &'t mut dyn FnMut(u64)) -> Self {
        Self { inner, so_far: 0, tell }
    }
}

impl<R: Read> Read for Telling<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.so_far += n as u64;
        (self.tell)(self.so_far);
        Ok(n)
    }
}
