//! Certificates for test clusters and registries.

use super::error::{Error, Result};
use super::host;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::path::{Path, PathBuf};

/// Signs certificates.
#[derive(Debug)]
pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both as PEM.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The certificate.
    pub(super) certificate: String,
    /// Its key.
    pub(super) key: String,
}

impl Authority {
    /// A new one.
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// For a server that is reached by these names and addresses.
    pub(super) fn server(&self, name: &str, reached_by: &[&str]) -> Result<Identity> {
        let reached_by: Vec<String> = reached_by.iter().map(|&n| n.to_owned()).collect();
        let params = CertificateParams::new(reached_by).map_err(failed)?;
        self.sign(params, name, None, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For a user of Kubernetes, in a group.
    pub(super) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        self.sign(CertificateParams::default(), user, group, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        group: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity> {
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

impl Identity {
    /// Writes `<name>.crt` and `<name>.key`.
    pub(super) fn write(&self, dir: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let paths = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        host::write(&paths.0, &self.certificate, 0o644)?;
        host::write(&paths.1, &self.key, 0o600)?;
        Ok(paths)
    }
}

/// Private and public key, as PEM, for tokens.
pub(super) fn token_key() -> Result<(String, String)> {
    let key = KeyPair::generate().map_err(failed)?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

fn failed(error: rcgen::Error) -> Error {
    Error::Unexpected {
        what: "a certificate".into(),
        why: error.to_string(),
        next: "look at the names that it was asked for".into(),
    }
}
