//! What can go wrong on one machine.

use cofferdam_core::class::Class;
use cofferdam_core::plan::PlanError;
use cofferdam_core::preset::PresetError;
use rustix::io::Errno;
use std::fmt::Display;
use std::io;

/// The result of work on one machine.
pub type Result<T> = std::result::Result<T, HostError>;

/// What can go wrong on one machine.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A call to the kernel failed.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Nothing can be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Something with a class, a message and perhaps a way out.
    #[error("{message}")]
    Other {
        /// What may be done about it.
        class: Class,
        /// What failed, on what, why.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

impl HostError {
    /// A failed call.
    pub fn io(action: &'static str, path: impl Display, errno: Errno) -> Self {
        Self::std_io(action, path, errno.into())
    }

    /// A failed call, from the standard library.
    pub fn std_io(action: &'static str, path: impl Display, source: io::Error) -> Self {
        Self::Io { action, path: path.to_string(), source }
    }

    /// An error with a class and a message.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self::Other { class, message: message.into(), hint: None }
    }

    /// The same error with a way out.
    #[must_use]
    pub fn with_hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Other { class, message, .. } => Self::Other { class, message, hint: Some(text.into()) },
            other => other,
        }
    }

    /// The same error with one more way out.
    #[must_use]
    pub fn with_more_hint(self, text: &str) -> Self {
        let hint = self.hint().map_or_else(|| text.to_owned(), |hint| format!("{hint}; {text}"));
        self.with_hint(hint)
    }

    /// Whether somebody else, e.g. a registry, could not do its part for now. A full disk is ours.
    pub const fn is_of_others(&self) -> bool {
        matches!(self, Self::Other { class: Class::Unavailable, .. })
    }

    /// Whether it says that a path does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// What may be done about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::NOSPC | Errno::DQUOT | Errno::AGAIN | Errno::MFILE | Errno::NFILE) => {
                    Class::Unavailable
                }
                Some(
                    Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::BUSY | Errno::NOSYS,
                ) => Class::Unsupported,
                // Mostly a path that the user gave.
                Some(Errno::NOENT | Errno::NOTDIR) => Class::Invalid,
                _ => Class::Internal,
            },
            Self::Plan(error) => error.class(),
            Self::Other { class, .. } => *class,
        }
    }

    /// What to do next, if there is more to say than the error does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } => errno_hint(Errno::from_io_error(source)?).map(str::to_owned),
            Self::Plan(error) => error.hint(),
            Self::Other { hint, .. } => hint.clone(),
        }
    }

    /// The message with its causes, on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

macro_rules! from_error {
    ($($error:ty),*) => {
        $(impl From<$error> for HostError {
            fn from(error: $error) -> Self {
                Self::Other { class: error.class(), message: error.to_string(), hint: error.hint() }
            }
        })*
    };
}

from_error!(
    crate::cri::CriError,
    crate::observe::ObserveError,
    crate::net::NetError,
    crate::registry::RegistryError,
    crate::rehearse::RehearseError,
    crate::systemd::SystemdError,
    cofferdam_core::trust::TrustError
);

impl From<crate::process::ProcessError> for HostError {
    fn from(error: crate::process::ProcessError) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

impl From<PresetError> for HostError {
    fn from(error: PresetError) -> Self {
        Self::Other { class: error.class(), message: chain(&error), hint: error.hint() }
    }
}

fn errno_hint(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::NOENT | Errno::NOTDIR => "nothing is there under that name: look at the path",
        Errno::NOSPC | Errno::DQUOT => "make room on that file system, then try again",
        Errno::ROFS => {
            "the file system is read-only: an immutable host wants its own way to change this file"
        }
        Errno::ACCESS | Errno::PERM => {
            "run as root; if you do, look for SELinux, AppArmor or an immutable attribute (lsattr)"
        }
        Errno::BUSY => {
            "it is a mount point of its own (a bind-mounted file cannot be replaced): change what is mounted there"
        }
        Errno::XDEV => {
            "the file lies on another mount than the folders around it: change what is mounted there"
        }
        _ => return None,
    })
}
