//! The checks' functions: each looks at a case and answers.

pub(super) mod conflict;
pub(super) mod engine;
pub(super) mod file_system;
pub(super) mod hardware;
pub(super) mod kernel;
pub(super) mod records;
pub(super) mod systemd;

use super::{Answer, Unseen};

/// A check's answer; an error is "could not look", which `?` passes on.
pub(super) type Looked = Result<Answer, Unseen>;

fn yes(seen: impl Into<String>) -> Looked {
    Ok(Answer::Yes { seen: seen.into() })
}

fn no(because: impl Into<String>, remedy: impl Into<String>) -> Looked {
    Ok(Answer::No { because: because.into(), remedy: remedy.into() })
}

fn unseen(why: impl Into<String>) -> Looked {
    Err(Unseen::new(why))
}
