//! Which authorities are trusted, and who we say we are.

use super::NetError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// The certificate authorities whose word is taken.
#[derive(Clone, Debug)]
pub struct Roots(RootCertStore);

impl Roots {
    /// The public ones, as Mozilla lists them.
    pub fn public() -> Self {
        Self(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// None yet.
    pub fn none() -> Self {
        Self(RootCertStore::empty())
    }

    /// The same, and those in `pem`, which `origin` names for messages.
    ///
    /// # Errors
    /// If it holds no certificate, or a broken one.
    pub fn and_pem(mut self, pem: &[u8], origin: &str) -> Result<Self, NetError> {
        for certificate in certificates(pem, origin)? {
            self.0.add(certificate).map_err(|error| bad_pem(origin, &error.to_string()))?;
        }
        Ok(self)
    }
}

impl Roots {
    /// The same, and those in `pem` that can be used: a machine's list may hold some that are no authority's.
    #[must_use]
    pub fn and_usable(mut self, pem: &[u8]) -> Self {
        self.0.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
        self
    }

    /// The same, and those in `certificates` (DER), which `origin` names for messages.
    ///
    /// # Errors
    /// If one of them is broken.
    pub fn and_der(mut self, certificates: &[Vec<u8>], origin: &str) -> Result<Self, NetError> {
        for certificate in certificates {
            let der = CertificateDer::from(certificate.clone());
            self.0.add(der).map_err(|error| bad_pem(origin, &error.to_string()))?;
        }
        Ok(self)
    }
}

/// A client's certificate with its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Identity {
    /// From two PEM texts, which `origin` names for messages.
    ///
    /// # Errors
    /// If one of them does not hold what it should.
    pub fn of_pem(chain: &[u8], key: &[u8], origin: &str) -> Result<Self, NetError> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| bad_pem(origin, &format!("no private key: {error}")))?;
        Ok(Self { chain: certificates(chain, origin)?, key })
    }
}

/// What a connection over TLS starts from.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom we trust.
    pub roots: Roots,
    /// Who we are, for servers that ask.
    pub identity: Option<Identity>,
    /// Take any certificate: whoever is on the way can say that he is the server.
    pub anyone: bool,
}

impl Tls {
    /// With these roots and without an identity.
    pub const fn trusting(roots: Roots) -> Self {
        Self { roots, identity: None, anyone: false }
    }

    /// rustls' settings for it.
    ///
    /// # Errors
    /// If the identity's key and certificate do not fit together.
    pub fn client_config(&self) -> Result<ClientConfig, NetError> {
        let internal = |error: rustls::Error| NetError::Settings { reason: error.to_string() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(internal)?;
        let builder = if self.anyone {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            builder.with_root_certificates(self.roots.0.clone())
        };
        match self.identity.clone() {
            None => Ok(builder.with_no_client_auth()),
            Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key).map_err(internal),
        }
    }
}

/// Takes any certificate, for hosts whose settings say so.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates(pem: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| bad_pem(origin, &error.to_string()))?;
    if found.is_empty() {
        return Err(bad_pem(origin, "it holds no `BEGIN CERTIFICATE`"));
    }
    Ok(found)
}

fn bad_pem(origin: &str, reason: &str) -> NetError {
    NetError::Pem { origin: origin.to_owned(), reason: reason.to_owned() }
}
