//! What was done, and what the host reports, as the SandboxNode's status.

use crate::api::{
    Assigned, CheckState, EngineState, HandlerState, Overhead, PodRef, RuntimeState, SandboxNodeStatus,
    State, names,
};
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_core::name::{HandlerName, RuntimeName};
use cofferdam_core::plan::{Expect, User};
use cofferdam_core::record::Verdict;
use cofferdam_host::error::HostError;
use cofferdam_host::event::{Ending, Outcome};
use cofferdam_host::report::{CheckReport, Depth, Report, RuntimeReport};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::collections::BTreeMap;

const MOST_PODS: usize = 20;
const MOST_CHECKS: usize = 64;
const MOST_MESSAGE: usize = 2000;

/// What the agent knows about each assigned runtime, by the SandboxRuntime's name.
///
/// It is what status holds: a restarted agent reads it from there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    states: BTreeMap<String, RuntimeState>,
}

/// How one task ended.
#[derive(Debug)]
pub(super) struct Done {
    /// The host's answer, or why there was none.
    pub(super) result: Result<Outcome, HostError>,
    /// What the package says of itself, if it was read.
    pub(super) descriptor: Option<Descriptor>,
}

impl Known {
    /// As an earlier agent left it.
    pub(super) fn of(status: &SandboxNodeStatus) -> Self {
        Self { states: status.runtimes.iter().map(|state| (state.name.clone(), state.clone())).collect() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&RuntimeState> {
        self.states.get(name)
    }

    /// The runtime's own name on the host: what was found here, else what the controller knows.
    pub(super) fn runtime_of(&self, assigned: &Assigned) -> Option<RuntimeName> {
        let found = self.get(&assigned.name).map(|state| state.runtime.as_str());
        let name = found.filter(|name| !name.is_empty()).unwrap_or(&assigned.runtime);
        RuntimeName::new(name).ok()
    }

    /// What of this assignment is on the host already stays the same runtime: another one would leave it behind.
    pub(super) fn expected(&self, assigned: &Assigned) -> Expect {
        let installed = self.get(&assigned.name).filter(|state| state.installed.is_some());
        let name = installed.and_then(|state| RuntimeName::new(state.runtime.as_str()).ok());
        name.map_or(Expect::Anything, Expect::Runtime)
    }

    /// Whether what is to be there was installed before, and is not any more what it was.
    pub(super) fn is_drifted(&self, assigned: &Assigned, report: &Report) -> bool {
        let installed = self.get(&assigned.name).and_then(|state| state.installed.as_ref());
        let found = self.runtime_of(assigned).and_then(|name| report.runtimes.get(&name));
        installed == Some(&assigned.target.revision) && found.is_some_and(|found| !found.drift.is_empty())
    }

    /// Whether anything drifted.
    pub(super) fn has_drift(&self) -> bool {
        self.states.values().any(|state| state.state == State::Drifted)
    }

    /// Forgets what the spec does not name any more. What is installed stays, and is called unmanaged.
    pub(super) fn keep_only(&mut self, assigned: &[Assigned]) {
        self.states.retain(|name, _| assigned.iter().any(|assigned| assigned.name == *name));
    }

    /// A task began.
    pub(super) fn begin(&mut self, assigned: &Assigned, now: &Time) {
        let state = self.entry(assigned);
        state.sequence = assigned.sequence;
        state.revision = assigned.target.revision.clone();
        state.set(State::Working, "", "", now);
    }

    /// A task ended.
    pub(super) fn end(&mut self, assigned: &Assigned, removal: bool, done: &Done, now: &Time) {
        let state = self.entry(assigned);
        state.sequence = assigned.sequence;
        state.revision = assigned.target.revision.clone();
        let ending = done.result.as_ref().map(|outcome| outcome.result);
        let is_there = matches!(ending, Ok(Ending::Committed | Ending::Unchanged));
        // What was refused is not what is installed.
        if let Some(descriptor) = done.descriptor.as_ref().filter(|_| is_there || state.installed.is_none()) {
            state.runtime = descriptor.name.to_string();
            state.handlers = handlers(descriptor);
        }
        match &done.result {
            Err(error) => {
                let text = error.chain();
                state.fail(error.class(), &text, error.hint().as_deref(), now);
            }
            Ok(outcome) if !matches!(outcome.result, Ending::Committed | Ending::Unchanged) => {
                let class = outcome.class.unwrap_or(Class::Internal);
                state.fail(class, &outcome.message, outcome.hint.as_deref(), now);
            }
            Ok(_) if removal => {
                state.installed = None;
                (state.version, state.digest, state.image, state.verified) = Default::default();
                state.handlers.clear();
                state.set(State::Absent, "", "", now);
            }
            Ok(outcome) => {
                state.installed = Some(assigned.target.revision.clone());
                // The next look tells of which image it is; until then none is better than another revision's.
                state.image.clear();
                match &outcome.verdict {
                    Some(Verdict::Unproven { reason }) => state.set(State::Unproven, "", reason, now),
                    // An unchanged node says by its report what it is.
                    _ => state.set(State::Proven, "", "", now),
                }
            }
        }
    }

    fn entry(&mut self, assigned: &Assigned) -> &mut RuntimeState {
        let state = self.states.entry(assigned.name.clone()).or_insert_with(|| RuntimeState {
            name: assigned.name.clone(),
            sequence: assigned.sequence,
            revision: assigned.target.revision.clone(),
            state: State::Absent,
            reason: String::new(),
            message: String::new(),
            since: None,
            runtime: String::new(),
            installed: None,
            version: String::new(),
            digest: String::new(),
            image: String::new(),
            verified: String::new(),
            handlers: Vec::new(),
            in_use: 0,
            unused_since: None,
            pods: Vec::new(),
        });
        // One that is to go although this agent never saw it come is known by the controller's word.
        if state.runtime.is_empty() {
            state.runtime = assigned.runtime.clone();
        }
        state
    }

    /// Takes what the host has into account.
    pub(super) fn see(&mut self, report: &Report, now: &Time) {
        for state in self.states.values_mut() {
            let found =
                RuntimeName::new(state.runtime.as_str()).ok().and_then(|name| report.runtimes.get(&name));
            match found {
                Some(found) => state.see(found, report, now),
                None => state.see_nothing(now),
            }
        }
    }

    /// The host cannot be looked at: nothing is proven any more.
    pub(super) fn see_no_more(&mut self, why: &str, now: &Time) {
        let text = format!("the node cannot be looked at: {why}; next: cofferdam status on the node");
        for state in self.states.values_mut().filter(|state| state.state == State::Proven) {
            state.set(State::Unproven, "", &text, now);
        }
    }

    /// Runtimes of the report that no assignment is about.
    pub(super) fn unmanaged(&self, report: &Report) -> Vec<String> {
        let ours = |name: &RuntimeName| self.states.values().any(|state| state.runtime == name.as_str());
        report.runtimes.keys().filter(|name| !ours(name)).map(ToString::to_string).take(32).collect()
    }

    pub(super) fn states(&self) -> Vec<RuntimeState> {
        self.states.values().cloned().collect()
    }
}

impl RuntimeState {
    fn set(&mut self, state: State, reason: &str, message: &str, now: &Time) {
        let message = shortened(message);
        if self.state != state || self.reason != reason || self.message != message || self.since.is_none() {
            self.since = Some(now.clone());
        }
        (self.state, self.reason, self.message) = (state, reason.to_owned(), message);
        if state != State::Proven {
            self.handlers.iter_mut().for_each(|handler| handler.judge(true, state, &[]));
        }
    }

    fn count(&mut self, in_use: u32, now: &Time) {
        if in_use > 0 {
            self.unused_since = None;
        } else if self.in_use > 0 {
            self.unused_since = Some(now.clone());
        }
        self.in_use = in_use;
    }

    fn fail(&mut self, class: Class, message: &str, hint: Option<&str>, now: &Time) {
        let text = match hint {
            Some(hint) => format!("{message}; next: {hint}"),
            None => message.to_owned(),
        };
        self.set(State::Failed, class.as_str(), &text, now);
    }

    fn see(&mut self, found: &RuntimeReport, report: &Report, now: &Time) {
        self.version = found.version.to_string();
        self.digest = found.digest.to_string();
        self.image = found.image.map(|image| image.to_string()).unwrap_or_default();
        self.verified = found.verified.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut known = std::mem::take(&mut self.handlers);
        self.handlers = found
            .handlers
            .keys()
            .map(|name| {
                let known = known.iter_mut().find(|handler| handler.name == name.as_str());
                HandlerState::new(name, known.and_then(|handler| handler.overhead.take()))
            })
            .collect();
        self.count(u32::try_from(found.users.len()).unwrap_or(u32::MAX), now);
        self.pods = pods(&found.users);
        let settled = matches!(self.state, State::Proven | State::Unproven | State::Drifted);
        // While a change of somebody else's is under way, nothing can be said.
        if settled && report.journal.is_none() {
            self.settle(found, report.not_compared.as_deref(), now);
        }
        for (handler, served) in self.handlers.iter_mut().zip(found.handlers.values()) {
            handler.judge(*served, self.state, &found.drift);
        }
    }

    /// By what differs from what was installed (or why that is not known), and what the probe said.
    fn settle(&mut self, found: &RuntimeReport, not_compared: Option<&str>, now: &Time) {
        if !found.drift.is_empty() {
            let hint = "kubectl cofferdam retry has it put back; cofferdam verify on the node shows it";
            let text = format!("{}; next: {hint}", found.drift.join("; "));
            return self.set(State::Drifted, "drift", &text, now);
        }
        match (not_compared, &found.verdict) {
            // What could not be looked at clears nobody.
            (Some(_), _) if self.state == State::Drifted => {}
            (Some(why), _) => {
                let text = format!("it could not be compared: {why}; next: cofferdam status on the node");
                self.set(State::Unproven, "", &text, now);
            }
            (None, Verdict::Proven) => self.set(State::Proven, "", "", now),
            (None, Verdict::Unproven { reason }) => self.set(State::Unproven, "", reason, now),
            (None, Verdict::Offline) => {
                self.set(State::Unproven, "", "installed into the node's image, never probed", now);
            }
        }
    }

    fn see_nothing(&mut self, now: &Time) {
        (self.version, self.digest, self.image, self.verified) = Default::default();
        self.count(0, now);
        self.installed = None;
        self.pods.clear();
        if matches!(self.state, State::Proven | State::Unproven | State::Drifted) {
            let text = "it was removed on the node; next: kubectl cofferdam retry brings it back";
            self.set(State::Drifted, "drift", text, now);
        }
    }
}

fn handlers(descriptor: &Descriptor) -> Vec<HandlerState> {
    let overhead = |handler: &cofferdam_core::descriptor::Handler| {
        let overhead = handler.overhead.as_ref()?;
        Some(Overhead { cpu: overhead.cpu.clone(), memory: overhead.memory.clone() })
    };
    let handlers = descriptor.handlers.iter();
    handlers.map(|handler| HandlerState::new(&handler.name, overhead(handler))).collect()
}

impl HandlerState {
    /// One of which nothing else is known yet.
    fn new(name: &HandlerName, overhead: Option<Overhead>) -> Self {
        let (reason, message) = (String::new(), String::new());
        Self { name: name.to_string(), proven: false, reason, message, overhead }
    }

    /// By whether the engine lists it, what its runtime is, and what differs from what was installed.
    fn judge(&mut self, served: bool, state: State, drift: &[String]) {
        let own = format!("handler {} ", self.name);
        let drift: Vec<&str> =
            drift.iter().map(String::as_str).filter(|line| line.starts_with(&own)).collect();
        self.proven = served && state == State::Proven;
        (self.reason, self.message) = match served {
            _ if self.proven => (String::new(), String::new()),
            false => ("NotServed".to_owned(), "the engine does not list it".to_owned()),
            true => (format!("{state:?}"), shortened(&drift.join("; "))),
        };
    }
}

fn pods(users: &[User]) -> Vec<PodRef> {
    let pods = users.iter().filter_map(|user| match user {
        User::Pod { namespace, name } => Some(PodRef { namespace: namespace.clone(), name: name.clone() }),
        User::Container { .. } | User::Process { .. } => None,
    });
    pods.take(MOST_PODS).collect()
}

/// At most so many bytes, cut between characters.
fn shortened(text: &str) -> String {
    if text.len() <= MOST_MESSAGE {
        return text.to_owned();
    }
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= MOST_MESSAGE).last().unwrap_or(0);
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// What the last look at the host gave.
#[derive(Clone, Copy, Debug)]
pub(super) enum Looked<'a> {
    /// There was none.
    NotYet,
    /// It failed.
    Failed(&'a str),
    /// This.
    Saw(&'a Report),
}

/// The status to write.
pub(super) fn status(
    known: &Known,
    looked: Looked<'_>,
    before: &SandboxNodeStatus,
    generation: i64,
    now: &Time,
) -> SandboxNodeStatus {
    let mut status = SandboxNodeStatus {
        observed_generation: generation,
        heartbeat: Some(now.clone()),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtimes: known.states(),
        ..before.clone()
    };
    summarize(&mut status);
    status.conditions = vec![agent_ready(looked, before, generation, now)];
    if let Looked::Saw(report) = looked {
        status.kernel.clone_from(&report.kernel);
        status.os.clone_from(&report.os);
        status.engine = Some(EngineState {
            name: "containerd".to_owned(),
            version: report.engine_version.clone(),
            message: report.engine_error.as_deref().map(shortened).unwrap_or_default(),
        });
        status.unmanaged = known.unmanaged(report);
        if report.depth == Depth::Full {
            status.checks = checks(&report.checks);
            status.requirements = checks(&report.requirements);
        }
    }
    status
}

/// What a table shows of all runtimes.
fn summarize(status: &mut SandboxNodeStatus) {
    let mut states: Vec<&RuntimeState> = status.runtimes.iter().collect();
    states.sort_by_key(|state| matches!(state.state, State::Proven | State::Absent));
    let words: Vec<String> = states.iter().map(|state| format!("{}={:?}", state.name, state.state)).collect();
    let message = states.iter().map(|state| &state.message).find(|message| !message.is_empty());
    (status.summary, status.message) = (words.join(" "), message.cloned().unwrap_or_default());
    status.in_use = status.runtimes.iter().map(|state| state.in_use).fold(0, u32::saturating_add);
}

/// Whether the agent can look at its node. Its time moves only with its status.
fn agent_ready(looked: Looked<'_>, before: &SandboxNodeStatus, generation: i64, now: &Time) -> Condition {
    let (status, reason, message) = match looked {
        Looked::NotYet => ("Unknown", "NotLooked", "the agent has not looked at the node yet"),
        Looked::Failed(why) => ("False", "CannotLook", why),
        Looked::Saw(_) => ("True", "Looked", ""),
    };
    let present = before.conditions.iter().find(|condition| condition.type_ == names::AGENT_READY);
    let since = present.filter(|condition| condition.status == status);
    Condition {
        type_: names::AGENT_READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: shortened(message),
        last_transition_time: since.map_or(now, |condition| &condition.last_transition_time).clone(),
        observed_generation: Some(generation),
    }
}

fn checks(reports: &[CheckReport]) -> Vec<CheckState> {
    let checks = reports.iter().map(|check| CheckState {
        name: check.name.clone(),
        result: if check.no { "no" } else { "unknown" }.to_owned(),
        message: shortened(&check.because),
    });
    checks.take(MOST_CHECKS).collect()
}

#[cfg(test)]
pub(super) mod tests;
