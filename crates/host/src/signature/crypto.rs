//! Whether a key made a signature: the one place that asks.

use cofferdam_core::trust::{KeyAlgorithm, PublicKey};
use ring::signature as algorithms;
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};

/// Whether `key` made `signature` on `message`.
pub(super) fn is_by(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let with = |algorithm: &'static dyn VerificationAlgorithm| {
        UnparsedPublicKey::new(algorithm, key.bytes()).verify(message, signature).is_ok()
    };
    // SHA-256 is what cosign signs with, on every curve; newer tools take the hash of the curve's own size. RSA keys do
    // not say which padding they are for.
    match key.algorithm() {
        KeyAlgorithm::EcdsaP256 => with(&algorithms::ECDSA_P256_SHA256_ASN1),
        KeyAlgorithm::EcdsaP384 => {
            with(&algorithms::ECDSA_P384_SHA256_ASN1) || with(&algorithms::ECDSA_P384_SHA384_ASN1)
        }
        KeyAlgorithm::Ed25519 => with(&algorithms::ED25519),
        KeyAlgorithm::Rsa => {
            with(&algorithms::RSA_PKCS1_2048_8192_SHA256) || with(&algorithms::RSA_PSS_2048_8192_SHA256)
        }
    }
}
