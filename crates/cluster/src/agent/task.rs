//! What to do next.

use super::state::Known;
use crate::api::{Assigned, State, Wanted};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Bring this there, or make sure that it is there.
    Install(Assigned),
    /// Take it away.
    Remove(Assigned),
}

impl Task {
    /// What an assignment asks for.
    pub(super) fn of(assigned: &Assigned) -> Self {
        match assigned.wanted {
            Wanted::Present => Self::Install(assigned.clone()),
            Wanted::Absent => Self::Remove(assigned.clone()),
        }
    }

    /// A name for it that no other assignment has.
    pub(super) fn errand(&self) -> String {
        let Assigned { name, sequence, since, target, .. } = self.assigned();
        format!("{name} {sequence} {since} {}", target.revision)
    }

    pub(super) const fn assigned(&self) -> &Assigned {
        match self {
            Self::Install(assigned) | Self::Remove(assigned) => assigned,
        }
    }
}

/// The first assignment that was not carried out yet. One at a time: a node has one engine.
pub(super) fn next(assigned: &[Assigned], known: &Known) -> Option<Task> {
    // Removals first: they make room, and a handler's name may move from one runtime to another.
    let pending = |wanted: Wanted| assigned.iter().find(move |a| a.wanted == wanted && !is_done(a, known));
    pending(Wanted::Absent).or_else(|| pending(Wanted::Present)).map(Task::of)
}

fn is_done(assigned: &Assigned, known: &Known) -> bool {
    known
        .get(&assigned.name)
        .is_some_and(|state| state.sequence == assigned.sequence && state.state != State::Working)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::agent::state::tests::{assigned, known};

    #[test]
    fn each_sequence_is_tried_once() {
        let spec = [assigned("a", 1, Wanted::Present)];
        assert_eq!(next(&spec, &Known::default()), Some(Task::Install(spec[0].clone())));
        assert_eq!(next(&spec, &known("a", 1, State::Failed)), None);
        assert_eq!(next(&spec, &known("a", 1, State::Proven)), None);
        let again = [assigned("a", 2, Wanted::Present)];
        assert_eq!(next(&again, &known("a", 1, State::Failed)), Some(Task::Install(again[0].clone())));
    }

    #[test]
    fn what_was_interrupted_is_begun_again() {
        let spec = [assigned("a", 1, Wanted::Present)];
        assert!(next(&spec, &known("a", 1, State::Working)).is_some());
    }

    #[test]
    fn an_empty_spec_removes_nothing() {
        assert_eq!(next(&[], &known("a", 1, State::Proven)), None);
    }

    #[test]
    fn removals_come_first() {
        let spec = [assigned("a", 1, Wanted::Present), assigned("b", 1, Wanted::Absent)];
        assert_eq!(next(&spec, &Known::default()), Some(Task::Remove(spec[1].clone())));
    }
}
