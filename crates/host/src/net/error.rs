//! What can go wrong on the way to another machine.

use super::ResolveError;
use super::wire::{AtProxy, ProxyError};
use cofferdam_core::class::Class;
use rustls::CertificateError;
use std::error::Error;
use std::time::Duration;

/// Why there was no answer, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The name has no address.
    #[error("the name {host} cannot be resolved: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        reason: String,
        /// Whether asking again is worth it: no name server answered, rather than that there is no such name.
        passing: bool,
    },
    /// Nobody accepts connections there.
    #[error("no connection to {host}: {reason}")]
    Connect {
        /// The host, with its port.
        host: String,
        /// The cause.
        reason: String,
    },
    /// The peer's certificate is not trusted.
    #[error("the certificate of {host} is not trusted: {reason}")]
    Untrusted {
        /// The host.
        host: String,
        /// The cause.
        reason: String,
    },
    /// TLS failed for another reason.
    #[error("no TLS connection to {host}: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// The cause.
        reason: String,
    },
    /// The peer speaks TLS, but not with us.
    #[error("{host} refuses the TLS connection: {reason}")]
    TlsRefused {
        /// The host.
        host: String,
        /// The cause.
        reason: String,
    },
    /// No answer, or no more of it, in time.
    #[error("{host} sent nothing for {limit:?}")]
    Timeout {
        /// The host.
        host: String,
        /// The limit.
        limit: Duration,
    },
    /// So little comes that it would take for ever.
    #[error("{host} sent only {bytes} bytes in {waited:.0?}")]
    Slow {
        /// The host.
        host: String,
        /// What came.
        bytes: u64,
        /// In what time.
        waited: Duration,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("the connection to {host} broke: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// The cause.
        reason: String,
    },
    /// The proxy is not reached, or does not connect us.
    #[error("no way to {host} through the proxy {proxy}: {reason}")]
    Proxy {
        /// The host.
        host: String,
        /// The proxy's host, with its port.
        proxy: String,
        /// The cause.
        reason: String,
        /// Whether asking again is worth it.
        passing: bool,
    },
    /// A PEM text is not what it should be.
    #[error("{origin} cannot be used: {reason}")]
    Pem {
        /// Where it is from.
        origin: String,
        /// The cause.
        reason: String,
    },
    /// TLS cannot be set up with these settings.
    #[error("TLS cannot be set up: {reason}")]
    Settings {
        /// The cause.
        reason: String,
    },
    /// This process could not start its event loop.
    #[error("no event loop for network calls: {0}")]
    Runtime(std::io::Error),
}

impl NetError {
    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Slow { .. }
            | Self::Broken { .. } => Class::Unavailable,
            Self::Proxy { passing: true, .. } => Class::Unavailable,
            Self::Proxy { .. }
            | Self::TlsRefused { .. }
            | Self::Untrusted { .. }
            | Self::Pem { .. }
            | Self::Settings { .. } => Class::Invalid,
            Self::Runtime(_) => Class::Internal,
        }
    }

    /// Whether the same may work in a moment.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Resolve { passing, .. } | Self::Proxy { passing, .. } => *passing,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Slow { .. } | Self::Broken { .. } => true,
            Self::Tls { .. }
            | Self::TlsRefused { .. }
            | Self::Untrusted { .. }
            | Self::Pem { .. }
            | Self::Settings { .. }
            | Self::Runtime(_) => false,
        }
    }

    /// What to do next, if there is more to say than the message does.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Resolve { .. } => "look at the name, at /etc/hosts and at /etc/resolv.conf",
            Self::Proxy { .. } => {
                "look at HTTPS_PROXY and HTTP_PROXY, its login among them; hosts that need no proxy go into NO_PROXY"
            }
            Self::Untrusted { .. } => {
                "if a private authority signed it, give its certificate: --ca-file FILE (PEM)"
            }
            Self::Tls { .. } => "does that port speak TLS? Plain http is used only where it is asked for",
            Self::TlsRefused { .. } => {
                "it may want a certificate of ours, or another one: see docs/private-registries.md"
            }
            Self::Pem { .. } => "it must be PEM text: BEGIN CERTIFICATE, and for a key BEGIN PRIVATE KEY",
            Self::Connect { .. } => {
                "is the address right, and does a firewall or a proxy stand between? A proxy is named by HTTPS_PROXY"
            }
            Self::Timeout { .. } | Self::Slow { .. } => {
                "look at the network, or take a mirror that is nearer"
            }
            Self::Broken { .. } | Self::Settings { .. } | Self::Runtime(_) => return None,
        };
        Some(text.to_owned())
    }

    /// What `error`, on the way to `host`, means.
    pub(super) fn of(host: &str, error: &(dyn Error + 'static)) -> Self {
        let host = host.to_owned();
        let mut at = Some(error);
        let mut last = error.to_string();
        let mut connecting = false;
        while let Some(found) = at {
            if let Some(AtProxy { proxy, error }) = found.downcast_ref::<AtProxy>() {
                return Self::of_proxy(host, proxy.clone(), error);
            }
            if let Some(cause) = found.downcast_ref::<ResolveError>() {
                return Self::Resolve { host, reason: cause.reason.clone(), passing: cause.passing };
            }
            if let Some(cause) = found.downcast_ref::<rustls::Error>() {
                return Self::of_tls(host, cause);
            }
            let client = found.downcast_ref::<hyper_util::client::legacy::Error>();
            connecting |= client.is_some_and(hyper_util::client::legacy::Error::is_connect);
            last = found.to_string();
            // An I/O error's own source is its inner error's: the inner one itself is what tells.
            let inner = found.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            at = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| found.source());
        }
        if connecting {
            return Self::Connect { host, reason: last };
        }
        Self::Broken { host, reason: last }
    }

    fn of_proxy(host: String, proxy: String, error: &ProxyError) -> Self {
        let (reason, passing) = match error {
            // As for any other host, but it is the proxy's name, certificate or port.
            ProxyError::Reach(cause) => {
                let cause = match Self::of(&proxy, cause.as_ref()) {
                    Self::Broken { host, reason } => Self::Connect { host, reason },
                    other => other,
                };
                (cause.to_string(), cause.is_passing())
            }
            ProxyError::Refused { status: status @ 407 } => {
                (format!("it wants a login that it knows ({status})"), false)
            }
            ProxyError::Refused { status } => (error.to_string(), *status >= 500),
            ProxyError::Broken(_) => (error.to_string(), true),
            ProxyError::Settings(_) => (error.to_string(), false),
        };
        Self::Proxy { host, proxy, reason, passing }
    }

    fn of_tls(host: String, cause: &rustls::Error) -> Self {
        match cause {
            rustls::Error::InvalidCertificate(reason) => {
                let reason = match reason {
                    CertificateError::UnknownIssuer => {
                        "no authority that is trusted here signed it".to_owned()
                    }
                    other => other.to_string(),
                };
                Self::Untrusted { host, reason }
            }
            rustls::Error::AlertReceived(alert) => {
                Self::TlsRefused { host, reason: format!("it says {alert:?}") }
            }
            other => Self::Tls { host, reason: other.to_string() },
        }
    }
}
