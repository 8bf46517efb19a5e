//! The rehearsal: what the engine's own binary makes of a changed configuration, before anything is changed.
//!
//! ```text
//! this process          rehearse(): writes the request, waits under a time limit
//!  └ helper             own mount, network and IPC namespaces; candidates shown in place; `config dump`
//!     └ PID 1           own PID namespace, fresh /proc; becomes the engine's daemon; asked over CRI, then killed
//! ```
//!
//! The helper is this program itself, called again with a hidden subcommand, which must call [`child_main`]. Every
//! level dies with the one above it (PDEATHSIG), and the mounts go with the namespaces: nothing remains. /run, the
//! engine's root and state and the folders of its sockets are empty in there, so the live engine cannot be reached.

mod child;
mod view;

pub use child::child_main;

use crate::process::{Command, ProcessError};
use cofferdam_core::class::Class;
use cofferdam_core::name::HostPath;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What is rehearsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The engine's binary.
    pub binary: HostPath,
    /// The arguments with which it runs, without its name.
    pub args: Vec<String>,
    /// The configuration file in use.
    pub config: HostPath,
    /// The engine's root.
    pub root: HostPath,
    /// The engine's state folder.
    pub state: HostPath,
    /// The socket that serves CRI.
    pub address: HostPath,
    /// The files as they would be.
    pub candidates: Vec<Candidate>,
    /// How long `config dump` may take.
    pub dump_limit: Duration,
    /// How long the second daemon may take until CRI answers.
    pub daemon_limit: Duration,
}

/// A file as it would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its place, links followed.
    pub path: HostPath,
    /// Its content. None: it would not exist.
    pub content: Option<Vec<u8>>,
}

/// What a rehearsal showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The effective configuration with the candidates in place. What it means is the caller's to judge.
    pub dump: String,
    /// What the second daemon did.
    pub daemon: DaemonOutcome,
    /// What the rehearsal had to hide or could not isolate, in sentences for a person.
    pub notes: Vec<String>,
}

/// What the second daemon did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum DaemonOutcome {
    /// CRI answered.
    Answered {
        /// Its handlers.
        handlers: Vec<String>,
        /// Its default handler.
        default_handler: String,
        /// `RuntimeReady`.
        runtime_ready: bool,
        /// Milliseconds from its start to the answer.
        millis: u64,
    },
    /// It ended, hung, or serves no CRI: so would the real one.
    Failed {
        /// Why, with the end of its log.
        reason: String,
    },
    /// It was not started, since it could have touched what the live one uses.
    NotStarted {
        /// Why.
        reason: String,
    },
}

/// Why there is no rehearsal.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// The engine's own parser refuses the candidates.
    #[error("the engine would refuse the changed configuration: {reason}")]
    Refused {
        /// The parser's words.
        reason: String,
    },
    /// This host does not give the namespaces or mounts.
    #[error("cannot rehearse on this host: {step}: {reason}")]
    Isolation {
        /// What was tried.
        step: String,
        /// Why it failed.
        reason: String,
    },
    /// The helper did not run or did not end.
    #[error("the rehearsal's helper: {0}")]
    Helper(#[from] ProcessError),
    /// The helper's answer is none.
    #[error("the rehearsal's helper gave no answer: {0}")]
    Answer(String),
}

impl RehearseError {
    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Refused { .. } | Self::Isolation { .. } => Class::Unsupported,
            Self::Helper(error) => error.class(),
            Self::Answer(_) => Class::Internal,
        }
    }
}

impl RehearseError {
    /// What to do next, if there is more to say than the message does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Isolation { .. } => Some("leave it out with --skip-rehearsal if you must".to_owned()),
            Self::Refused { .. } | Self::Helper(_) | Self::Answer(_) => None,
        }
    }
}

/// How the helper is called: a program and the arguments that make it call [`child_main`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// The program.
    pub program: PathBuf,
    /// The arguments in front of the helper's own.
    pub args: Vec<String>,
}

impl Default for Helper {
    /// This program with `rehearse-child`.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), args: vec!["rehearse-child".to_owned()] }
    }
}

/// The helper's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
enum Answer {
    Done(Rehearsal),
    Refused { reason: String },
    Isolation { step: String, reason: String },
}

/// Rehearses `request` with `helper`.
///
/// # Errors
/// If the engine refuses the configuration, or this host cannot isolate it.
pub fn rehearse(request: &Request, helper: &Helper) -> Result<Rehearsal, RehearseError> {
    let input = serde_json::to_vec(request).map_err(|error| RehearseError::Answer(error.to_string()))?;
    let output = Command::new(&helper.program)
        .args(helper.args.iter().cloned())
        .input(input)
        // Mounting takes milliseconds; a loaded machine may take more.
        .limit(request.dump_limit + request.daemon_limit + Duration::from_secs(10))
        .run_ok()?;
    match serde_json::from_slice(&output.stdout) {
        Ok(Answer::Done(rehearsal)) => Ok(rehearsal),
        Ok(Answer::Refused { reason }) => Err(RehearseError::Refused { reason }),
        Ok(Answer::Isolation { step, reason }) => Err(RehearseError::Isolation { step, reason }),
        Err(error) => Err(RehearseError::Answer(error.to_string())),
    }
}
