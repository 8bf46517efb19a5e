#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::api::{PackageRevision, PackageSpec, SourceSpec, Wanted};
use cofferdam_core::name::{Digest, HandlerName, Version};
use cofferdam_core::preset;

pub(in crate::agent) fn assigned(name: &str, sequence: u64, wanted: Wanted) -> Assigned {
    let source = SourceSpec { directory: Some("/packages/gvisor".to_owned()), ..SourceSpec::default() };
    let package = PackageSpec {
        source,
        preset: Some("gvisor-oci".to_owned()),
        version: None,
        descriptor: None,
        verify: None,
        limits: None,
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

pub(in crate::agent) fn report(drift: &[&str], verdict: Verdict) -> Report {
    let handlers = gvisor().handlers.iter().map(|handler| (handler.name.clone(), true)).collect();
    let runtime = RuntimeReport {
        version: Version::new("1").unwrap(),
        digest: Digest::of(b"tree"),
        image: Some(Digest::of(b"image")),
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
        requirements: Vec::new(),
        not_compared: None,
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
fn the_image_is_that_of_what_was_seen_installed() {
    let mut known = installed();
    let image = |known: &Known| known.get("gv").unwrap().image.clone();
    assert_eq!(image(&known), Digest::of(b"image").to_string());
    let next = assigned("gv", 2, Wanted::Present);
    known.end(&next, false, &outcome(Ending::RolledBack, Some(Class::RolledBack), None), &now());
    assert_eq!(image(&known), Digest::of(b"image").to_string(), "it has what it had");
    known.end(&next, false, &outcome(Ending::Committed, None, Some(Verdict::Proven)), &now());
    assert_eq!(image(&known), "", "which one it is now was not looked at yet");
}

#[test]
fn drift_takes_the_proof_away_and_its_repair_brings_it_back() {
    let mut known = installed();
    known.see(&report(&["handler runsc-oci of gvisor-oci: missing"], Verdict::Proven), &now());
    let state = known.get("gv").unwrap();
    assert_eq!(state.state, State::Drifted);
    assert!(state.handlers.iter().all(|handler| !handler.proven));
    assert!(state.message.contains("handler runsc-oci"));
    let handler = &state.handlers[0];
    assert_eq!(handler.name, "runsc-oci");
    assert_eq!(
        (handler.reason.as_str(), handler.message.as_str()),
        ("Drifted", "handler runsc-oci of gvisor-oci: missing")
    );
    known.see(&report(&[], Verdict::Proven), &now());
    let state = known.get("gv").unwrap();
    assert_eq!(state.state, State::Proven);
    assert!(state.handlers.iter().all(|handler| handler.reason.is_empty() && handler.message.is_empty()));

    let mut unserved = report(&[], Verdict::Proven);
    unserved
        .runtimes
        .values_mut()
        .flat_map(|runtime| runtime.handlers.values_mut())
        .for_each(|served| *served = false);
    known.see(&unserved, &now());
    let state = known.get("gv").unwrap();
    assert!(state.handlers.iter().all(|handler| !handler.proven && handler.reason == "NotServed"));
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
fn an_installed_runtime_stays_the_one_that_it_is() {
    let first = assigned("gv", 1, Wanted::Present);
    assert_eq!(Known::default().expected(&first), Expect::Anything);
    let mut known = installed();
    let gvisor = Expect::Runtime(RuntimeName::new("gvisor-oci").unwrap());
    assert_eq!(known.expected(&first), gvisor);
    // A package that turned out to be another one.
    let next = assigned("gv", 2, Wanted::Present);
    known.begin(&next, &now());
    let mut refused = outcome(Ending::Refused, Some(Class::Invalid), None);
    refused.descriptor.as_mut().unwrap().name = RuntimeName::new("kata").unwrap();
    known.end(&next, false, &refused, &now());
    assert_eq!(known.expected(&next), gvisor);
    assert_eq!(known.get("gv").unwrap().runtime, "gvisor-oci");
    known.see(&report(&[], Verdict::Proven), &now());
    assert!(known.unmanaged(&report(&[], Verdict::Proven)).is_empty(), "it is still known whose it is");
}

#[test]
fn a_table_shows_what_is_wrong_first() {
    let mut known = installed();
    let broken = Assigned { name: "kata".to_owned(), ..assigned("kata", 2, Wanted::Present) };
    known.begin(&broken, &now());
    known.end(&broken, false, &outcome(Ending::Refused, Some(Class::Unsupported), None), &now());
    let status = status(&known, Looked::NotYet, &SandboxNodeStatus::default(), 1, &now());
    assert_eq!((status.summary.as_str(), status.in_use), ("kata=Failed gv=Proven", 1));
    assert!(status.message.contains("because"), "{}", status.message);
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
fn what_could_not_be_compared_is_unproven_and_no_drift() {
    let stopped = Report { not_compared: Some("no engine".to_owned()), ..report(&[], Verdict::Proven) };
    let mut known = installed();
    known.see(&stopped, &now());
    let state = known.get("gv").unwrap();
    assert_eq!(state.state, State::Unproven);
    assert!(state.message.contains("no engine") && !state.message.contains("retry"), "{}", state.message);
    known.see(&report(&[], Verdict::Proven), &now());
    assert_eq!(known.get("gv").unwrap().state, State::Proven);
    // It does not clear what differed before either.
    known.see(&report(&["handler runsc-oci of gvisor-oci: missing"], Verdict::Proven), &now());
    known.see(&stopped, &now());
    let state = known.get("gv").unwrap();
    assert_eq!(state.state, State::Drifted);
    assert!(state.message.contains("missing"), "{}", state.message);
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
    let status = status(&before, Looked::NotYet, &SandboxNodeStatus::default(), 3, &now());
    assert_eq!(Known::of(&status), before);
    assert_eq!(status.observed_generation, 3);
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let text = "ä".repeat(3000);
    let short = shortened(&text);
    assert!(short.len() < 2048 && short.ends_with("..."));
}
