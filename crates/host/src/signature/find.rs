//! Signatures of an image, as its registry or layout keeps them.

use crate::error::Result;
use crate::registry::manifest::{Blob, Manifest};
use crate::registry::{Attached, Referrer, Referring, broken_stream, read_referrers};
use cofferdam_core::name::Digest;
use cofferdam_core::trust::{BUNDLE, Evidence, Form, Refusal, Subject, TagSignature, read_bundle, read_tag};
use std::io::Read;

/// How many signatures of an image are looked at, of each form.
pub(super) const MOST: usize = 64;

/// The largest bundle that is fetched.
const MOST_BUNDLE: usize = 1 << 20;

/// What was found: signatures, read or refused.
pub(super) type Found = Vec<std::result::Result<Evidence, Refusal>>;

/// More signatures than are looked at.
pub(super) struct TooMany(pub(super) usize);

/// Signatures of `subject`, in one of the two forms.
pub(super) fn signatures(
    origin: &dyn Attached,
    form: Form,
    subject: &Subject,
    all: &[Subject],
) -> Result<std::result::Result<Found, TooMany>> {
    match form {
        Form::Tag => by_tag(origin, subject, all),
        Form::Bundle => bundles(origin, subject, all),
    }
}

/// Those under the tag that is made of the digest.
fn by_tag(
    origin: &dyn Attached,
    subject: &Subject,
    all: &[Subject],
) -> Result<std::result::Result<Found, TooMany>> {
    let Some(sent) = origin.find(&format!("sha256-{}.sig", subject.digest.hex()))? else {
        return Ok(Ok(Vec::new()));
    };
    let manifest: Manifest = match serde_json::from_slice(&sent.bytes) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(Ok(vec![Err(unreadable("the manifest of signatures", &error))])),
    };
    let layers: Vec<&Blob> =
        manifest.layers.iter().filter(|layer| layer.media_type == TagSignature::MEDIA_TYPE).collect();
    if layers.len() > MOST {
        return Ok(Err(TooMany(layers.len())));
    }
    let mut found = Vec::new();
    for layer in layers {
        let payload = blob(origin, layer, "its payload", TagSignature::MOST_PAYLOAD)?;
        found.push(payload.and_then(|payload| {
            read_tag(TagSignature { annotations: &layer.annotations, payload: &payload }, all)
        }));
    }
    Ok(Ok(found))
}

/// Bundles that refer to it: as the registry lists them, or (where it keeps no lists) as a tag does.
fn bundles(
    origin: &dyn Attached,
    subject: &Subject,
    all: &[Subject],
) -> Result<std::result::Result<Found, TooMany>> {
    let listed = match origin.referrers(&subject.digest, BUNDLE)? {
        Some(listed) => listed,
        None => match origin.find(&format!("sha256-{}", subject.digest.hex()))? {
            None => return Ok(Ok(Vec::new())),
            Some(sent) => match read_referrers(&sent.bytes) {
                Ok(listed) => listed,
                Err(error) => return Ok(Ok(vec![Err(unreadable("the list of bundles", &error))])),
            },
        },
    };
    // What else refers to an image (lists of contents, attestations of other tools) is none of our business.
    let listed: Vec<Referrer> = listed.into_iter().filter(|one| is_untyped(one) || is_bundle(one)).collect();
    if listed.len() > MOST {
        return Ok(Err(TooMany(listed.len())));
    }
    let mut found = Vec::new();
    for one in listed {
        let Some(sent) = origin.find(&one.digest.to_string())? else { continue };
        let read = bundle(origin, &sent.bytes, one.digest, subject, all)?;
        match &read {
            Err(Refusal::Unknown { .. }) if is_untyped(&one) => {}
            _ => found.push(read),
        }
    }
    Ok(Ok(found))
}

fn is_bundle(one: &Referrer) -> bool {
    one.artifact_type.as_deref() == Some(BUNDLE)
}

/// Some tools write the type of an empty configuration in its place, or nothing: then the manifest says what it brings.
fn is_untyped(one: &Referrer) -> bool {
    one.artifact_type.as_deref().is_none_or(|kind| kind == "application/vnd.oci.empty.v1+json")
}

fn bundle(
    origin: &dyn Attached,
    manifest: &[u8],
    digest: Digest,
    subject: &Subject,
    all: &[Subject],
) -> Result<std::result::Result<Evidence, Refusal>> {
    const WHAT: &str = "the manifest that brings it";
    if Digest::of(manifest) != digest {
        return Ok(Err(Refusal::Altered { what: WHAT }));
    }
    let referring: Referring = match serde_json::from_slice(manifest) {
        Ok(referring) => referring,
        Err(error) => return Ok(Err(unreadable(WHAT, &error))),
    };
    if referring.subject.is_none_or(|about| about.digest != subject.digest) {
        return Ok(Err(Refusal::OtherReferrer));
    }
    let [layer] = referring.layers.as_slice() else {
        return Ok(Err(Refusal::Malformed { what: WHAT, reason: "it has not exactly one layer".to_owned() }));
    };
    if layer.media_type != BUNDLE {
        let found = layer.media_type.chars().filter(|c| !c.is_control()).take(100).collect();
        return Ok(Err(Refusal::Unknown { what: "bundle's media type", found }));
    }
    let bytes = blob(origin, layer, "the bundle", MOST_BUNDLE)?;
    Ok(bytes.and_then(|bytes| read_bundle(&bytes, all)))
}

fn unreadable(what: &'static str, error: &serde_json::Error) -> Refusal {
    Refusal::Malformed { what, reason: error.to_string() }
}

/// A blob that is held in memory. That what came is not what was named is said of the signature, not of the registry.
fn blob(
    origin: &dyn Attached,
    blob: &Blob,
    what: &'static str,
    limit: usize,
) -> Result<std::result::Result<Vec<u8>, Refusal>> {
    if blob.size > limit as u64 {
        return Ok(Err(Refusal::TooLarge { what, limit }));
    }
    let mut bytes = Vec::new();
    let read = origin.blob(blob)?.take(blob.size + 1).read_to_end(&mut bytes);
    read.map_err(|error| broken_stream(what, error))?;
    if bytes.len() as u64 != blob.size || Digest::of(&bytes) != blob.digest {
        return Ok(Err(Refusal::Altered { what }));
    }
    Ok(Ok(bytes))
}
