//! Requests to one registry: credentials, redirects, what its answers mean.

use super::challenge::{self, Challenge};
use super::error::Action;
use super::manifest::{ACCEPT, Blob, MOST_MANIFEST};
use super::origin::{Origin, Sent};
use super::{Login, RegistryError};
use crate::error::Result;
use crate::net::{Body, HttpClient, NetError, Reply, Roots, Tls};
use crate::package::{Access, Remote};
use cofferdam_core::class::Class;
use cofferdam_core::name::Digest;
use cofferdam_core::reference::{DEFAULT_REGISTRY, Reference};
use http::header::{ACCEPT as ACCEPT_HEADER, AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use std::cell::RefCell;
use std::io::Read;

/// Where Docker's own registry really is.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// How often a request is sent elsewhere.
const MOST_REDIRECTS: usize = 5;

/// How large an answer with a token or an error may be.
const MOST_ANSWER: usize = 1 << 20;

const AGENT: &str = concat!("cofferdam/", env!("CARGO_PKG_VERSION"));

/// A registry, as seen by whoever wants one image of it.
#[derive(Debug)]
pub struct Registry {
    client: HttpClient,
    reference: Reference,
    access: Access,
    action: Action,
    /// What the registry accepted from us so far. It belongs to this registry and to nobody else.
    authorization: RefCell<Option<HeaderValue>>,
    /// `http` or `https`, once it is known.
    scheme: RefCell<Option<&'static str>>,
}

/// A request, to be sent as often as it takes.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Where, after the registry's host, or anywhere.
    pub(super) place: &'a str,
    pub(super) accept: &'a [&'a str],
    pub(super) content_type: Option<&'a str>,
    pub(super) body: &'a dyn Fn() -> Result<Body>,
}

impl<'a> Call<'a> {
    /// One that carries nothing.
    pub(super) fn plain(method: Method, place: &'a str) -> Self {
        Self { method, place, accept: &[], content_type: None, body: &|| Ok(HttpClient::empty()) }
    }
}

impl Registry {
    /// The registry of `remote`, to read from it.
    ///
    /// # Errors
    /// If the authorities' certificates cannot be used.
    pub fn new(remote: &Remote) -> Result<Self> {
        Self::to(remote, Action::Pull)
    }

    /// The registry of `remote`, to write to it.
    ///
    /// # Errors
    /// If the authorities' certificates cannot be used.
    pub fn to_push(remote: &Remote) -> Result<Self> {
        Self::to(remote, Action::Push)
    }

    fn to(remote: &Remote, action: Action) -> Result<Self> {
        let Remote { reference, access } = remote.clone();
        let roots = match &access.ca {
            Some(pem) => Roots::public().and_pem(pem.as_bytes(), "the authorities' certificates"),
            None => Ok(Roots::public()),
        };
        let client = HttpClient::new(&Tls::trusting(roots.map_err(RegistryError::from)?));
        let client = client.map_err(RegistryError::from)?;
        let (authorization, scheme) = Default::default();
        Ok(Self { client, reference, access, action, authorization, scheme })
    }

    /// What the tag stands for now, or the digest of the reference itself.
    ///
    /// # Errors
    /// If the registry does not answer, or has no such image.
    pub fn digest(&self) -> Result<Digest> {
        if let Some(digest) = self.reference.digest() {
            return Ok(*digest);
        }
        let place = self.place("manifests", &self.reference.target());
        let call = Call { accept: &ACCEPT, ..Call::plain(Method::HEAD, &place) };
        let reply = self.found(self.send(&call)?, &self.reference.to_string(), "HEAD of the manifest")?;
        let told = reply.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        match told.and_then(|text| Digest::try_from(text.to_owned()).ok()) {
            Some(digest) => Ok(digest),
            // Not every registry tells: then the manifest itself does.
            None => Ok(Digest::of(&self.fetch_manifest(&self.reference.target())?.bytes)),
        }
    }

    /// The reference.
    pub(super) const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// A place in the repository.
    pub(super) fn place(&self, kind: &str, name: &str) -> String {
        format!("/v2/{}/{kind}/{name}", self.reference.repository())
    }

    fn host(&self) -> &str {
        match self.reference.registry() {
            DEFAULT_REGISTRY => DOCKER_HOST,
            host => host,
        }
    }

    fn fetch_manifest(&self, target: &str) -> Result<Sent> {
        let place = self.place("manifests", target);
        let call = Call { accept: &ACCEPT, ..Call::plain(Method::GET, &place) };
        let what = self.reference.to_string();
        let mut reply = self.found(self.send(&call)?, &what, "GET of the manifest")?;
        let media_type = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_owned();
        let bytes = reply.body.all(MOST_MANIFEST).map_err(RegistryError::from)?;
        let bytes = bytes.ok_or_else(|| RegistryError::Manifest {
            what: format!("the manifest of {what}"),
            reason: format!("it is larger than {MOST_MANIFEST} bytes"),
        })?;
        Ok(Sent { bytes, media_type })
    }

    /// The answer, if it is a yes.
    pub(super) fn found<'r>(&self, mut reply: Reply<'r>, what: &str, request: &str) -> Result<Reply<'r>> {
        let registry = self.reference.registry().to_owned();
        match reply.status {
            status if status.is_success() => Ok(reply),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound { registry, what: what.to_owned() }.into()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.denied(reply.status).into()),
            status => {
                let message = words(&reply.body.all(MOST_ANSWER).ok().flatten().unwrap_or_default());
                let (status, request) = (status.as_u16(), request.to_owned());
                Err(RegistryError::Answer { registry, status, request, message }.into())
            }
        }
    }

    fn denied(&self, status: StatusCode) -> RegistryError {
        RegistryError::Denied {
            registry: self.reference.registry().to_owned(),
            repository: self.reference.repository().to_owned(),
            action: self.action,
            status: status.as_u16(),
            login: self.access.login.is_some(),
        }
    }

    /// Sends a request, says who we are if the registry asks, and follows where it sends us.
    pub(super) fn send(&self, call: &Call<'_>) -> Result<Reply<'_>> {
        let (reply, ours) = self.follow(call)?;
        // Only the registry itself may ask who we are, not whoever it sent us to.
        if reply.status != StatusCode::UNAUTHORIZED || !ours {
            return Ok(reply);
        }
        let Some(challenge) = challenge::of_headers(&reply.headers) else { return Ok(reply) };
        drop(reply);
        match self.answer(&challenge)? {
            Some(value) => *self.authorization.borrow_mut() = Some(value),
            None => return Err(self.denied(StatusCode::UNAUTHORIZED).into()),
        }
        Ok(self.follow(call)?.0)
    }

    /// The answer, and whether it is the registry's own.
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
        Err(self.astray(&uri.to_string(), "it was the last of too many redirects").into())
    }

    /// One request. Who we are is told to the registry itself only.
    fn once(&self, call: &Call<'_>, uri: &Uri, ours: bool) -> Result<Reply<'_>> {
        let mut request = Request::builder().method(call.method.clone()).uri(uri).header(USER_AGENT, AGENT);
        for accept in call.accept {
            request = request.header(ACCEPT_HEADER, *accept);
        }
        if let Some(content_type) = call.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(value) = self.authorization.borrow().as_ref().filter(|_| ours) {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body((call.body)()?).map_err(|error| self.bad_address(&error.to_string()))?;
        Ok(self.client.send(request).map_err(RegistryError::from)?)
    }

    fn uri(&self, place: &str) -> Result<Uri> {
        let text = match place.starts_with('/') {
            true => format!("{}://{}{place}", self.scheme()?, self.host()),
            false => place.to_owned(),
        };
        text.parse().map_err(|_| self.bad_address(&text).into())
    }

    /// The address of the registry's API.
    pub(super) fn base(&self) -> Result<Uri> {
        self.uri("/v2/")
    }

    fn bad_address(&self, text: &str) -> RegistryError {
        self.astray(text, "it is no address")
    }

    fn astray(&self, target: &str, reason: &'static str) -> RegistryError {
        // What follows the `?` may be a signature that opens the blob.
        let target = target.split('?').next().unwrap_or_default().to_owned();
        RegistryError::Redirect { registry: self.reference.registry().to_owned(), target, reason }
    }

    /// Where a redirect leads, if we go there.
    pub(super) fn redirected(&self, from: &Uri, target: &str) -> Result<Uri> {
        let text = match (target.strip_prefix('/'), target.contains("://")) {
            (_, true) => target.to_owned(),
            (Some(rest), _) if rest.starts_with('/') => {
                format!("{}:{target}", from.scheme_str().unwrap_or("https"))
            }
            (Some(_), _) => {
                let host = from.authority().map_or("", |authority| authority.as_str());
                format!("{}://{host}{target}", from.scheme_str().unwrap_or("https"))
            }
            _ => return Err(self.astray(target, "it is no address").into()),
        };
        let uri: Uri = text.parse().map_err(|_| self.bad_address(&text))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(self.astray(&text, "it holds credentials").into());
        }
        match uri.scheme_str() {
            Some("https") => Ok(uri),
            Some("http") if from.scheme_str() == Some("http") => Ok(uri),
            Some("http") => Err(self.astray(&text, "that is plain http").into()),
            _ => Err(self.astray(&text, "it is no address").into()),
        }
    }

    /// How the registry is spoken to. Plain http is for those who ask for it, and for this very machine, where nobody is
    /// on the way: there TLS is tried first.
    fn scheme(&self) -> Result<&'static str> {
        if let Some(known) = *self.scheme.borrow() {
            return Ok(known);
        }
        let plain = self.access.plain_http || self.reference.is_loopback() && self.speaks_no_tls()?;
        let scheme = if plain { "http" } else { "https" };
        *self.scheme.borrow_mut() = Some(scheme);
        Ok(scheme)
    }

    fn speaks_no_tls(&self) -> Result<bool> {
        let uri = format!("https://{}/v2/", self.host());
        let request = Request::get(uri).header(USER_AGENT, AGENT).body(HttpClient::empty());
        let request = request.map_err(|error| self.bad_address(&error.to_string()))?;
        match self.client.send(request) {
            Err(NetError::Tls { .. } | NetError::Broken { .. }) => Ok(true),
            // What is wrong otherwise is said by the request itself.
            _ => Ok(false),
        }
    }

    /// What is to be sent in answer to a challenge; none if we are nobody and the registry wants somebody.
    fn answer(&self, challenge: &Challenge) -> Result<Option<HeaderValue>> {
        let text = match (challenge, &self.access.login) {
            (Challenge::Basic, Some(Login::Basic { username, password })) => Login::basic(username, password),
            (_, Some(Login::Bearer { token })) => format!("Bearer {token}"),
            (Challenge::Basic, Some(Login::Identity { .. }) | None) => return Ok(None),
            (Challenge::Bearer { realm, service, scope }, login) => {
                format!("Bearer {}", self.token(realm, service.as_deref(), scope.as_deref(), login.as_ref())?)
            }
        };
        let refuse =
            |_| self.no_token("", "the credentials hold what cannot stand in a header", Class::Invalid);
        let mut value = HeaderValue::from_str(&text).map_err(refuse)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn no_token(&self, realm: &str, reason: &str, class: Class) -> RegistryError {
        let registry = self.reference.registry().to_owned();
        RegistryError::Token { registry, realm: realm.to_owned(), reason: reason.to_owned(), class }
    }

    /// Has a token given for our login. The password goes where the registry says, by TLS as to the registry itself.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        login: Option<&Login>,
    ) -> Result<String> {
        let uri: Uri = realm.parse().map_err(|_| self.no_token(realm, "it is no address", Class::Invalid))?;
        let plain = uri.scheme_str() == Some("http") && self.scheme()? == "http";
        if uri.scheme_str() != Some("https") && !plain {
            let reason = "it is no https address, and credentials are sent over TLS only";
            return Err(self.no_token(realm, reason, Class::Invalid).into());
        }
        let actions = match self.action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
        };
        // A registry that asks for less than it needs would refuse us again.
        let own = format!("repository:{}:{actions}", self.reference.repository());
        let scope = scope.filter(|scope| !scope.is_empty()).unwrap_or(&own);
        let mut parameters = vec![("scope", scope)];
        parameters.extend(service.map(|service| ("service", service)));
        let request = match login {
            Some(Login::Identity { token }) => {
                parameters.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "cofferdam"),
                    ("refresh_token", token.as_str()),
                ]);
                Request::post(&uri)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(HttpClient::bytes(encoded(&parameters)))
            }
            login => {
                let joint = if uri.query().is_some() { '&' } else { '?' };
                let request = Request::get(format!("{uri}{joint}{}", encoded(&parameters)));
                match login {
                    Some(Login::Basic { username, password }) => {
                        request.header(AUTHORIZATION, Login::basic(username, password))
                    }
                    _ => request,
                }
                .body(HttpClient::empty())
            }
        };
        let request = request.map_err(|error| self.no_token(realm, &error.to_string(), Class::Invalid))?;
        self.read_token(realm, self.client.send(request).map_err(RegistryError::from)?)
    }

    fn read_token(&self, realm: &str, mut reply: Reply<'_>) -> Result<String> {
        #[derive(serde::Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let status = reply.status;
        let refuse = |reason: &str, class| Err(self.no_token(realm, reason, class).into());
        match status.as_u16() {
            200 => {}
            400 | 401 | 403 => return Err(self.denied(status).into()),
            code @ (429 | 500..) => return refuse(&format!("it answered {code}"), Class::Unavailable),
            code => return refuse(&format!("it answered {code}"), Class::Invalid),
        }
        let bytes = reply.body.all(MOST_ANSWER).map_err(RegistryError::from)?.unwrap_or_default();
        let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
        match answer.and_then(|answer| answer.token.or(answer.access_token)) {
            Some(token) if !token.is_empty() => Ok(token),
            _ => refuse("its answer holds no token", Class::Unavailable),
        }
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
        self.fetch_manifest(&digest.to_string())
    }

    fn blob<'o>(&'o self, blob: &Blob) -> Result<Box<dyn Read + 'o>> {
        let place = self.place("blobs", &blob.digest.to_string());
        let what = format!("blob {} of {}", blob.digest, self.reference);
        let reply = self.found(self.send(&Call::plain(Method::GET, &place))?, &what, "GET of a blob")?;
        Ok(Box::new(reply.body))
    }
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

/// Parameters as they stand in a query or a form.
fn encoded(parameters: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        let mut escaped = String::new();
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    escaped.push(char::from(byte));
                }
                _ => escaped.push_str(&format!("%{byte:02X}")),
            }
        }
        escaped
    };
    let pairs = parameters.iter().map(|(key, value)| format!("{key}={}", escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}
