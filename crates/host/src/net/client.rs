//! A synchronous HTTP client, each wait under a time limit.
//!
//! It has an event loop of its own and blocks on it: call nothing here from inside an async runtime.

use super::{NetError, Patience, Proxies, Tls, connector_with};
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::io::Read;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What a request carries.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A client with connections of its own.
#[derive(Debug)]
pub struct HttpClient {
    runtime: Runtime,
    client: Client<super::Connector, Body>,
    patience: Patience,
    proxies: Proxies,
}

/// An answer whose body was not read yet.
#[derive(Debug)]
pub struct Reply<'c> {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: BodyReader<'c>,
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub struct BodyReader<'c> {
    client: &'c HttpClient,
    host: String,
    body: Incoming,
    rest: Bytes,
    /// How long was waited for how many bytes. Only waiting counts: whoever reads may take its time.
    waited: Duration,
    came: u64,
}

impl HttpClient {
    /// A client that trusts whom `tls` says, with the usual patience.
    ///
    /// # Errors
    /// If TLS or the event loop cannot be set up.
    pub fn new(tls: &Tls) -> Result<Self, NetError> {
        Self::with(tls, Patience::default(), Proxies::default())
    }

    /// A client with patience of its own, through proxies.
    ///
    /// # Errors
    /// If TLS or the event loop cannot be set up.
    pub fn with(tls: &Tls, patience: Patience, proxies: Proxies) -> Result<Self, NetError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NetError::Runtime)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector_with(tls, patience.connect, proxies.clone())?);
        Ok(Self { runtime, client, patience, proxies })
    }

    /// Nothing to carry.
    pub fn empty() -> Body {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    }

    /// Bytes to carry.
    pub fn bytes(bytes: impl Into<Bytes>) -> Body {
        Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
    }

    /// Sends `request` and waits for the head of the answer. Redirects are the caller's business.
    ///
    /// # Errors
    /// If there is none in time.
    pub fn send(&self, mut request: Request<Body>) -> Result<Reply<'_>, NetError> {
        self.introduce(&mut request);
        let host = host_of(request.uri());
        let limit = self.limit(hyper::body::Body::size_hint(request.body()).upper());
        let sent =
            self.runtime.block_on(async { tokio::time::timeout(limit, self.client.request(request)).await });
        let response = match sent {
            Err(_) => return Err(NetError::Timeout { host, limit }),
            Ok(Err(error)) => return Err(NetError::of(&host, &error)),
            Ok(Ok(response)) => response,
        };
        let (head, body) = response.into_parts();
        let body =
            BodyReader { client: self, host, body, rest: Bytes::new(), waited: Duration::ZERO, came: 0 };
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

/// How fast what a request carries goes at least, in bytes a second.
const SLOWEST_UPLOAD: u64 = 64 << 10;

impl HttpClient {
    /// Tells a proxy that gets the request itself who we are. One with a tunnel was told already.
    fn introduce(&self, request: &mut Request<Body>) {
        if request.uri().scheme_str() != Some("http") {
            return;
        }
        // If the proxy's address is none, connecting says so.
        let proxy = self.proxies.of(request.uri()).ok().flatten();
        if let Some(value) = proxy.and_then(|proxy| proxy.authorization) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
    }

    /// How long the answer to a request that carries `bytes` is waited for. A large one takes as long as it takes.
    fn limit(&self, bytes: Option<u64>) -> Duration {
        let seconds = bytes.unwrap_or(u64::from(u32::MAX)) / SLOWEST_UPLOAD;
        self.patience.answer.saturating_add(Duration::from_secs(seconds))
    }
}

impl BodyReader<'_> {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// If the connection breaks, stalls or trickles.
    pub fn chunk(&mut self) -> Result<Option<Bytes>, NetError> {
        loop {
            let limit = self.client.patience.silence;
            let begun = Instant::now();
            let frame =
                self.client.runtime.block_on(async { tokio::time::timeout(limit, self.body.frame()).await });
            self.waited += begun.elapsed();
            match frame {
                Err(_) => return Err(NetError::Timeout { host: self.host.clone(), limit }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(NetError::of(&self.host, &error)),
                Ok(Some(Ok(frame))) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    self.came += bytes.len() as u64;
                    self.is_fast_enough()?;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    fn is_fast_enough(&mut self) -> Result<(), NetError> {
        let Patience { window, least, .. } = self.client.patience;
        if self.waited < window {
            return Ok(());
        }
        let (bytes, waited) = (std::mem::take(&mut self.came), std::mem::take(&mut self.waited));
        if bytes >= least {
            return Ok(());
        }
        Err(NetError::Slow { host: self.host.clone(), bytes, waited })
    }

    /// All of it, if it is at most `limit` bytes; else none.
    ///
    /// # Errors
    /// If the connection breaks or stalls.
    pub fn all(&mut self, limit: usize) -> Result<Option<Vec<u8>>, NetError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.chunk()? {
            if all.len() + bytes.len() > limit {
                return Ok(None);
            }
            all.extend_from_slice(&bytes);
        }
        Ok(Some(all))
    }
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            match self.chunk() {
                Ok(Some(bytes)) => self.rest = bytes,
                Ok(None) => return Ok(0),
                Err(error) => return Err(std::io::Error::other(error)),
            }
        }
        let part = self.rest.split_to(self.rest.len().min(buffer.len()));
        if let Some(place) = buffer.get_mut(..part.len()) {
            place.copy_from_slice(&part);
        }
        Ok(part.len())
    }
}

/// The host of an address, with its port.
fn host_of(uri: &Uri) -> String {
    uri.authority().map_or_else(|| uri.to_string(), |authority| authority.to_string())
}
