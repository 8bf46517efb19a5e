//! What a transaction says while it runs, and how it ended. JSON lines in the worker's event file.

use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_core::doctor::Overridden;
pub use cofferdam_core::history::Ending;
use cofferdam_core::name::Digest;
use cofferdam_core::record::{StepKind, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

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
    Fetched(Transfer),
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

/// How far a package is on its way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Bytes that came so far.
    pub bytes: u64,
    /// How many come in all. Layers that are here already are not among them.
    pub total: u64,
    /// The layer that came last; none if the package comes in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerTransfer>,
    /// Bytes a second so far; none in the first second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// In how many seconds the rest is here, if it goes on like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}

/// From when on a rate means something.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// Bytes a second; none if it was too short to tell.
pub fn rate(bytes: u64, took: Duration) -> Option<u64> {
    (took >= LONG_ENOUGH).then(|| (bytes as f64 / took.as_secs_f64()) as u64)
}

/// How long the rest takes if it goes on like this.
pub fn left(bytes: u64, total: u64, took: Duration) -> Option<Duration> {
    let missing = total.checked_sub(bytes).filter(|missing| *missing > 0)?;
    if bytes == 0 || took < LONG_ENOUGH {
        return None;
    }
    Duration::try_from_secs_f64(took.as_secs_f64() * missing as f64 / bytes as f64).ok()
}

/// How far one layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerTransfer {
    /// Which one, from 1.
    pub index: usize,
    /// Of how many.
    pub of: usize,
    /// Its name.
    pub digest: Digest,
    /// Bytes of it that came so far; all of them only once they are known to be the right ones.
    pub bytes: u64,
    /// How many it has.
    pub size: u64,
    /// It is not fetched, since it is here.
    pub held: bool,
}

impl LayerTransfer {
    /// Whether nothing more of it will come.
    pub const fn is_over(&self) -> bool {
        self.held || self.bytes >= self.size
    }
}

impl Transfer {
    /// So much, and who knows how fast.
    pub(crate) const fn of(bytes: u64, total: u64, layer: Option<LayerTransfer>) -> Self {
        Self { bytes, total, layer, rate: None, left: None }
    }

    /// So much of a package that comes in one piece.
    pub const fn whole(bytes: u64, total: u64) -> Self {
        Self::of(bytes, total, None)
    }

    /// Whether this is the end of a layer, or of everything.
    pub const fn ends_something(&self) -> bool {
        match &self.layer {
            Some(layer) => layer.is_over(),
            None => self.bytes >= self.total,
        }
    }
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

/// Lets through what is worth telling of a transfer: not each read of a few bytes.
#[derive(Debug)]
pub(crate) struct Pace {
    begun: Instant,
    told: Option<(Instant, u64)>,
}

/// How much may come, and how long it may take, between two reports.
const TELL_BYTES: u64 = 4 << 20;
const TELL_TIME: Duration = Duration::from_millis(250);

impl Pace {
    /// It begins now.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), told: None }
    }

    /// What is to be told, with the rate, if something is. The end of a layer always is.
    pub(crate) fn lets(&mut self, transfer: Transfer) -> Option<Transfer> {
        let is_due = self.told.is_none_or(|(at, bytes)| {
            at.elapsed() >= TELL_TIME || transfer.bytes >= bytes.saturating_add(TELL_BYTES)
        });
        // At its end, an archive is read several times for nothing.
        let is_again = transfer.layer.is_none() && self.told.is_some_and(|(_, told)| told == transfer.bytes);
        let tells = (is_due || transfer.ends_something()) && !is_again;
        if !tells {
            return None;
        }
        self.told = Some((Instant::now(), transfer.bytes));
        let Transfer { bytes, total, .. } = transfer;
        let took = self.begun.elapsed();
        let left = left(bytes, total, took).map(|left| left.as_secs());
        Some(Transfer { rate: rate(bytes, took), left, ..transfer })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_means_something_from_the_first_second_on() {
        let seconds = Duration::from_secs;
        assert_eq!(rate(5000, Duration::from_millis(900)), None);
        assert_eq!(rate(5000, seconds(2)), Some(2500));
        assert_eq!(left(5000, 20_000, seconds(2)), Some(seconds(6)));
        assert_eq!(left(5000, 20_000, Duration::from_millis(900)), None);
        assert_eq!(left(20_000, 20_000, seconds(2)), None, "it is here");
        assert_eq!(left(0, 20_000, seconds(2)), None, "nobody knows");
    }
}
