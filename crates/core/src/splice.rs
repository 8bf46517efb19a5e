//! Edits as splices: a range of bytes, what must stand there, what shall stand there.
//!
//! Configuration files belong to others. A printer would change their line ends, order, comments and final
//! newline; a splice touches the bytes it names and no other.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One replacement in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splice {
    /// The bytes to replace, as offsets into the text before any splice of the same list.
    pub range: Range<usize>,
    /// What must stand at `range`.
    pub expect: String,
    /// What shall stand there.
    pub new: String,
}

impl Splice {
    /// An insertion at `offset`.
    pub fn insert(offset: usize, new: impl Into<String>) -> Self {
        Self { range: offset..offset, expect: String::new(), new: new.into() }
    }
}

/// Why a list of splices does not fit a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// The text does not hold what the splice expects.
    #[error("at byte {offset}: expected {expected:?}, found {found:?}")]
    Mismatch {
        /// Where.
        offset: usize,
        /// What the splice expects.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Two splices overlap or are out of order.
    #[error("splices overlap or are not in order at byte {0}")]
    Order(usize),
}

/// Applies `splices`, which must be ordered and disjoint.
///
/// # Errors
/// If a splice does not find what it expects, or the list is not ordered.
pub fn apply(text: &str, splices: &[Splice]) -> Result<String, SpliceError> {
    let mut out = String::with_capacity(text.len() + splices.iter().map(|s| s.new.len()).sum::<usize>());
    let mut at = 0;
    for splice in splices {
        let kept = text.get(at..splice.range.start).ok_or(SpliceError::Order(splice.range.start))?;
        let found = text.get(splice.range.clone()).unwrap_or_default();
        if found != splice.expect {
            return Err(SpliceError::Mismatch {
                offset: splice.range.start,
                expected: splice.expect.clone(),
                found: found.to_owned(),
            });
        }
        out.push_str(kept);
        out.push_str(&splice.new);
        at = splice.range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Ok(out)
}
