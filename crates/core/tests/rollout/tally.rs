//! What the runs met: a property that was never put to the test was not tested.

use crate::world::WHYS;
use cofferdam_core::rollout::{Decision, Phase, Reason, Request, Why};
use std::collections::BTreeMap;

/// Counts over runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub targets: usize,
    pub flaps: usize,
    pub deaths: usize,
    pub deleted: usize,
    pub replaced: usize,
    pub recreated: usize,
    pub selections: usize,
    pub mass_unmatched: usize,
    pub drifts: usize,
    pub retry_requests: usize,
    pub removals: usize,
    pub policies: usize,
    pub jumps: usize,
    pub restarts: usize,
    pub crashes: usize,
    pub blind: usize,
    pub conflicts: usize,
    pub lost_records: usize,
    pub decisions: usize,
    pub removed_from: usize,
    whys: BTreeMap<Why, usize>,
    phases: BTreeMap<&'static str, usize>,
    /// Restarts of the controller, by the phase in which its last decision left it.
    restarted: BTreeMap<&'static str, usize>,
    reasons: BTreeMap<&'static str, usize>,
}

pub const PHASES: [&str; 9] =
    ["Unknown", "Progressing", "Complete", "Degraded", "Paused", "Halted", "Removing", "Removed", "NoNodes"];

impl Tally {
    pub fn decided(&mut self, _: &Request<'_>, decision: &Decision) {
        self.decisions += 1;
        *self.phases.entry(decision.phase.as_str()).or_default() += 1;
        let reasons: std::collections::BTreeSet<&str> =
            decision.nodes.iter().filter_map(|node| node.reason.as_ref()).map(Reason::as_str).collect();
        for reason in reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    pub fn restarted(&mut self, phase: Option<&Phase>) {
        self.restarts += 1;
        if let Some(phase) = phase {
            *self.restarted.entry(phase.as_str()).or_default() += 1;
        }
    }

    pub fn wrote(&mut self, why: Why, absent: bool) {
        *self.whys.entry(why).or_default() += 1;
        self.removed_from += usize::from(absent);
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.plain().into_iter().zip(other.clone().plain()) {
            *mine.1 += *theirs.1;
        }
        for (why, count) in &other.whys {
            *self.whys.entry(*why).or_default() += count;
        }
        for (phase, count) in &other.phases {
            *self.phases.entry(phase).or_default() += count;
        }
        for (phase, count) in &other.restarted {
            *self.restarted.entry(phase).or_default() += count;
        }
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }

    fn plain(&mut self) -> Vec<(&'static str, &mut usize)> {
        vec![
            ("decisions", &mut self.decisions),
            ("targets", &mut self.targets),
            ("node flaps", &mut self.flaps),
            ("agents died or came back", &mut self.deaths),
            ("nodes deleted", &mut self.deleted),
            ("nodes replaced under their name", &mut self.replaced),
            ("SandboxNodes made anew", &mut self.recreated),
            ("selections changed", &mut self.selections),
            ("selector matched nothing", &mut self.mass_unmatched),
            ("drifts", &mut self.drifts),
            ("retry requests", &mut self.retry_requests),
            ("removals begun", &mut self.removals),
            ("nodes told to remove", &mut self.removed_from),
            ("policy changes", &mut self.policies),
            ("clock jumps", &mut self.jumps),
            ("controller restarts", &mut self.restarts),
            ("crashes between writes", &mut self.crashes),
            ("failed or empty lists", &mut self.blind),
            ("node writes in conflict", &mut self.conflicts),
            ("record writes in conflict", &mut self.lost_records),
        ]
    }

    /// The table, and what was never reached.
    pub fn table(&mut self) -> (String, Vec<String>) {
        let (whys, phases, reasons) = (self.whys.clone(), self.phases.clone(), self.reasons.clone());
        let restarted = self.restarted.clone();
        let mut rows: Vec<(String, usize)> =
            self.plain().into_iter().map(|(what, count)| (what.to_owned(), *count)).collect();
        rows.extend(
            WHYS.iter().map(|why| (format!("assigned: {why:?}"), whys.get(why).copied().unwrap_or(0))),
        );
        let reached = || PHASES.iter().filter(|phase| **phase != "NoNodes");
        let count = |counts: &BTreeMap<_, usize>, phase| counts.get(phase).copied().unwrap_or(0);
        rows.extend(reached().map(|phase| (format!("phase {phase}"), count(&phases, phase))));
        rows.extend(
            reached().map(|phase| (format!("controller restarted in {phase}"), count(&restarted, phase))),
        );
        rows.extend(
            Reason::WORDS
                .iter()
                .map(|word| (format!("reason {word}"), reasons.get(word).copied().unwrap_or(0))),
        );
        let never = rows.iter().filter(|(_, count)| *count == 0).map(|(what, _)| what.clone()).collect();
        let lines: Vec<String> = rows.iter().map(|(what, count)| format!("{count:>9}  {what}")).collect();
        (lines.join("\n"), never)
    }
}
