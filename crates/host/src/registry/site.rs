//! A place where an image may be had: the registry of its reference, or a mirror of it. No I/O.

use super::login::Login;
use cofferdam_core::reference::{DEFAULT_REGISTRY, Reference};
use std::path::PathBuf;

/// Where Docker's own registry really is.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// How a place is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// TLS.
    Https,
    /// Plain http.
    Http,
    /// TLS, and plain http if the place does not speak TLS.
    Either,
}

/// What a place is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Can {
    /// What a tag stands for.
    pub(crate) resolve: bool,
    /// What has a digest.
    pub(crate) pull: bool,
}

impl Can {
    pub(crate) const ALL: Self = Self { resolve: true, pull: true };
}

/// Whom a place's certificate may be from, and who we say we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Files with authorities' certificates, beside the public ones.
    pub(crate) ca: Vec<PathBuf>,
    /// Files with a certificate of ours and its key; without the second one both are in the first.
    pub(crate) identity: Option<(PathBuf, Option<PathBuf>)>,
    /// Any certificate will do.
    pub(crate) anyone: bool,
}

/// A login that the engine's own configuration has for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    /// The file.
    pub(crate) file: PathBuf,
    /// Or what is wrong with it: that matters only if it is needed.
    pub(crate) login: Result<Login, String>,
}

/// A place where an image may be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// What it is called in messages.
    pub(crate) name: String,
    pub(crate) scheme: Scheme,
    /// Its host, with its port.
    pub(crate) authority: String,
    /// What stands before the repository: `/v2`, mostly.
    pub(crate) path: String,
    /// The image's repository, as this place calls it.
    pub(crate) repository: String,
    /// The registry that it stands for, if it wants to be told.
    pub(crate) namespace: Option<String>,
    pub(crate) can: Can,
    pub(crate) trust: Trust,
    /// Who the engine says that it is there.
    pub(crate) login: Option<Configured>,
    /// What it is told with each request.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether it stands for another registry.
    pub(crate) mirror: bool,
}

impl Site {
    /// The registry that `reference` names.
    pub(crate) fn origin(reference: &Reference) -> Self {
        let authority = authority(reference.registry());
        // On this very machine nobody is on the way.
        let scheme = if reference.is_loopback() { Scheme::Either } else { Scheme::Https };
        Self {
            name: reference.registry().to_owned(),
            scheme,
            authority: authority.to_owned(),
            path: "/v2".to_owned(),
            repository: reference.repository().to_owned(),
            namespace: None,
            can: Can::ALL,
            trust: Trust::default(),
            login: None,
            headers: Vec::new(),
            mirror: false,
        }
    }

    /// The path of something in the repository.
    pub(crate) fn place(&self, kind: &str, name: &str) -> String {
        let joint = if name.contains('?') { '&' } else { '?' };
        let namespace = self.namespace.as_ref().map(|name| format!("{joint}ns={name}"));
        format!("{}/{}/{kind}/{name}{}", self.path, self.repository, namespace.unwrap_or_default())
    }
}

/// Where the registry of that name really is.
pub(crate) fn authority(registry: &str) -> &str {
    match registry {
        DEFAULT_REGISTRY => DOCKER_HOST,
        host => host,
    }
}
