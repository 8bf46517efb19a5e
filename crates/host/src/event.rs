//! What a transaction says while it runs, and how it ended. JSON lines in the worker's event file.

use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_core::doctor::Overridden;
pub use cofferdam_core::history::Ending;
use cofferdam_core::record::{StepKind, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// It began.
    Started {
        /// The transaction's id.
        id: String,
        /// What it does, for people.
        change: String,
        /// How many steps it has.
        steps: usize,
    },
    /// Bytes of the package came from where it is.
    Fetched {
        /// So far.
        bytes: u64,
        /// Of how many.
        total: u64,
    },
    /// The package was read.
    Read {
        /// What it says of itself.
        package: Box<Descriptor>,
    },
    /// A step begins.
    Step {
        /// Which one, from 1.
        index: usize,
        /// Its kind.
        kind: StepKind,
        /// What it does, for people.
        text: String,
    },
    /// Bytes were staged.
    Staged {
        /// So far.
        bytes: u64,
        /// Of how many.
        total: u64,
    },
    /// Something worth knowing.
    Note {
        /// For people.
        text: String,
    },
    /// It is being taken back.
    RollingBack {
        /// Why.
        reason: String,
    },
    /// It ended. Always the last event.
    Finished(Outcome),
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In one word.
    pub result: Ending,
    /// The class of what went wrong, if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// For people.
    pub message: String,
    /// What to do next, if there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What the probe said, after an installation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
    /// Checks that said no, and were overridden.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub overridden: Vec<Overridden>,
    /// The ledger's generation now.
    pub generation: u64,
    /// How long its parts took, in milliseconds.
    #[serde(default)]
    pub millis: BTreeMap<String, u64>,
}

impl Outcome {
    /// An outcome with nothing but a result and a message.
    pub fn new(result: Ending, generation: u64, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            result,
            class: None,
            message,
            hint: None,
            verdict: None,
            overridden: Vec::new(),
            generation,
            millis: BTreeMap::new(),
        }
    }

    /// An error before anything was changed.
    pub fn refused(error: &crate::error::HostError, generation: u64) -> Self {
        Self {
            class: Some(error.class()),
            hint: error.hint(),
            ..Self::new(Ending::Refused, generation, error.chain())
        }
    }

    /// An error after the change had begun, and before it was taken back or finished.
    pub fn unfinished(error: &crate::error::HostError, generation: u64) -> Self {
        Self {
            result: Ending::Unfinished,
            message: format!("neither done nor taken back: {}", error.chain()),
            hint: Some("put right what the message names, then run cofferdam recover".to_owned()),
            ..Self::refused(error, generation)
        }
    }

    /// The exit code of a command that ended so.
    pub fn exit_code(&self) -> u8 {
        self.class.map_or(0, Class::exit_code)
    }
}

/// Where events go.
pub trait Sink {
    /// Takes one event.
    fn take(&mut self, event: Event);
}

impl<F: FnMut(Event)> Sink for F {
    fn take(&mut self, event: Event) {
        self(event);
    }
}

/// How long the parts of a transaction took.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch(BTreeMap<String, u64>);

impl Stopwatch {
    pub(crate) fn add(&mut self, part: &str, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        *self.0.entry(part.to_owned()).or_default() += millis;
    }

    pub(crate) fn into_millis(self) -> BTreeMap<String, u64> {
        self.0
    }
}
