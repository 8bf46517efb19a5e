//! What became of each runtime of a file, and of the whole.

use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::name::RuntimeName;
use cofferdam_host::error::Result;
use cofferdam_host::event::Outcome;
use serde::Serialize;
use std::process::ExitCode;

/// What became of one runtime.
#[derive(Serialize)]
pub(super) struct Applied {
    /// The SandboxRuntime's name.
    pub(super) name: String,
    /// The runtime's own name, if its package could be read.
    pub(super) runtime: Option<RuntimeName>,
    /// How it ended; none, if it was only shown.
    #[serde(flatten)]
    pub(super) outcome: Option<Outcome>,
}

/// What became of each.
pub(super) struct Results {
    json: bool,
    all: Vec<Applied>,
}

#[derive(Serialize)]
struct Whole<'a> {
    event: &'static str,
    class: Option<Class>,
    runtimes: &'a [Applied],
}

/// The worst first: what needs a person before what a later call may do by itself.
const WORST_FIRST: [Class; 7] = [
    Class::Internal,
    Class::RolledBack,
    Class::Conflict,
    Class::Unsupported,
    Class::Invalid,
    Class::InUse,
    Class::Unavailable,
];

impl Results {
    pub(super) const fn new(json: bool) -> Self {
        Self { json, all: Vec::new() }
    }

    /// Adds one, and tells a person how it ended.
    pub(super) fn add(&mut self, applied: Applied) {
        if let Some(outcome) = applied.outcome.as_ref().filter(|_| !self.json) {
            show::outcome(outcome, false);
        }
        self.all.push(applied);
    }

    /// Whether it is not known which runtime the file means somewhere.
    pub(super) fn is_unsure(&self) -> bool {
        self.all.iter().any(|applied| applied.runtime.is_none())
    }

    /// Ends the whole: for programs by one line about all, with the exit code of the worst.
    pub(super) fn end(self, why: &str) -> Result<ExitCode> {
        let classes = || self.all.iter().filter_map(|applied| applied.outcome.as_ref()?.class);
        let worst = WORST_FIRST.into_iter().find(|class| classes().any(|found| found == *class));
        if self.json {
            show::json_line(&Whole { event: "applied", class: worst, runtimes: &self.all })?;
        } else if !why.is_empty() {
            show::note(why);
        }
        Ok(ExitCode::from(worst.map_or(0, Class::exit_code)))
    }
}
