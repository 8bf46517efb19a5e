//! One signature, read and not believed.

use super::{Certificate, Covers, Form, LogEntry};
use crate::name::Digest;

/// What a signature may be about: the image's manifest or index.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub covers: Covers,
    /// Its text, which has that digest.
    pub bytes: Vec<u8>,
}

/// One signature with all that it brings.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// How it was kept.
    pub form: Form,
    /// The image that it says it signs. It is one of those that were asked for.
    pub subject: Digest,
    /// What that is.
    pub covers: Covers,
    /// What is signed, and as what.
    pub signed: Signed,
    /// The signature.
    pub signature: Vec<u8>,
    /// The signer's certificate. None: it was made with a key.
    pub certificate: Option<Certificate>,
    /// Certificates that lead from the signer's to an authority.
    pub chain: Vec<Vec<u8>>,
    /// What logs say of it.
    pub entries: Vec<LogEntry>,
}

/// The bytes that a signature is made on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// They are signed as they are.
    Plain(Vec<u8>),
    /// They are signed in an envelope, with their type.
    Envelope {
        /// Their type.
        kind: String,
        /// They.
        payload: Vec<u8>,
    },
}

impl Signed {
    /// The very bytes that the signature is made on.
    pub fn message(&self) -> Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes.clone(),
            Self::Envelope { kind, payload } => {
                let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
                message.extend_from_slice(payload);
                message
            }
        }
    }

    /// The digest by which a log notes them.
    pub(super) fn noted(&self) -> Digest {
        match self {
            Self::Plain(bytes) | Self::Envelope { payload: bytes, .. } => Digest::of(bytes),
        }
    }
}
