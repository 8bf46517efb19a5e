//! The first step: judge each node, and bring the record up to date with what was seen.

use super::standing::{Seen, Standing};
use super::{
    Asked, Canary, FailedNode, Goal, Moment, NodeView, Open, Policy, Reason, Record, Remains, Request,
    Revision, Time, Wanted,
};
use std::time::Duration;

/// The fleet, judged.
pub(super) struct Survey<'a> {
    /// Its nodes, in the order of the request.
    pub(super) nodes: Vec<Seen<'a>>,
    /// How many the selector matches.
    pub(super) matched: usize,
    /// How many nodes may be unavailable.
    pub(super) limit: usize,
    /// How many are: those that hold, and those with an open change that are not listed.
    pub(super) unavailable: usize,
    /// How many would be if no change had been begun that is not seen.
    pub(super) shown: usize,
    /// Whether too many nodes failed.
    pub(super) halted: bool,
    /// The selector matches no node although some have the runtime.
    pub(super) nothing_matches: bool,
    /// When the next of the waits that were met ends.
    pub(super) wake: Option<Time>,
}

impl Survey<'_> {
    /// Remembers that something is due at `time`.
    pub(super) fn wake_at(&mut self, time: Time) {
        self.wake = Some(self.wake.map_or(time, |earlier| earlier.min(time)));
    }
}

/// How old a list of nodes may be. For so long a change counts as going on that it does not show.
const LAG: Duration = Duration::from_secs(60);

/// The longest text of a failure that is remembered.
const MESSAGE: usize = 200;

/// Judges `views`, and says what is to be remembered of them.
pub(super) fn survey<'a>(request: &Request<'_>, views: &'a [NodeView]) -> (Survey<'a>, Record) {
    let mut record = request.record.clone();
    if let Goal::Install(target) = request.goal
        && record.target.as_ref() != Some(target)
    {
        record.target = Some(target.clone());
        record.canaries_passed = false;
        record.canaries.clear();
        record.failures.clear();
    }
    let mut nodes: Vec<Seen<'a>> = views.iter().map(|view| Seen::of(request, view)).collect();
    let matched = nodes.iter().filter(|seen| seen.stays).count();
    let gone = |seen: &Seen<'_>| matches!(seen.standing, Standing::Bare | Standing::Gone);
    let present = nodes.iter().filter(|seen| seen.stays || !gone(seen)).count();
    let mut survey = Survey {
        matched,
        limit: request.policy.max_unavailable.of(present),
        unavailable: 0,
        shown: 0,
        halted: false,
        nothing_matches: matched == 0 && *request.goal != Goal::Remove,
        wake: None,
        nodes: Vec::new(),
    };
    let unlisted = follow_open(request, &mut nodes, &mut record, &mut survey);
    note_drifts(request, &mut nodes, &mut record);
    survey.shown = unlisted + nodes.iter().filter(|seen| seen.shown).count();
    survey.unavailable = unlisted + nodes.iter().filter(|seen| seen.holds).count();
    if let Goal::Install(target) = request.goal {
        survey.halted = note_failures(request, target, &mut nodes, &mut record);
        note_canaries(request, target, &mut nodes, &mut record, &mut survey);
        note_good(request, target, &nodes, &mut record);
        survey.halted &= record.last_good.as_ref() != Some(target);
    }
    for seen in &nodes {
        if seen.view.assigned.is_some()
            && let Some(end) = seen.silent_at(request.moment, request.policy)
        {
            survey.wake_at(end);
        }
    }
    survey.nodes = nodes;
    (survey, record)
}

/// Strikes out the open changes that ended. Gives the number of those that stay open although their node is not listed,
/// or another one has its name: the list may be older than they are.
fn follow_open(
    request: &Request<'_>,
    nodes: &mut [Seen<'_>],
    record: &mut Record,
    survey: &mut Survey<'_>,
) -> usize {
    let mut old = std::mem::take(&mut record.open);
    for seen in nodes {
        let Some(open) = old.remove(&seen.view.name) else { continue };
        if open.uid != seen.view.uid {
            old.insert(seen.view.name.clone(), open);
            continue;
        }
        if is_over(&open, seen) {
            continue;
        }
        let unseen = seen.view.assigned.as_ref().is_none_or(|assigned| assigned.sequence < open.sequence);
        if unseen {
            // After that it would be seen: whoever began it came no further.
            let Some(end) = lag_ends(request.moment, open.since) else { continue };
            survey.wake_at(end);
        }
        seen.unseen_change = unseen;
        seen.holds = true;
        seen.shown |= !seen.unseen_change;
        record.open.insert(seen.view.name.clone(), open);
    }
    let mut unlisted = 0;
    for (name, open) in old {
        if let Some(end) = lag_ends(request.moment, open.since) {
            survey.wake_at(end);
            record.open.insert(name, open);
            unlisted += 1;
        }
    }
    unlisted
}

/// When a list must show what was done at `done`; none if it does.
fn lag_ends(moment: Moment, done: Time) -> Option<Time> {
    let done = if done > moment.now { moment.hearing_since } else { done.max(moment.hearing_since) };
    moment.pending(done, LAG)
}

/// Whether a change was seen to end well, or gave way to a later one. One that failed stays open until the next change
/// of its node: a view from before must not make the node look sound.
fn is_over(open: &Open, seen: &Seen<'_>) -> bool {
    let Some(assigned) = &seen.view.assigned else {
        return open.wanted == Wanted::Absent && seen.view.remains == Remains::Nothing;
    };
    match seen.standing {
        _ if assigned.sequence > open.sequence => true,
        Standing::Proven(..) | Standing::Gone => assigned.sequence == open.sequence,
        _ => false,
    }
}

/// Whether a failure is the last word on its assignment.
pub(super) fn is_final(policy: &Policy, attempt: u32, failure: &super::Failure) -> bool {
    !failure.is_transient() || attempt >= policy.retry.attempts
}

/// Notes which nodes failed, and says whether they are too many.
fn note_failures(
    request: &Request<'_>,
    target: &Revision,
    nodes: &mut [Seen<'_>],
    record: &mut Record,
) -> bool {
    let fleet = request.retry;
    let mut pardoned = 0;
    for seen in nodes {
        let uid = &seen.view.uid;
        if let Standing::Failed(assigned, failure) = seen.standing
            && assigned.revision == *target
            && is_final(request.policy, assigned.attempt, failure)
            && record.failures.get(uid).is_none_or(|known| known.sequence < assigned.sequence)
        {
            let failed = FailedNode {
                name: seen.view.name.clone(),
                sequence: assigned.sequence,
                class: failure.class,
                message: shorten(&failure.message),
                at: request.moment.now,
                rolled_back: false,
                fleet_retry: fleet.cloned(),
                node_retry: seen.view.retry.clone(),
            };
            record.failures.insert(uid.clone(), failed);
        }
        if let Standing::Proven(assigned) = seen.standing
            && assigned.revision == *target
            && record.failures.get(uid).is_some_and(|known| known.sequence < assigned.sequence)
        {
            record.failures.remove(uid);
        }
        let Some(known) = record.failures.get(uid).filter(|known| known.fleet_retry.as_ref() == fleet) else {
            continue;
        };
        seen.failed = known.node_retry == seen.view.retry;
        pardoned += usize::from(!seen.failed);
    }
    let counted = record.failures.values().filter(|known| known.fleet_retry.as_ref() == fleet).count();
    let budget = request.policy.failure_budget.min(Policy::MOST_FAILURES);
    counted.saturating_sub(pardoned) > usize::try_from(budget).unwrap_or(usize::MAX)
}

/// Notes which nodes drifted or are unproven, and whether somebody has asked since that they are mended.
fn note_drifts(request: &Request<'_>, nodes: &mut [Seen<'_>], record: &mut Record) {
    let mut old = std::mem::take(&mut record.drifted);
    let ails = |seen: &Seen<'_>| {
        matches!(seen.standing, Standing::Drifted(..) | Standing::Unproven(..)) && !seen.unseen_change
    };
    for seen in nodes.iter_mut().filter(|seen| seen.stays && ails(seen)) {
        let now = Asked { fleet: request.retry.cloned(), node: seen.view.retry.clone() };
        let known =
            old.remove(&seen.view.uid).or((record.drifted.len() < Policy::MOST_DRIFTED).then(|| now.clone()));
        let Some(known) = known else { continue };
        seen.to_mend = known != now;
        record.drifted.insert(seen.view.uid.clone(), known);
    }
}

/// Strikes out canaries that went away or failed, and notes when those that are left have sung for long enough.
fn note_canaries(
    request: &Request<'_>,
    target: &Revision,
    nodes: &mut [Seen<'_>],
    record: &mut Record,
    survey: &mut Survey<'_>,
) {
    if record.canaries_passed || record.last_good.as_ref() == Some(target) {
        record.canaries.clear();
        return;
    }
    let old = std::mem::take(&mut record.canaries);
    let now = request.moment.now;
    let (mut grown, mut all) = (0_usize, true);
    for seen in nodes.iter_mut().filter(|seen| seen.stays && !seen.failed) {
        let name = &seen.view.name;
        let known = old.get(name);
        let tries = seen.is_on(target) && !matches!(seen.standing, Standing::Failed(..));
        // One whose SandboxNode was made anew has forgotten it.
        let forgot = seen.view.assigned.is_none()
            && seen.view.remains != Remains::Unreadable
            && !record.open.contains_key(name);
        if !tries && (known.is_none() || forgot) {
            continue;
        }
        // By our clock: the node's may be wrong. Whoever flaps begins anew.
        let proven = (seen.has(target) && !seen.unseen_change)
            .then(|| known.and_then(|canary| canary.proven).unwrap_or(now));
        let until = proven.and_then(|since| request.moment.pending(since, request.policy.soak));
        if let Some(until) = until {
            survey.wake_at(until);
            seen.reason = Some(Reason::Soaking { until });
        }
        let mature = proven.is_some() && until.is_none();
        grown += usize::from(mature);
        all &= mature;
        record.canaries.insert(name.clone(), Canary { proven });
    }
    let needed = canaries_needed(request, survey.matched);
    if all && grown >= needed && survey.matched > 0 && !survey.halted {
        record.canaries_passed = true;
        record.canaries.clear();
    }
}

/// How many canaries there have to be.
pub(super) fn canaries_needed(request: &Request<'_>, matched: usize) -> usize {
    usize::try_from(request.policy.canary).unwrap_or(usize::MAX).min(matched)
}

/// Notes that the target is what the fleet has: every node that can be reached has it, these are more than half, and its
/// canaries passed. From now on a node on which it fails is that node's trouble.
fn note_good(request: &Request<'_>, target: &Revision, nodes: &[Seen<'_>], record: &mut Record) {
    let (mut matched, mut have) = (0_usize, 0_usize);
    for seen in nodes.iter().filter(|seen| seen.stays) {
        matched += 1;
        if seen.has(target) {
            have += 1;
        } else if seen.unreachable.is_none() {
            return;
        }
    }
    if have * 2 > matched && (record.canaries_passed || request.policy.canary == 0) {
        record.last_good = Some(target.clone());
        record.canaries.clear();
    }
}

fn shorten(message: &str) -> String {
    match message.char_indices().nth(MESSAGE) {
        Some((at, _)) => format!("{}...", message.get(..at).unwrap_or_default()),
        None => message.to_owned(),
    }
}
