//! An entry of a transparency log (Rekor): what it notes, its promise, its proof.

use super::certificate::is_of;
use super::{Certificate, Evidence, Signed};
use crate::name::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The most signatures of a checkpoint that are looked at.
const MOST_NOTES: usize = 16;

/// One entry, as a signature brings it.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Which log.
    pub log: Digest,
    /// Its number there.
    pub index: u64,
    /// When the log took it, in seconds since 1970. 0: it does not say.
    pub integrated: u64,
    /// What it notes: a JSON text.
    pub body: Vec<u8>,
    /// The log's signature on [`Self::promised`]: the one thing that vouches for the time.
    pub promise: Option<Vec<u8>>,
    /// The proof that the log has it.
    pub proof: Option<Proof>,
}

/// The proof that a log has an entry: the steps from it to the hash of the whole.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The entry's number in this tree.
    pub index: u64,
    /// How many entries the tree has.
    pub size: u64,
    /// The hash of the whole.
    pub root: Digest,
    /// The hashes on the way, from the leaf up.
    pub steps: Vec<Digest>,
    /// The log's signed note about size and root.
    pub checkpoint: Option<String>,
}

/// A log's signed note about its size and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What is signed.
    pub text: String,
    /// How many entries.
    pub size: u64,
    /// The hash of the whole.
    pub root: Digest,
    /// The signatures on it: by the log, and perhaps by witnesses.
    pub signatures: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    kind: String,
    api_version: String,
    spec: serde_json::Value,
}

#[derive(Deserialize)]
struct HashedRekord {
    data: Data,
    signature: HashedSignature,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HashedSignature {
    content: String,
    public_key: Content,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse {
    payload_hash: Hash,
    signatures: Vec<DsseSignature>,
}

#[derive(Deserialize)]
struct DsseSignature {
    signature: String,
    verifier: String,
}

impl LogEntry {
    /// What the log's promise is made on.
    pub fn promised(&self) -> Vec<u8> {
        let body = STANDARD.encode(&self.body);
        let (time, log, index) = (self.integrated, self.log.hex(), self.index);
        format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{log}","logIndex":{index}}}"#)
            .into_bytes()
    }

    /// Whether it notes this very signature, of this very certificate, on these very bytes.
    ///
    /// # Errors
    /// What else it notes.
    pub fn notes(&self, evidence: &Evidence) -> Result<(), String> {
        let head: Head = serde_json::from_slice(&self.body)
            .map_err(|error| format!("its log entry cannot be read: {error}"))?;
        let unreadable = |error: serde_json::Error| format!("its log entry cannot be read: {error}");
        let fits = match (head.kind.as_str(), head.api_version.as_str(), &evidence.signed) {
            ("hashedrekord", "0.0.1", Signed::Plain(_)) => {
                let spec: HashedRekord = serde_json::from_value(head.spec).map_err(unreadable)?;
                is_hash(&spec.data.hash, evidence.signed.noted())
                    && is_base64(&spec.signature.content, &evidence.signature)
                    && is_signer(&spec.signature.public_key.content, evidence.certificate.as_ref())
            }
            ("dsse", "0.0.1", Signed::Envelope { .. }) => {
                let spec: Dsse = serde_json::from_value(head.spec).map_err(unreadable)?;
                let [one] = spec.signatures.as_slice() else {
                    return Err("its log entry notes not exactly one signature".to_owned());
                };
                is_hash(&spec.payload_hash, evidence.signed.noted())
                    && is_base64(&one.signature, &evidence.signature)
                    && is_signer(&one.verifier, evidence.certificate.as_ref())
            }
            (kind, version, _) => {
                let found = super::error::presentable(&format!("{kind} {version}"));
                return Err(format!("entries of the kind `{found}` are not understood for it"));
            }
        };
        if fits { Ok(()) } else { Err("its log entry notes another signature".to_owned()) }
    }

    /// The log's entry as a leaf of its tree.
    fn leaf(&self) -> Digest {
        hash(&[&[0], &self.body])
    }

    /// Whether the proof leads from this entry to its root.
    pub fn is_proven_by(&self, proof: &Proof) -> bool {
        if proof.index >= proof.size {
            return false;
        }
        let (mut at, mut last, mut so_far) = (proof.index, proof.size - 1, self.leaf());
        for step in &proof.steps {
            if last == 0 {
                return false;
            }
            if at & 1 == 1 || at == last {
                so_far = node(*step, so_far);
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            } else {
                so_far = node(so_far, *step);
            }
            at >>= 1;
            last >>= 1;
        }
        last == 0 && so_far == proof.root
    }
}

impl Checkpoint {
    /// Reads one: origin, size and root on a line each, perhaps more, an empty line, then the signatures.
    pub fn parse(note: &str) -> Option<Self> {
        let (text, signatures) = note.split_once("\n\n")?;
        let text = format!("{text}\n");
        let mut lines = text.lines().skip(1);
        let size = lines.next()?.parse().ok()?;
        let root: [u8; 32] = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let mut found = Vec::new();
        for line in signatures.lines().take(MOST_NOTES) {
            let (_, encoded) = line.strip_prefix("\u{2014} ")?.rsplit_once(' ')?;
            // Four bytes tell keys apart; which key counts is known already.
            found.push(STANDARD.decode(encoded).ok()?.get(4..)?.to_vec());
        }
        Some(Self { text, size, root: Digest::from_bytes(root), signatures: found })
    }
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(part));
    Digest::from_bytes(sha.finalize().into())
}

fn node(left: Digest, right: Digest) -> Digest {
    hash(&[&[1], left.as_bytes(), right.as_bytes()])
}

fn is_hash(noted: &Hash, digest: Digest) -> bool {
    noted.algorithm == "sha256" && noted.value == digest.hex()
}

fn is_base64(noted: &str, bytes: &[u8]) -> bool {
    STANDARD.decode(noted).is_ok_and(|noted| noted == bytes)
}

fn is_signer(noted: &str, certificate: Option<&Certificate>) -> bool {
    STANDARD.decode(noted).is_ok_and(|pem| is_of(&pem, certificate))
}
