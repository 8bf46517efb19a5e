//! The decision itself.
//!
//! ```text
//! survey      judge each node; bring the record up to date: open changes, failures, canaries
//! act         resume, roll back, try again; then canaries, batch, joins, leavers, as far as slots go
//! report      reasons, counts, phase, announcements
//! ```

use super::act::Acts;
use super::report::report;
use super::survey::survey;
use super::{Counts, Decision, Fleet, Goal, Phase, Request};

/// Decides what to do now.
pub fn decide(request: &Request<'_>) -> Decision {
    let removing = *request.goal == Goal::Remove;
    let views = match request.fleet {
        Fleet::Unknown { why } => return nothing(Phase::Unknown { why: why.clone() }),
        // Changes may have been begun that no list shows yet.
        Fleet::ConfirmedEmpty if removing => &[],
        Fleet::ConfirmedEmpty => return nothing(Phase::NoNodes),
        Fleet::Nodes(views) if views.is_empty() => {
            let why = "the list of nodes is empty, and nobody made sure of it".to_owned();
            return nothing(Phase::Unknown { why });
        }
        Fleet::Nodes(views) => views.as_slice(),
    };
    let (mut survey, record) = survey(request, views);
    let mut acts = Acts::new(request, &survey, record);
    if !request.policy.paused {
        acts.all(&mut survey);
    }
    report(request, survey, acts)
}

fn nothing(phase: Phase) -> Decision {
    Decision {
        remember: None,
        actions: Vec::new(),
        phase,
        counts: Counts::default(),
        nodes: Vec::new(),
        next_wake: None,
    }
}
