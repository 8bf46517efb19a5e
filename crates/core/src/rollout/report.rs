//! The third step: the truth for `status`, and who is announced.

use super::act::Acts;
use super::standing::{Seen, Standing};
use super::survey::{Survey, is_final};
use super::{
    Announcement, Counts, Decision, Goal, Label, NodeReady, NodeReport, Phase, Reason, Record, Remains,
    Request, Revision, Status,
};
use std::collections::BTreeSet;

/// Puts the decision together.
pub(super) fn report(request: &Request<'_>, mut survey: Survey<'_>, acts: Acts<'_>) -> Decision {
    let mut nodes = std::mem::take(&mut survey.nodes);
    for seen in &mut nodes {
        if seen.reason.is_none() {
            seen.reason = reason(request, &survey, &acts, seen);
        }
    }
    let target = match request.goal {
        Goal::Install(target) => Some(target),
        Goal::Remove => None,
    };
    let done = |seen: &Seen<'_>| seen.stays && target.is_some_and(|target| seen.has(target));
    Decision {
        phase: phase(request, &survey, &acts, &nodes),
        counts: counts(&survey, &acts, &nodes, target),
        nodes: nodes
            .iter()
            .map(|seen| NodeReport {
                name: seen.view.name.clone(),
                done: done(seen),
                announcement: announcement(request, &survey, seen),
                reason: seen.reason.clone(),
            })
            .collect(),
        remember: is_news(request.record, &acts.record).then_some(acts.record),
        actions: acts.actions,
        next_wake: survey.wake,
    }
}

/// Whether the record says something new that others must know. That a change was seen to end can wait until something
/// else is written, or none is left.
fn is_news(old: &Record, new: &Record) -> bool {
    let begun = new.open.iter().any(|(name, open)| old.open.get(name) != Some(open));
    let settled = new.open.is_empty() && !old.open.is_empty();
    let rest = |record: &Record| Record { open: std::collections::BTreeMap::new(), ..record.clone() };
    begun || settled || rest(old) != rest(new)
}

/// Why a node that nothing was decided about is not done.
fn reason(request: &Request<'_>, survey: &Survey<'_>, acts: &Acts<'_>, seen: &Seen<'_>) -> Option<Reason> {
    if let Some(unreachable) = &seen.unreachable {
        return Some(unreachable.clone());
    }
    if seen.unseen_change
        && let Some(open) = acts.record.open.get(&seen.view.name)
    {
        let revision = open.revision.clone();
        return Some(Reason::Changing { wanted: open.wanted, revision, since: open.since });
    }
    let queue = || {
        if request.policy.paused {
            return Reason::Paused;
        }
        if acts.record.open.get(&seen.view.name).is_some_and(|open| open.uid != seen.view.uid) {
            return Reason::Replaced;
        }
        let target = acts.record.target.as_ref();
        if !seen.stays || target.is_some_and(|_| acts.permits(seen)) {
            return Reason::MaxUnavailable { unavailable: acts.unavailable, limit: survey.limit };
        }
        if survey.halted { Reason::Halted } else { Reason::WaitingForCanary }
    };
    if !seen.stays {
        return leaving(survey, seen, queue);
    }
    let Goal::Install(target) = request.goal else { return None };
    let known = acts.record.failures.get(&seen.view.uid).filter(|_| seen.failed);
    match seen.standing {
        Standing::Proven(assigned) if assigned.revision == *target => None,
        Standing::Changing(assigned) => Some(Reason::Changing {
            wanted: assigned.wanted,
            revision: assigned.revision.clone(),
            since: assigned.since,
        }),
        Standing::Unproven(_, message) => Some(Reason::Unproven { message: message.to_owned() }),
        Standing::Drifted(_, message) => Some(Reason::Drifted { message: message.to_owned() }),
        Standing::Failed(assigned, failure) => {
            let (class, message) = (failure.class, failure.message.clone());
            Some(match known {
                _ if !is_final(request.policy, assigned.attempt, failure) => queue(),
                Some(_) if assigned.revision != *target => Reason::RollbackFailed { class, message },
                _ => Reason::Failed { class, message },
            })
        }
        Standing::Proven(..)
        | Standing::Bare
        | Standing::Untold(_)
        | Standing::Gone
        | Standing::Stuck(..) => Some(match known {
            Some(failed) if seen.is_bare() => {
                Reason::Failed { class: failed.class, message: failed.message.clone() }
            }
            Some(failed) => Reason::RolledBack { class: failed.class, message: failed.message.clone() },
            None => queue(),
        }),
    }
}

fn leaving(survey: &Survey<'_>, seen: &Seen<'_>, queue: impl Fn() -> Reason) -> Option<Reason> {
    match seen.standing {
        Standing::Bare | Standing::Gone => Some(Reason::NotSelected),
        _ if survey.nothing_matches => Some(Reason::NothingMatches),
        Standing::Stuck(assigned, _) | Standing::Changing(assigned) if seen.present().is_none() => {
            Some(Reason::Changing {
                wanted: assigned.wanted,
                revision: assigned.revision.clone(),
                since: assigned.since,
            })
        }
        // No turn and no resume helps: there is nothing to take away before the agent has told what is there.
        Standing::Untold(Remains::Unheard) => Some(Reason::CannotLook),
        _ if seen.view.in_use > 0 => Some(Reason::SandboxesInUse { sandboxes: seen.view.in_use }),
        _ => Some(queue()),
    }
}

fn counts(survey: &Survey<'_>, acts: &Acts<'_>, nodes: &[Seen<'_>], target: Option<&Revision>) -> Counts {
    let count = |pick: &dyn Fn(&Seen<'_>) -> bool| nodes.iter().filter(|seen| pick(seen)).count();
    Counts {
        matched: survey.matched,
        updated: count(&|seen| seen.stays && target.is_some_and(|target| seen.has(target))),
        ready: count(&|seen| {
            seen.stays
                && seen.unreachable.is_none()
                && !seen.acted
                && matches!(seen.standing, Standing::Proven(..))
        }),
        failed: count(&|seen| seen.stays && seen.failed),
        unavailable: acts.unavailable,
        unknown: count(&|seen| seen.stays && seen.unreachable.is_some()),
        waiting: count(&|seen| {
            seen.stays && !seen.failed && !seen.acted && target.is_some_and(|target| !seen.is_on(target))
        }),
        leaving: count(&|seen| seen.is_leaving()),
    }
}

fn phase(request: &Request<'_>, survey: &Survey<'_>, acts: &Acts<'_>, nodes: &[Seen<'_>]) -> Phase {
    let leaving = nodes.iter().filter(|seen| seen.is_leaving()).count();
    let target = match request.goal {
        Goal::Install(target) => target,
        Goal::Remove if leaving == 0 && acts.record.open.is_empty() => return Phase::Removed,
        Goal::Remove if request.policy.paused => return Phase::Paused,
        Goal::Remove => return Phase::Removing,
    };
    if survey.matched == 0 && leaving == 0 {
        return Phase::NoNodes;
    }
    if survey.nothing_matches {
        let why = format!(
            "the node selector matches no node, though {leaving} have the runtime: nothing is taken away from them; \
             label the nodes, or delete the SandboxRuntime"
        );
        return Phase::Unknown { why };
    }
    let stay = || nodes.iter().filter(|seen| seen.stays);
    if leaving == 0 && stay().all(|seen| seen.has(target)) {
        return Phase::Complete;
    }
    if request.policy.paused {
        return Phase::Paused;
    }
    let failed: BTreeSet<_> = stay().filter(|seen| seen.failed).map(|seen| seen.view.name.clone()).collect();
    if survey.halted {
        let present: BTreeSet<_> = nodes.iter().map(|seen| &seen.view.uid).collect();
        let remembered = acts.record.failures.iter();
        let counted = remembered.filter(|(_, known)| known.fleet_retry.as_ref() == request.retry);
        let gone = counted.filter(|(uid, _)| !present.contains(uid)).map(|(_, known)| known);
        let failed = failed.into_iter().chain(gone.map(|known| known.name.clone())).collect();
        return Phase::Halted { failed };
    }
    let settled = |seen: &Seen<'_>| {
        seen.has(target) || seen.failed && !seen.acted && !matches!(seen.standing, Standing::Changing(_))
    };
    if leaving == 0 && stay().all(settled) { Phase::Degraded { failed } } else { Phase::Progressing }
}

fn announcement(request: &Request<'_>, survey: &Survey<'_>, seen: &Seen<'_>) -> Announcement {
    let reason = seen.reason.clone();
    // A selector that matches nothing takes no label away; what the node itself shows does.
    let stays = seen.stays || survey.nothing_matches;
    let (label, status) = match seen.standing {
        _ if !stays || seen.acted || seen.unseen_change => (Label::Take, Status::False),
        Standing::Untold(Remains::Unreadable) => (Label::Keep, Status::Unknown),
        Standing::Proven(..) => match &seen.unreachable {
            None if survey.nothing_matches => (Label::Keep, Status::Unknown),
            None => return Announcement { label: Label::Put, status: Status::True, reason: None },
            // Nobody listened for long enough to tell.
            Some(Reason::NodeReadyUnknown) if is_deaf(request) => (Label::Keep, Status::Unknown),
            Some(_) if seen.view.ready == NodeReady::NotReady => (Label::Take, Status::False),
            Some(_) => (Label::Take, Status::Unknown),
        },
        _ => (Label::Take, Status::False),
    };
    Announcement { label, status, reason }
}

fn is_deaf(request: &Request<'_>) -> bool {
    request.moment.pending(request.moment.hearing_since, request.policy.silent_after).is_some()
}
