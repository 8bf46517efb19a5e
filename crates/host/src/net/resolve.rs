//! Names to addresses without the C library.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hyper_util::client::legacy::connect::dns::Name;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// A name that has no address.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ResolveError {
    /// Why, in the resolver's words.
    pub reason: String,
    /// Whether asking again is worth it: nobody said that there is no such name.
    pub passing: bool,
}

/// Looks names up in `/etc/hosts` and at the name servers of `/etc/resolv.conf`, with its search list.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    resolver: Result<TokioResolver, String>,
    /// Why there are no name servers.
    lacks: Option<String>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Over the system's settings as they are now. Without `/etc/resolv.conf` there is `/etc/hosts` alone.
    pub fn of_system() -> Self {
        let provider = TokioRuntimeProvider::default;
        let (mut builder, lacks) = match TokioResolver::builder(provider()) {
            Ok(builder) => (builder, None),
            Err(error) => {
                let none = ResolverConfig::from_name_servers(Vec::new());
                let lacks = format!("/etc/resolv.conf cannot be used: {error}");
                (TokioResolver::builder_with_config(none, provider()), Some(lacks))
            }
        };
        // Each family that answers is tried: the connector races them.
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder.build().map_err(|error| error.to_string());
        Self(Arc::new(Inner { resolver, lacks }))
    }

    async fn addresses(self, name: Name) -> Result<std::vec::IntoIter<SocketAddr>, ResolveError> {
        let explain = |reason: String, passing: bool| match &self.0.lacks {
            Some(lacks) => ResolveError { reason: format!("{reason} ({lacks})"), passing: false },
            None => ResolveError { reason, passing },
        };
        let resolver = self.0.resolver.as_ref().map_err(|error| explain(error.clone(), false))?;
        let failed = |error: hickory_resolver::net::NetError| {
            explain(error.to_string(), !error.is_nx_domain() && !error.is_no_records_found())
        };
        let found = resolver.lookup_ip(name.as_str()).await.map_err(failed)?;
        let found: Vec<SocketAddr> = found.iter().map(|address| SocketAddr::new(address, 0)).collect();
        Ok(found.into_iter())
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().addresses(name))
    }
}
