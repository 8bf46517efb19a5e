//! Certificate transparency: a log's signed word that it has seen a certificate, which stands in the certificate itself
//! (RFC 6962).

use super::Refusal;
use crate::name::Digest;

/// The extension with the list, 1.3.6.1.4.1.11129.2.4.2, as DER has it.
const LIST: &[u8] = &[0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02];

/// The context tag of a certificate's extensions, and the tags of a sequence and of bytes.
const EXTENSIONS: u8 = 0xa3;
const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;

/// SHA-256 with ECDSA, as TLS numbers them. Logs sign with nothing else.
const SHA256_ECDSA: [u8; 2] = [4, 3];

/// The most that are looked at.
const MOST: usize = 8;

/// What logs say of a certificate: that they have seen it, but for this list.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Published {
    /// What they have seen.
    seen: Vec<u8>,
    /// Who, and when.
    pub stamps: Vec<Stamp>,
}

/// One log's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which log.
    pub log: Digest,
    /// When, in milliseconds since 1970.
    pub millis: u64,
    /// The log's signature on [`Published::message`].
    pub signature: Vec<u8>,
    extensions: Vec<u8>,
}

impl Stamp {
    /// When, in seconds since 1970.
    pub const fn seconds(&self) -> u64 {
        self.millis / 1000
    }
}

impl Published {
    /// What the certificate brings; nothing, if it brings nothing.
    pub(super) fn of(certificate: &[u8]) -> Result<Self, Refusal> {
        read(certificate).ok_or_else(|| {
            Refusal::malformed("its certificate", "what logs say of it has another form than RFC 6962's")
        })
    }

    /// What a log signs: when it has seen what, and whose key the authority's is.
    pub fn message(&self, stamp: &Stamp, authority: Digest) -> Vec<u8> {
        let mut message = vec![0, 0];
        message.extend_from_slice(&stamp.millis.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(authority.as_bytes());
        // Certificates are far smaller than three bytes can count.
        message.extend(self.seen.len().to_be_bytes().iter().skip(size_of::<usize>() - 3));
        message.extend_from_slice(&self.seen);
        message.extend(stamp.extensions.len().to_be_bytes().iter().skip(size_of::<usize>() - 2));
        message.extend_from_slice(&stamp.extensions);
        message
    }
}

fn read(certificate: &[u8]) -> Option<Published> {
    let (_, whole, _) = element(certificate)?;
    let (SEQUENCE, tbs, _) = element(whole)? else { return None };
    let (mut seen, mut stamps, mut rest) = (Vec::new(), Vec::new(), tbs);
    while !rest.is_empty() {
        let (tag, content, next) = element(rest)?;
        if tag == EXTENSIONS {
            let (kept, list) = without_list(content)?;
            seen.extend(wrapped(EXTENSIONS, &wrapped(SEQUENCE, &kept)));
            stamps = list.map_or(Some(Vec::new()), read_list)?;
        } else {
            seen.extend_from_slice(rest.get(..rest.len() - next.len())?);
        }
        rest = next;
    }
    Some(Published { seen: wrapped(SEQUENCE, &seen), stamps })
}

/// The extensions but for the list, and the list.
fn without_list(content: &[u8]) -> Option<(Vec<u8>, Option<&[u8]>)> {
    let (SEQUENCE, mut rest, []) = element(content)? else { return None };
    let (mut kept, mut list) = (Vec::new(), None);
    while !rest.is_empty() {
        let (_, extension, next) = element(rest)?;
        match extension.strip_prefix(LIST) {
            Some(value) if list.is_none() => {
                let value = match element(value)? {
                    (BOOLEAN, _, value) => value,
                    _ => value,
                };
                let (OCTETS, value, []) = element(value)? else { return None };
                let (OCTETS, value, []) = element(value)? else { return None };
                list = Some(value);
            }
            Some(_) => return None,
            None => kept.extend_from_slice(rest.get(..rest.len() - next.len())?),
        }
        rest = next;
    }
    Some((kept, list))
}

fn read_list(list: &[u8]) -> Option<Vec<Stamp>> {
    let (mut rest, []) = counted(list)? else { return None };
    let mut stamps = Vec::new();
    while !rest.is_empty() {
        let (stamp, next) = counted(rest)?;
        let (version, stamp) = stamp.split_first()?;
        let (log, stamp) = stamp.split_first_chunk::<32>()?;
        let (millis, stamp) = stamp.split_first_chunk::<8>()?;
        let (extensions, stamp) = counted(stamp)?;
        let (algorithm, stamp) = stamp.split_first_chunk::<2>()?;
        let (signature, []) = counted(stamp)? else { return None };
        // Those of later versions are for those who know them.
        if *version == 0 && *algorithm == SHA256_ECDSA && stamps.len() < MOST {
            stamps.push(Stamp {
                log: Digest::from_bytes(*log),
                millis: u64::from_be_bytes(*millis),
                signature: signature.to_vec(),
                extensions: extensions.to_vec(),
            });
        }
        rest = next;
    }
    Some(stamps)
}

/// Bytes after their number in two bytes, and what follows.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*count)))
}

/// The first element of DER: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        // More than three bytes of length have no certificate around them.
        long @ 0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
    let mut bytes = vec![tag];
    match (u8::try_from(content.len()), u8::try_from(digits.len())) {
        (Ok(short @ 0..=0x7f), _) => bytes.push(short),
        (_, Ok(count)) => {
            bytes.push(0x80 | count);
            bytes.extend(digits);
        }
        (_, Err(_)) => {}
    }
    bytes.extend_from_slice(content);
    bytes
}
