//! Which guards refused something, for the test that each guard has an archive that it refuses. Compiled in with the feature
//! `failpoints` only.

#[cfg(feature = "failpoints")]
pub use noted::lines;
#[cfg(feature = "failpoints")]
pub(super) use noted::note;

/// Notes the line that refuses something.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn note() {}

#[cfg(feature = "failpoints")]
mod noted {
    use std::collections::BTreeSet;
    use std::panic::Location;
    use std::sync::{Mutex, PoisonError};

    static LINES: Mutex<BTreeSet<(&str, u32)>> = Mutex::new(BTreeSet::new());

    #[track_caller]
    pub(in crate::archive) fn note() {
        let at = Location::caller();
        LINES.lock().unwrap_or_else(PoisonError::into_inner).insert((at.file(), at.line()));
    }

    /// The files, as the compiler was given them, and lines that refused something in this process so far.
    pub fn lines() -> BTreeSet<(&'static str, u32)> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
