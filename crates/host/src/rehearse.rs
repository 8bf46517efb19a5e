//! Placeholder until the rehearsal lands.
use crate::error::Result;
use crate::transact::Candidate;
use cofferdam_core::observation::EngineObservation;
/// R
pub struct Rehearsal { /// d
 pub dump: String, /// n
 pub notes: Vec<String> }
/// r
pub fn rehearse(engine: &EngineObservation, _c: &[Candidate]) -> Result<Rehearsal> { Ok(Rehearsal{dump: engine.dump.clone().unwrap_or_default(), notes: vec![]}) }
/// c
pub fn child_main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
