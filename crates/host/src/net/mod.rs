//! Connections over the network: the one connector of the program.
//!
//! ```text
//! resolve    names to addresses: /etc/hosts, then the name servers of /etc/resolv.conf
//! tls        which authorities are trusted, and who we say we are
//! proxy      which proxy stands between us and an address
//! wire       connections over TCP and through proxies
//! patience   how long we wait, how often we ask again
//! client     a synchronous HTTP client over both
//! ```
//!
//! A static glibc binary must not call getaddrinfo (it loads libraries of the host's C library), and TLS is rustls with
//! ring. Whoever speaks HTTP over TCP, kube's client too, takes [`connector`].

mod client;
mod error;
mod patience;
mod proxy;
mod resolve;
mod tls;
mod wire;

pub use client::{Body, BodyReader, HttpClient, Reply};
pub use error::NetError;
pub use patience::{Patience, chance};
pub use proxy::Proxies;
pub use resolve::{ResolveError, Resolver};
pub use tls::{Identity, Roots, Tls};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use std::time::Duration;
pub use wire::{Wire, Wires};

/// Connects to `http` and `https` addresses, by HTTP/1.1 or HTTP/2 as the peer wishes.
pub type Connector = HttpsConnector<Wires>;

/// The connector, without proxies. Use it inside a tokio runtime, and keep one: it remembers names' addresses.
///
/// # Errors
/// If the identity's key and certificate do not fit together.
pub fn connector(tls: &Tls) -> Result<Connector, NetError> {
    connector_with(tls, Patience::default().connect, Proxies::default())
}

/// The same through proxies, with another limit for a TCP connection to come up.
fn connector_with(tls: &Tls, limit: Duration, proxies: Proxies) -> Result<Connector, NetError> {
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls.client_config()?)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(Wires::new(tls, limit, proxies)?))
}
