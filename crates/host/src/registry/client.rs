//! A registry, with the mirrors that stand for it: which is asked, and when again.

use super::blob::BlobReader;
use super::endpoint::{self, Call, Endpoint, lock};
use super::error::Action;
use super::manifest::{ACCEPT, Blob, MOST_MANIFEST};
use super::origin::{Origin, Sent};
use super::{RegistryError, retry};
use crate::error::Result;
use crate::net::{Patience, Reply, chance};
use crate::package::Remote;
use cofferdam_core::name::Digest;
use cofferdam_core::reference::Reference;
use http::Method;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

pub(super) type Asked<T> = std::result::Result<T, RegistryError>;

/// What waits between two tries.
type Pause = Box<dyn Fn(Duration) + Send + Sync>;

/// A registry, as seen by whoever wants one image of it.
pub struct Registry {
    reference: Reference,
    patience: Patience,
    pause: Pause,
    /// Where the image may be had, the registry itself last.
    endpoints: Vec<Endpoint>,
    /// In which order they are asked. Whoever failed is asked last from then on.
    order: Mutex<Vec<usize>>,
    /// Who did not answer as long as patience lasted: they are asked once from then on. A mirror may have all that is needed,
    /// and nobody should wait for its registry again and again.
    away: Mutex<BTreeSet<usize>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// What a place is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// What a tag stands for.
    Tag,
    /// What has a digest.
    Content,
    /// To write there.
    Write,
}

impl Registry {
    /// The registry of `remote`, to read from it.
    ///
    /// # Errors
    /// If the authorities' certificates cannot be used.
    pub fn new(remote: &Remote) -> Result<Self> {
        Ok(Self::to(remote, Action::Pull)?)
    }

    /// The registry of `remote`, to write to it.
    ///
    /// # Errors
    /// If the authorities' certificates cannot be used.
    pub fn to_push(remote: &Remote) -> Result<Self> {
        Ok(Self::to(remote, Action::Push)?)
    }

    fn to(remote: &Remote, action: Action) -> Asked<Self> {
        let Remote { reference, access } = remote;
        let sites = access.settings.sites(reference)?;
        // They are the same for all places: this machine's list is read once.
        let roots = endpoint::roots(access)?;
        let endpoints: Asked<Vec<_>> =
            sites.into_iter().map(|site| Endpoint::new(site, access, roots.clone(), action)).collect();
        let endpoints = endpoints?;
        Ok(Self {
            reference: reference.clone(),
            patience: access.patience.clone(),
            pause: Box::new(std::thread::sleep),
            order: Mutex::new((0..endpoints.len()).collect()),
            away: Mutex::default(),
            endpoints,
        })
    }

    /// The same, waiting by `pause` between two tries.
    #[must_use]
    pub fn with_pause(mut self, pause: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.pause = Box::new(pause);
        self
    }

    /// What the tag stands for now, or the digest of the reference itself.
    ///
    /// # Errors
    /// If the registry does not answer, or has no such image.
    pub fn digest(&self) -> Result<Digest> {
        if let Some(digest) = self.reference.digest() {
            return Ok(*digest);
        }
        let target = self.reference.target();
        let told = self.each(Want::Tag, |endpoint| {
            let place = endpoint.site.place("manifests", &target);
            let call = Call { accept: &ACCEPT, ..Call::plain(Method::HEAD, &place) };
            let what = self.reference.to_string();
            let reply = endpoint.found(endpoint.send(&call)?, &what, "HEAD of the manifest")?;
            let told = reply.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
            match told.and_then(|text| Digest::try_from(text.to_owned()).ok()) {
                Some(digest) => Ok(digest),
                // Not every registry tells: then the manifest itself does.
                None => Ok(Digest::of(&self.manifest_at(endpoint, &target)?.bytes)),
            }
        });
        Ok(told?)
    }

    /// The reference.
    pub(super) const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Waits for the pause before the next try, after `done` of them; whether there is to be another.
    pub(super) fn wait(&self, done: u32, asked: Option<Duration>) -> bool {
        let pause = self.patience.pause(done, asked, chance());
        if let Some(pause) = pause {
            (self.pause)(pause);
        }
        pause.is_some()
    }

    /// Does `work` at the registry itself, as often as it is worth it.
    pub(super) fn at_origin<'r, T>(&'r self, work: impl FnMut(&'r Endpoint) -> Asked<T>) -> Asked<T> {
        self.each(Want::Write, work)
    }

    /// Does `work` at the first place where it can be done. Each place is asked once before one of them is asked again.
    pub(super) fn each<'r, T>(
        &'r self,
        want: Want,
        mut work: impl FnMut(&'r Endpoint) -> Asked<T>,
    ) -> Asked<T> {
        let mut failures = BTreeMap::new();
        let mut open = self.able(want);
        for done in 1.. {
            for index in std::mem::take(&mut open) {
                let Some(endpoint) = self.endpoints.get(index) else { continue };
                match work(endpoint) {
                    Ok(done) => {
                        lock(&self.away).remove(&index);
                        return Ok(done);
                    }
                    Err(error) => {
                        if error.is_passing() {
                            self.ask_last(index);
                            if !lock(&self.away).contains(&index) {
                                open.push(index);
                            }
                        }
                        failures.insert(index, error);
                    }
                }
            }
            let asked = open.iter().filter_map(|index| failures.get(index)?.wait()).min();
            if open.is_empty() || !self.wait(done, asked) {
                lock(&self.away).extend(open);
                break;
            }
        }
        Err(self.summary(failures))
    }

    /// Who can do that, in the order in which they are asked.
    fn able(&self, want: Want) -> Vec<usize> {
        let can = |index: &usize| {
            self.endpoints.get(*index).is_some_and(|endpoint| match want {
                Want::Tag => endpoint.site.can.resolve,
                Want::Content => endpoint.site.can.pull,
                Want::Write => !endpoint.site.mirror,
            })
        };
        lock(&self.order).iter().copied().filter(can).collect()
    }

    /// From now on every other place is asked before `endpoint`.
    pub(super) fn avoid(&self, endpoint: &Endpoint) {
        if let Some(index) = self.endpoints.iter().position(|one| std::ptr::eq(one, endpoint)) {
            self.ask_last(index);
        }
    }

    fn ask_last(&self, index: usize) {
        let mut order = lock(&self.order);
        order.retain(|other| *other != index);
        order.push(index);
    }

    /// What the last of them said, and why the others did not help.
    fn summary(&self, mut failures: BTreeMap<usize, RegistryError>) -> RegistryError {
        let Some((_, last)) = failures.pop_last() else {
            return RegistryError::NoPlace { what: self.reference.to_string() };
        };
        let mirrors: Vec<String> = failures.values().map(ToString::to_string).collect();
        if mirrors.is_empty() {
            return last;
        }
        RegistryError::Mirrors { error: Box::new(last), mirrors: mirrors.join("; ") }
    }

    pub(super) fn manifest_at(&self, endpoint: &Endpoint, target: &str) -> Asked<Sent> {
        let place = endpoint.site.place("manifests", target);
        let call = Call { accept: &ACCEPT, ..Call::plain(Method::GET, &place) };
        let what = self.reference.to_string();
        let mut reply = endpoint.found(endpoint.send(&call)?, &what, "GET of the manifest")?;
        let media_type = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_owned();
        let bytes = reply.body.all(MOST_MANIFEST)?.ok_or_else(|| RegistryError::Manifest {
            what: format!("the manifest of {what}"),
            reason: format!("it is larger than {MOST_MANIFEST} bytes"),
        })?;
        Ok(Sent { bytes, media_type })
    }

    /// The blob from byte `from` on, and at which byte what comes begins: the one that was asked for, or the first.
    pub(super) fn blob_from(&self, digest: &Digest, from: u64) -> Asked<(&Endpoint, Reply<'_>, u64)> {
        let what = format!("blob {digest} of {}", self.reference);
        self.each(Want::Content, |endpoint| {
            let place = endpoint.site.place("blobs", &digest.to_string());
            let call = Call { from, ..Call::plain(Method::GET, &place) };
            let reply = endpoint.found(endpoint.send(&call)?, &what, "GET of a blob")?;
            if reply.status.as_u16() != 206 {
                return Ok((endpoint, reply, 0));
            }
            let range = reply.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            match range.and_then(retry::range_start) {
                Some(start) if start <= from => Ok((endpoint, reply, start)),
                _ => {
                    let reason = "it sent another part of it than was asked for".to_owned();
                    Err(RegistryError::Manifest { what: what.clone(), reason })
                }
            }
        })
    }
}

impl Origin for Registry {
    fn name(&self) -> String {
        self.reference.to_string()
    }

    fn resolve(&self) -> Result<Digest> {
        self.digest()
    }

    fn manifest(&self, digest: &Digest) -> Result<Sent> {
        let target = digest.to_string();
        let sent = self.each(Want::Content, |endpoint| {
            let sent = self.manifest_at(endpoint, &target)?;
            let found = Digest::of(&sent.bytes);
            if found != *digest {
                // A mirror's fault is not the registry's: the next one is asked.
                let what = format!("the manifest of {} at {}", self.reference, endpoint.site.name);
                return Err(RegistryError::Digest { what, expected: *digest, found });
            }
            Ok(sent)
        });
        Ok(sent?)
    }

    fn blob<'o>(&'o self, blob: &Blob) -> Result<Box<dyn Read + 'o>> {
        Ok(Box::new(BlobReader::open(self, blob)?))
    }
}
