//! A synchronous HTTP client, each wait under a time limit.
//!
//! It has an event loop of its own and blocks on it: call nothing here from inside an async runtime.

use super::{NetError, Tls, connector};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::io::Read;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long a peer may take to begin its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How long a peer may send nothing in the middle of an answer.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// What a request carries.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A client with connections of its own.
#[derive(Debug)]
pub struct HttpClient {
    runtime: Runtime,
    client: Client<super::Connector, Body>,
    stall: Duration,
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
}

impl HttpClient {
    /// A client that trusts whom `tls` says.
    ///
    /// # Errors
    /// If TLS or the event loop cannot be set up.
    pub fn new(tls: &Tls) -> Result<Self, NetError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NetError::Runtime)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector(tls)?);
        Ok(Self { runtime, client, stall: STALL_LIMIT })
    }

    /// The same with another limit for silence in the middle of an answer.
    #[must_use]
    pub const fn with_stall_limit(mut self, limit: Duration) -> Self {
        self.stall = limit;
        self
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
    pub fn send(&self, request: Request<Body>) -> Result<Reply<'_>, NetError> {
        let host = host_of(request.uri());
        // A large request takes as long as it takes; only its answer is waited for with a limit.
        let limit =
            if hyper::body::Body::is_end_stream(request.body()) { ANSWER_LIMIT } else { UPLOAD_LIMIT };
        let sent =
            self.runtime.block_on(async { tokio::time::timeout(limit, self.client.request(request)).await });
        let response = match sent {
            Err(_) => return Err(NetError::Timeout { host, limit }),
            Ok(Err(error)) => return Err(NetError::of(&host, &error)),
            Ok(Ok(response)) => response,
        };
        let (head, body) = response.into_parts();
        let body = BodyReader { client: self, host, body, rest: Bytes::new() };
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

/// How long a request that carries something may take, with its answer.
const UPLOAD_LIMIT: Duration = Duration::from_secs(3600);

impl BodyReader<'_> {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// If the connection breaks or stalls.
    pub fn chunk(&mut self) -> Result<Option<Bytes>, NetError> {
        loop {
            let limit = self.client.stall;
            let frame =
                self.client.runtime.block_on(async { tokio::time::timeout(limit, self.body.frame()).await });
            match frame {
                Err(_) => return Err(NetError::Timeout { host: self.host.clone(), limit }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(NetError::of(&self.host, &error)),
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
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
