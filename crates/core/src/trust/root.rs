//! The trust root: sigstore's `trusted_root.json`, as far as it is needed.

use super::PublicKey;
use super::bundle::decode;
use crate::name::Digest;
use der::DateTime;
use serde::{Deserialize, Serialize};

/// The largest that is read.
const MOST: usize = 1 << 20;

/// Who certifies signers, and who notes when they signed. In files and requests it is its JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustRoot {
    text: String,
    authorities: Vec<Authority>,
    logs: Vec<Log>,
    publishers: Vec<Log>,
}

/// Who certifies signers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificates (DER), its own root the last.
    pub chain: Vec<Vec<u8>>,
    /// The digests of the keys in them.
    pub keys: Vec<Digest>,
    /// When it may be believed.
    pub window: Window,
}

/// Who notes when something was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What entries call it.
    pub id: Digest,
    /// Its key.
    pub key: PublicKey,
    /// When it may be believed.
    pub window: Window,
}

/// From when until when, in seconds since 1970, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From when.
    pub from: u64,
    /// Until when. None: it has no end yet.
    pub until: Option<u64>,
}

impl Window {
    /// Whether `time` is in it.
    pub fn holds(&self, time: u64) -> bool {
        self.from <= time && self.until.is_none_or(|until| time <= until)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<RawLog>,
    #[serde(default)]
    certificate_authorities: Vec<RawAuthority>,
    #[serde(default)]
    ctlogs: Vec<RawLog>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLog {
    public_key: RawKey,
    log_id: RawId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKey {
    raw_bytes: String,
    valid_for: Option<RawWindow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthority {
    cert_chain: RawChain,
    valid_for: Option<RawWindow>,
}

#[derive(Deserialize)]
struct RawChain {
    certificates: Vec<RawBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBytes {
    raw_bytes: String,
}

#[derive(Deserialize)]
struct RawWindow {
    start: Option<String>,
    end: Option<String>,
}

impl TrustRoot {
    /// Reads the text of a `trusted_root.json`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence about the file.
    pub fn new(text: String) -> Result<Self, String> {
        if text.len() > MOST {
            return Err("it is too large for a trust root".to_owned());
        }
        let raw: Raw =
            serde_json::from_str(&text).map_err(|error| format!("it is no trust root: {error}"))?;
        if !raw.media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
            return Err(format!("its media type `{}` is no trust root's", raw.media_type));
        }
        let authorities = raw.certificate_authorities.iter().map(authority).collect::<Result<Vec<_>, _>>()?;
        let read = |raw: &[RawLog]| -> Result<Vec<Log>, String> {
            Ok(raw.iter().map(log).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        };
        let (logs, publishers) = (read(&raw.tlogs)?, read(&raw.ctlogs)?);
        if authorities.is_empty() || logs.is_empty() {
            return Err("it names no certificate authority, or no log whose key is understood".to_owned());
        }
        Ok(Self { text, authorities, logs, publishers })
    }

    /// Who certifies signers.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// Who notes when something was signed.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Who publishes certificates. None: nobody is asked whether one was published.
    pub fn publishers(&self) -> &[Log] {
        &self.publishers
    }
}

fn authority(raw: &RawAuthority) -> Result<Authority, String> {
    let (mut chain, mut keys) = (Vec::new(), Vec::new());
    for one in &raw.cert_chain.certificates {
        let der = bytes(&one.raw_bytes)?;
        keys.push(super::certificate::key_in(&der).ok_or("a certificate in it cannot be read")?);
        chain.push(der);
    }
    if chain.is_empty() {
        return Err("an authority in it has no certificate".to_owned());
    }
    Ok(Authority { chain, keys, window: window(raw.valid_for.as_ref())? })
}

/// None: a key of a kind that is not understood. What such a log notes is not believed.
fn log(raw: &RawLog) -> Result<Option<Log>, String> {
    let Ok(key) = PublicKey::from_der(&bytes(&raw.public_key.raw_bytes)?) else { return Ok(None) };
    let id: [u8; 32] = bytes(&raw.log_id.key_id)?.try_into().map_err(|_| "a log's name in it is broken")?;
    Ok(Some(Log { id: Digest::from_bytes(id), key, window: window(raw.public_key.valid_for.as_ref())? }))
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    decode("it", text).map_err(|error| error.to_string())
}

fn window(raw: Option<&RawWindow>) -> Result<Window, String> {
    let Some(raw) = raw else { return Ok(Window { from: 0, until: None }) };
    Ok(Window {
        from: raw.start.as_deref().map(seconds).transpose()?.unwrap_or(0),
        until: raw.end.as_deref().map(seconds).transpose()?,
    })
}

/// Seconds since 1970 of a time such as `2021-03-07T03:20:29.000Z`.
fn seconds(text: &str) -> Result<u64, String> {
    let whole = match text.split_once('.') {
        Some((whole, rest)) if rest.trim_start_matches(|c: char| c.is_ascii_digit()) == "Z" => {
            format!("{whole}Z")
        }
        _ => text.to_owned(),
    };
    let time: DateTime = whole.parse().map_err(|_| format!("`{text}` in it is no time"))?;
    Ok(time.unix_duration().as_secs())
}

impl TryFrom<String> for TrustRoot {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(text)
    }
}

impl From<TrustRoot> for String {
    fn from(root: TrustRoot) -> Self {
        root.text
    }
}
