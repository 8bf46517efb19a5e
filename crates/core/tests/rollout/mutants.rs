//! Planted defects: the real decision, given a wrong picture or robbed of part of its answer.

use cofferdam_core::rollout::{
    Action, Decision, Fleet, Goal, Label, MaxUnavailable, NodeReady, NodeReport, NodeView, Policy, Reason,
    Record, Request, decide,
};
use std::cell::RefCell;
use std::time::Duration;

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A NotReady node is as good as any.
    IgnoresNotReady,
    /// So is one whose agent is silent.
    IgnoresSilence,
    /// One more than `maxUnavailable`.
    OneTooMany,
    /// No canaries.
    NoCanaries,
    /// Canaries count as soon as they are proven.
    NoSoak,
    /// Failures are counted, and nothing follows.
    NeverHalts,
    /// Failures are forgotten with the rollback.
    ForgetsFailures,
    /// No journal: what was begun is known from the nodes alone.
    NoJournal,
    /// An empty or failed list means that no node is to have the runtime.
    EmptyMeansRemove,
    /// Attempts follow each other at once.
    NoBackoff,
    /// There is always another attempt.
    RetriesForever,
    /// Paused is a word.
    IgnoresPause,
    /// The label stays while the node changes.
    KeepsLabel,
    /// While the selector matches nothing, every label stays.
    KeepsUnproven,
    /// Sandboxes do not matter.
    RemovesInUse,
    /// A status is about whatever is in the spec.
    BelievesOldStatus,
    /// Times in the future are waited for.
    NeverWakes,
}

/// All of them.
pub const MUTANTS: [Mutant; 17] = [
    Mutant::IgnoresNotReady,
    Mutant::IgnoresSilence,
    Mutant::OneTooMany,
    Mutant::NoCanaries,
    Mutant::NoSoak,
    Mutant::NeverHalts,
    Mutant::ForgetsFailures,
    Mutant::NoJournal,
    Mutant::EmptyMeansRemove,
    Mutant::NoBackoff,
    Mutant::RetriesForever,
    Mutant::IgnoresPause,
    Mutant::KeepsLabel,
    Mutant::KeepsUnproven,
    Mutant::RemovesInUse,
    Mutant::BelievesOldStatus,
    Mutant::NeverWakes,
];

/// Who decides in a run.
#[derive(Default)]
pub struct Decider {
    mutant: Option<Mutant>,
    last: RefCell<Vec<NodeView>>,
}

impl Decider {
    pub fn with(mutant: Mutant) -> Self {
        Self { mutant: Some(mutant), ..Self::default() }
    }

    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let Some(mutant) = self.mutant else { return decide(request) };
        let mut policy = request.policy.clone();
        let mut fleet = request.fleet.clone();
        let mut record = request.record.clone();
        let mut goal = request.goal.clone();
        self.disturb(mutant, &mut policy, &mut fleet, &mut goal, &mut record);
        let moment = request.moment;
        let disturbed =
            Request { policy: &policy, fleet: &fleet, goal: &goal, record: &record, moment, ..*request };
        let mut decision = decide(&disturbed);
        self.rob(mutant, &mut decision);
        decision
    }

    fn disturb(
        &self,
        mutant: Mutant,
        policy: &mut Policy,
        fleet: &mut Fleet,
        goal: &mut Goal,
        record: &mut Record,
    ) {
        let views = match fleet {
            Fleet::Nodes(views) => views.as_mut_slice(),
            Fleet::Unknown { .. } | Fleet::ConfirmedEmpty => &mut [],
        };
        match mutant {
            Mutant::IgnoresNotReady => views.iter_mut().for_each(|view| view.ready = NodeReady::Ready),
            Mutant::IgnoresSilence => policy.silent_after = Duration::from_secs(u64::from(u32::MAX)),
            Mutant::OneTooMany => {
                let limit = policy.max_unavailable.of(views.len());
                policy.max_unavailable = MaxUnavailable::Count(u32::try_from(limit).unwrap() + 1);
            }
            Mutant::NoCanaries => policy.canary = 0,
            Mutant::NoSoak => policy.soak = Duration::ZERO,
            Mutant::NeverHalts => policy.failure_budget = u32::MAX,
            Mutant::NoJournal => record.open.clear(),
            Mutant::NoBackoff => policy.retry.max = Duration::ZERO,
            Mutant::RetriesForever => policy.retry.attempts = u32::MAX,
            Mutant::IgnoresPause => policy.paused = false,
            Mutant::RemovesInUse => views.iter_mut().for_each(|view| view.in_use = 0),
            Mutant::BelievesOldStatus => views.iter_mut().for_each(|view| {
                view.observed.sequence = view.assigned.as_ref().map(|assigned| assigned.sequence);
            }),
            Mutant::EmptyMeansRemove if views.is_empty() => {
                *goal = Goal::Remove;
                *fleet = Fleet::Nodes(self.last.borrow().clone());
            }
            Mutant::EmptyMeansRemove => *self.last.borrow_mut() = views.to_vec(),
            Mutant::ForgetsFailures | Mutant::KeepsLabel | Mutant::KeepsUnproven | Mutant::NeverWakes => {}
        }
    }

    fn rob(&self, mutant: Mutant, decision: &mut Decision) {
        match (mutant, &mut decision.remember) {
            (Mutant::ForgetsFailures, Some(record)) => record.failures.clear(),
            (Mutant::NoJournal, Some(record)) => record.open.clear(),
            (Mutant::KeepsLabel, _) => {
                decision.actions.retain(|action| !matches!(action, Action::Withdraw { .. }));
            }
            (Mutant::KeepsUnproven, _) => {
                let unsure = |node: &&mut NodeReport| node.reason == Some(Reason::NothingMatches);
                let nodes = decision.nodes.iter_mut().filter(unsure);
                nodes.for_each(|node| node.announcement.label = Label::Keep);
            }
            (Mutant::NeverWakes, _) => decision.next_wake = None,
            _ => {}
        }
    }
}
