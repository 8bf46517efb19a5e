//! The invariants, checked from outside: against what was asked of a decision, and against the machines themselves.

use crate::fleet::{Machine, seconds};
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{
    Action, AgentState, Assignment, Decision, Fleet, Goal, Label, NodeReady, NodeUid, NodeView, Phase,
    Policy, Reason, Remains, Request, RetryToken, Revision, Wanted, Why,
};
use std::collections::{BTreeMap, BTreeSet};

/// A promise that was broken.
pub type Broken = String;

/// What the judge remembers of a run. Nothing of it comes from the rollout's record but which revision is the last good one.
#[derive(Default)]
pub struct Judge {
    target: Option<Revision>,
    /// The most canaries that were asked for since the target is the target.
    canaries: usize,
    passed: bool,
    /// Failures of the target that were committed: sequence and tokens.
    failed: BTreeMap<NodeUid, (u64, Option<RetryToken>, Option<RetryToken>)>,
    /// Rollbacks written, by node and the sequence that they left.
    rollbacks: BTreeSet<(NodeUid, u64)>,
    /// Revisions that a node has proven.
    proven: BTreeMap<NodeUid, BTreeSet<Revision>>,
    /// A clock has jumped: times across the jump are not comparable.
    pub jumped: bool,
}

/// Every machine, by name.
pub type Machines = BTreeMap<NodeName, Machine>;

fn views<'a>(request: &Request<'a>) -> &'a [NodeView] {
    match request.fleet {
        Fleet::Nodes(views) => views,
        Fleet::Unknown { .. } | Fleet::ConfirmedEmpty => &[],
    }
}

fn stays(request: &Request<'_>, view: &NodeView) -> bool {
    view.matches && *request.goal != Goal::Remove
}

fn about(view: &NodeView) -> Option<&Assignment> {
    view.assigned.as_ref().filter(|assigned| view.observed.sequence == Some(assigned.sequence))
}

fn proven(view: &NodeView) -> Option<&Assignment> {
    about(view)
        .filter(|a| a.wanted == Wanted::Present && matches!(view.observed.state, AgentState::Proven { .. }))
}

fn silent(request: &Request<'_>, view: &NodeView) -> bool {
    let Some(heard) = view.observed.heard else { return true };
    let from = heard.0.max(request.moment.hearing_since.0);
    request.moment.now.0.saturating_sub(from) > seconds(request.policy.silent_after)
}

fn reachable(request: &Request<'_>, view: &NodeView) -> bool {
    view.ready == NodeReady::Ready && !silent(request, view)
}

/// Whether it is not known how the node stands: its SandboxNode cannot be read, or nobody knows whether it is ready and
/// the controller has not listened for long enough.
fn nobody_can_tell(request: &Request<'_>, view: &NodeView) -> bool {
    let (now, from) = (request.moment.now.0, request.moment.hearing_since.0);
    let deaf = now.saturating_sub(from) < seconds(request.policy.silent_after);
    let unknown = view.ready == NodeReady::Unknown && proven(view).is_some();
    view.remains == Remains::Unreadable || deaf && unknown
}

/// Whether a node that is to have the runtime has a working one, or never had one.
fn is_fine(request: &Request<'_>, view: &NodeView) -> bool {
    match &view.assigned {
        None => true,
        Some(a) if a.wanted == Wanted::Absent => {
            about(view).is_some() && view.observed.state == AgentState::Absent
        }
        // What is to go, and went away by itself, is not the rollout's doing.
        Some(_) if !stays(request, view) => {
            let drifted = about(view).is_some() && matches!(view.observed.state, AgentState::Drifted { .. });
            proven(view).is_some() || drifted && !reachable(request, view)
        }
        Some(_) => proven(view).is_some() && reachable(request, view),
    }
}

/// How many nodes may be unavailable.
pub fn limit(request: &Request<'_>) -> usize {
    let base = views(request).iter().filter(|view| {
        let gone = about(view).is_some_and(|a| a.wanted == Wanted::Absent)
            && view.observed.state == AgentState::Absent;
        let unknown = view.remains == Remains::Unreadable;
        let left = view.assigned.is_none() && (unknown || view.matches && view.remains != Remains::Nothing);
        stays(request, view) || left || (view.assigned.is_some() && !gone)
    });
    request.policy.max_unavailable.of(base.count())
}

fn ensure(holds: bool, broken: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken()) }
}

impl Judge {
    /// What a decision may say, whatever becomes of it.
    pub fn decision(&mut self, request: &Request<'_>, decision: &Decision) -> Result<(), Broken> {
        if views(request).is_empty() {
            return self.blind(request, decision);
        }
        let assigns = decision.actions.iter().filter(|action| !matches!(action, Action::Withdraw { .. }));
        ensure(!request.policy.paused || assigns.clone().count() == 0, || "acts although paused".to_owned())?;
        let by_name: BTreeMap<&NodeName, &NodeView> = views(request).iter().map(|v| (&v.name, v)).collect();
        let mut started = 0;
        for action in assigns {
            let view = by_name.get(action.node()).ok_or("acts on a node that is not listed")?;
            match action {
                Action::Assign { uid, assignment, why, .. } => {
                    ensure(*uid == view.uid, || format!("{}: another node's uid", view.name))?;
                    ensure(reachable(request, view), || {
                        format!("{}: unreachable, and told something", view.name)
                    })?;
                    started += usize::from(is_fine(request, view));
                    self.assignment(request, view, assignment, *why)?;
                }
                Action::Forget { .. } => {
                    let gone = about(view).is_some_and(|a| a.wanted == Wanted::Absent);
                    ensure(
                        gone && view.observed.state == AgentState::Absent && !stays(request, view),
                        || format!("{}: forgotten before it was gone", view.name),
                    )?;
                }
                Action::Withdraw { .. } => {}
            }
        }
        let down = views(request).iter().filter(|view| !is_fine(request, view)).count();
        ensure(started == 0 || down + started <= limit(request), || {
            let whys: Vec<Why> = decision.actions.iter().filter_map(Action::why).collect();
            format!(
                "starts {started} beside {down} that are unavailable, of {} that may be: {whys:?}",
                limit(request)
            )
        })?;
        self.reports(request, decision)
    }

    fn blind(&self, request: &Request<'_>, decision: &Decision) -> Result<(), Broken> {
        let confirmed = *request.fleet == Fleet::ConfirmedEmpty;
        let still = decision.actions.is_empty() && decision.nodes.is_empty();
        // That a change of a node that is gone ended may be noted.
        ensure(still && (confirmed || decision.remember.is_none()), || {
            "acts on a fleet that it cannot see".to_owned()
        })?;
        ensure(confirmed || matches!(decision.phase, Phase::Unknown { .. }), || {
            "claims to know the fleet".to_owned()
        })
    }

    fn assignment(
        &self,
        request: &Request<'_>,
        view: &NodeView,
        assignment: &Assignment,
        why: Why,
    ) -> Result<(), Broken> {
        let name = &view.name;
        if assignment.wanted == Wanted::Absent {
            ensure(view.in_use == 0, || format!("{name}: removal while sandboxes run"))?;
            ensure(!stays(request, view), || format!("{name}: removal although it is selected"))?;
            let none = *request.goal != Goal::Remove && !views(request).iter().any(|view| view.matches);
            return ensure(!none, || "removal because nothing matches".to_owned());
        }
        ensure(stays(request, view), || format!("{name}: assigned although it is not selected"))?;
        let told = view.assigned.as_ref().map_or(0, |a| a.sequence);
        ensure(assignment.sequence > told, || format!("{name}: a sequence that was there"))?;
        if why == Why::Retry && assignment.attempt > 1 {
            self.retry(request, view, assignment)?;
        }
        if why == Why::Rollback {
            let proven = self.proven.get(&view.uid).is_some_and(|known| known.contains(&assignment.revision));
            let good = request.record.last_good.as_ref() == Some(&assignment.revision);
            ensure(proven || good, || format!("{name}: rolled back to what never worked"))?;
        }
        Ok(())
    }

    fn retry(&self, request: &Request<'_>, view: &NodeView, assignment: &Assignment) -> Result<(), Broken> {
        let (Some(last), AgentState::Failed(failure)) = (about(view), &view.observed.state) else {
            return Err(format!("{}: retried what did not fail", view.name));
        };
        ensure(assignment.attempt <= request.policy.retry.attempts, || {
            format!("{}: one try too many", view.name)
        })?;
        let waited = request.moment.now.0.saturating_sub(last.since.0);
        let delay = seconds(request.policy.retry.after(last.attempt));
        ensure(failure.is_transient(), || format!("{}: retried what is final", view.name))?;
        ensure(self.jumped || waited >= delay, || {
            format!("{}: retried after {waited} s, not {delay}", view.name)
        })
    }

    fn reports(&self, request: &Request<'_>, decision: &Decision) -> Result<(), Broken> {
        let acted: BTreeSet<&NodeName> = decision.actions.iter().map(Action::node).collect();
        ensure(decision.nodes.len() == views(request).len(), || "nodes without a report".to_owned())?;
        let mut done = 0;
        for (view, report) in views(request).iter().zip(&decision.nodes) {
            let name = &view.name;
            let Goal::Install(target) = request.goal else { continue };
            let has = proven(view).is_some_and(|a| a.revision == *target) && reachable(request, view);
            ensure(!report.done || has && view.matches, || format!("{name}: called done, and is not"))?;
            ensure(report.done || report.reason.is_some(), || format!("{name}: neither done nor a reason"))?;
            let put = report.announcement.label == Label::Put;
            let provable = proven(view).is_some() && reachable(request, view) && !acted.contains(name);
            ensure(!put || provable && view.matches, || format!("{name}: announced unproven"))?;
            let kept = report.announcement.label == Label::Keep;
            ensure(!kept || provable || nobody_can_tell(request, view), || {
                format!("{name}: its label is kept without a proof")
            })?;
            done += usize::from(report.done);
        }
        ensure(decision.counts.updated == done, || "updated nodes miscounted".to_owned())?;
        let matched = views(request).iter().filter(|view| stays(request, view)).count();
        let complete = decision.phase == Phase::Complete;
        ensure(!complete || done == matched && matched > 0, || format!("complete with {done} of {matched}"))
    }

    /// What is taken note of when a decision's record was written, or needed no writing.
    pub fn committed(&mut self, request: &Request<'_>, machines: &Machines, now: u64) {
        let Goal::Install(target) = request.goal else { return };
        if self.target.as_ref() != Some(target) {
            let (proven, jumped) = (std::mem::take(&mut self.proven), self.jumped);
            let rollbacks = std::mem::take(&mut self.rollbacks);
            *self = Self { target: Some(target.clone()), proven, jumped, rollbacks, ..Self::default() };
        }
        self.canaries = self.canaries.max(request.policy.canary as usize);
        let mut grown = 0;
        for view in views(request) {
            if let (Some(assigned), AgentState::Failed(failure)) = (about(view), &view.observed.state) {
                let last = !failure.is_transient() || assigned.attempt >= request.policy.retry.attempts;
                let known =
                    self.failed.get(&view.uid).is_some_and(|(sequence, ..)| *sequence >= assigned.sequence);
                if last && !known && assigned.revision == *target && view.matches {
                    let tokens = (assigned.sequence, request.retry.cloned(), view.retry.clone());
                    self.failed.insert(view.uid.clone(), tokens);
                }
            }
            if let Some(assigned) =
                about(view).filter(|_| matches!(view.observed.state, AgentState::Drifted { .. }))
            {
                self.proven.entry(view.uid.clone()).or_default().insert(assigned.revision.clone());
            }
            if let Some(assigned) = proven(view) {
                if self.failed.get(&view.uid).is_some_and(|(sequence, ..)| *sequence < assigned.sequence)
                    && assigned.revision == *target
                {
                    self.failed.remove(&view.uid);
                }
                self.proven.entry(view.uid.clone()).or_default().insert(assigned.revision.clone());
                let since = machines.get(&view.name).and_then(|machine| machine.proven_at);
                let soaked =
                    since.is_none_or(|since| now.saturating_sub(since) + 1 >= seconds(request.policy.soak));
                let fits = assigned.revision == *target && view.matches && reachable(request, view);
                grown += usize::from(fits && (soaked || self.jumped));
            }
        }
        let matched = views(request).iter().filter(|view| view.matches).count();
        self.passed |= matched > 0 && grown >= (request.policy.canary as usize).min(matched);
    }

    fn counted(&self, request: &Request<'_>) -> usize {
        let retry_of: BTreeMap<&NodeUid, &Option<RetryToken>> =
            views(request).iter().map(|view| (&view.uid, &view.retry)).collect();
        let counts = |uid: &NodeUid, fleet: &Option<RetryToken>, node: &Option<RetryToken>| {
            fleet.as_ref() == request.retry && retry_of.get(uid).is_none_or(|now| *now == node)
        };
        self.failed.iter().filter(|(uid, (_, fleet, node))| counts(uid, fleet, node)).count()
    }

    /// What may be written, judged by the machines as they are when it has been.
    pub fn written(
        &mut self,
        request: &Request<'_>,
        decision: &Decision,
        machines: &Machines,
        before: &Machine,
        assignment: &Assignment,
        why: Why,
    ) -> Result<(), Broken> {
        let name = &before.view.name;
        ensure(!before.label, || format!("{name}: changes while it is announced"))?;
        let unsettled =
            machines.values().filter(|machine| machine.is_unsettled() && machine.view.matches).count();
        let down = before.is_unsettled() || matches!(before.view.observed.state, AgentState::Drifted { .. });
        ensure(down || unsettled <= limit(request), || {
            format!("{name}: {unsettled} change at once, {} may", limit(request))
        })?;
        if let Some(left) = before.view.assigned.as_ref().filter(|_| why == Why::Rollback) {
            ensure(self.rollbacks.insert((before.view.uid.clone(), left.sequence)), || {
                format!("{name}: rolled back twice")
            })?;
        }
        let Goal::Install(target) = request.goal else { return Ok(()) };
        let record = decision.remember.as_ref().unwrap_or(request.record);
        if assignment.wanted == Wanted::Absent
            || assignment.revision != *target
            || record.last_good.as_ref() == Some(target)
        {
            return Ok(());
        }
        let budget = request.policy.failure_budget.min(Policy::MOST_FAILURES) as usize;
        let failed = self.counted(request);
        ensure(failed <= budget, || format!("{name}: gets the target after {failed} failures of {budget}"))?;
        // Putting back what a node had is no trial.
        let had = before.view.assigned.as_ref().is_some_and(|assigned| assigned.revision == *target);
        let put_back = had && matches!(before.view.observed.state, AgentState::Drifted { .. });
        if self.passed || put_back || request.policy.canary == 0 {
            return Ok(());
        }
        let trying = |view: &NodeView| {
            let same = |machine: &&Machine| machine.view.uid == view.uid && machine.readable;
            let machine = machines.get(&view.name).filter(same);
            machine.is_some_and(|machine| {
                let failed = matches!(machine.view.observed.state, AgentState::Failed(_))
                    && about(&machine.view).is_some();
                let on = machine
                    .view
                    .assigned
                    .as_ref()
                    .is_some_and(|a| a.revision == *target && a.wanted == Wanted::Present);
                on && !failed && view.matches
            })
        };
        let trying = views(request).iter().filter(|view| trying(view)).count();
        ensure(trying <= self.canaries, || format!("{name}: {trying} nodes try it, {} should", self.canaries))
    }

    /// When the last node may be said to be clean.
    pub fn removed(&self, machines: &Machines) -> Result<(), Broken> {
        let has = |machine: &&Machine| {
            let told = machine.view.assigned.as_ref();
            told.is_some_and(|a| a.wanted == Wanted::Present || machine.is_unsettled())
                || machine.has && machine.view.matches
        };
        match machines.values().find(has) {
            Some(machine) => {
                Err(format!("{}: still has it, and everything is said to be gone", machine.view.name))
            }
            None => Ok(()),
        }
    }

    /// What may be withdrawn for silence, `quiet` seconds after the controller heard of the node, or began to listen.
    pub fn withdrawn(
        &self,
        request: &Request<'_>,
        name: &NodeName,
        reason: &Reason,
        quiet: u64,
    ) -> Result<(), Broken> {
        let silence = matches!(reason, Reason::AgentSilent { .. });
        ensure(!silence || quiet >= seconds(request.policy.silent_after), || {
            format!("{name}: withdrawn for silence after {quiet} s")
        })
    }
}
