//! The SELinux label of what this thread makes.

use super::ArchiveError;
use std::path::Path;

/// Where the kernel says that SELinux is on.
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// Where a thread says what it wants: what it makes from then on is born with the label.
const FSCREATE: &str = "/proc/thread-self/attr/fscreate";

/// Holds until it is dropped.
pub(crate) struct Label(());

impl Label {
    /// What this thread makes gets `label`. Without one, or without SELinux, it gets what the policy says.
    pub(crate) fn of_new_files(label: Option<&str>) -> Result<Option<Self>, ArchiveError> {
        let Some(label) = label.filter(|_| Path::new(ENFORCE).exists()) else { return Ok(None) };
        let fail = |source| ArchiveError::Write {
            action: "ask for the SELinux label",
            path: label.to_owned(),
            source,
        };
        std::fs::write(FSCREATE, label).map_err(fail)?;
        Ok(Some(Self(())))
    }
}

impl Drop for Label {
    fn drop(&mut self) {
        // An empty wish takes it back; the thread ends soon anyway.
        let _ = std::fs::write(FSCREATE, "");
    }
}
