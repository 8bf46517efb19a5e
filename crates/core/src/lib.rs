//! What Cofferdam knows and decides, without touching a machine.
//!
//! ```text
//! descriptor   runtime.toml, presets: what a package says of itself
//! doctor       named checks: facts -> answers, verdicts
//! engine       dialects: configuration text -> splices, one folder per engine
//! observation  what was found on a machine (filled in by `cofferdam-host`)
//! plan         observation + desired -> ordered steps
//! record       ledger and journal: what is installed, what is being done
//! rollout      now + fleet -> what the controller does next in a cluster
//! reference    names of images in registries
//! trust        the verification policy, what signatures say, what is decided about them
//! ```
//!
//! Nothing here does I/O, reads a clock or spawns a task: every function is a function of its arguments.

pub mod class;
pub mod continuity;
pub mod descriptor;
pub mod diff;
pub mod doctor;
pub mod engine;
pub mod history;
pub mod name;
pub mod observation;
pub mod plan;
pub mod preset;
pub mod record;
pub mod redact;
pub mod reference;
pub mod rollout;
pub mod splice;
mod step;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trust;
