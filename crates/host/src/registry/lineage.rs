//! From an image's digest to the manifest for this machine, through indexes.

use super::manifest::{Document, Manifest, Platform};
use super::{Origin, RegistryError};
use crate::error::Result;
use cofferdam_core::name::Digest;
use cofferdam_core::trust::{Covers, Subject};

/// How many indexes may name each other.
const MOST_INDEXES: usize = 2;

/// The manifest of an image for this machine.
pub(crate) struct Lineage {
    /// The manifest.
    pub(super) manifest: Manifest,
    /// It, after the indexes that lead to it: whatever signs one of them signs what is installed.
    pub(crate) subjects: Vec<Subject>,
}

impl Lineage {
    /// That of the image with the digest `image`.
    ///
    /// # Errors
    /// If a document is not there, is not what its digest says, or is not for this machine.
    pub(crate) fn of(origin: &dyn Origin, image: Digest) -> Result<Self> {
        let (own, what) = (Platform::own(), origin.name());
        let mut subjects = Vec::new();
        let mut wanted = image;
        // Of a manifest that does not say what it is, the index says it: a layout has no header to say it in.
        let mut called = String::new();
        for _ in 0..=MOST_INDEXES {
            let sent = origin.manifest(&wanted)?;
            let digest = Digest::of(&sent.bytes);
            if digest != wanted {
                let what = format!("the manifest of {what}");
                return Err(RegistryError::Digest { what, expected: wanted, found: digest }.into());
            }
            let sent_as = if sent.media_type.is_empty() { &called } else { &sent.media_type };
            let document = Document::parse(&sent.bytes, sent_as, &what)?;
            let bytes = sent.bytes;
            match document {
                Document::Manifest(manifest) => {
                    subjects.push(Subject { digest, covers: Covers::Manifest, bytes });
                    return Ok(Self { manifest, subjects });
                }
                Document::Index(index) => {
                    subjects.push(Subject { digest, covers: Covers::Index, bytes });
                    let chosen = index.choose(&own, &what)?;
                    (wanted, called) = (chosen.digest, chosen.media_type.clone());
                }
            }
        }
        let reason = "its indexes name each other".to_owned();
        Err(RegistryError::Manifest { what, reason }.into())
    }
}
