//! The doctor: named checks that say what stands in the way of a runtime on a node.
//!
//! ```text
//! facts      what checks look at (gathered by `cofferdam-host`)
//! checks     one function a check: facts -> yes, no with a remedy, or "could not look"
//! table      CHECKS: every check with its topic, and to what it applies
//! verdict    the answers for one runtime, in a word; what the planner refuses
//! ```
//!
//! To add a check: its function in `checks`, one line in [`CHECKS`], a row in docs/doctor.md, and its cases in
//! the tests, which fail without them.

mod checks;
pub mod facts;
mod table;
mod verdict;

pub use facts::{Fact, Facts, Unseen};
pub use table::{Applies, CHECKS, Check, Gate, Skip, UnknownCheck};
pub use verdict::{Fitness, Overridden, Readiness, Unfit, readiness, requirement_readiness, run};

use crate::descriptor::{Descriptor, Requirement};
use crate::observation::{CriObservation, EngineObservation, TargetObservation};
use serde::Serialize;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// The processor and its virtualization.
    Hardware,
    /// The kernel and its modules.
    Kernel,
    /// Where files go.
    FileSystem,
    /// The engine and its configuration.
    Engine,
    /// systemd and its units.
    Systemd,
    /// Other programs that do the same.
    Conflict,
    /// Cofferdam's own records.
    Records,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// Fine.
    Yes {
        /// What was seen.
        seen: String,
    },
    /// Something stands in the way.
    No {
        /// What was seen.
        because: String,
        /// What to do.
        remedy: String,
    },
    /// It could not be looked at: neither good nor bad.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A check's name and answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// Its topic.
    pub topic: Topic,
    /// What it found.
    #[serde(flatten)]
    pub answer: Answer,
}

impl Finding {
    /// Whether something stands in the way.
    pub const fn is_no(&self) -> bool {
        matches!(self.answer, Answer::No { .. })
    }
}

/// Why the engine could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFault {
    /// What kind of reason.
    pub kind: FaultKind,
    /// The reason.
    pub text: String,
}

/// Kinds of reasons why an engine cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// None runs, or it is not clear which one is meant.
    NoProcess,
    /// Its binary was replaced since it started.
    BinaryReplaced,
    /// Its binary refuses its configuration.
    ConfigRefused,
    /// Something else.
    Other,
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The engine.
    pub engine: Result<&'a EngineObservation, &'a EngineFault>,
    /// Where trees go.
    pub target: Result<&'a TargetObservation, &'a Unseen>,
    /// Everything else that was looked at.
    pub facts: &'a Facts,
    /// The runtime that is asked about; none if the node alone is.
    pub wanted: Option<&'a Descriptor>,
}

impl Case<'_> {
    /// Whether this is an offline tree, about which only files tell.
    pub fn is_offline(&self) -> bool {
        self.engine.is_ok_and(|engine| matches!(engine.cri, CriObservation::Offline))
    }

    /// What the runtime that is asked about requires.
    fn requires(&self, requirement: Requirement) -> bool {
        let handlers = self.wanted.iter().flat_map(|wanted| &wanted.handlers);
        handlers.into_iter().any(|handler| handler.requires.contains(&requirement))
    }
}
