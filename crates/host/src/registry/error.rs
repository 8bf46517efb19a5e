//! What can go wrong with an image.

use crate::archive::ArchiveError;
use crate::error::HostError;
use crate::net::NetError;
use cofferdam_core::class::Class;
use cofferdam_core::name::Digest;
use std::fmt;

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
        if *.login { "with the credentials given" } else { "without credentials" }
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
    #[error("{registry} answered {status} to {request}{}", detail(.message))]
    Answer {
        /// The registry.
        registry: String,
        /// Its answer.
        status: u16,
        /// What was asked.
        request: String,
        /// Its own words.
        message: String,
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

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl RegistryError {
    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Net(error) => error.class(),
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
            | Self::AuthFile { .. } => Class::Invalid,
        }
    }

    /// What to do next, if there is more to say than the message does.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Net(error) => return error.hint(),
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
        ArchiveError::Refused(reason) | ArchiveError::TooLarge(reason) => layer(reason),
        ArchiveError::Write { action, path, source } => {
            HostError::std_io(action, format!("{path} of {what}"), source)
        }
        ArchiveError::Read(source) => {
            match source.get_ref().and_then(|inner| inner.downcast_ref::<NetError>()) {
                Some(error) => {
                    let failed = HostError::new(error.class(), format!("{what}: {error}"));
                    match error.hint() {
                        Some(hint) => failed.with_hint(hint),
                        None => failed,
                    }
                }
                None => layer(format!("it is broken: {source}")),
            }
        }
    }
}
