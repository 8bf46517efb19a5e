//! What to do about a state of a runtime on a node.

use crate::api::{RuntimeState, State};

/// What a person does next; nothing where it goes on by itself.
pub(super) fn advice(node: &str, state: &RuntimeState) -> Option<String> {
    let name = &state.name;
    let retry = format!("kubectl cofferdam retry {name} --node {node}");
    Some(match (state.state, state.reason.as_str()) {
        (State::Proven, _) | (State::Absent, _) => return None,
        (State::Working, _) => {
            format!("nothing yet: it goes on. If it stays so, cofferdam follow on {node} shows what it does")
        }
        (State::Unproven, _) => {
            format!("mostly the pod network was not up (kubectl describe node {node}); when it is: {retry}")
        }
        (State::Drifted, _) => {
            format!(
                "on {node}: cofferdam verify names each difference; kubectl cofferdam retry has the agent put it back"
            )
        }
        (State::Failed, "invalid") => {
            "correct the SandboxRuntime or its package: no node can use it as it is".to_owned()
        }
        (State::Failed, "unsupported") => format!(
            "kubectl cofferdam doctor {node} shows what the node lacks; or leave it out by spec.nodeSelector"
        ),
        (State::Failed, "conflict") => {
            format!("put right on {node} what the message names (cofferdam verify), then {retry}")
        }
        (State::Failed, "in-use") => {
            "end the pods that the message names, or wait: it is tried again by itself".to_owned()
        }
        (State::Failed, "unavailable") => "nothing: it is tried again by itself".to_owned(),
        (State::Failed, "rolled-back") => format!(
            "the node has what it had before. Give the SandboxRuntime another package, or put right what the message names, \
             then {retry}"
        ),
        (State::Failed, _) => {
            format!("on {node}: cofferdam support-bundle collects what a maintainer needs; then {retry}")
        }
    })
}
