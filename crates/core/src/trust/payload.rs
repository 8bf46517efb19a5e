//! Old signatures: a layer of the image under the tag `sha256-<digest>.sig` for each, the signature in an annotation.

use super::bundle::{decode, number};
use super::{Certificate, Evidence, Form, LogEntry, Refusal, Signed, Subject};
use crate::name::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The largest payload, and the largest annotation.
const MOST_PAYLOAD: usize = 64 << 10;
const MOST_ANNOTATION: usize = 256 << 10;

/// What a payload says it is.
const KIND: &str = "cosign container image signature";

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const LOGGED: &str = "dev.sigstore.cosign/bundle";

/// A signature as the manifest of signatures names it.
#[derive(Clone, Copy, Debug)]
pub struct TagSignature<'a> {
    /// The layer's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// The layer's bytes, which have the layer's digest.
    pub payload: &'a [u8],
}

impl TagSignature<'_> {
    /// The media type of such a layer.
    pub const MEDIA_TYPE: &'static str = "application/vnd.dev.cosign.simplesigning.v1+json";

    /// The largest payload that is read.
    pub const MOST_PAYLOAD: usize = MOST_PAYLOAD;

    fn annotation(&self, key: &str, what: &'static str) -> Result<Option<&str>, Refusal> {
        match self.annotations.get(key).map(String::as_str) {
            Some(text) if text.len() > MOST_ANNOTATION => {
                Err(Refusal::TooLarge { what, limit: MOST_ANNOTATION })
            }
            Some("") | None => Ok(None),
            text => Ok(text),
        }
    }
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Logged {
    signed_entry_timestamp: String,
    payload: LoggedPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoggedPayload {
    body: String,
    #[serde(deserialize_with = "number")]
    integrated_time: u64,
    #[serde(deserialize_with = "number")]
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// Reads an old signature of one of `subjects`.
///
/// # Errors
/// If it cannot be read, or signs something else.
pub fn read_tag(found: TagSignature<'_>, subjects: &[Subject]) -> Result<Evidence, Refusal> {
    if found.payload.len() > MOST_PAYLOAD {
        return Err(Refusal::TooLarge { what: "its payload", limit: MOST_PAYLOAD });
    }
    let signature = found.annotation(SIGNATURE, "its signature")?;
    let signature = signature.ok_or_else(|| Refusal::malformed("its signature", "there is none"))?;
    let signature = decode("its signature", signature)?;
    let payload: Payload =
        serde_json::from_slice(found.payload).map_err(|error| Refusal::malformed("its payload", error))?;
    if payload.critical.kind != KIND {
        return Err(Refusal::unknown("payload's type", &payload.critical.kind));
    }
    let digest = payload.critical.image.digest;
    let subject = subjects.iter().find(|subject| subject.digest == digest);
    let subject = subject.ok_or(Refusal::OtherSubject { found: digest })?;
    let certificate =
        found.annotation(CERTIFICATE, "its certificate")?.map(Certificate::from_pem).transpose()?;
    let chain = match found.annotation(CHAIN, "its certificate's chain")? {
        Some(text) => super::certificate::pem_list(text)?,
        None => Vec::new(),
    };
    let logged = found.annotation(LOGGED, "its log entry")?.map(entry).transpose()?;
    Ok(Evidence {
        form: Form::Tag,
        subject: subject.digest,
        covers: subject.covers,
        signed: Signed::Plain(found.payload.to_vec()),
        signature,
        certificate,
        chain,
        entries: logged.into_iter().collect(),
    })
}

fn entry(text: &str) -> Result<LogEntry, Refusal> {
    let logged: Logged =
        serde_json::from_str(text).map_err(|error| Refusal::malformed("its log entry", error))?;
    let payload = logged.payload;
    let log =
        hex(&payload.log_id).ok_or_else(|| Refusal::malformed("its log entry", "its log has no name"))?;
    Ok(LogEntry {
        log,
        index: payload.log_index,
        integrated: payload.integrated_time,
        body: decode("its log entry", &payload.body)?,
        promise: Some(decode("its log entry", &logged.signed_entry_timestamp)?),
        proof: None,
    })
}

fn hex(text: &str) -> Option<Digest> {
    Digest::try_from(format!("sha256:{text}")).ok()
}
