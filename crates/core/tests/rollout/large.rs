//! However large the fleet: few change at a time. (How long a decision takes: `cargo xtask bench --fleet`.)

use crate::fleet::Machine;
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{
    AgentState, Assignment, Fleet, Goal, Moment, NodeReady, NodeView, Policy, Record, Request, Revision,
    Time, Wanted, decide,
};
use cofferdam_core::testing::Random;

fn view(number: u64, random: &mut Random) -> NodeView {
    let name =
        NodeName::new(format!("ip-10-0-{}-{}.eu-central-1.compute.internal", number / 250, number % 250))
            .unwrap();
    let mut view = Machine::new(name, number, 1_000_000, random).view;
    view.ready = NodeReady::Ready;
    view.matches = true;
    view.observed.heard = Some(Time(1_000_000));
    view.assigned = Some(Assignment {
        wanted: Wanted::Present,
        revision: Revision("old".to_owned()),
        sequence: number,
        attempt: 1,
        since: Time(900_000),
        fallback: None,
    });
    view.observed.sequence = Some(number);
    view.observed.state = AgentState::Proven { since: Time(900_100) };
    view
}

#[test]
fn of_5000_nodes_no_more_than_the_most_change_at_a_time() {
    let mut random = Random::new(1);
    let fleet = Fleet::Nodes((1..=5000).map(|number| view(number, &mut random)).collect());
    let goal = Goal::Install(Revision("new".to_owned()));
    let policy = Policy { canary: 0, ..Policy::default() };
    let moment = Moment { now: Time(1_000_060), hearing_since: Time(900_000) };
    let record = Record::default();
    let request =
        Request { moment, policy: &policy, goal: &goal, retry: None, fleet: &fleet, record: &record };
    let begun = decide(&request).actions.len();
    // Ten in a hundred would be 500, but no more than 250 change at a time; each is withdrawn and assigned.
    assert_eq!(begun, 2 * Policy::MOST_CHANGING);
}
