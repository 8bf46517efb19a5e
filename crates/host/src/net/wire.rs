//! A connection to where a request goes: over TCP, or through a proxy.

use super::proxy::{Proxies, Proxy};
use super::{Resolver, Tls};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

/// When a silent peer is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The most bytes of a proxy's answer to `CONNECT`.
const MOST_HEAD: usize = 16 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// What went wrong between us and the proxy.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It is not reached.
    #[error("it is not reached: {0}")]
    Reach(BoxError),
    /// It does not connect us.
    #[error("it answered {status} to CONNECT")]
    Refused {
        /// Its answer.
        status: u16,
    },
    /// Its answer is none.
    #[error("{0}")]
    Broken(String),
    /// What names it does not name a proxy.
    #[error("{0}")]
    Settings(String),
}

/// The same, with the proxy's name.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy}: {error}")]
pub(super) struct AtProxy {
    pub(super) proxy: String,
    pub(super) error: ProxyError,
}

/// Connects by TCP, and where a proxy stands between, by what that one gives: a tunnel for https, itself for http.
#[derive(Clone)]
pub struct Wires {
    tcp: HttpsConnector<HttpConnector<Resolver>>,
    proxies: Arc<Proxies>,
}

/// A connection.
pub struct Wire {
    stream: Stream,
    /// Whether requests go to the proxy itself: then they name their whole address.
    proxied: bool,
}

impl Wires {
    /// Through `proxies`. `tls` says whose proxies are trusted.
    pub(super) fn new(tls: &Tls, limit: Duration, proxies: Proxies) -> Result<Self, super::NetError> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::of_system());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(KEEPALIVE));
        // What is said of the peer is not said of the proxy. CONNECT is a request of HTTP/1.1.
        let tls = Tls::trusting(tls.roots.clone());
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls.client_config()?);
        let tcp = builder.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self { tcp, proxies: Arc::new(proxies) })
    }

    async fn connect(mut self, uri: Uri) -> Result<Wire, BoxError> {
        let proxy = self.proxies.of(&uri).map_err(|reason| AtProxy {
            proxy: "of the environment".to_owned(),
            error: ProxyError::Settings(reason),
        })?;
        let Some(proxy) = proxy else {
            // TLS is the caller's business: it wraps what it gets.
            let plain = with_scheme(&uri, "http")?;
            return Ok(Wire { stream: self.tcp.call(plain).await?, proxied: false });
        };
        let failed = |error| AtProxy { proxy: proxy.name(), error };
        let reached = self.tcp.call(proxy.uri.clone()).await;
        let stream = reached.map_err(|error| failed(ProxyError::Reach(error)))?;
        if uri.scheme_str() != Some("https") {
            return Ok(Wire { stream, proxied: true });
        }
        let stream = tunnel(stream, &proxy, &uri).await.map_err(failed)?;
        Ok(Wire { stream, proxied: false })
    }
}

/// The same host and port under another scheme.
fn with_scheme(uri: &Uri, scheme: &str) -> Result<Uri, BoxError> {
    let host = uri.host().ok_or("the address has no host")?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    Ok(format!("{scheme}://{host}:{port}/").parse::<Uri>()?)
}

/// Has the proxy connect us to where `uri` is.
async fn tunnel(stream: Stream, proxy: &Proxy, uri: &Uri) -> Result<Stream, ProxyError> {
    let broken = |error: io::Error| ProxyError::Broken(error.to_string());
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(443);
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(value) = &proxy.authorization {
        request.extend(b"Proxy-Authorization: ");
        request.extend(value.as_bytes());
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    let mut stream = TokioIo::new(stream);
    stream.write_all(&request).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut head = Vec::new();
    // One by one: what follows the head belongs to whoever is behind the tunnel.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MOST_HEAD {
            return Err(ProxyError::Broken("its answer to CONNECT does not end".to_owned()));
        }
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    match status(&head) {
        Some(200..=299) => Ok(stream.into_inner()),
        Some(status) => Err(ProxyError::Refused { status }),
        None => Err(ProxyError::Broken("its answer to CONNECT is no HTTP".to_owned())),
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    line.split(' ').nth(1)?.parse().ok()
}

impl Service<Uri> for Wires {
    type Response = Wire;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // The connector that was asked whether it is ready, not its copy.
        let ready = self.clone();
        let own = std::mem::replace(self, ready);
        Box::pin(own.connect(uri))
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.proxied)
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}
