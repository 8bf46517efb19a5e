//! What befalls a simulated cluster.

use crate::fleet::{Machine, Quality};
use crate::world::{World, name};
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{
    AgentState, Backoff, Goal, MaxUnavailable, NodeReady, Policy, RetryToken, Revision,
};
use cofferdam_core::testing::Random;
use std::time::Duration;

impl World<'_> {
    pub fn join(&mut self, name: NodeName) {
        self.uids += 1;
        let mut machine = Machine::new(name.clone(), self.uids, self.now, &mut self.random);
        if let Some(old) = self.machines.get(&name) {
            // A cache may go on showing the node of before.
            machine.history.splice(0..0, old.history.iter().cloned());
            machine.version = old.version;
            machine.history.pop();
            machine.changed(self.now);
            self.tally.replaced += 1;
        }
        self.machines.insert(name, machine);
    }

    pub fn new_target(&mut self, quality: Option<Quality>) {
        self.revisions += 1;
        let revision = Revision(format!("r{}", self.revisions));
        let quality = quality.unwrap_or_else(|| self.any_quality());
        self.quality.insert(revision.clone(), quality);
        self.goal = Goal::Install(revision);
        self.tally.targets += 1;
    }

    fn any_quality(&mut self) -> Quality {
        match self.random.below(10) {
            0 => Quality::Bad,
            1 => Quality::Picky,
            2 => Quality::Flaky,
            3 => Quality::Unreachable,
            4 => Quality::NoNetwork,
            _ => Quality::Good,
        }
    }

    fn any(&mut self) -> Option<&mut Machine> {
        let at = self.random.below(self.machines.len());
        self.machines.values_mut().nth(at)
    }

    pub fn event(&mut self) {
        let kind = self.random.below(40);
        let luck = self.random.number();
        let now = self.now;
        match kind {
            0..=7 => {
                let Some(machine) = self.any() else { return };
                machine.view.ready = match machine.view.ready {
                    NodeReady::Ready if luck.is_multiple_of(3) => NodeReady::Unknown,
                    NodeReady::Ready => NodeReady::NotReady,
                    _ => NodeReady::Ready,
                };
                machine.changed(now);
                self.tally.flaps += 1;
            }
            8..=11 => {
                let Some(machine) = self.any() else { return };
                machine.alive = !machine.alive;
                self.tally.deaths += 1;
            }
            12 => {
                let Some(machine) = self.any() else { return };
                machine.view.cordoned = !machine.view.cordoned;
                machine.changed(now);
            }
            13 => {
                let Some(machine) = self.any() else { return };
                machine.view.matches = !machine.view.matches;
                machine.changed(now);
                self.tally.selections += 1;
            }
            14 | 15 => {
                let name = self.any().map(|machine| machine.view.name.clone());
                if let Some(name) = name.filter(|_| self.machines.len() > 1) {
                    self.machines.remove(&name);
                    self.graves.insert(name, self.now);
                    self.tally.deleted += 1;
                }
            }
            16 | 17 => {
                let name = self.any().map(|machine| machine.view.name.clone());
                if let Some(name) = name {
                    self.join(name);
                }
            }
            18 => {
                let number = self.random.below(60);
                if !self.machines.contains_key(&name(number)) {
                    self.join(name(number));
                }
            }
            19..=22 => {
                let Some(machine) = self.any() else { return };
                machine.view.in_use = if machine.label { (luck % 4) as u32 } else { 0 };
                machine.changed(now);
            }
            23 => {
                let Some(machine) = self.any() else { return };
                if matches!(machine.view.observed.state, AgentState::Proven { .. }) && machine.alive {
                    machine.view.observed.state = AgentState::Drifted { message: "gone".to_owned() };
                    machine.changed(now);
                    self.tally.drifts += 1;
                }
            }
            24 => {
                let Some(machine) = self.any() else { return };
                machine.set_retry(luck.to_string(), now);
                self.tally.retry_requests += 1;
            }
            25 => {
                self.retry = Some(RetryToken(luck.to_string()));
                self.tally.retry_requests += 1;
            }
            26 | 27 => self.new_target(None),
            28 if self.random.once_in(3) => {
                let back = Revision(format!("r{}", 1 + self.random.below(self.revisions as usize)));
                self.goal = Goal::Install(back);
                self.tally.targets += 1;
            }
            29 if self.random.once_in(6) => {
                self.goal = Goal::Remove;
                self.tally.removals += 1;
            }
            30 => {
                self.policy = policy(&mut self.random);
                self.tally.policies += 1;
            }
            31 => self.policy.paused = !self.policy.paused,
            32 | 33 => {
                let span = self.random.below(100_000) as i64;
                self.offset += if luck.is_multiple_of(2) { span } else { -span };
                self.hearing_since = self.clock();
                self.hearing_from = self.now;
                self.judge.jumped = true;
                self.tally.jumps += 1;
            }
            34..=36 => self.restart(),
            37 if self.random.once_in(8) => {
                self.machines.values_mut().for_each(|machine| {
                    machine.view.matches = false;
                    machine.changed(now);
                });
                self.tally.mass_unmatched += 1;
            }
            38 => {
                // What worked does no longer, or the other way round.
                let revision = Revision(format!("r{}", 1 + self.random.below(self.revisions as usize)));
                let quality = self.any_quality();
                self.quality.insert(revision, quality);
            }
            39 => {
                let Some(machine) = self.any() else { return };
                if luck.is_multiple_of(3) {
                    machine.recreate(luck.is_multiple_of(2), now);
                    self.tally.recreated += 1;
                } else {
                    machine.readable = !machine.readable;
                }
            }
            _ => {}
        }
    }
}

/// Any policy.
pub fn policy(random: &mut Random) -> Policy {
    Policy {
        max_unavailable: match random.below(3) {
            0 => MaxUnavailable::Count(1),
            1 => MaxUnavailable::Count(1 + random.below(10) as u32),
            _ => MaxUnavailable::Percent(1 + random.below(100) as u8),
        },
        canary: random.below(4) as u32,
        soak: Duration::from_secs(random.below(3) as u64 * 40),
        paused: random.once_in(12),
        failure_budget: if random.once_in(2) { 0 } else { random.below(4) as u32 },
        retry: Backoff {
            base: Duration::from_secs(5 + random.below(30) as u64),
            max: Duration::from_secs(200),
            attempts: 2 + random.below(4) as u32,
        },
        silent_after: Duration::from_secs(150 + random.below(300) as u64),
        auto_rollback: !random.once_in(5),
    }
}
