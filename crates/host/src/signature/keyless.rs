//! Signatures of people and workflows that have no key of their own: a short-lived certificate says who, a log says when.

use super::crypto::is_by;
use cofferdam_core::trust::{
    Authority, Certificate, Checkpoint, Evidence, Keyless, Log, LogEntry, Proof, Refusal, Signer, Stamp,
    TrustRoot,
};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use std::time::Duration;
use webpki::ring as algorithms;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// id-kp-codeSigning, 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

const CERTIFICATE_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// Who signed, if they may. No clock is asked: what counts is when the log took the signature.
pub(super) fn check(keyless: &Keyless, evidence: &Evidence) -> Result<Signer, Refusal> {
    let certificate = evidence.certificate.as_ref().ok_or(Refusal::NoCertificate)?;
    if !is_by(&certificate.key, &evidence.signed.message(), &evidence.signature) {
        return Err(Refusal::NotBySigner);
    }
    let signed_at = signed_at(&keyless.root, evidence)?;
    let Certificate { from, until, identity, issuer, .. } = certificate;
    if !(*from..=*until).contains(&signed_at) {
        return Err(Refusal::Expired { signed_at, from: *from, until: *until });
    }
    is_certified(&keyless.root, certificate, &evidence.chain, signed_at)?;
    is_published(&keyless.root, certificate)?;
    let (identity, issuer) = (identity.clone(), issuer.clone());
    if !keyless.allows(&identity, &issuer) {
        return Err(Refusal::WrongIdentity { identity, issuer });
    }
    Ok(Signer::Identity { identity, issuer, signed_at, form: evidence.form })
}

/// When a log of the trust root took this signature.
fn signed_at(root: &TrustRoot, evidence: &Evidence) -> Result<u64, Refusal> {
    let mut reason = String::new();
    for entry in &evidence.entries {
        match noted_at(root, entry, evidence) {
            Ok(time) => return Ok(time),
            Err(error) => reason = error,
        }
    }
    Err(Refusal::NoTime { reason })
}

fn noted_at(root: &TrustRoot, entry: &LogEntry, evidence: &Evidence) -> Result<u64, String> {
    let log = promised_by(root, entry)?;
    entry.notes(evidence)?;
    if let Some(proof) = &entry.proof {
        is_proven(log, entry, proof)?;
    }
    Ok(entry.integrated)
}

/// The log that has signed when it took the entry.
fn promised_by<'r>(root: &'r TrustRoot, entry: &LogEntry) -> Result<&'r Log, String> {
    let mut logs = root.logs().iter().filter(|log| log.id == entry.log);
    let log = logs.find(|log| log.window.holds(entry.integrated));
    let log = log.ok_or("its log entry is of a log that the trust root does not name for that time")?;
    // A proof shows that the log has the entry, the promise alone shows since when.
    let promise = entry.promise.as_deref().filter(|_| entry.integrated != 0);
    let promise =
        promise.ok_or("its log entry has no signed time (times of other authorities are not understood)")?;
    if !is_by(&log.key, &entry.promised(), promise) {
        return Err("the time in its log entry is not signed by the log".to_owned());
    }
    Ok(log)
}

fn is_proven(log: &Log, entry: &LogEntry, proof: &Proof) -> Result<(), String> {
    let checkpoint = proof.checkpoint.as_deref().and_then(Checkpoint::parse);
    let checkpoint = checkpoint.ok_or("its proof of inclusion has no checkpoint that can be read")?;
    if (checkpoint.size, checkpoint.root) != (proof.size, proof.root) {
        return Err("its proof of inclusion is for another state of the log than the checkpoint".to_owned());
    }
    if !checkpoint.signatures.iter().any(|signature| is_by(&log.key, checkpoint.text.as_bytes(), signature)) {
        return Err("the checkpoint of its proof is not signed by the log".to_owned());
    }
    if !entry.is_proven_by(proof) {
        return Err("its proof of inclusion does not lead to the log's root".to_owned());
    }
    Ok(())
}

/// Whether an authority that could be believed at that time certified the signer, for signing.
fn is_certified(
    root: &TrustRoot,
    certificate: &Certificate,
    chain: &[Vec<u8>],
    time: u64,
) -> Result<(), Refusal> {
    let mut reason = "none of them counts for that time".to_owned();
    for authority in root.authorities().iter().filter(|authority| authority.window.holds(time)) {
        match leads_to(authority, certificate, chain, time) {
            Ok(()) => return Ok(()),
            Err(error) => reason = error,
        }
    }
    Err(Refusal::WrongAuthority { reason })
}

/// Whether a log of the trust root has published the certificate, if it names such logs.
fn is_published(root: &TrustRoot, certificate: &Certificate) -> Result<(), Refusal> {
    let published = &certificate.published;
    let by = |log: &Log, stamp: &Stamp| {
        let keys = root.authorities().iter().flat_map(|authority| &authority.keys);
        log.id == stamp.log
            && log.window.holds(stamp.seconds())
            && keys.copied().any(|key| is_by(&log.key, &published.message(stamp, key), &stamp.signature))
    };
    let logs = root.publishers();
    let found = published.stamps.iter().any(|stamp| logs.iter().any(|log| by(log, stamp)));
    if found || logs.is_empty() { Ok(()) } else { Err(Refusal::NotPublished) }
}

fn leads_to(
    authority: &Authority,
    certificate: &Certificate,
    chain: &[Vec<u8>],
    time: u64,
) -> Result<(), String> {
    let text = |error: webpki::Error| error.to_string();
    let (anchor, between) = authority.chain.split_last().ok_or("an authority has no certificate")?;
    let anchor = CertificateDer::from(anchor.as_slice());
    let anchors = [anchor_from_trusted_cert(&anchor).map_err(text)?];
    let between: Vec<CertificateDer<'_>> =
        between.iter().chain(chain).map(|der| CertificateDer::from(der.as_slice())).collect();
    let leaf = CertificateDer::from(certificate.der.as_slice());
    EndEntityCert::try_from(&leaf)
        .and_then(|leaf| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
            let usage = KeyUsage::required(CODE_SIGNING);
            let verified =
                leaf.verify_for_usage(CERTIFICATE_ALGORITHMS, &anchors, &between, time, usage, None, None);
            verified.map(drop)
        })
        .map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use cofferdam_core::name::Digest;
    use serde_json::Value;

    /// What sigstore's public instance wrote when sigstore-js 2.0.0 was published (a test of sigstore-go's).
    const BUNDLE: &str = include_str!("../../tests/data/signature/npm-provenance.json");
    const ROOT: &str = include_str!("../../../core/tests/data/trust/trusted_root.json");

    fn bytes(value: &Value) -> Vec<u8> {
        STANDARD.decode(value.as_str().unwrap()).unwrap()
    }

    fn digest(value: &Value) -> Digest {
        Digest::from_bytes(bytes(value).try_into().unwrap())
    }

    fn number(value: &Value) -> u64 {
        value.as_str().unwrap().parse().unwrap()
    }

    #[test]
    fn what_the_public_instance_wrote_is_believed() {
        let root = TrustRoot::new(ROOT.to_owned()).unwrap();
        let bundle: Value = serde_json::from_str(BUNDLE).unwrap();
        let material = &bundle["verificationMaterial"];
        let raw = &material["tlogEntries"][0];
        let proof = &raw["inclusionProof"];
        let mut entry = LogEntry {
            log: digest(&raw["logId"]["keyId"]),
            index: number(&raw["logIndex"]),
            integrated: number(&raw["integratedTime"]),
            body: bytes(&raw["canonicalizedBody"]),
            promise: Some(bytes(&raw["inclusionPromise"]["signedEntryTimestamp"])),
            proof: None,
        };
        let proof = Proof {
            index: number(&proof["logIndex"]),
            size: number(&proof["treeSize"]),
            root: digest(&proof["rootHash"]),
            steps: proof["hashes"].as_array().unwrap().iter().map(digest).collect(),
            checkpoint: proof["checkpoint"]["envelope"].as_str().map(str::to_owned),
        };
        let log = promised_by(&root, &entry).unwrap();
        is_proven(log, &entry, &proof).unwrap();
        let raw = bytes(&material["x509CertificateChain"]["certificates"][0]["rawBytes"]);
        let certificate = Certificate::from_der(raw).unwrap();
        assert_eq!(
            certificate.identity,
            "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"
        );
        assert_eq!(certificate.issuer, "https://token.actions.githubusercontent.com");
        assert!((certificate.from..=certificate.until).contains(&entry.integrated));
        is_certified(&root, &certificate, &[], entry.integrated).unwrap();
        is_published(&root, &certificate).unwrap();
        let mut other = certificate.clone();
        other.published.stamps.iter_mut().for_each(|stamp| stamp.millis += 1);
        assert_eq!(is_published(&root, &other), Err(Refusal::NotPublished));
        other.published.stamps.clear();
        assert_eq!(is_published(&root, &other), Err(Refusal::NotPublished));
        // A minute after its end.
        is_certified(&root, &certificate, &[], certificate.until + 60).unwrap_err();
        entry.integrated += 1;
        promised_by(&root, &entry).unwrap_err();
        entry.body.push(b' ');
        is_proven(log, &entry, &proof).unwrap_err();
    }
}
