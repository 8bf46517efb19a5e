//! When a runtime may be called removed, and what is done about drift: single decisions.

use crate::fleet::Machine;
use cofferdam_core::class::Class;
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{
    Action, AgentState, Assignment, Decision, Failure, Fleet, Goal, Label, Moment, NodeReady, NodeView, Open,
    Phase, Policy, Reason, Record, Remains, Request, RetryToken, Revision, Time, Wanted, Why, decide,
};
use cofferdam_core::testing::Random;

const NOW: Time = Time(1_000_000);

fn revision() -> Revision {
    Revision("r1".to_owned())
}

fn view() -> NodeView {
    let name = NodeName::new("n1".to_owned()).unwrap();
    let mut view = Machine::new(name, 1, NOW.0, &mut Random::new(1)).view;
    (view.ready, view.cordoned, view.matches) = (NodeReady::Ready, false, true);
    view.observed.heard = Some(NOW);
    view
}

fn told(wanted: Wanted, state: AgentState) -> NodeView {
    let mut view = view();
    let since = Time(NOW.0 - 1000);
    view.assigned =
        Some(Assignment { wanted, revision: revision(), sequence: 7, attempt: 1, since, fallback: None });
    (view.observed.sequence, view.observed.state) = (Some(7), state);
    view
}

fn record() -> Record {
    Record { target: Some(revision()), sequence: 7, canaries_passed: true, ..Record::default() }
}

fn ask(goal: &Goal, fleet: &Fleet, record: &Record, retry: Option<&str>) -> Decision {
    let moment = Moment { now: NOW, hearing_since: Time(NOW.0 - 5000) };
    let retry = retry.map(|text| RetryToken(text.to_owned()));
    let policy = Policy::default();
    decide(&Request { moment, policy: &policy, goal, retry: retry.as_ref(), fleet, record })
}

fn remove(view: NodeView, record: &Record) -> Decision {
    ask(&Goal::Remove, &Fleet::Nodes(vec![view]), record, None)
}

#[test]
fn a_change_that_was_begun_is_waited_for() {
    let mut record = record();
    let view = view();
    let open = Open {
        uid: view.uid.clone(),
        wanted: Wanted::Present,
        revision: revision(),
        sequence: 7,
        attempt: 1,
        since: Time(NOW.0 - 2),
    };
    record.open.insert(view.name.clone(), open);
    let decision = remove(view, &record);
    assert_eq!(decision.phase, Phase::Removing, "the view may be older than the change");
    assert!(decision.next_wake.is_some());
    let decision = ask(&Goal::Remove, &Fleet::ConfirmedEmpty, &record, None);
    assert_eq!(decision.phase, Phase::Removing, "nor may the list");
    assert!(decision.next_wake.is_some());
    let decision = ask(&Goal::Remove, &Fleet::ConfirmedEmpty, &Record::default(), None);
    assert_eq!(decision.phase, Phase::Removed);
}

#[test]
fn what_is_not_known_is_not_nothing() {
    for remains in [Remains::Unheard, Remains::Unreadable, Remains::Found] {
        let decision = remove(NodeView { remains, ..view() }, &record());
        assert_eq!(decision.phase, Phase::Removing, "{remains:?}");
        let wrote = decision.actions.iter().filter_map(Action::why).next();
        assert_eq!(wrote, (remains == Remains::Found).then_some(Why::Leave), "{remains:?}");
    }
    let unheard = remove(NodeView { remains: Remains::Unheard, ..view() }, &record());
    assert_eq!(unheard.nodes[0].reason, Some(Reason::CannotLook));
    assert_eq!(remove(view(), &record()).phase, Phase::Removed);
    let others = NodeView { remains: Remains::Found, matches: false, ..view() };
    assert_eq!(remove(others, &record()).phase, Phase::Removed, "it was never selected: somebody else's");
}

#[test]
fn an_unreadable_node_keeps_its_label_and_is_told_nothing() {
    let view = NodeView { remains: Remains::Unreadable, ..view() };
    let decision = ask(&Goal::Install(revision()), &Fleet::Nodes(vec![view]), &record(), None);
    assert!(decision.actions.is_empty());
    assert_eq!(decision.nodes[0].reason, Some(Reason::Unreadable));
    assert_eq!(decision.nodes[0].announcement.label, Label::Keep);
}

#[test]
fn a_selector_that_matches_nothing_leaves_labels_with_a_proof() {
    let label = |view: NodeView| {
        let fleet = Fleet::Nodes(vec![NodeView { matches: false, ..view }]);
        let decision = ask(&Goal::Install(revision()), &fleet, &record(), None);
        assert!(matches!(decision.phase, Phase::Unknown { .. }), "{decision:?}");
        assert!(decision.actions.is_empty(), "{decision:?}");
        decision.nodes[0].announcement.label
    };
    let proven = || told(Wanted::Present, AgentState::Proven { since: NOW });
    assert_eq!(label(proven()), Label::Keep);
    let drifted = AgentState::Drifted { message: "gone".to_owned() };
    assert_eq!(label(told(Wanted::Present, drifted)), Label::Take);
    assert_eq!(label(NodeView { ready: NodeReady::NotReady, ..proven() }), Label::Take);
    let mut silent = proven();
    silent.observed.heard = Some(Time(NOW.0 - 2000));
    assert_eq!(label(silent), Label::Take);
}

#[test]
fn a_drifted_node_is_put_back_when_somebody_asks_for_it() {
    let view = told(Wanted::Present, AgentState::Drifted { message: "gone".to_owned() });
    let fleet = Fleet::Nodes(vec![view]);
    let goal = Goal::Install(revision());
    let first = ask(&goal, &fleet, &record(), Some("earlier"));
    assert!(first.actions.is_empty(), "that was asked for before");
    let noted = first.remember.unwrap();
    assert!(ask(&goal, &fleet, &noted, Some("earlier")).actions.is_empty());
    let second = ask(&goal, &fleet, &noted, Some("now"));
    assert_eq!(second.actions.iter().filter_map(Action::why).collect::<Vec<_>>(), [Why::Retry]);
}

#[test]
fn a_removal_is_tried_again_when_the_last_sandbox_has_ended() {
    let failure = Failure { class: Class::InUse, at: Time(NOW.0 - 3), message: "in use".to_owned() };
    let stuck = NodeView { matches: false, ..told(Wanted::Absent, AgentState::Failed(failure)) };
    let why = |view: NodeView| remove(view, &record()).actions.iter().filter_map(Action::why).next();
    let before = NodeView { unused_since: Some(Time(NOW.0 - 9)), ..stuck.clone() };
    assert_eq!(why(before), None, "that was before the failure");
    assert_eq!(why(stuck.clone()), None);
    assert_eq!(why(NodeView { unused_since: Some(Time(NOW.0 - 1)), ..stuck }), Some(Why::Retry));
}
