//! Digests of what streams by: SHA-256 for what others look at as well (blobs, layers, configuration files), BLAKE3 for
//! the files of a tree.

use cofferdam_core::name::{Digest, FileDigest};
use sha2::Digest as _;
use std::io::Read;

pub(crate) use blake3::Hasher as Blake3;
pub(crate) use sha2::Sha256;

/// One of the two.
pub(crate) trait Hashing: Clone + Default {
    /// What comes out.
    type Digest: Copy + PartialEq;

    /// The next bytes.
    fn add(&mut self, bytes: &[u8]);

    /// The digest of all bytes so far.
    fn so_far(&self) -> Self::Digest;
}

impl Hashing for Sha256 {
    type Digest = Digest;

    fn add(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }

    fn so_far(&self) -> Digest {
        Digest::from_bytes(self.clone().finalize().into())
    }
}

impl Hashing for Blake3 {
    type Digest = FileDigest;

    fn add(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }

    fn so_far(&self) -> FileDigest {
        FileDigest::from_bytes(self.finalize().into())
    }
}

/// The digest of all that `reader` gives.
///
/// # Errors
/// If reading fails.
pub(crate) fn digest_of<H: Hashing>(mut reader: impl Read) -> std::io::Result<H::Digest> {
    let mut hash = H::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = reader.read(&mut buffer)?;
        match buffer.get(..n) {
            Some(bytes) if n > 0 => hash.add(bytes),
            _ => return Ok(hash.so_far()),
        }
    }
}
