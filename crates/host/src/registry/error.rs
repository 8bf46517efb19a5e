//! What can go wrong with an image.

use super::retry;
use crate::archive::ArchiveError;
use crate::error::HostError;
use crate::net::NetError;
use cofferdam_core::class::Class;
use cofferdam_core::name::Digest;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What is done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reading.
    Pull,
    /// Writing.
    Push,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pull => "read",
            Self::Push => "write",
        })
    }
}

/// Why an image could not be had, or put.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There was no answer.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The registry wants to know who we are, and does not know us.
    #[error(
        "{registry} does not let us {action} {repository} ({status}), {}",
        if *.login { "with credentials" } else { "without credentials" }
    )]
    Denied {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What was tried.
        action: Action,
        /// Its answer.
        status: u16,
        /// Whether credentials were sent.
        login: bool,
        /// What the file with credentials lacks, if there is one and it has none for this.
        lacks: Option<String>,
    },
    /// The registry has no such thing.
    #[error("{registry} has no {what}")]
    NotFound {
        /// The registry.
        registry: String,
        /// What.
        what: String,
    },
    /// The registry did not do what it was asked.
    #[error("{registry} answered {status} to {request}{}{}", detail(.message), limited(*.status, .wait.as_ref()))]
    Answer {
        /// The registry.
        registry: String,
        /// Its answer.
        status: u16,
        /// What was asked.
        request: String,
        /// Its own words.
        message: String,
        /// How long it wants us to wait.
        wait: Option<Duration>,
    },
    /// No token could be had.
    #[error("no token for {registry} from {realm}: {reason}")]
    Token {
        /// The registry.
        registry: String,
        /// Where tokens are given.
        realm: String,
        /// Why.
        reason: String,
        /// What a caller may do about it.
        class: Class,
        /// How long it wants us to wait.
        wait: Option<Duration>,
    },
    /// A redirect leads where we do not go.
    #[error("{registry} sends us to {target}: {reason}")]
    Redirect {
        /// The registry.
        registry: String,
        /// Where.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// A blob broke off, again and again.
    #[error("it broke off after {at} of {size} bytes, in the last of {tries} tries: {cause}")]
    Cut {
        /// How much of it came.
        at: u64,
        /// Of how much.
        size: u64,
        /// How often it was tried without getting far.
        tries: u32,
        /// What happened the last time.
        cause: Box<RegistryError>,
    },
    /// Neither the registry nor its mirrors could do it.
    #[error("{error} (before that: {mirrors})")]
    Mirrors {
        /// What the registry itself said.
        error: Box<RegistryError>,
        /// What the mirrors said.
        mirrors: String,
    },
    /// The settings leave nobody to ask.
    #[error(
        "nobody may be asked for {what}: the settings of this host allow none of its registry and mirrors"
    )]
    NoPlace {
        /// What was wanted.
        what: String,
    },
    /// This host's settings forbid it.
    #[error("{what} may not be pulled on this host: registries.conf blocks `{prefix}`")]
    Blocked {
        /// What was wanted.
        what: String,
        /// What is blocked.
        prefix: String,
    },
    /// A file with this host's settings cannot be used.
    #[error("{file} cannot be used: {reason}")]
    Settings {
        /// Which.
        file: String,
        /// Why.
        reason: String,
    },
    /// A header in the settings is none.
    #[error("the header `{header}` in the settings for {site} cannot be sent")]
    Header {
        /// The place.
        site: String,
        /// The header's name.
        header: String,
    },
    /// What came is not what was named.
    #[error("{what} has the digest {found}, and {expected} was asked for: what came is not what was named")]
    Digest {
        /// What.
        what: String,
        /// The digest that names it.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// Less or more came than was announced.
    #[error("{what} has {found} bytes, and {expected} were announced")]
    Size {
        /// What.
        what: String,
        /// As announced.
        expected: u64,
        /// As it came.
        found: u64,
    },
    /// A manifest, index or configuration cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Manifest {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The image is for other machines.
    #[error("{what} is not for {wanted}; it is for {found}")]
    Platform {
        /// Which.
        what: String,
        /// This machine's.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A layer cannot be unpacked.
    #[error("{what}: {reason}")]
    Layer {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The file with credentials cannot be used.
    #[error("{file} cannot be used: {reason}")]
    AuthFile {
        /// Which.
        file: String,
        /// Why.
        reason: String,
    },
}

/// An error that is told as often as it is asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failed(pub(super) Arc<RegistryError>);

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// What a rate limit says of itself.
fn limited(status: u16, wait: Option<&Duration>) -> String {
    let limit = if status == 429 { " (its rate limit)" } else { "" };
    match wait {
        Some(wait) => format!("{limit}; it asks us to wait {} seconds", wait.as_secs()),
        None => limit.to_owned(),
    }
}

impl RegistryError {
    /// Whether the same may work in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Net(error) => error.is_passing(),
            Self::Answer { status, .. } => retry::is_passing(*status),
            Self::Token { class, .. } => matches!(class, Class::Unavailable),
            Self::Size { expected, found, .. } => *found < *expected,
            _ => false,
        }
    }

    /// How long whoever said this wants us to wait.
    pub(super) const fn wait(&self) -> Option<Duration> {
        match self {
            Self::Answer { wait, .. } | Self::Token { wait, .. } => *wait,
            _ => None,
        }
    }

    /// What an error of reading a body means.
    pub(super) fn of_io(error: std::io::Error) -> Self {
        let reason = error.to_string();
        match error.into_inner().map(|inner| inner.downcast::<NetError>()) {
            Some(Ok(error)) => Self::Net(*error),
            _ => Self::Net(NetError::Broken { host: "the registry".to_owned(), reason }),
        }
    }

    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Net(error) => error.class(),
            Self::Cut { cause: error, .. } | Self::Mirrors { error, .. } => error.class(),
            Self::Answer { status, .. } if *status == 429 || *status >= 500 => Class::Unavailable,
            Self::Token { class, .. } => *class,
            // Cut short: the next attempt may get all of it.
            Self::Size { expected, found, .. } if *found < *expected => Class::Unavailable,
            Self::Platform { .. } => Class::Unsupported,
            Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Answer { .. }
            | Self::Redirect { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::Manifest { .. }
            | Self::Layer { .. }
            | Self::NoPlace { .. }
            | Self::Blocked { .. }
            | Self::Settings { .. }
            | Self::Header { .. }
            | Self::AuthFile { .. } => Class::Invalid,
        }
    }

    /// What to do next, if there is more to say than the message does.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Net(error) => return error.hint(),
            Self::Cut { cause: error, .. } | Self::Mirrors { error, .. } => return error.hint(),
            Self::Header { .. } => "look at the headers in its hosts.toml".to_owned(),
            Self::Denied { lacks: Some(lacks), .. } => lacks.clone(),
            Self::Settings { .. } => {
                "this host's engines read it, too: mend it (see docs/private-registries.md)".to_owned()
            }
            Self::Blocked { .. } => "take another registry, or ask whoever runs this host".to_owned(),
            Self::Denied { login: false, .. } => {
                "give credentials: --auth-file FILE (a dockerconfigjson file); a private registry says the same of what \
                 does not exist"
                    .to_owned()
            }
            Self::Denied { login: true, action, repository, .. } => {
                format!("are they right, and may they {action} {repository}?")
            }
            Self::NotFound { .. } => "look at the repository, the tag and the digest".to_owned(),
            Self::Answer { status: 429, .. } => {
                "too many requests: wait, or give credentials that are allowed more".to_owned()
            }
            Self::AuthFile { .. } => {
                "it is a file as docker login writes it: {\"auths\": {\"REGISTRY\": {\"auth\": \"...\"}}}".to_owned()
            }
            Self::Platform { .. } => "name an image that was made for this machine".to_owned(),
            Self::Redirect { .. } => "ask whoever runs the registry".to_owned(),
            Self::Digest { .. } => {
                "nothing of it was installed; a proxy on the way or the registry's storage may be broken".to_owned()
            }
            Self::Answer { .. }
            | Self::Token { .. }
            | Self::Size { .. }
            | Self::Manifest { .. }
            | Self::NoPlace { .. }
            | Self::Layer { .. } => return None,
        })
    }
}

/// What it means that a small blob could not be read to its end.
pub(crate) fn broken_stream(what: &str, error: std::io::Error) -> HostError {
    of_archive(what, ArchiveError::Read(error))
}

/// What an error of unpacking means. One of the connection comes through the readers.
pub(super) fn of_archive(what: &str, error: ArchiveError) -> HostError {
    let layer = |reason: String| HostError::from(RegistryError::Layer { what: what.to_owned(), reason });
    match error {
        ArchiveError::Refused(reason) => layer(reason),
        ArchiveError::TooLarge(reason) => layer(reason).with_hint(crate::archive::LIMITS_HINT),
        ArchiveError::Write { action, path, source } => {
            HostError::std_io(action, format!("{path} of {what}"), source)
        }
        ArchiveError::Read(source) => {
            let inner = source.get_ref();
            let net = inner.and_then(|inner| inner.downcast_ref::<NetError>());
            let registry = inner.and_then(|inner| inner.downcast_ref::<Failed>());
            let (class, message, hint) = match (net, registry) {
                (Some(error), _) => (error.class(), error.to_string(), error.hint()),
                (_, Some(Failed(error))) => (error.class(), error.to_string(), error.hint()),
                _ => return layer(format!("it is broken: {source}")),
            };
            let failed = HostError::new(class, format!("{what}: {message}"));
            match hint {
                Some(hint) => failed.with_hint(hint),
                None => failed,
            }
        }
    }
}
