//! The second step: what is done, in which order, and when it is enough.

use super::standing::{Seen, Standing};
use super::survey::{Survey, canaries_needed, is_final};
use super::{
    Action, Assignment, Failure, Goal, Open, Policy, Reason, Record, Remains, Request, Revision, Time,
    Wanted, Why,
};
use crate::class::Class;
use std::time::Duration;

/// After how long a change that is not seen is repeated: mostly it is only a moment late.
const RESUME: Duration = Duration::from_secs(5);

/// What is being decided.
pub(super) struct Acts<'a> {
    request: &'a Request<'a>,
    /// What will be remembered.
    pub(super) record: Record,
    /// What will be done.
    pub(super) actions: Vec<Action>,
    /// How many nodes are unavailable with what was decided so far.
    pub(super) unavailable: usize,
    shown: usize,
    limit: usize,
    halted: bool,
}

/// A change of one node.
struct Change<'a> {
    wanted: Wanted,
    revision: &'a Revision,
    attempt: u32,
    why: Why,
}

impl<'a> Change<'a> {
    const fn to(revision: &'a Revision, why: Why) -> Self {
        Self { wanted: Wanted::Present, revision, attempt: 1, why }
    }
}

impl<'a> Acts<'a> {
    pub(super) const fn new(request: &'a Request<'a>, survey: &Survey<'_>, record: Record) -> Self {
        let Survey { unavailable, shown, limit, halted, .. } = *survey;
        Self { request, record, actions: Vec::new(), unavailable, shown, limit, halted }
    }

    /// Everything that is to be done now.
    pub(super) fn all(&mut self, survey: &mut Survey<'_>) {
        let mut wakes = Vec::new();
        let keep = survey.nothing_matches;
        for seen in survey.nodes.iter_mut().filter(|seen| seen.stays || !keep) {
            self.resume(seen, &mut wakes);
        }
        if let Goal::Install(target) = self.request.goal {
            for seen in survey.nodes.iter_mut().filter(|seen| seen.stays) {
                self.mend(target, seen, &mut wakes);
            }
            if !self.halted {
                self.canaries(target, survey);
                self.batch(target, survey);
            }
            self.joins(target, survey);
        }
        self.leavers(survey, &mut wakes);
        wakes.into_iter().for_each(|time| survey.wake_at(time));
        for seen in &survey.nodes {
            if !seen.stays && !seen.unseen_change && matches!(seen.standing, Standing::Gone) {
                let (node, uid) = (seen.view.name.clone(), seen.view.uid.clone());
                self.actions.push(Action::Forget { node, uid });
            }
        }
    }

    /// Begins a change, if the node is unavailable already or there is a slot.
    fn begin(&mut self, seen: &mut Seen<'_>, change: &Change<'_>) -> bool {
        let name = &seen.view.name;
        let known = self.record.open.get(name);
        if known.is_none() && self.record.open.len() >= Policy::MOST_CHANGING {
            return false;
        }
        // A change of another node of this name may still go on, unless this one is the newer.
        if known.is_some_and(|open| open.uid != seen.view.uid) {
            return false;
        }
        let known = known.map(|open| open.sequence);
        if !self.slot(seen) {
            return false;
        }
        let told = seen.view.assigned.as_ref().map(|assigned| assigned.sequence);
        let last = told.max(seen.view.observed.sequence).max(known).max(Some(self.record.sequence));
        let open = Open {
            uid: seen.view.uid.clone(),
            wanted: change.wanted,
            revision: change.revision.clone(),
            sequence: last.unwrap_or_default().saturating_add(1),
            attempt: change.attempt,
            since: self.request.moment.now,
        };
        self.record.sequence = open.sequence;
        self.write(seen, &open, change.why);
        self.record.open.insert(name.clone(), open);
        true
    }

    /// Whether the node may change now. One that is unavailable anyway may; so may one whose change was begun and is not
    /// seen, unless the limit has become smaller since; another one takes a slot.
    const fn slot(&mut self, seen: &mut Seen<'_>) -> bool {
        let used = if seen.holds { self.shown } else { self.unavailable };
        if !seen.shown && used >= self.limit {
            return false;
        }
        if !seen.shown {
            self.shown += 1;
        }
        if !seen.holds {
            self.unavailable += 1;
        }
        seen.shown = true;
        seen.holds = true;
        true
    }

    fn write(&mut self, seen: &mut Seen<'_>, open: &Open, why: Why) {
        let (node, uid) = (seen.view.name.clone(), seen.view.uid.clone());
        let assignment = Assignment {
            wanted: open.wanted,
            revision: open.revision.clone(),
            sequence: open.sequence,
            attempt: open.attempt,
            since: open.since,
            fallback: seen.fallback(&open.revision).filter(|_| open.wanted == Wanted::Present).cloned(),
        };
        if !self.is_open()
            && open.wanted == Wanted::Present
            && self.record.target.as_ref() == Some(&open.revision)
        {
            self.record.canaries.entry(node.clone()).or_default();
        }
        self.record.drifted.remove(&uid);
        self.actions.push(Action::Withdraw { node: node.clone(), uid: uid.clone() });
        self.actions.push(Action::Assign { node, uid, assignment, why });
        seen.acted = true;
        seen.reason = Some(Reason::Changing {
            wanted: open.wanted,
            revision: open.revision.clone(),
            since: open.since,
        });
    }

    /// Repeats a change that was begun and is not seen, if it is still wanted. It is written into the record anew: so
    /// nobody repeats it who has an old one.
    fn resume(&mut self, seen: &mut Seen<'_>, wakes: &mut Vec<Time>) {
        if !seen.unseen_change || seen.unreachable.is_some() {
            return;
        }
        let Some(open) = self.record.open.get(&seen.view.name).cloned() else { return };
        let wanted = match (open.wanted, self.request.goal) {
            (Wanted::Absent, _) => {
                let found = seen.view.remains == Remains::Found;
                !seen.stays && seen.view.in_use == 0 && (found || seen.present().is_some())
            }
            (Wanted::Present, Goal::Install(target)) if seen.stays && open.revision == *target => {
                !self.halted && !seen.failed
            }
            (Wanted::Present, _) => {
                let own = seen.view.assigned.as_ref().and_then(|assigned| assigned.fallback.as_ref());
                let good = [self.record.last_good.as_ref(), own].contains(&Some(&open.revision));
                good && seen.stays && !self.permits(seen)
            }
        };
        if let Some(time) = self.request.moment.pending(open.since, RESUME).filter(|_| wanted) {
            wakes.push(time);
        } else if wanted && self.slot(seen) {
            let open = Open { since: self.request.moment.now, ..open };
            self.write(seen, &open, Why::Resume);
            self.record.open.insert(seen.view.name.clone(), open);
        }
    }

    /// The revision to which a node goes back from `assigned`.
    fn good(&self, target: &Revision, assigned: &Assignment) -> Option<Revision> {
        let known = [assigned.fallback.as_ref(), self.record.last_good.as_ref()];
        known.into_iter().flatten().find(|good| **good != *target && **good != assigned.revision).cloned()
    }

    /// What is due on a node that failed: going back, or another attempt. It is unavailable already.
    fn mend(&mut self, target: &Revision, seen: &mut Seen<'_>, wakes: &mut Vec<Time>) {
        if let Standing::Drifted(assigned, _) | Standing::Unproven(assigned, _) = seen.standing {
            return self.put_back(target, seen, assigned);
        }
        let Standing::Failed(assigned, failure) = seen.standing else { return };
        if seen.acted || seen.unseen_change || seen.unreachable.is_some() {
            return;
        }
        let on_target = assigned.revision == *target;
        let last = is_final(self.request.policy, assigned.attempt, failure) || on_target && seen.failed;
        // It was sent there from the target, or with the fleet.
        let sound = seen.failed || self.record.last_good.as_ref() == Some(&assigned.revision);
        let back = match (on_target, last) {
            (true, true) => seen.failed,
            // Held: it must not get the target, and is no use without a proven runtime.
            (true, false) => self.halted,
            (false, true) => self.halted && !seen.failed,
            (false, false) => self.halted && !sound,
        };
        if back && self.request.policy.auto_rollback {
            if let Some(good) = self.good(target, assigned)
                && self.begin(seen, &Change::to(&good, Why::Rollback))
                && on_target
                && let Some(failed) = self.record.failures.get_mut(&seen.view.uid)
            {
                failed.rolled_back = true;
            }
            return;
        }
        let retried = self.permits(seen) == on_target && (on_target || sound);
        if last || !retried {
            return;
        }
        match due(self.request, seen, assigned, failure) {
            Some(until) => {
                wakes.push(until);
                seen.reason = Some(backoff(until, assigned, failure));
            }
            None => drop(self.again(seen, assigned)),
        }
    }

    /// Has a node that drifted, or is unproven, brought to what it was assigned, if somebody asked for it.
    fn put_back(&mut self, target: &Revision, seen: &mut Seen<'_>, assigned: &Assignment) {
        let idle = !seen.acted && !seen.unseen_change && seen.unreachable.is_none();
        // One that may have the target gets it anyway.
        let allowed = self.permits(seen) == (assigned.revision == *target);
        if seen.to_mend && idle && allowed {
            self.begin(seen, &Change::to(&assigned.revision, Why::Retry));
        }
    }

    fn again(&mut self, seen: &mut Seen<'_>, assigned: &Assignment) -> bool {
        let attempt = assigned.attempt.saturating_add(1);
        let Assignment { wanted, revision, .. } = assigned;
        self.begin(seen, &Change { wanted: *wanted, revision, attempt, why: Why::Retry })
    }

    /// Whether the node may have the target as far as canaries, failures and halts go.
    pub(super) fn permits(&self, seen: &Seen<'_>) -> bool {
        !seen.failed && !self.halted && (self.is_open() || self.record.canaries.contains_key(&seen.view.name))
    }

    /// Whether all nodes may have the target.
    fn is_open(&self) -> bool {
        self.record.canaries_passed || self.record.last_good == self.record.target
    }

    /// Whether the target could be begun on the node now.
    fn is_candidate(&self, target: &Revision, seen: &Seen<'_>) -> bool {
        let idle = !seen.acted && seen.unreachable.is_none() && seen.stays && !seen.failed;
        // A failure that somebody asked to forget: the same revision once more.
        let pardoned = matches!(seen.standing, Standing::Failed(assigned, failure)
            if is_final(self.request.policy, assigned.attempt, failure) || !self.permits(seen));
        idle && (!seen.is_on(target) || pardoned)
    }

    /// Chooses canaries as long as there are too few, and gives them the target.
    fn canaries(&mut self, target: &Revision, survey: &mut Survey<'_>) {
        if self.is_open() {
            return;
        }
        let trying = survey.nodes.iter().filter(|seen| self.tries(target, seen)).count();
        let mut missing = canaries_needed(self.request, survey.matched).saturating_sub(trying);
        let mut candidates: Vec<&mut Seen<'_>> = survey
            .nodes
            .iter_mut()
            .filter(|seen| self.is_candidate(target, seen) && !seen.is_moving())
            .collect();
        // Sound nodes first: what fails on them is the revision's fault.
        candidates.sort_by_key(|seen| (seen.view.cordoned, seen.holds, seen.view.in_use, &seen.view.name));
        for seen in candidates {
            let counted = self.tries(target, seen);
            if (counted || missing > 0) && self.begin(seen, &Change::to(target, Why::Canary)) {
                missing = missing.saturating_sub(usize::from(!counted));
            }
        }
    }

    /// Whether the node is, or is going to be, one of those that try the target.
    fn tries(&self, target: &Revision, seen: &Seen<'_>) -> bool {
        let name = &seen.view.name;
        let begun =
            self.record.open.get(name).is_some_and(|open| open.revision == *target) && seen.unseen_change;
        let on = seen.is_on(target) && !matches!(seen.standing, Standing::Failed(..));
        seen.stays && !seen.failed && (on || begun || self.record.canaries.contains_key(name))
    }

    /// Gives the target to whoever's turn it is.
    fn batch(&mut self, target: &Revision, survey: &mut Survey<'_>) {
        if !self.is_open() {
            return;
        }
        let mut candidates: Vec<&mut Seen<'_>> =
            survey.nodes.iter_mut().filter(|seen| self.is_candidate(target, seen)).collect();
        // Nodes without a working runtime first: they have nothing to lose.
        candidates.sort_by_key(|seen| {
            (!seen.holds, !seen.is_bare(), seen.view.cordoned, seen.view.in_use, &seen.view.name)
        });
        for seen in candidates {
            let why = if seen.is_on(target) { Why::Retry } else { Why::Batch };
            if !self.begin(seen, &Change::to(target, why)) && !seen.holds {
                break;
            }
        }
    }

    /// Gives nodes that have nothing, and may not have the target, what the fleet is known to run.
    fn joins(&mut self, target: &Revision, survey: &mut Survey<'_>) {
        let Some(good) = self.record.last_good.clone().filter(|good| good != target) else { return };
        for seen in survey.nodes.iter_mut().filter(|seen| seen.stays && seen.is_bare() && !seen.acted) {
            if seen.unreachable.is_none() && !self.permits(seen) {
                self.begin(seen, &Change::to(&good, Why::Join));
            }
        }
    }

    /// Takes the runtime from nodes that are not to have it, and have no sandbox of it.
    fn leavers(&mut self, survey: &mut Survey<'_>, wakes: &mut Vec<Time>) {
        if survey.nothing_matches {
            return;
        }
        for seen in survey.nodes.iter_mut().filter(|seen| !seen.stays && !seen.acted) {
            if seen.unreachable.is_some() || seen.view.in_use > 0 {
                continue;
            }
            match seen.standing {
                Standing::Stuck(assigned, failure) => match due(self.request, seen, assigned, failure) {
                    Some(until) => {
                        wakes.push(until);
                        seen.reason = Some(backoff(until, assigned, failure));
                    }
                    None => drop(self.again(seen, assigned)),
                },
                standing => {
                    // One that its agent found there has the revision that the fleet was to have, as far as anybody knows.
                    let found = matches!(standing, Standing::Untold(Remains::Found));
                    let fleet = || self.record.target.clone().filter(|_| found);
                    let had = seen.present().map(|assigned| assigned.revision.clone()).or_else(fleet);
                    if let Some(revision) = &had {
                        let change = Change { wanted: Wanted::Absent, revision, attempt: 1, why: Why::Leave };
                        self.begin(seen, &change);
                    }
                }
            }
        }
    }
}

/// When the next attempt is due; none: now.
fn due(request: &Request<'_>, seen: &Seen<'_>, assigned: &Assignment, failure: &Failure) -> Option<Time> {
    // What stood in the way has ended since; both times are the node's.
    if failure.class == Class::InUse && seen.view.unused_since.is_some_and(|unused| unused > failure.at) {
        return None;
    }
    let delay = request.policy.retry.after(assigned.attempt);
    // The node's clock is believed as far as it makes sense beside ours.
    let sane = failure.at <= request.moment.now.plus(delay);
    let start = if sane { failure.at.max(assigned.since) } else { assigned.since };
    request.moment.pending(start, delay)
}

fn backoff(until: Time, assigned: &Assignment, failure: &Failure) -> Reason {
    Reason::Backoff { until, attempt: assigned.attempt, message: failure.message.clone() }
}
