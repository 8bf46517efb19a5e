//! Cofferdam's own records.

use super::{Looked, no, yes};
use crate::doctor::Case;

/// No change is under way.
pub(in crate::doctor) fn interrupted(case: &Case<'_>) -> Looked {
    match case.facts.interrupted.as_ref()? {
        None => yes("no change is under way"),
        Some(change) => no(
            format!("\"{change}\" is under way or was interrupted"),
            "if nothing is running, cofferdam recover finishes it",
        ),
    }
}
