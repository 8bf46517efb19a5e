//! Requests to one place: credentials, redirects, what its answers mean.

use super::challenge;
use super::error::Action;
use super::site::{Configured, Scheme, Site};
use super::{Login, RegistryError, mirror, retry};
use crate::net::{Body, HttpClient, Identity, NetError, Reply, Roots, Tls};
use crate::package::Access;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RANGE, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

type Result<T> = std::result::Result<T, RegistryError>;

/// How often a request is sent elsewhere.
const MOST_REDIRECTS: usize = 5;

/// How large an answer with a token or an error may be.
pub(super) const MOST_ANSWER: usize = 1 << 20;

const AGENT: &str = concat!("cofferdam/", env!("CARGO_PKG_VERSION"));

/// A place where an image may be had, and what it knows of us.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) site: Site,
    pub(super) client: HttpClient,
    pub(super) action: Action,
    /// Who we may say that we are, in this order. None: nobody.
    logins: Vec<Login>,
    /// What to say if there is none although there could be.
    lacks: Option<String>,
    /// What it is told with each request.
    headers: HeaderMap,
    /// What it accepted from us so far. It belongs to this place and to nobody else.
    authorization: Mutex<Option<HeaderValue>>,
    /// `http` or `https`, once it is known.
    scheme: Mutex<Option<&'static str>>,
}

/// A request, to be sent as often as it takes.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Where, after the place's host, or anywhere.
    pub(super) place: &'a str,
    pub(super) accept: &'a [&'a str],
    pub(super) content_type: Option<&'a str>,
    /// The first byte that is wanted.
    pub(super) from: u64,
    pub(super) body: &'a dyn Fn() -> Result<Body>,
}

impl<'a> Call<'a> {
    /// One that carries nothing.
    pub(super) fn plain(method: Method, place: &'a str) -> Self {
        let body = &|| Ok(HttpClient::empty());
        Self { method, place, accept: &[], content_type: None, from: 0, body }
    }
}

impl Configured {
    /// The login, and what to say if it is refused; `lacks`: what the given ones lack.
    fn used(self, lacks: Option<String>) -> Result<(Vec<Login>, Option<String>)> {
        let file = self.file.display().to_string();
        let whence = format!("the credentials are those that {file} has for it");
        let said = lacks.into_iter().chain([whence]).collect::<Vec<_>>().join("; ");
        let login = self.login.map_err(|reason| RegistryError::Settings { file, reason })?;
        Ok((vec![login], Some(said)))
    }
}

/// The authorities that are trusted wherever `access` leads.
pub(super) fn roots(access: &Access) -> Result<Roots> {
    let roots = access.settings.with_own_authorities(Roots::public())?;
    match &access.ca {
        Some(pem) => Ok(roots.and_pem(pem.as_bytes(), "the authorities' certificates")?),
        None => Ok(roots),
    }
}

impl Endpoint {
    /// The place `site`, by what `access` has for it; `roots` are trusted at all places.
    pub(super) fn new(mut site: Site, access: &Access, roots: Roots, action: Action) -> Result<Self> {
        let mut tls = mirror::trusting(Tls::trusting(roots), &site.trust)?;
        if let Some(own) = access.identity.as_ref().filter(|_| !site.mirror) {
            let (certificate, key) = (own.certificate.as_bytes(), own.key.as_bytes());
            tls.identity = Some(Identity::of_pem(certificate, key, "the client certificate")?);
        }
        if access.plain_http && !site.mirror && site.scheme != Scheme::Http {
            site.scheme = Scheme::Http;
            // Nobody told the engine to show its login to whoever is on the way.
            site.login = None;
        }
        let client = HttpClient::with(&tls, access.patience.clone(), access.proxies.clone())?;
        let (logins, lacks) = match access.login.as_ref().filter(|_| !site.mirror) {
            Some(login) => (vec![login.clone()], None),
            None => {
                let found = access.keyring.find(&site.name, &site.repository);
                let lacks = access.keyring.lacks(&site.name, &site.repository).filter(|_| found.is_empty());
                // The engine pulls, and pushes nothing.
                match site.login.take().filter(|_| found.is_empty() && action == Action::Pull) {
                    Some(own) => own.used(lacks)?,
                    None => (found, lacks),
                }
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &site.headers {
            // They may be secrets: a message names the header only.
            let refuse = || RegistryError::Header { site: site.name.clone(), header: name.clone() };
            let parsed = HeaderName::try_from(name.as_str()).map_err(|_| refuse())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| refuse())?;
            value.set_sensitive(true);
            headers.append(parsed, value);
        }
        let (authorization, scheme) = Default::default();
        Ok(Self { site, client, action, logins, lacks, headers, authorization, scheme })
    }

    /// Sends a request, says who we are if the place asks, and follows where it sends us.
    pub(super) fn send(&self, call: &Call<'_>) -> Result<Reply<'_>> {
        let (reply, ours) = self.follow(call)?;
        // Only the place itself may ask who we are, not whoever it sent us to.
        if reply.status != StatusCode::UNAUTHORIZED || !ours {
            return Ok(reply);
        }
        let Some(challenge) = challenge::of_headers(&reply.headers) else { return Ok(reply) };
        drop(reply);
        let nobody = [None];
        let somebody: Vec<Option<&Login>> = self.logins.iter().map(Some).collect();
        let logins = if somebody.is_empty() { nobody.as_slice() } else { somebody.as_slice() };
        let mut refused = self.denied(StatusCode::UNAUTHORIZED);
        for (at, login) in logins.iter().enumerate() {
            match self.answer(&challenge, *login) {
                Ok(Some(value)) => *lock(&self.authorization) = Some(value),
                Ok(None) => continue,
                Err(error @ RegistryError::Denied { .. }) => {
                    refused = error;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let (reply, ours) = self.follow(call)?;
            match reply.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if ours => {
                    refused = self.denied(reply.status);
                }
                // Some registries say so of what this login may not see, and another one may.
                StatusCode::NOT_FOUND if self.action == Action::Pull && at + 1 < logins.len() => {}
                _ => return Ok(reply),
            }
        }
        *lock(&self.authorization) = None;
        Err(refused)
    }

    /// The answer, if it is a yes.
    pub(super) fn found<'r>(&self, mut reply: Reply<'r>, what: &str, request: &str) -> Result<Reply<'r>> {
        let registry = self.site.name.clone();
        match reply.status {
            status if status.is_success() => Ok(reply),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound { registry, what: what.to_owned() }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.denied(reply.status)),
            status => {
                let message = words(&reply.body.all(MOST_ANSWER).ok().flatten().unwrap_or_default());
                let (status, request) = (status.as_u16(), request.to_owned());
                let wait = wait_of(&reply.headers);
                Err(RegistryError::Answer { registry, status, request, message, wait })
            }
        }
    }

    pub(super) fn denied(&self, status: StatusCode) -> RegistryError {
        RegistryError::Denied {
            registry: self.site.name.clone(),
            repository: self.site.repository.clone(),
            action: self.action,
            status: status.as_u16(),
            login: !self.logins.is_empty(),
            lacks: self.lacks.clone(),
        }
    }

    /// The answer, and whether it is the place's own.
    fn follow(&self, call: &Call<'_>) -> Result<(Reply<'_>, bool)> {
        let mut uri = self.uri(call.place)?;
        // An upload's place may already be elsewhere.
        let own = self.uri("/")?;
        for _ in 0..=MOST_REDIRECTS {
            let ours = (uri.scheme(), uri.authority()) == (own.scheme(), own.authority());
            let reply = self.once(call, &uri, ours)?;
            let Some(target) = redirect(&reply) else { return Ok((reply, ours)) };
            uri = self.redirected(&uri, target)?;
        }
        Err(self.astray(&uri.to_string(), "it was the last of too many redirects"))
    }

    /// One request. Who we are is told to the place itself only.
    fn once(&self, call: &Call<'_>, uri: &Uri, ours: bool) -> Result<Reply<'_>> {
        let mut request = Request::builder().method(call.method.clone()).uri(uri).header(USER_AGENT, AGENT);
        for accept in call.accept {
            request = request.header(ACCEPT, *accept);
        }
        if let Some(content_type) = call.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if call.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", call.from));
        }
        if ours {
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
        }
        if let Some(value) = lock(&self.authorization).as_ref().filter(|_| ours) {
            // Ours, not beside the one that the settings have.
            if let Some(headers) = request.headers_mut() {
                headers.insert(AUTHORIZATION, value.clone());
            }
        }
        let request = request.body((call.body)()?).map_err(|error| self.bad_address(&error.to_string()))?;
        Ok(self.client.send(request)?)
    }

    fn uri(&self, place: &str) -> Result<Uri> {
        let text = match place.starts_with('/') {
            true => format!("{}://{}{place}", self.scheme()?, self.site.authority),
            false => place.to_owned(),
        };
        text.parse().map_err(|_| self.bad_address(&text))
    }

    /// Where an upload goes, as an address.
    pub(super) fn absolute(&self, target: &str) -> Result<String> {
        let own = self.uri(&format!("{}/", self.site.path))?;
        Ok(self.redirected(&own, target)?.to_string())
    }

    fn bad_address(&self, text: &str) -> RegistryError {
        self.astray(text, "it is no address")
    }

    fn astray(&self, target: &str, reason: &'static str) -> RegistryError {
        // What follows the `?` may be a signature that opens the blob.
        let target = target.split('?').next().unwrap_or_default().to_owned();
        RegistryError::Redirect { registry: self.site.name.clone(), target, reason }
    }

    /// Where a redirect leads, if we go there.
    fn redirected(&self, from: &Uri, target: &str) -> Result<Uri> {
        let text = match (target.strip_prefix('/'), target.contains("://")) {
            (_, true) => target.to_owned(),
            (Some(rest), _) if rest.starts_with('/') => {
                format!("{}:{target}", from.scheme_str().unwrap_or("https"))
            }
            (Some(_), _) => {
                let host = from.authority().map_or("", |authority| authority.as_str());
                format!("{}://{host}{target}", from.scheme_str().unwrap_or("https"))
            }
            _ => return Err(self.bad_address(target)),
        };
        let uri: Uri = text.parse().map_err(|_| self.bad_address(&text))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            let bare = target.split_once('@').map_or("", |(_, rest)| rest);
            return Err(self.astray(bare, "it holds credentials"));
        }
        match uri.scheme_str() {
            Some("https") => Ok(uri),
            Some("http") if from.scheme_str() == Some("http") => Ok(uri),
            Some("http") => Err(self.astray(&text, "that is plain http")),
            _ => Err(self.bad_address(&text)),
        }
    }

    /// How the place is spoken to. Plain http is for those who ask for it, and for this very machine, where nobody is on
    /// the way: there TLS is tried first.
    pub(super) fn scheme(&self) -> Result<&'static str> {
        if let Some(known) = *lock(&self.scheme) {
            return Ok(known);
        }
        let plain = match self.site.scheme {
            Scheme::Http => true,
            Scheme::Https => false,
            Scheme::Either => self.speaks_no_tls()?,
        };
        let scheme = if plain { "http" } else { "https" };
        *lock(&self.scheme) = Some(scheme);
        Ok(scheme)
    }

    fn speaks_no_tls(&self) -> Result<bool> {
        let uri = format!("https://{}{}/", self.site.authority, self.site.path);
        let request = Request::get(uri).header(USER_AGENT, AGENT).body(HttpClient::empty());
        let request = request.map_err(|error| self.bad_address(&error.to_string()))?;
        match self.client.send(request) {
            Err(NetError::Tls { .. } | NetError::Broken { .. }) => Ok(true),
            // It may be there in a moment, and then it may speak TLS.
            Err(error) if error.is_passing() => Err(error.into()),
            // What is wrong otherwise is said by the request itself.
            _ => Ok(false),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pause that a server asks for.
pub(super) fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    retry::asked(headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

/// Where an answer sends us.
fn redirect<'r>(reply: &'r Reply<'_>) -> Option<&'r str> {
    match reply.status.as_u16() {
        301 | 302 | 303 | 307 | 308 => reply.headers.get(LOCATION)?.to_str().ok(),
        _ => None,
    }
}

/// The words in a registry's error, short enough for a line.
fn words(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(Errors { errors }) = serde_json::from_slice(bytes) else { return String::new() };
    let one = |entry: &Entry| format!("{} {}", entry.code, entry.message).trim().to_owned();
    let text = errors.iter().map(one).collect::<Vec<_>>().join("; ");
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
