//! From answers to verdicts: whether a runtime would work on a node, and what the planner refuses.

use super::{Answer, Applies, CHECKS, Case, Check, Facts, Finding, Gate, Skip};
use crate::descriptor::{Descriptor, Requirement};
use crate::observation::{EngineObservation, TargetObservation};
use serde::{Deserialize, Serialize};

/// Runs all checks that apply.
pub fn run(case: &Case<'_>) -> Vec<Finding> {
    CHECKS.iter().filter(|check| check.applies_to(case)).map(|check| check.run(case)).collect()
}

/// Whether a runtime can be installed on a node, and would work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Readiness {
    /// Every check that applies says yes.
    Ready,
    /// Some say no.
    NotReady {
        /// Which, in the order of the table.
        because: Vec<&'static str>,
    },
    /// None says no, and some could not look.
    CannotTell {
        /// Which, in the order of the table.
        because: Vec<&'static str>,
    },
}

/// The verdict on these answers.
pub fn readiness(findings: &[Finding]) -> Readiness {
    let those = |fits: fn(&Finding) -> bool| -> Vec<&'static str> {
        findings.iter().filter(|finding| fits(finding)).map(|finding| finding.check).collect()
    };
    let (no, unknown) = (those(Finding::is_no), those(|f| matches!(f.answer, Answer::Unknown { .. })));
    match (no.is_empty(), unknown.is_empty()) {
        (false, _) => Readiness::NotReady { because: no },
        (true, false) => Readiness::CannotTell { because: unknown },
        (true, true) => Readiness::Ready,
    }
}

/// The verdict on one requirement alone, with the answers behind it.
pub fn requirement_readiness(case: &Case<'_>, requirement: Requirement) -> (Readiness, Vec<Finding>) {
    let asks = |check: &&Check| matches!(check.applies, Applies::If(of) if of.contains(&requirement));
    let findings: Vec<Finding> = CHECKS.iter().filter(asks).map(|check| check.run(case)).collect();
    (readiness(&findings), findings)
}

/// What the doctor tells the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// What was looked at.
    pub facts: Facts,
    /// Checks whose "no" the user overrides.
    pub skip: Vec<Skip>,
}

/// Why a node is not fit for a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The check that says no.
    pub check: &'static str,
    /// What it saw.
    pub because: String,
    /// What to do.
    pub remedy: String,
    /// Whether the user may override it.
    pub gate: Gate,
}

/// A check that said no, and was overridden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overridden {
    /// The check.
    pub check: String,
    /// What it saw.
    pub because: String,
}

impl Fitness {
    /// The first check that says no to `wanted`, of those that nobody may override first.
    pub fn unfit(
        &self,
        engine: &EngineObservation,
        target: &TargetObservation,
        wanted: &Descriptor,
    ) -> Option<Unfit> {
        let mut noes = self.noes(engine, target, wanted);
        noes.retain(|unfit| !self.skips(unfit.check));
        let closed = noes.iter().position(|unfit| unfit.gate == Gate::Closed);
        (!noes.is_empty()).then(|| noes.swap_remove(closed.unwrap_or(0)))
    }

    /// The checks that say no to `wanted` and are overridden.
    pub fn overridden(
        &self,
        engine: &EngineObservation,
        target: &TargetObservation,
        wanted: &Descriptor,
    ) -> Vec<Overridden> {
        let noes = self.noes(engine, target, wanted).into_iter().filter(|unfit| self.skips(unfit.check));
        noes.map(|unfit| Overridden { check: unfit.check.to_owned(), because: unfit.because }).collect()
    }

    fn skips(&self, check: &str) -> bool {
        self.skip.iter().any(|skip| skip.as_str() == check)
    }

    fn noes(
        &self,
        engine: &EngineObservation,
        target: &TargetObservation,
        wanted: &Descriptor,
    ) -> Vec<Unfit> {
        let case = Case { engine: Ok(engine), target: Ok(target), facts: &self.facts, wanted: Some(wanted) };
        let applying = CHECKS.iter().filter(|check| check.applies_to(&case));
        applying
            .filter_map(|check| match check.run(&case).answer {
                Answer::No { because, remedy } => {
                    Some(Unfit { check: check.name, because, remedy, gate: check.gate })
                }
                Answer::Yes { .. } | Answer::Unknown { .. } => None,
            })
            .collect()
    }
}
