//! What was verified, and who signed.

use crate::name::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What was verified of a package before a byte of it was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Verified {
    /// Who vouches for it.
    pub by: Signer,
    /// What it is that they vouch for. None: nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// What that is.
    pub covers: Covers,
    /// The rule of the policy that was kept, by the places that it is about.
    pub rule: String,
}

/// Who vouches for a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", rename_all_fields = "kebab-case", tag = "signer")]
pub enum Signer {
    /// Nobody: the policy asks for nothing.
    Nobody,
    /// Whoever wrote the digest into the reference.
    Digest,
    /// Whoever has this key.
    Key {
        /// The key's digest (of its DER form).
        key: Digest,
        /// The key's file, as the policy calls it.
        name: String,
        /// Where the signature was.
        form: Form,
    },
    /// Whoever could show this identity to the issuer when it was signed.
    Identity {
        /// A mail address, or the address of a workflow.
        identity: String,
        /// Who vouched for the identity.
        issuer: String,
        /// When it was signed, as the log has it: seconds since 1970.
        signed_at: u64,
        /// Where the signature was.
        form: Form,
    },
}

/// How a signature is kept in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Under the tag `sha256-<digest>.sig`.
    Tag,
    /// As a sigstore bundle that refers to the image.
    Bundle,
}

/// What a signature is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covers {
    /// The whole image, for every platform.
    Index,
    /// The image for this platform.
    Manifest,
    /// Nothing: there is no signature.
    Nothing,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tag => "a signature tag",
            Self::Bundle => "a bundle",
        })
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("not signed: the policy asks for nothing"),
            Self::Digest => f.write_str("pinned by its digest"),
            Self::Key { key, name, .. } => write!(f, "signed with the key {name} ({})", key.short()),
            Self::Identity { identity, issuer, .. } => write!(f, "signed by {identity} (known to {issuer})"),
        }
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by.fmt(f)?;
        match (&self.by, self.covers) {
            (Signer::Key { .. } | Signer::Identity { .. }, Covers::Index) => {
                f.write_str(", for all platforms")
            }
            (Signer::Key { .. } | Signer::Identity { .. }, Covers::Manifest) => {
                f.write_str(", for this platform")
            }
            _ => Ok(()),
        }
    }
}
