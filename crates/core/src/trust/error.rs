//! Why a package is not installed, or a signature does not count.

use super::Form;
use crate::class::Class;
use crate::name::Digest;

/// Why a package is not installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No rule covers where it comes from.
    #[error("{what} is refused: no rule of {policy} is about it")]
    NoRule {
        /// What.
        what: String,
        /// The policy.
        policy: String,
    },
    /// The reference has no digest.
    #[error("{what} is refused: it is not pinned by a digest, as {policy} wants it for {scope}")]
    NotPinned {
        /// What.
        what: String,
        /// The rule.
        scope: String,
        /// The policy.
        policy: String,
    },
    /// Signatures are made on images.
    #[error("{what} is refused: {policy} wants a signature for {scope}, and only images can have one")]
    CannotBeSigned {
        /// What.
        what: String,
        /// The rule.
        scope: String,
        /// The policy.
        policy: String,
    },
    /// There is no signature.
    #[error(
        "{what} is refused: it is not signed, and {policy} wants a signature for {scope} (looked for {looked_for})"
    )]
    Unsigned {
        /// What.
        what: String,
        /// The rule.
        scope: String,
        /// The policy.
        policy: String,
        /// Where.
        looked_for: String,
    },
    /// There are signatures, and none of them counts.
    #[error(
        "{what} is refused: no signature of it is one that {policy} wants for {scope}{}",
        shown(refusals)
    )]
    WrongSigner {
        /// What.
        what: String,
        /// The rule.
        scope: String,
        /// The policy.
        policy: String,
        /// Why each of them does not count.
        refusals: Vec<(Form, Refusal)>,
    },
    /// There are more signatures than are looked at.
    #[error("{what} is refused: it has {count} signatures in {form}s (the limit is {limit})")]
    TooMany {
        /// What.
        what: String,
        /// How they are kept.
        form: Form,
        /// How many.
        count: usize,
        /// How many are looked at.
        limit: usize,
    },
}

/// How many refusals a message names.
const MOST_SHOWN: usize = 5;

fn shown(refusals: &[(Form, Refusal)]) -> String {
    let mut text = String::new();
    for (form, refusal) in refusals.iter().take(MOST_SHOWN) {
        text.push_str(&format!("; {form}: {refusal}"));
    }
    match refusals.len().saturating_sub(MOST_SHOWN) {
        0 => {}
        more => text.push_str(&format!("; {more} more")),
    }
    text
}

impl TrustError {
    /// What a caller may do about it: always [`Class::Invalid`].
    pub const fn class(&self) -> Class {
        Class::Invalid
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRule { .. } => "add a [[rule]] for it, if its publisher is to be trusted".to_owned(),
            Self::NotPinned { .. } => "name the image by its digest: REPOSITORY@sha256:...".to_owned(),
            Self::CannotBeSigned { .. } => {
                "pack it into an image (cofferdam pack) and sign that, or accept \"anything\" for this place"
                    .to_owned()
            }
            Self::Unsigned { .. } => {
                "nothing was unpacked; sign it (cosign sign), or ask its publisher for the signature"
                    .to_owned()
            }
            Self::WrongSigner { .. } => {
                "nothing was unpacked; ask the publisher who signs, and compare with the policy".to_owned()
            }
            Self::TooMany { .. } => {
                "nothing was unpacked; delete signatures that nobody needs from the repository".to_owned()
            }
        })
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("{what} cannot be read: {reason}")]
    Malformed {
        /// What of it.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// It is larger than such a thing is.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What of it.
        what: &'static str,
        /// How large it may be.
        limit: usize,
    },
    /// What came is not what was named.
    #[error("{what} is not what its digest says")]
    Altered {
        /// What.
        what: &'static str,
    },
    /// It has a form that is not understood.
    #[error("its {what} `{found}` is not understood")]
    Unknown {
        /// What.
        what: &'static str,
        /// As it is.
        found: String,
    },
    /// It signs something else.
    #[error("it signs {found}, which is another image")]
    OtherSubject {
        /// What it signs.
        found: Digest,
    },
    /// It signs no image.
    #[error("it signs nothing that has a SHA-256 digest")]
    NoSubject,
    /// It says something else than that the image is signed.
    #[error("it is no signature of an image, but says `{found}` of it")]
    OtherPredicate {
        /// What it says.
        found: String,
    },
    /// The manifest that brings it is about something else.
    #[error("the manifest that brings it does not refer to this image")]
    OtherReferrer,
    /// No key fits.
    #[error("it was not made with a key that the rule names")]
    WrongKey,
    /// There is no certificate.
    #[error("it was made with a key, without a certificate that says whose")]
    NoCertificate,
    /// The certificate's key did not make it.
    #[error("it was not made with the key of its certificate")]
    NotBySigner,
    /// The certificate comes from elsewhere.
    #[error("its certificate comes from no authority of the trust root ({reason})")]
    WrongAuthority {
        /// Why.
        reason: String,
    },
    /// The certificate was never shown to the public.
    #[error("no log of the trust root says that its certificate was published")]
    NotPublished,
    /// It was signed before or after the certificate was valid.
    #[error(
        "it was signed at {signed_at}, and its certificate is valid from {from} to {until} only (seconds since 1970)"
    )]
    Expired {
        /// When it was signed.
        signed_at: u64,
        /// From when the certificate is valid.
        from: u64,
        /// Until when.
        until: u64,
    },
    /// Somebody else signed.
    #[error("it was signed by {identity} (known to {issuer}), who may not")]
    WrongIdentity {
        /// Who.
        identity: String,
        /// Who says so.
        issuer: String,
    },
    /// There is no proof of when it was signed.
    #[error("no log of the trust root says when it was signed{}", detail(reason))]
    NoTime {
        /// What is wrong with the entries that are there; nothing, if there are none.
        reason: String,
    },
}

fn detail(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

impl Refusal {
    pub(super) fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Self {
        let reason: String = reason.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        Self::Malformed { what, reason }
    }

    /// Something unknown, as far as it is fit to be shown.
    pub(super) fn unknown(what: &'static str, found: &str) -> Self {
        Self::Unknown { what, found: presentable(found) }
    }
}

/// A stranger's text, as far as it is fit to be shown.
pub(super) fn presentable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(300).collect()
}
