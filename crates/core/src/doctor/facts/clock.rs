//! The clock.

use serde::{Deserialize, Serialize};

/// What the clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Seconds since 1970.
    pub now: u64,
    /// Whether a time service says that it is synchronised. None: no service was found that would say so.
    pub synchronised: Option<bool>,
}
