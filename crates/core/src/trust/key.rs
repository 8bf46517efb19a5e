//! Public keys.

use crate::name::Digest;
use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use serde::{Deserialize, Serialize};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How large a key's text may be.
const MOST: usize = 16 << 10;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on the curve P-256.
    EcdsaP256,
    /// ECDSA on the curve P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// RSA.
    Rsa,
}

/// A public key. In files and requests it is its PEM text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    der: Vec<u8>,
    point: Vec<u8>,
}

impl PublicKey {
    /// Reads the text of a file such as `cosign.pub`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence about the file.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        if text.len() > MOST {
            return Err("it is too large for a key".to_owned());
        }
        let text = text.trim();
        if text.contains("PRIVATE KEY-----") {
            return Err(
                "it holds a private key: name the public one, and keep this one off the host".to_owned()
            );
        }
        if text.matches("-----BEGIN ").count() > 1 {
            return Err("it holds more than one key: name a file for each".to_owned());
        }
        let (label, der) = der::pem::decode_vec(text.as_bytes())
            .map_err(|_| "it is no PEM text (`-----BEGIN PUBLIC KEY-----` ...)".to_owned())?;
        if label != "PUBLIC KEY" {
            return Err(format!("it holds a `{label}`, and a `PUBLIC KEY` is needed"));
        }
        Self::from_der(&der)
    }

    /// Reads a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let info =
            SubjectPublicKeyInfoOwned::from_der(der).map_err(|error| format!("it is no key: {error}"))?;
        Self::of_info(&info)
    }

    pub(super) fn of_info(info: &SubjectPublicKeyInfoOwned) -> Result<Self, String> {
        let curve =
            || info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let algorithm = match info.algorithm.oid {
            ED25519 => KeyAlgorithm::Ed25519,
            RSA => KeyAlgorithm::Rsa,
            EC => match curve() {
                Some(P256) => KeyAlgorithm::EcdsaP256,
                Some(P384) => KeyAlgorithm::EcdsaP384,
                Some(other) => return Err(format!("its curve ({other}) is neither P-256 nor P-384")),
                None => return Err("it names no curve".to_owned()),
            },
            other => return Err(format!("its algorithm ({other}) is not ECDSA, Ed25519 or RSA")),
        };
        let point = info.subject_public_key.as_bytes().ok_or("it is no key")?.to_vec();
        let der = info.to_der().map_err(|error| format!("it is no key: {error}"))?;
        Ok(Self { algorithm, der, point })
    }

    /// What it is for.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The key itself: a point, or an `RSAPublicKey`.
    pub fn bytes(&self) -> &[u8] {
        &self.point
    }

    /// The digest of its DER form: what it is called in records.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.der)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::from_pem(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        // Encoding what was decoded cannot fail.
        der::pem::encode_string("PUBLIC KEY", der::pem::LineEnding::LF, &key.der).unwrap_or_default()
    }
}
