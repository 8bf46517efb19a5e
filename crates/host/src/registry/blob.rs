//! A blob as it streams. If the connection breaks, the rest is fetched by another one: whoever reads does not notice.

use super::endpoint::Endpoint;
use super::error::Failed;
use super::manifest::Blob;
use super::{Registry, RegistryError};
use crate::net::BodyReader;
use cofferdam_core::name::Digest;
use std::io::{self, Read};
use std::sync::Arc;

/// Whoever sent that much since the last break is not counted as failing all the time.
const PROGRESS: u64 = 8 << 20;

/// A blob as it streams. That the parts belong together is shown by the digest over all of it, which is the reader's
/// business.
pub(super) struct BlobReader<'r> {
    registry: &'r Registry,
    digest: Digest,
    size: u64,
    /// How many bytes were given.
    at: u64,
    /// How many of those that come now were given already.
    skip: u64,
    body: Option<BodyReader<'r>>,
    /// Who sends it.
    sender: Option<&'r Endpoint>,
    /// How often it broke since [`Self::mark`].
    breaks: u32,
    mark: u64,
    /// How it ended, if it did: whoever reads on is told the same again.
    ended: Option<Result<(), Failed>>,
}

impl<'r> BlobReader<'r> {
    pub(super) fn open(registry: &'r Registry, blob: &Blob) -> Result<Self, RegistryError> {
        let (digest, size) = (blob.digest, blob.size);
        let (at, skip, breaks, mark) = (0, 0, 0, 0);
        let (body, sender, ended) = Default::default();
        let mut reader = Self { registry, digest, size, at, skip, body, sender, breaks, mark, ended };
        reader.connect()?;
        Ok(reader)
    }

    fn connect(&mut self) -> Result<(), RegistryError> {
        let (sender, reply, start) = self.registry.blob_from(&self.digest, self.at)?;
        self.skip = self.at.saturating_sub(start);
        (self.body, self.sender) = (Some(reply.body), Some(sender));
        Ok(())
    }

    /// What to do about a break: nothing but to go on, or `cause`.
    fn broke(&mut self, cause: RegistryError) -> Result<(), RegistryError> {
        self.body = None;
        if let Some(sender) = self.sender.take() {
            self.registry.avoid(sender);
        }
        if self.at.saturating_sub(self.mark) >= PROGRESS {
            self.breaks = 0;
        }
        self.mark = self.at;
        self.breaks += 1;
        if cause.is_passing() && self.registry.wait(self.breaks, None) {
            return Ok(());
        }
        let (at, size, tries) = (self.at, self.size, self.breaks);
        Err(RegistryError::Cut { at, size, tries, cause: Box::new(cause) })
    }

    /// What came was short. Whether to ask for the rest.
    fn is_worth_asking(&mut self) -> bool {
        let short = RegistryError::Size { what: String::new(), expected: self.size, found: self.at };
        self.broke(short).is_ok()
    }

    /// Leaves out what was given already. If less than that comes, nothing does after it.
    fn pass(body: &mut BodyReader<'_>, skip: &mut u64) -> io::Result<()> {
        io::copy(&mut body.take(std::mem::take(skip)), &mut io::sink()).map(drop)
    }

    /// The next bytes; none at the end.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        loop {
            let Some(body) = &mut self.body else {
                match self.connect() {
                    Ok(()) => continue,
                    // The place has no more of it than we have.
                    Err(RegistryError::Answer { status: 416, .. }) => return Ok(0),
                    Err(error) => return Err(error),
                }
            };
            let read = Self::pass(body, &mut self.skip).and_then(|()| body.read(buffer));
            match read {
                Ok(0) if self.at < self.size => {
                    if !self.is_worth_asking() {
                        return Ok(0);
                    }
                }
                Ok(n) => {
                    self.at += n as u64;
                    return Ok(n);
                }
                // All of it is here: how the connection ends does not matter.
                Err(_) if self.at >= self.size => return Ok(0),
                Err(error) => self.broke(RegistryError::of_io(error))?,
            }
        }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.ended.is_none() {
            match self.next(buffer) {
                Ok(0) => self.ended = Some(Ok(())),
                Ok(n) => return Ok(n),
                Err(error) => self.ended = Some(Err(Failed(Arc::new(error)))),
            }
        }
        match &self.ended {
            Some(Err(failed)) => Err(io::Error::other(failed.clone())),
            _ => Ok(0),
        }
    }
}
