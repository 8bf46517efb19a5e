//! What was done, and what the host reports, as the SandboxNode's status.

use crate::api::{
    Assigned, CheckState, EngineState, HandlerState, Overhead, PodRef, RuntimeState, SandboxNodeStatus, State,
};
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_core::name::RuntimeName;
use cofferdam_core::plan::User;
use cofferdam_core::record::Verdict;
use cofferdam_host::error::HostError;
use cofferdam_host::event::{Ending, Outcome};
use cofferdam_host::report::{Depth, Report, RuntimeReport};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
        if let Some(descriptor) = &done.descriptor {
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
                (state.version, state.digest, state.verified) = Default::default();
                state.handlers.clear();
                state.set(State::Absent, "", "", now);
            }
            Ok(outcome) => {
                state.installed = Some(assigned.target.revision.clone());
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
            self.handlers.iter_mut().for_each(|handler| handler.proven = false);
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
        self.verified = found.verified.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut known = std::mem::take(&mut self.handlers);
        self.handlers = found
            .handlers
            .iter()
            .map(|(name, served)| HandlerState {
                name: name.to_string(),
                proven: *served,
                overhead: known
                    .iter_mut()
                    .find(|handler| handler.name == name.as_str())
                    .and_then(|handler| handler.overhead.take()),
            })
            .collect();
        self.count(u32::try_from(found.users.len()).unwrap_or(u32::MAX), now);
        self.pods = pods(&found.users);
        let settled = matches!(self.state, State::Proven | State::Unproven | State::Drifted);
        // While a change of somebody else's is under way, nothing can be said.
        if settled && report.journal.is_none() {
            let drift = if found.drift.is_empty() { None } else { Some(found.drift.join("; ")) };
            match (drift, &found.verdict) {
                (Some(drift), _) => {
                    let hint =
                        "kubectl cofferdam retry has it put back; cofferdam verify on the node shows it";
                    self.set(State::Drifted, "drift", &format!("{drift}; next: {hint}"), now);
                }
                (None, Verdict::Proven) => self.set(State::Proven, "", "", now),
                (None, Verdict::Unproven { reason }) => self.set(State::Unproven, "", reason, now),
                (None, Verdict::Offline) => {
                    self.set(State::Unproven, "", "installed into the node's image, never probed", now);
                }
            }
        }
        let proven = self.state == State::Proven;
        self.handlers.iter_mut().for_each(|handler| handler.proven &= proven);
    }

    fn see_nothing(&mut self, now: &Time) {
        (self.version, self.digest, self.verified) = Default::default();
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
    handlers
        .map(|handler| HandlerState {
            name: handler.name.to_string(),
            proven: false,
            overhead: overhead(handler),
        })
        .collect()
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

/// The status to write.
pub(super) fn status(
    known: &Known,
    report: Option<&Report>,
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
    if let Some(report) = report {
        status.kernel.clone_from(&report.kernel);
        status.os.clone_from(&report.os);
        status.engine = Some(EngineState {
            name: "containerd".to_owned(),
            version: report.engine_version.clone(),
            message: report.engine_error.as_deref().map(shortened).unwrap_or_default(),
        });
        status.unmanaged = known.unmanaged(report);
        if report.depth == Depth::Full {
            status.checks = checks(report);
        }
    }
    status
}

fn checks(report: &Report) -> Vec<CheckState> {
    let checks = report.checks.iter().map(|check| CheckState {
        name: check.name.clone(),
        result: if check.no { "no" } else { "unknown" }.to_owned(),
        message: shortened(&check.because),
    });
    checks.take(MOST_CHECKS).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) mod tests {
    use super::*;
    use crate::api::{PackageRevision, PackageSpec, SourceSpec, Wanted};
    use cofferdam_core::name::{Digest, HandlerName, Version};
    use cofferdam_core::preset;

    pub(in crate::agent) fn assigned(name: &str, sequence: u64, wanted: Wanted) -> Assigned {
        let source = SourceSpec { directory: Some("/packages/gvisor".to_owned()), oci: None };
        let package = PackageSpec {
            source,
            preset: Some("gvisor-oci".to_owned()),
            version: None,
            descriptor: None,
            verify: None,
        };
        let target = PackageRevision::of(&package, &[]);
        Assigned {
            name: name.to_owned(),
            wanted,
            sequence,
            attempt: 1,
            since: 0,
            runtime: String::new(),
            target,
            fallback: None,
        }
    }

    pub(in crate::agent) fn known(name: &str, sequence: u64, state: State) -> Known {
        let mut known = Known::default();
        known.entry(&assigned(name, sequence, Wanted::Present)).set(state, "", "", &now());
        known
    }

    fn now() -> Time {
        crate::now()
    }

    fn gvisor() -> Descriptor {
        let preset = preset::find("gvisor-oci").unwrap();
        preset::descriptor(preset, &Version::new("1").unwrap()).unwrap()
    }

    fn outcome(result: Ending, class: Option<Class>, verdict: Option<Verdict>) -> Done {
        let outcome = Outcome { class, verdict, ..Outcome::new(result, 1, "because") };
        Done { result: Ok(outcome), descriptor: Some(gvisor()) }
    }

    fn report(drift: &[&str], verdict: Verdict) -> Report {
        let handlers = gvisor().handlers.iter().map(|handler| (handler.name.clone(), true)).collect();
        let runtime = RuntimeReport {
            version: Version::new("1").unwrap(),
            digest: Digest::of(b"tree"),
            verdict,
            handlers,
            drift: drift.iter().map(ToString::to_string).collect(),
            declared: false,
            verified: None,
            users: vec![User::Pod { namespace: "default".to_owned(), name: "web".to_owned() }],
        };
        Report {
            depth: Depth::Quick,
            kernel: "6.1".to_owned(),
            os: "Debian".to_owned(),
            engine_version: "1.7.24".to_owned(),
            engine_error: None,
            generation: 1,
            journal: None,
            runtimes: [(RuntimeName::new("gvisor-oci").unwrap(), runtime)].into(),
            checks: Vec::new(),
        }
    }

    fn installed() -> Known {
        let mut known = Known::default();
        let assigned = assigned("gv", 1, Wanted::Present);
        known.begin(&assigned, &now());
        known.end(&assigned, false, &outcome(Ending::Committed, None, Some(Verdict::Proven)), &now());
        known.see(&report(&[], Verdict::Proven), &now());
        known
    }

    #[test]
    fn a_proven_runtime_has_proven_handlers_and_users() {
        let known = installed();
        let state = known.get("gv").unwrap();
        assert_eq!(state.state, State::Proven);
        assert!(!state.handlers.is_empty() && state.handlers.iter().all(|handler| handler.proven));
        assert_eq!((state.in_use, state.pods[0].name.as_str()), (1, "web"));
        assert_eq!(state.runtime, "gvisor-oci");
        assert!(known.unmanaged(&report(&[], Verdict::Proven)).is_empty());
    }

    #[test]
    fn drift_takes_the_proof_away_and_its_repair_brings_it_back() {
        let mut known = installed();
        known.see(&report(&["handler runsc-oci of gvisor-oci: missing"], Verdict::Proven), &now());
        let state = known.get("gv").unwrap();
        assert_eq!(state.state, State::Drifted);
        assert!(state.handlers.iter().all(|handler| !handler.proven));
        assert!(state.message.contains("handler runsc-oci"));
        known.see(&report(&[], Verdict::Proven), &now());
        assert_eq!(known.get("gv").unwrap().state, State::Proven);
    }

    #[test]
    fn what_drifted_is_put_back_and_not_installed_anew() {
        let mut known = installed();
        let again = Assigned { sequence: 2, ..assigned("gv", 1, Wanted::Present) };
        assert!(!known.is_drifted(&again, &report(&[], Verdict::Proven)));
        let drifted = report(&["handler runsc-oci of gvisor-oci: missing"], Verdict::Proven);
        known.see(&drifted, &now());
        assert!(known.has_drift() && known.is_drifted(&again, &drifted));
        let mut other = again;
        other.target = PackageRevision::of(&other.target.package, &["cni".to_owned()]);
        assert!(!known.is_drifted(&other, &drifted), "an upgrade is one");
    }

    #[test]
    fn the_end_of_the_last_sandbox_is_noted() {
        let mut known = installed();
        assert_eq!(known.get("gv").unwrap().unused_since, None);
        let mut idle = report(&[], Verdict::Proven);
        idle.runtimes.values_mut().for_each(|runtime| runtime.users.clear());
        known.see(&idle, &now());
        let since = known.get("gv").unwrap().unused_since.clone();
        assert!(since.is_some());
        known.see(&idle, &now());
        assert_eq!(known.get("gv").unwrap().unused_since, since);
        known.see(&report(&[], Verdict::Proven), &now());
        assert_eq!(known.get("gv").unwrap().unused_since, None);
    }

    #[test]
    fn the_controller_knows_the_name_where_status_was_lost() {
        let mut known = Known::default();
        let mut assigned = assigned("gv", 3, Wanted::Absent);
        assert_eq!(known.runtime_of(&assigned), None);
        assigned.runtime = "gvisor-oci".to_owned();
        known.begin(&assigned, &now());
        assert_eq!(known.runtime_of(&assigned).unwrap().as_str(), "gvisor-oci");
    }

    #[test]
    fn what_vanished_from_the_host_is_drift() {
        let mut known = installed();
        let mut empty = report(&[], Verdict::Proven);
        empty.runtimes.clear();
        known.see(&empty, &now());
        assert_eq!(known.get("gv").unwrap().state, State::Drifted);
    }

    #[test]
    fn a_change_under_way_is_no_drift() {
        let mut known = installed();
        let mut during = report(&["anything"], Verdict::Proven);
        during.journal = Some("upgrade".to_owned());
        known.see(&during, &now());
        assert_eq!(known.get("gv").unwrap().state, State::Proven);
    }

    #[test]
    fn a_failed_upgrade_keeps_what_is_installed() {
        let mut known = installed();
        let before = known.get("gv").unwrap().installed.clone();
        let mut next = assigned("gv", 2, Wanted::Present);
        next.target = PackageRevision::of(&next.target.package, &["cni".to_owned()]);
        known.begin(&next, &now());
        known.end(&next, false, &outcome(Ending::RolledBack, Some(Class::RolledBack), None), &now());
        known.see(&report(&[], Verdict::Proven), &now());
        let state = known.get("gv").unwrap();
        assert_eq!((state.state, state.reason.as_str()), (State::Failed, "rolled-back"));
        assert_eq!(state.installed, before);
        assert!(state.handlers.iter().all(|handler| !handler.proven), "a failed one is not announced");
    }

    #[test]
    fn an_unproven_one_says_why() {
        let mut known = Known::default();
        let assigned = assigned("gv", 1, Wanted::Present);
        let why = Verdict::Unproven { reason: "no pod network".to_owned() };
        known.end(&assigned, false, &outcome(Ending::Committed, None, Some(why.clone())), &now());
        known.see(&report(&[], why), &now());
        let state = known.get("gv").unwrap();
        assert_eq!((state.state, state.message.as_str()), (State::Unproven, "no pod network"));
        assert!(HandlerName::new(&state.handlers[0].name).is_ok());
    }

    #[test]
    fn a_restarted_agent_knows_what_status_says() {
        let before = installed();
        let status = status(&before, None, &SandboxNodeStatus::default(), 3, &now());
        assert_eq!(Known::of(&status), before);
        assert_eq!(status.observed_generation, 3);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let text = "ä".repeat(3000);
        let short = shortened(&text);
        assert!(short.len() < 2048 && short.ends_with("..."));
    }
}
