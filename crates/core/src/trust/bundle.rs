//! A sigstore bundle: a signature, who made it, what logs say of it, in one JSON text.

use super::{Certificate, Evidence, Form, LogEntry, Proof, Refusal, Signed, Subject, envelope};
use crate::name::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

/// The media type of a bundle, as referrers and layers have it.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The same in older texts.
const BUNDLE_OLD: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// The largest bundle that is read.
const MOST: usize = 1 << 20;

/// How many certificates, log entries and steps of a proof are looked at.
const MOST_CERTIFICATES: usize = 8;
const MOST_ENTRIES: usize = 8;
const MOST_STEPS: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<Raw>,
    x509_certificate_chain: Option<Chain>,
    #[serde(default)]
    tlog_entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    message_digest: Option<MessageDigest>,
    signature: String,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(deserialize_with = "number")]
    log_index: u64,
    log_id: LogId,
    #[serde(default, deserialize_with = "number")]
    integrated_time: u64,
    canonicalized_body: String,
    inclusion_promise: Option<Promise>,
    inclusion_proof: Option<RawProof>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProof {
    #[serde(default, deserialize_with = "number")]
    log_index: u64,
    root_hash: String,
    #[serde(deserialize_with = "number")]
    tree_size: u64,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: Option<RawCheckpoint>,
}

#[derive(Deserialize)]
struct RawCheckpoint {
    envelope: String,
}

/// Reads a bundle that signs one of `subjects`.
///
/// # Errors
/// If it cannot be read, or signs something else.
pub fn read_bundle(bytes: &[u8], subjects: &[Subject]) -> Result<Evidence, Refusal> {
    if bytes.len() > MOST {
        return Err(Refusal::TooLarge { what: "the bundle", limit: MOST });
    }
    let bundle: Bundle =
        serde_json::from_slice(bytes).map_err(|error| Refusal::malformed("the bundle", error))?;
    if ![BUNDLE, BUNDLE_OLD].contains(&bundle.media_type.as_str()) {
        return Err(Refusal::unknown("bundle's media type", &bundle.media_type));
    }
    let (subject, signed, signature) = match (bundle.message_signature, bundle.dsse_envelope) {
        (Some(message), None) => message_signature(message, subjects)?,
        (None, Some(envelope)) => enveloped(envelope, subjects)?,
        _ => return Err(Refusal::malformed("the bundle", "it holds not exactly one signature")),
    };
    let Material { certificate, x509_certificate_chain, tlog_entries } = bundle.verification_material;
    let certificates = match (certificate, x509_certificate_chain) {
        (Some(one), _) => vec![one],
        (None, chain) => chain.map_or_else(Vec::new, |chain| chain.certificates),
    };
    if certificates.len() > MOST_CERTIFICATES || tlog_entries.len() > MOST_ENTRIES {
        return Err(Refusal::malformed("the bundle", "it holds too many certificates or log entries"));
    }
    let mut certificates = certificates.iter().map(|raw| decode("its certificate", &raw.raw_bytes));
    let certificate = certificates.next().transpose()?.map(Certificate::from_der).transpose()?;
    Ok(Evidence {
        form: Form::Bundle,
        subject: subject.digest,
        covers: subject.covers,
        signed,
        signature,
        certificate,
        chain: certificates.collect::<Result<_, _>>()?,
        entries: tlog_entries.into_iter().map(entry).collect::<Result<_, _>>()?,
    })
}

type Found<'s> = (&'s Subject, Signed, Vec<u8>);

/// A signature on the manifest itself.
fn message_signature(message: MessageSignature, subjects: &[Subject]) -> Result<Found<'_>, Refusal> {
    const WHAT: &str = "its message's digest";
    let digest = message.message_digest.ok_or_else(|| Refusal::malformed(WHAT, "there is none"))?;
    if digest.algorithm != "SHA2_256" {
        return Err(Refusal::unknown("message's digest", &digest.algorithm));
    }
    let found = hash(WHAT, &digest.digest)?;
    let subject = subjects.iter().find(|subject| subject.digest == found);
    let subject = subject.ok_or(Refusal::OtherSubject { found })?;
    Ok((subject, Signed::Plain(subject.bytes.clone()), decode("its signature", &message.signature)?))
}

/// A signature on a statement about the manifest.
fn enveloped(envelope: Envelope, subjects: &[Subject]) -> Result<Found<'_>, Refusal> {
    if envelope.payload_type != envelope::IN_TOTO {
        return Err(Refusal::unknown("envelope's type", &envelope.payload_type));
    }
    let [one] = envelope.signatures.as_slice() else {
        return Err(Refusal::malformed("its envelope", "it has not exactly one signature"));
    };
    let payload = decode("its envelope", &envelope.payload)?;
    let subject = envelope::subject(&payload, subjects)?;
    let signature = decode("its signature", &one.sig)?;
    Ok((subject, Signed::Envelope { kind: envelope.payload_type, payload }, signature))
}

fn entry(entry: Entry) -> Result<LogEntry, Refusal> {
    const WHAT: &str = "its log entry";
    let promise = entry.inclusion_promise.map(|promise| decode(WHAT, &promise.signed_entry_timestamp));
    Ok(LogEntry {
        log: hash(WHAT, &entry.log_id.key_id)?,
        index: entry.log_index,
        integrated: entry.integrated_time,
        body: decode(WHAT, &entry.canonicalized_body)?,
        promise: promise.transpose()?,
        proof: entry.inclusion_proof.map(proof).transpose()?,
    })
}

fn proof(raw: RawProof) -> Result<Proof, Refusal> {
    const WHAT: &str = "its proof of inclusion";
    if raw.hashes.len() > MOST_STEPS {
        return Err(Refusal::malformed(WHAT, "it has too many steps"));
    }
    Ok(Proof {
        index: raw.log_index,
        size: raw.tree_size,
        root: hash(WHAT, &raw.root_hash)?,
        steps: raw.hashes.iter().map(|text| hash(WHAT, text)).collect::<Result<_, _>>()?,
        checkpoint: raw.checkpoint.map(|checkpoint| checkpoint.envelope),
    })
}

/// Base64, as JSON has bytes.
pub(super) fn decode(what: &'static str, text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|error| Refusal::malformed(what, format!("it is no base64 ({error})")))
}

/// A SHA-256 hash in base64.
fn hash(what: &'static str, text: &str) -> Result<Digest, Refusal> {
    let bytes: [u8; 32] = decode(what, text)?
        .try_into()
        .map_err(|_| Refusal::malformed(what, "a hash in it does not have 32 bytes"))?;
    Ok(Digest::from_bytes(bytes))
}

/// A number, or (as JSON has large ones) its text.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}
