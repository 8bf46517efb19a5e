//! Where manifests and blobs come from: a registry or a folder.

use super::manifest::Blob;
use crate::error::Result;
use cofferdam_core::name::Digest;
use std::io::Read;

/// Bytes with the media type that they were sent with.
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
}

/// Where an image comes from. What it gives is not trusted: whoever asks compares digests.
pub(crate) trait Origin {
    /// What it is, for people.
    fn name(&self) -> String;

    /// The digest of the image: of its manifest, or for several platforms of its index.
    ///
    /// # Errors
    /// If it does not answer, or has no such image.
    fn resolve(&self) -> Result<Digest>;

    /// A manifest or an index.
    ///
    /// # Errors
    /// If it does not answer, has none, or it is too large.
    fn manifest(&self, digest: &Digest) -> Result<Sent>;

    /// A blob, as it streams.
    ///
    /// # Errors
    /// If it does not answer or has none.
    fn blob<'o>(&'o self, blob: &Blob) -> Result<Box<dyn Read + 'o>>;
}
