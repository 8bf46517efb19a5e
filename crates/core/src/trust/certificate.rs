//! A signer's certificate: whose it is, who says so, and for how long.

use super::{PublicKey, Published, Refusal};
use crate::name::Digest;
use der::asn1::{ObjectIdentifier, Utf8StringRef};
use der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Who told the authority the identity: as plain text (old), and as a string in DER.
const ISSUER_OLD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
const ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// The largest certificate, and the most in a chain.
const MOST: usize = 32 << 10;
const MOST_IN_CHAIN: usize = 8;

const WHAT: &str = "its certificate";

/// A signer's certificate. What it says is not believed before its chain was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its bytes.
    pub der: Vec<u8>,
    /// The signer's key.
    pub key: PublicKey,
    /// The signer: a mail address, or the address of a workflow.
    pub identity: String,
    /// Who told the authority so.
    pub issuer: String,
    /// From when it is valid: seconds since 1970.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// What logs of certificates say of it.
    pub published: Published,
}

impl Certificate {
    /// Reads one.
    ///
    /// # Errors
    /// If it cannot be read, or names not exactly one signer and one issuer.
    pub fn from_der(der: Vec<u8>) -> Result<Self, Refusal> {
        if der.len() > MOST {
            return Err(Refusal::TooLarge { what: WHAT, limit: MOST });
        }
        let broken = |error: der::Error| Refusal::malformed(WHAT, error);
        let found = x509_cert::Certificate::from_der(&der).map_err(broken)?;
        let tbs = found.tbs_certificate();
        let key = PublicKey::of_info(tbs.subject_public_key_info())
            .map_err(|reason| Refusal::malformed(WHAT, format!("its key: {reason}")))?;
        let validity = tbs.validity();
        let extension = |oid| {
            let mut all = tbs.extensions().into_iter().flatten().filter(move |one| one.extn_id == oid);
            match (all.next(), all.next()) {
                (one, None) => Ok(one.map(|one| one.extn_value.as_bytes())),
                _ => Err(Refusal::malformed(WHAT, "it has an extension twice")),
            }
        };
        let identity = match extension(ALTERNATIVE_NAME)? {
            Some(bytes) => identity(&SubjectAltName::from_der(bytes).map_err(broken)?)?,
            None => return Err(Refusal::malformed(WHAT, "it names nobody")),
        };
        let issuer = match extension(ISSUER)? {
            Some(bytes) => Some(Utf8StringRef::from_der(bytes).map_err(broken)?.as_str().to_owned()),
            None => None,
        };
        let old = extension(ISSUER_OLD)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let issuer = match (issuer, old) {
            (Some(new), Some(old)) if new != old => {
                return Err(Refusal::malformed(WHAT, "it names two issuers"));
            }
            (Some(issuer), _) | (None, Some(issuer)) => issuer,
            (None, None) => return Err(Refusal::malformed(WHAT, "it does not say who knows the signer")),
        };
        if [&identity, &issuer].iter().any(|text| text.chars().any(char::is_control)) {
            return Err(Refusal::malformed(WHAT, "a name in it holds control characters"));
        }
        let (from, until) = (validity.not_before, validity.not_after);
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        let published = Published::of(&der)?;
        Ok(Self { key, identity, issuer, from: seconds(from), until: seconds(until), published, der })
    }

    /// Reads one from PEM.
    ///
    /// # Errors
    /// As [`Self::from_der`].
    pub fn from_pem(text: &str) -> Result<Self, Refusal> {
        match <[Vec<u8>; 1]>::try_from(pem_list(text)?) {
            Ok([der]) => Self::from_der(der),
            Err(_) => Err(Refusal::malformed(WHAT, "it is not exactly one")),
        }
    }
}

/// The one name in it.
fn identity(names: &SubjectAltName) -> Result<String, Refusal> {
    match names.0.as_slice() {
        [GeneralName::Rfc822Name(name) | GeneralName::UniformResourceIdentifier(name)] => {
            Ok(name.as_str().to_owned())
        }
        [_] => Err(Refusal::malformed(WHAT, "it names neither a mail address nor a URI")),
        _ => Err(Refusal::malformed(WHAT, "it does not name exactly one signer")),
    }
}

/// The certificates of a PEM text.
pub(super) fn pem_list(text: &str) -> Result<Vec<Vec<u8>>, Refusal> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let mut list = Vec::new();
    for part in text.split(BEGIN).skip(1) {
        if list.len() == MOST_IN_CHAIN {
            return Err(Refusal::malformed(WHAT, "its chain is too long"));
        }
        let block = format!("{BEGIN}{part}");
        let (_, der) = der::pem::decode_vec(block.trim().as_bytes())
            .map_err(|error| Refusal::malformed(WHAT, format!("it is no PEM text ({error})")))?;
        list.push(der);
    }
    Ok(list)
}

/// Whether `pem` is this certificate or (without one) this key.
pub(super) fn is_of(pem: &[u8], certificate: Option<&Certificate>) -> bool {
    let Some(certificate) = certificate else { return false };
    let text = String::from_utf8_lossy(pem);
    pem_list(&text).is_ok_and(|list| matches!(list.as_slice(), [one] if *one == certificate.der))
}

/// The key in a certificate, by its digest. None: it is no certificate.
pub(super) fn key_in(der: &[u8]) -> Option<Digest> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    Some(Digest::of(&certificate.tbs_certificate().subject_public_key_info().to_der().ok()?))
}
