//! One node, judged: can it be heard, and how does it stand with what it was told?

use super::{
    AgentState, Assignment, Failure, Goal, Moment, NodeReady, NodeView, Policy, Reason, Remains, Request,
    Revision, Time, Wanted,
};

/// A node's view with what follows from it.
pub(super) struct Seen<'a> {
    /// What was seen.
    pub(super) view: &'a NodeView,
    /// Why it cannot be judged or told anything at this time, if so.
    pub(super) unreachable: Option<Reason>,
    /// Whether it is to have the runtime.
    pub(super) stays: bool,
    /// How it stands.
    pub(super) standing: Standing<'a>,
    /// Whether the target failed on it, and nobody has asked for another try since.
    pub(super) failed: bool,
    /// Whether it drifted, or is unproven, and somebody has asked since that it is mended.
    pub(super) to_mend: bool,
    /// Whether it counts as unavailable.
    pub(super) holds: bool,
    /// Whether it does so by its view alone.
    pub(super) shown: bool,
    /// A change of it was begun that the view does not show.
    pub(super) unseen_change: bool,
    /// Whether this decision changes it.
    pub(super) acted: bool,
    /// Why it is not done.
    pub(super) reason: Option<Reason>,
}

/// How a node stands with what it was told.
#[derive(Clone, Copy)]
pub(super) enum Standing<'a> {
    /// It was told nothing, and has nothing of it.
    Bare,
    /// It was told nothing, and may have it, or has it.
    Untold(Remains),
    /// It was told that the runtime is to go, and it is gone.
    Gone,
    /// It was told something, and has not answered yet, or is at work.
    Changing(&'a Assignment),
    /// It has what it was told.
    Proven(&'a Assignment),
    /// It has it, unproven.
    Unproven(&'a Assignment, &'a str),
    /// It had it.
    Drifted(&'a Assignment, &'a str),
    /// It could not.
    Failed(&'a Assignment, &'a Failure),
    /// It was told that the runtime is to go, and could not.
    Stuck(&'a Assignment, &'a Failure),
}

impl<'a> Standing<'a> {
    fn of(view: &'a NodeView) -> Self {
        let Some(assigned) = &view.assigned else {
            return match view.remains {
                Remains::Unreadable => Self::Untold(view.remains),
                // Nothing is taken from a node that was not selected: who put it there is not known.
                Remains::Unheard | Remains::Found if view.matches => Self::Untold(view.remains),
                _ => Self::Bare,
            };
        };
        if view.observed.sequence != Some(assigned.sequence) {
            return Self::Changing(assigned);
        }
        match (assigned.wanted, &view.observed.state) {
            (Wanted::Absent, AgentState::Absent) => Self::Gone,
            (Wanted::Absent, AgentState::Failed(failure)) => Self::Stuck(assigned, failure),
            (Wanted::Present, AgentState::Proven { .. }) => Self::Proven(assigned),
            (Wanted::Present, AgentState::Unproven { message }) => Self::Unproven(assigned, message),
            (Wanted::Present, AgentState::Drifted { message }) => Self::Drifted(assigned, message),
            (Wanted::Present, AgentState::Failed(failure)) => Self::Failed(assigned, failure),
            _ => Self::Changing(assigned),
        }
    }
}

impl<'a> Seen<'a> {
    /// Judges `view`, as far as it tells by itself.
    pub(super) fn of(request: &Request<'_>, view: &'a NodeView) -> Self {
        let unreachable = unreachable(request.moment, request.policy, view);
        let standing = Standing::of(view);
        let stays = view.matches && *request.goal != Goal::Remove;
        let holds = holds(stays, view.matches, standing, unreachable.is_some());
        Self {
            view,
            stays,
            holds,
            shown: holds,
            unreachable,
            standing,
            failed: false,
            to_mend: false,
            unseen_change: false,
            acted: false,
            reason: None,
        }
    }

    /// Whether it was told to have `revision`.
    pub(super) fn is_on(&self, revision: &Revision) -> bool {
        self.present().is_some_and(|assigned| assigned.revision == *revision)
    }

    /// What it was told to have.
    pub(super) fn present(&self) -> Option<&'a Assignment> {
        self.view.assigned.as_ref().filter(|assigned| assigned.wanted == Wanted::Present)
    }

    /// Whether it is proven on `revision` and reachable.
    pub(super) fn has(&self, revision: &Revision) -> bool {
        matches!(self.standing, Standing::Proven(assigned) if assigned.revision == *revision)
            && self.unreachable.is_none()
    }

    /// Whether nobody told it to have it.
    pub(super) const fn is_bare(&self) -> bool {
        matches!(self.standing, Standing::Bare | Standing::Gone | Standing::Untold(_))
    }

    /// Whether it is not to have it, and has it, or nobody can tell.
    pub(super) const fn is_leaving(&self) -> bool {
        !self.stays && !matches!(self.standing, Standing::Bare)
    }

    /// Whether it is changing at this moment.
    pub(super) const fn is_moving(&self) -> bool {
        self.unseen_change || matches!(self.standing, Standing::Changing(_))
    }

    /// What it may go back to from `revision`.
    pub(super) fn fallback(&self, revision: &Revision) -> Option<&'a Revision> {
        let assigned = self.view.assigned.as_ref()?;
        let proven = matches!(self.standing, Standing::Proven(..) | Standing::Drifted(..));
        let fallback = if proven { Some(&assigned.revision) } else { None };
        fallback
            .filter(|proven| *proven != revision)
            .or(assigned.fallback.as_ref())
            .filter(|r| *r != revision)
    }

    /// When it becomes silent, if it is not.
    pub(super) fn silent_at(&self, moment: Moment, policy: &Policy) -> Option<Time> {
        let heard = self.view.observed.heard?;
        Some(silence(moment, policy, heard)).filter(|end| *end > moment.now)
    }
}

/// The first second at which `heard` is too long ago.
fn silence(moment: Moment, policy: &Policy, heard: Time) -> Time {
    heard.max(moment.hearing_since).plus(policy.silent_after).plus(std::time::Duration::from_secs(1))
}

fn unreachable(moment: Moment, policy: &Policy, view: &NodeView) -> Option<Reason> {
    match view.ready {
        NodeReady::NotReady => return Some(Reason::NodeNotReady),
        NodeReady::Unknown => return Some(Reason::NodeReadyUnknown),
        NodeReady::Ready => {}
    }
    if view.remains == Remains::Unreadable {
        return Some(Reason::Unreadable);
    }
    match view.observed.heard {
        None => Some(Reason::AgentMissing),
        Some(last) if moment.now >= silence(moment, policy, last) => Some(Reason::AgentSilent { last }),
        Some(_) => None,
    }
}

/// Whether a node counts as unavailable: it was given the runtime, and has not proven it, cannot be reached, or is losing
/// it. A node that was never given it has nothing to lose; one that is to lose it and went away by itself is not our doing.
fn holds(stays: bool, matches: bool, standing: Standing<'_>, unreachable: bool) -> bool {
    match standing {
        // It may be in the midst of a change, also while all of them go.
        Standing::Untold(Remains::Unreadable) => matches,
        Standing::Bare | Standing::Gone | Standing::Untold(_) => false,
        Standing::Proven(..) => stays && unreachable,
        Standing::Drifted(..) => stays || !unreachable,
        Standing::Changing(_) | Standing::Unproven(..) | Standing::Failed(..) | Standing::Stuck(..) => true,
    }
}
