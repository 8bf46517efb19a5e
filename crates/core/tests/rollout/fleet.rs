//! Simulated machines: what the API holds of them, what their agents do, and the older versions that caches may show.

use cofferdam_core::class::Class;
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{
    AgentState, Assignment, Failure, NodeReady, NodeUid, NodeView, Observation, Remains, RetryToken,
    Revision, Time, Wanted,
};
use cofferdam_core::testing::Random;
use std::collections::BTreeMap;
use std::time::Duration;

/// How a revision turns out on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    Good,
    /// It fails everywhere.
    Bad,
    /// It fails on one node in three.
    Picky,
    /// The first attempts cannot reach the registry.
    Flaky,
    /// No attempt can.
    Unreachable,
    /// It is installed, and no sandbox starts.
    NoNetwork,
}

/// A version of a node, as a cache may hold it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub view: NodeView,
    pub version: u64,
    pub beat: u64,
    /// Whether an agent has reported in it.
    pub heard: bool,
    /// When it was the newest.
    at: u64,
}

#[derive(Clone, Debug)]
struct Job {
    sequence: u64,
    until: u64,
    outcome: AgentState,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    pub view: NodeView,
    pub label: bool,
    pub version: u64,
    pub beat: u64,
    pub history: Vec<Snapshot>,
    /// Whether its agent lives.
    pub alive: bool,
    /// When the agent was last heard, in real time.
    pub heard: Option<u64>,
    /// Whether its agent's next report, if that is the first, tells only that it lives.
    blind: bool,
    /// When it reported its present state as proven, in real time.
    pub proven_at: Option<u64>,
    /// Whether the host has the runtime.
    pub has: bool,
    /// Whether the controller can read its SandboxNode.
    pub readable: bool,
    pub slow: u64,
    skew: i64,
    job: Option<Job>,
}

impl Machine {
    pub fn new(name: NodeName, uid: u64, now: u64, random: &mut Random) -> Self {
        let view = NodeView {
            name,
            uid: NodeUid(format!("uid-{uid}")),
            ready: if random.once_in(6) { NodeReady::NotReady } else { NodeReady::Ready },
            cordoned: random.once_in(8),
            matches: !random.once_in(8),
            assigned: None,
            remains: Remains::Nothing,
            observed: Observation { heard: None, sequence: None, state: AgentState::Absent },
            in_use: 0,
            unused_since: None,
            retry: None,
        };
        let skew = if random.once_in(3) { random.below(4000) as i64 - 2000 } else { 0 };
        let slow = 5 + random.below(60) as u64;
        let mut machine = Self {
            view,
            label: false,
            version: 0,
            beat: 0,
            history: Vec::new(),
            alive: true,
            heard: None,
            blind: false,
            proven_at: None,
            has: false,
            readable: true,
            slow,
            skew,
            job: None,
        };
        machine.changed(now);
        machine
    }

    /// A new version is in the API.
    pub fn changed(&mut self, now: u64) {
        self.version += 1;
        self.history.push(Snapshot {
            view: self.view.clone(),
            version: self.version,
            beat: self.beat,
            heard: self.heard.is_some(),
            at: now,
        });
        if self.history.len() > 10 {
            self.history.remove(0);
        }
    }

    /// The versions that a cache may show which is no older than `lag`.
    pub fn shown(&self, now: u64, lag: u64) -> &[Snapshot] {
        let outdated = self.history.iter().skip(1).take_while(|next| next.at + lag < now).count();
        &self.history[outdated..]
    }

    pub fn assign(&mut self, assignment: Option<Assignment>, now: u64) {
        self.view.assigned = assignment;
        self.changed(now);
    }

    pub fn set_retry(&mut self, token: String, now: u64) {
        self.view.retry = Some(RetryToken(token));
        self.changed(now);
    }

    /// Its SandboxNode is deleted, and made anew. `blind`: its agent cannot look at the host at first.
    pub fn recreate(&mut self, blind: bool, now: u64) {
        self.blind = blind;
        self.view.assigned = None;
        self.view.observed = Observation { heard: None, sequence: None, state: AgentState::Absent };
        self.view.remains = Remains::Unheard;
        self.heard = None;
        self.beat += 1;
        self.changed(now);
    }

    /// Whether what it was told is not what it has proven: in flight, or failed.
    pub fn is_unsettled(&self) -> bool {
        let Some(assigned) = &self.view.assigned else { return false };
        let about = self.view.observed.sequence == Some(assigned.sequence);
        match (&self.view.observed.state, assigned.wanted) {
            (AgentState::Proven { .. } | AgentState::Drifted { .. }, Wanted::Present) => !about,
            (AgentState::Absent, Wanted::Absent) => !about,
            _ => true,
        }
    }

    /// What its agent does at `now`. Gives whether it did anything but say that it lives.
    pub fn tick(&mut self, now: u64, quality: &BTreeMap<Revision, Quality>, random: &mut Random) -> bool {
        if !self.alive || self.view.ready != NodeReady::Ready {
            return false;
        }
        let mut stirred = false;
        if let Some(job) = self.job.take_if(|job| job.until <= now) {
            let proven = matches!(job.outcome, AgentState::Proven { .. });
            self.has |= proven || matches!(job.outcome, AgentState::Unproven { .. });
            self.has &= job.outcome != AgentState::Absent;
            // Its SandboxNode may have been made anew meanwhile.
            if self.view.assigned.is_some() {
                self.proven_at = proven.then_some(now);
                self.view.observed.sequence = Some(job.sequence);
                self.view.observed.state = self.stamped(job.outcome, now);
            }
            self.report(now);
            stirred = true;
        }
        let told = self.view.assigned.as_ref().map(|assigned| assigned.sequence);
        if self.job.is_none() && told.is_some() && told != self.view.observed.sequence {
            if let Some(assigned) = self.view.assigned.clone() {
                let outcome = self.outcome(&assigned, quality, random);
                let until = now + 1 + random.below(self.slow as usize) as u64;
                self.job = Some(Job { sequence: assigned.sequence, until, outcome });
                self.view.observed.sequence = Some(assigned.sequence);
                self.view.observed.state = AgentState::Working;
                self.proven_at = None;
                self.report(now);
                stirred = true;
            }
        } else if self.heard.is_none_or(|heard| now >= heard + 60) {
            stirred = self.heard.is_none() || self.blind;
            self.report(now);
        }
        stirred
    }

    /// When its agent will do something by itself.
    pub fn next(&self) -> Option<u64> {
        self.job.as_ref().map(|job| job.until)
    }

    fn report(&mut self, now: u64) {
        self.blind &= self.heard.is_none();
        self.heard = Some(now);
        self.beat += 1;
        if !self.blind {
            self.view.remains = if self.has { Remains::Found } else { Remains::Nothing };
        }
        self.changed(now);
    }

    fn clock(&self, now: u64) -> Time {
        Time(now.saturating_add_signed(self.skew))
    }

    fn stamped(&self, outcome: AgentState, now: u64) -> AgentState {
        let at = self.clock(now);
        match outcome {
            AgentState::Proven { .. } => AgentState::Proven { since: at },
            AgentState::Failed(failure) => AgentState::Failed(Failure { at, ..failure }),
            other => other,
        }
    }

    fn outcome(
        &self,
        assigned: &Assignment,
        quality: &BTreeMap<Revision, Quality>,
        random: &mut Random,
    ) -> AgentState {
        let failed = |class| {
            AgentState::Failed(Failure {
                class,
                at: Time(0),
                message: format!("{} went wrong", assigned.revision),
            })
        };
        if assigned.wanted == Wanted::Absent {
            return if self.view.in_use > 0 { failed(Class::InUse) } else { AgentState::Absent };
        }
        let number = self.view.uid.0.bytes().map(u64::from).sum::<u64>();
        match quality.get(&assigned.revision).copied().unwrap_or(Quality::Good) {
            Quality::Bad => failed(if random.once_in(2) { Class::RolledBack } else { Class::Internal }),
            Quality::Picky if number.is_multiple_of(3) => failed(Class::Unsupported),
            Quality::Flaky if assigned.attempt < 3 => failed(Class::Unavailable),
            Quality::Unreachable => failed(Class::Unavailable),
            Quality::NoNetwork => AgentState::Unproven { message: "no pod network".to_owned() },
            _ => AgentState::Proven { since: Time(0) },
        }
    }
}

/// How long `span` is, in seconds.
pub fn seconds(span: Duration) -> u64 {
    span.as_secs()
}
