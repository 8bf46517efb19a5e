//! What is kept beside an image and is about it: signatures, by a tag of their own or as referrers.

use super::client::{Asked, Want};
use super::endpoint::{Call, Endpoint};
use super::manifest::{ACCEPT, Blob, Index, MOST_MANIFEST, Platform};
use super::origin::{Origin, Sent};
use super::{Layout, Registry, RegistryError, Tarred};
use crate::error::Result;
use cofferdam_core::name::Digest;
use cofferdam_core::trust::BUNDLE;
use http::header::LINK;
use http::{Method, StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How many pages of a list are read.
const MOST_PAGES: usize = 8;

/// What registries answer that keep no lists. That there are none is said by the lists themselves.
const NO_LISTS: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_IMPLEMENTED,
];

/// What cosign writes of what it saves beside an image.
const KIND: &str = "kind";

/// What a layout calls an image by.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Where an image is, and what is kept beside it. Nothing of it is trusted.
pub(crate) trait Attached: Origin {
    /// A manifest or an index by its tag or digest. None: there is none.
    ///
    /// # Errors
    /// If it does not answer, or it is too large.
    fn find(&self, target: &str) -> Result<Option<Sent>>;

    /// What refers to `digest` and is of the type `kind`. None: no such lists are kept there.
    ///
    /// # Errors
    /// If it does not answer, or the list cannot be read.
    fn referrers(&self, digest: &Digest, kind: &str) -> Result<Option<Vec<Referrer>>>;
}

/// What names a manifest that refers to another one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Referrer {
    pub(crate) digest: Digest,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A manifest that refers to another one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Referring {
    #[serde(default)]
    pub(crate) subject: Option<Blob>,
    #[serde(default)]
    pub(crate) layers: Vec<Blob>,
}

/// A list of what refers to a manifest.
#[derive(Deserialize)]
struct Referrers {
    manifests: Vec<Referrer>,
}

/// Reads a list of what refers to a manifest.
pub(crate) fn read_referrers(bytes: &[u8]) -> std::result::Result<Vec<Referrer>, serde_json::Error> {
    serde_json::from_slice::<Referrers>(bytes).map(|list| list.manifests)
}

impl Attached for Registry {
    fn find(&self, target: &str) -> Result<Option<Sent>> {
        let want = if target.contains(':') { Want::Content } else { Want::Tag };
        let sent = self.each(want, |endpoint| self.manifest_at(endpoint, target));
        Ok(or_none(sent)?)
    }

    fn referrers(&self, digest: &Digest, kind: &str) -> Result<Option<Vec<Referrer>>> {
        // A mirror may keep no lists where the registry does, or empty ones.
        Ok(or_none(self.each(Want::Tag, |endpoint| listed(endpoint, digest, kind)))?)
    }
}

/// What is nowhere is no failure here.
fn or_none<T>(found: Asked<T>) -> Asked<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::NotFound { .. }) => Ok(None),
        Err(RegistryError::Mirrors { error, .. }) if matches!(*error, RegistryError::NotFound { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The list of one place, all its pages.
fn listed(endpoint: &Endpoint, digest: &Digest, kind: &str) -> Asked<Vec<Referrer>> {
    let what = format!("list of what refers to {digest}");
    let refuse = |reason: String| RegistryError::Manifest { what: what.clone(), reason };
    let list = format!("{digest}?artifactType={}", kind.replace('+', "%2B"));
    let mut place = endpoint.site.place("referrers", &list);
    let mut all = Vec::new();
    for _ in 0..MOST_PAGES {
        let call = Call { accept: &ACCEPT, ..Call::plain(Method::GET, &place) };
        let reply = endpoint.send(&call)?;
        if NO_LISTS.contains(&reply.status) {
            let registry = endpoint.site.name.clone();
            return Err(RegistryError::NotFound { registry, what });
        }
        let mut reply = endpoint.found(reply, &what, "GET of referrers")?;
        let next = reply.headers.get(LINK).and_then(|value| next_page(value.to_str().ok()?));
        let bytes = reply.body.all(MOST_MANIFEST)?;
        let bytes = bytes.ok_or_else(|| refuse(format!("it is larger than {MOST_MANIFEST} bytes")))?;
        all.extend(read_referrers(&bytes).map_err(|error| refuse(error.to_string()))?);
        drop(reply);
        match next {
            Some(target) => place = endpoint.absolute(&target)?,
            // A mirror that lists nothing need not have asked its registry.
            None if all.is_empty() && endpoint.site.mirror => {
                let registry = endpoint.site.name.clone();
                return Err(RegistryError::NotFound { registry, what });
            }
            None => return Ok(all),
        }
    }
    Err(refuse(format!("it has more than {MOST_PAGES} pages")))
}

/// Where the next page of a list is: `<PLACE>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (place, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| place.to_owned())
}

/// In a layout, the index names everything, by its tag in an annotation.
impl Attached for Layout {
    fn find(&self, target: &str) -> Result<Option<Sent>> {
        found_in(self, &self.index()?, target)
    }

    fn referrers(&self, digest: &Digest, kind: &str) -> Result<Option<Vec<Referrer>>> {
        referring_in(self, &self.index()?, digest, kind)
    }
}

/// What `docker save` writes has no index, and no signatures.
impl Attached for Tarred {
    fn find(&self, target: &str) -> Result<Option<Sent>> {
        self.index()?.map_or(Ok(None), |index| found_in(self, &index, target))
    }

    fn referrers(&self, digest: &Digest, kind: &str) -> Result<Option<Vec<Referrer>>> {
        self.index()?.map_or(Ok(None), |index| referring_in(self, &index, digest, kind))
    }
}

fn found_in(origin: &dyn Origin, index: &[u8], target: &str) -> Result<Option<Sent>> {
    let digest = match Digest::try_from(target.to_owned()) {
        Ok(digest) => Some(digest),
        Err(_) => named(origin, index)?.into_iter().find(|one| is_called(one, target)).map(|one| one.digest),
    };
    let Some(digest) = digest else { return Ok(None) };
    match origin.manifest(&digest) {
        Ok(sent) => Ok(Some(sent)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn referring_in(
    origin: &dyn Origin,
    index: &[u8],
    digest: &Digest,
    kind: &str,
) -> Result<Option<Vec<Referrer>>> {
    let mut found = Vec::new();
    for one in named(origin, index)?.into_iter().filter(|one| one.artifact_type.as_deref() == Some(kind)) {
        let sent = origin.manifest(&one.digest)?;
        let referring: Option<Referring> = serde_json::from_slice(&sent.bytes).ok();
        let subject = referring.and_then(|referring| referring.subject);
        if subject.is_some_and(|subject| subject.digest == *digest) {
            found.push(one);
        }
    }
    // Tools that write no types leave a list under a tag.
    Ok(if found.is_empty() { None } else { Some(found) })
}

/// Everything that an index names.
fn named(origin: &dyn Origin, index: &[u8]) -> Result<Vec<Referrer>> {
    let read = read_referrers(index).map_err(|error| RegistryError::Manifest {
        what: format!("the index of {}", origin.name()),
        reason: error.to_string(),
    });
    Ok(read?)
}

/// The image for this machine that the index of a layout names, without what is kept beside images. Nobody can say which of
/// several is meant, so there may be one only; it may have several names.
pub(super) fn the_image(index: &Index, text: &[u8], what: &str) -> Asked<Blob> {
    // What cannot be read here could be read as an index a moment ago: then nothing in it is a signature.
    let named: Vec<Referrer> = read_referrers(text).unwrap_or_default();
    let is_beside = |digest| named.iter().any(|one| one.digest == digest && one.is_beside());
    let mut images: Vec<Blob> = Vec::new();
    for blob in index.manifests.iter().filter(|blob| !is_beside(blob.digest)) {
        if images.iter().all(|known| known.digest != blob.digest) {
            images.push(blob.clone());
        }
    }
    if let [only] = images.as_slice() {
        return Ok(only.clone());
    }
    let own = Platform::own();
    let fits = |blob: &&Blob| blob.platform.as_ref().is_none_or(|platform| *platform == own);
    let fitting: Vec<&Blob> = images.iter().filter(fits).collect();
    match fitting.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Index { manifests: images, ..index.clone() }.choose(&own, what).cloned(),
        several => {
            let name = |blob: &&Blob| {
                let one = named.iter().find(|one| one.digest == blob.digest);
                one.and_then(|one| one.annotations.get(REF_NAME)).cloned().unwrap_or(blob.digest.to_string())
            };
            let names: Vec<String> = several.iter().map(name).collect();
            let reason = format!(
                "it holds {} images for this machine ({}), and must hold one; next: copy the one that is \
                 wanted into a layout of its own (skopeo copy oci:LAYOUT:NAME oci:OTHER)",
                names.len(),
                names.join(", ")
            );
            Err(RegistryError::Manifest { what: what.to_owned(), reason })
        }
    }
}

impl Referrer {
    /// Whether it is kept beside an image, and is none.
    fn is_beside(&self) -> bool {
        let tag = self.annotations.get(REF_NAME).and_then(|name| name.rsplit([':', '/']).next());
        let kind = self.annotations.get(KIND).map_or("", String::as_str);
        self.artifact_type.as_deref() == Some(BUNDLE)
            || tag.is_some_and(|tag| tag.starts_with("sha256-"))
            || kind.starts_with("dev.cosignproject.cosign/") && kind != "dev.cosignproject.cosign/image"
    }
}

/// Names in layouts are tags, or whole references that end in one.
fn is_called(one: &Referrer, tag: &str) -> bool {
    one.annotations
        .get(REF_NAME)
        .is_some_and(|name| name == tag || name.strip_suffix(tag).is_some_and(|before| before.ends_with(':')))
}
