//! A simulated cluster: machines, an API with versions, and a controller that may see old versions, lose races and die
//! at any moment. What befalls it is in `trouble`.

use crate::fleet::{Machine, Quality, Snapshot};
use crate::judge::{Broken, Judge, Machines};
use crate::mutants::Decider;
use crate::tally::Tally;
use crate::trouble::policy;
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{
    Action, AgentState, Decision, Fleet, Goal, Label, Moment, NodeReady, NodeView, Observation, Phase,
    Policy, Record, Remains, Request, RetryToken, Revision, Time, Wanted, Why,
};
use cofferdam_core::testing::Random;
use std::collections::BTreeMap;

/// How old a cache may be, in seconds.
const LAG: u64 = 50;

/// What the controller has seen of a node.
pub struct Cached {
    pub snapshot: Snapshot,
    pub heard: Option<Time>,
    /// When it received that, in real time.
    pub received: u64,
}

/// The cluster.
pub struct World<'a> {
    pub random: Random,
    pub decider: &'a Decider,
    pub tally: Tally,
    pub judge: Judge,
    pub now: u64,
    pub machines: Machines,
    pub quality: BTreeMap<Revision, Quality>,
    pub uids: u64,
    pub revisions: u64,
    pub policy: Policy,
    pub goal: Goal,
    pub retry: Option<RetryToken>,
    pub record: Record,
    pub record_version: u64,
    pub old_record: (Record, u64),
    pub cache: BTreeMap<NodeName, Cached>,
    /// When nodes were deleted.
    pub graves: BTreeMap<NodeName, u64>,
    /// The controller's clock less the real one.
    pub offset: i64,
    pub hearing_since: Time,
    /// The same in real time.
    pub hearing_from: u64,
    /// No more trouble from here on.
    pub calm: bool,
    pub phase: Option<Phase>,
    pub wake: Option<Time>,
    /// Whether every step is shown.
    pub trace: bool,
}

/// The node with this number.
pub fn name(number: usize) -> NodeName {
    NodeName::new(format!("n{number:02}.example")).unwrap()
}

impl<'a> World<'a> {
    pub fn new(seed: u64, decider: &'a Decider) -> Self {
        let mut random = Random::new(seed);
        let now = 1_000_000;
        let mut world = Self {
            policy: policy(&mut random),
            random,
            decider,
            tally: Tally::default(),
            judge: Judge::default(),
            now,
            machines: Machines::new(),
            quality: BTreeMap::new(),
            uids: 0,
            revisions: 0,
            goal: Goal::Remove,
            retry: None,
            record: Record::default(),
            record_version: 0,
            old_record: (Record::default(), 0),
            cache: BTreeMap::new(),
            graves: BTreeMap::new(),
            offset: 0,
            hearing_since: Time(now),
            hearing_from: now,
            calm: false,
            phase: None,
            wake: None,
            trace: false,
        };
        world.new_target(Some(Quality::Good));
        for number in 0..1 + world.random.below(60) {
            world.join(name(number));
        }
        world
    }

    /// A whole life: trouble, then calm, in which everything must come to its end.
    pub fn run(&mut self) -> Result<(), Broken> {
        let steps = 60 + self.random.below(200);
        for _ in 0..steps {
            let pause = if self.random.once_in(12) { 400 } else { 25 };
            self.now += 1 + self.random.below(pause) as u64;
            for _ in 0..self.random.below(3) {
                self.event();
            }
            self.agents();
            self.refresh();
            self.reconcile()?;
            // These pass too quickly for restarts by chance, and nothing is written in them.
            let rests = matches!(self.phase, Some(Phase::Complete | Phase::Degraded { .. }));
            if rests && self.random.once_in(3) {
                self.restart();
            }
        }
        self.settle()
    }

    pub fn clock(&self) -> Time {
        Time(self.now.saturating_add_signed(self.offset))
    }

    fn agents(&mut self) -> bool {
        let mut stirred = false;
        for machine in self.machines.values_mut() {
            // A busy agent looks at its spec later.
            if self.calm || !self.random.once_in(4) {
                stirred |= machine.tick(self.now, &self.quality, &mut self.random);
            }
        }
        stirred
    }

    /// The controller starts anew, with whatever its first list says of each node.
    pub fn restart(&mut self) {
        self.tally.restarted(self.phase.as_ref());
        self.cache.clear();
        self.hearing_since = self.clock();
        self.hearing_from = self.now;
        let now = self.clock();
        for (name, machine) in &self.machines {
            let at = if self.random.once_in(2) {
                machine.history.len()
            } else {
                1 + self.random.below(machine.history.len())
            };
            let Some(snapshot) = machine.history.get(at - 1).cloned() else { continue };
            let heard = snapshot.heard.then_some(now);
            self.cache.insert(name.clone(), Cached { snapshot, heard, received: self.now });
        }
    }

    /// The controller's watch goes on, for some nodes.
    fn refresh(&mut self) {
        let now = self.clock();
        let machines = &self.machines;
        let random = &mut self.random;
        let calm = self.calm;
        let young = |name: &NodeName| self.graves.get(name).is_some_and(|at| self.now < at + LAG);
        self.cache.retain(|name, _| machines.contains_key(name) || !calm && young(name) && random.once_in(3));
        for (name, machine) in machines {
            let Some(cached) = self.cache.get_mut(name) else {
                if let Some(snapshot) = machine.history.last().cloned().filter(|_| calm || !random.once_in(3))
                {
                    let heard = snapshot.heard.then_some(now);
                    self.cache.insert(name.clone(), Cached { snapshot, heard, received: self.now });
                }
                continue;
            };
            let shown = machine.shown(self.now, LAG);
            let stale = shown.first().is_some_and(|s| s.version > cached.snapshot.version);
            let newer: Vec<&Snapshot> =
                shown.iter().filter(|s| s.version > cached.snapshot.version).collect();
            if newer.is_empty() || !calm && !stale && random.once_in(3) {
                continue;
            }
            let at = if calm || random.once_in(2) { newer.len() - 1 } else { random.below(newer.len()) };
            if newer[at].beat != cached.snapshot.beat {
                cached.heard = newer[at].heard.then_some(now);
                cached.received = self.now;
            }
            cached.snapshot = newer[at].clone();
        }
    }

    fn fleet(&mut self) -> Fleet {
        if !self.calm && self.random.once_in(15) {
            self.tally.blind += 1;
            let why = "the API server did not answer".to_owned();
            return if self.random.once_in(2) { Fleet::Unknown { why } } else { Fleet::Nodes(Vec::new()) };
        }
        let views: Vec<NodeView> = self
            .cache
            .values()
            .map(|cached| {
                let mut view = cached.snapshot.view.clone();
                view.observed.heard = cached.heard;
                if self.machines.get(&view.name).is_some_and(|machine| !machine.readable) {
                    view.assigned = None;
                    view.observed = Observation { heard: None, sequence: None, state: AgentState::Absent };
                    view.remains = Remains::Unreadable;
                }
                view
            })
            .filter(|view| {
                view.matches
                    || view.assigned.is_some()
                    || view.remains == Remains::Unreadable
                    || self.machines.get(&view.name).is_some_and(|m| m.label)
            })
            .collect();
        if views.is_empty() && self.machines.is_empty() { Fleet::ConfirmedEmpty } else { Fleet::Nodes(views) }
    }

    /// One turn of the controller. Gives whether it changed anything.
    fn reconcile(&mut self) -> Result<bool, Broken> {
        let fleet = self.fleet();
        // Its copy of the SandboxRuntime may be old, too.
        let old = !self.calm && self.random.once_in(10);
        let (record, version) =
            if old { self.old_record.clone() } else { (self.record.clone(), self.record_version) };
        let (policy, goal, retry) = (self.policy.clone(), self.goal.clone(), self.retry.clone());
        let moment = Moment { now: self.clock(), hearing_since: self.hearing_since };
        let request = Request {
            moment,
            policy: &policy,
            goal: &goal,
            retry: retry.as_ref(),
            fleet: &fleet,
            record: &record,
        };
        let decision = self.decider.decide(&request);
        if self.trace {
            self.show(&decision);
        }
        self.tally.decided(&request, &decision);
        self.judge.decision(&request, &decision)?;
        self.idempotent(&request, &decision)?;
        self.phase = Some(decision.phase.clone());
        self.wake = decision.next_wake;
        if let Some(next) = &decision.remember {
            if version != self.record_version {
                self.tally.lost_records += 1;
                return Ok(true);
            }
            self.old_record = (self.record.clone(), self.record_version);
            // Through the API and back.
            let text = serde_json::to_string(next).unwrap();
            self.record = serde_json::from_str(&text).unwrap();
            self.record_version += 1;
            if self.record != *next {
                return Err("a record that JSON does not carry".to_owned());
            }
        }
        self.judge.committed(&request, &self.machines, self.now);
        if decision.phase == Phase::Removed {
            self.judge.removed(&self.machines)?;
        }
        self.carry_out(&request, &decision)?;
        Ok(decision.remember.is_some() || !decision.actions.is_empty())
    }

    fn show(&self, decision: &Decision) {
        println!("{} {:?} {:?} {:?} {:?}", self.now, self.phase, self.goal, self.clock(), self.hearing_since);
        println!("  {:?} {:?}", self.policy, decision.counts);
        for node in &decision.nodes {
            println!("    {} {:?}", node.name, node.reason);
        }
        for (name, machine) in &self.machines {
            let view = &machine.view;
            let told = view.assigned.as_ref().map(|a| (&a.revision.0, a.wanted, a.sequence, a.attempt));
            let cached = self.cache.get(name).map(|c| (&c.snapshot.view.uid.0, c.snapshot.version));
            println!(
                "  {name} {} v{} seen {cached:?} {:?} {} {told:?} says {:?} {:?}",
                view.uid.0,
                machine.version,
                view.ready,
                view.matches,
                view.observed.sequence,
                view.observed.state
            );
        }
        println!("  => {:?}\n  => {:?}", decision.actions, decision.remember);
    }

    fn crashes(&mut self) -> bool {
        let crashes = !self.calm && self.random.once_in(60);
        if crashes {
            self.tally.crashes += 1;
            self.restart();
        }
        crashes
    }

    fn carry_out(&mut self, request: &Request<'_>, decision: &Decision) -> Result<(), Broken> {
        let known: BTreeMap<NodeName, u64> =
            self.cache.iter().map(|(name, cached)| (name.clone(), cached.snapshot.version)).collect();
        for action in &decision.actions {
            if self.crashes() {
                return Ok(());
            }
            let Some(machine) = self.machines.get_mut(action.node()) else { continue };
            let fresh = known.get(action.node()) == Some(&machine.version);
            let (assignment, why) = match action {
                Action::Withdraw { uid, .. } => {
                    machine.label &= machine.view.uid != *uid;
                    continue;
                }
                Action::Assign { uid, assignment, why, .. } if fresh && machine.view.uid == *uid => {
                    (assignment, *why)
                }
                Action::Forget { uid, .. } if fresh && machine.view.uid == *uid => {
                    machine.assign(None, self.now);
                    machine.view.observed.sequence = None;
                    continue;
                }
                _ => {
                    self.tally.conflicts += 1;
                    continue;
                }
            };
            let before = machine.clone();
            machine.assign(Some(assignment.clone()), self.now);
            self.tally.wrote(why, assignment.wanted == Wanted::Absent);
            self.judge.written(request, decision, &self.machines, &before, assignment, why)?;
        }
        for report in &decision.nodes {
            let Some(machine) = self.machines.get_mut(&report.name) else { continue };
            match report.announcement.label {
                Label::Put => machine.label = true,
                Label::Keep => {}
                Label::Take => {
                    if let Some(reason) = report.reason.as_ref().filter(|_| machine.label) {
                        let received = self.cache.get(&report.name).map_or(0, |cached| cached.received);
                        let quiet = self.now - received.max(self.hearing_from);
                        self.judge.withdrawn(request, &report.name, reason, quiet)?;
                    }
                    machine.label = false;
                }
            }
        }
        Ok(())
    }

    /// A decision that was carried out in full asks for nothing more at the same moment.
    fn idempotent(&mut self, request: &Request<'_>, decision: &Decision) -> Result<(), Broken> {
        let Fleet::Nodes(views) = request.fleet else { return Ok(()) };
        let mut views = views.clone();
        for action in &decision.actions {
            let Some(view) = views.iter_mut().find(|view| view.name == *action.node()) else { continue };
            match action {
                Action::Assign { assignment, .. } => view.assigned = Some(assignment.clone()),
                Action::Forget { .. } => view.assigned = None,
                Action::Withdraw { .. } => {}
            }
        }
        let record = decision.remember.as_ref().unwrap_or(request.record);
        let again = self.decider.decide(&Request { fleet: &Fleet::Nodes(views), record, ..*request });
        if again.actions.is_empty() && again.remember.is_none() {
            return Ok(());
        }
        Err(format!(
            "asks again for {:?}, {:?} after {:?}, {:?}",
            again.actions, again.remember, decision.actions, record
        ))
    }

    /// Everything is well from now on; then what was asked for must come about, by no other wakes than those asked for.
    fn settle(&mut self) -> Result<(), Broken> {
        self.calm = true;
        let now = self.now;
        self.policy.paused = false;
        self.quality.clear();
        self.retry = Some(RetryToken("once more".to_owned()));
        for machine in self.machines.values_mut() {
            machine.alive = true;
            machine.readable = true;
            machine.view.ready = NodeReady::Ready;
            machine.view.in_use = 0;
            machine.view.matches |= machine.view.name == name(0) || self.random.once_in(2);
            if matches!(machine.view.observed.state, AgentState::Drifted { .. }) {
                machine.view.observed.state = AgentState::Proven { since: Time(0) };
                machine.proven_at = Some(now);
            }
            machine.changed(now);
        }
        if let Some(machine) = self.machines.values_mut().next() {
            machine.view.matches = true;
            machine.changed(now);
        }
        let mut busy = true;
        for turn in 0..4000 {
            let unproven =
                |machine: &Machine| matches!(machine.view.observed.state, AgentState::Unproven { .. });
            let ails = !self.record.failures.is_empty() || self.machines.values().any(unproven);
            if turn % 300 == 200 && ails {
                // What came to light late.
                self.retry = Some(RetryToken(format!("once more, {turn}")));
                busy = true;
            }
            // What agents and the controller did wakes it, and what it asked for; not that agents say that they live.
            busy |= self.agents() || self.wake.is_some_and(|wake| wake <= self.clock());
            self.refresh();
            if busy {
                busy = self.reconcile()?;
            }
            match &self.phase {
                Some(Phase::Complete) if self.machines.values().all(|m| m.label == m.view.matches) => {
                    return Ok(());
                }
                Some(Phase::Removed) => return Ok(()),
                _ => {}
            }
            let jobs = self.machines.values().filter_map(Machine::next).min();
            let beats =
                self.machines.values().filter_map(|machine| machine.heard).min().map(|heard| heard + 60);
            let wake = self.wake.map(|wake| wake.0.saturating_add_signed(-self.offset));
            let next = [jobs, beats, wake].into_iter().flatten().filter(|next| *next > self.now).min();
            self.now = next.unwrap_or(self.now + 1);
        }
        Err(format!("never ends: {:?}, {} nodes, {:?}", self.phase, self.machines.len(), self.record))
    }
}

/// Why nodes were assigned something, in the order in which it is shown.
pub const WHYS: [Why; 7] =
    [Why::Canary, Why::Batch, Why::Join, Why::Retry, Why::Rollback, Why::Resume, Why::Leave];
