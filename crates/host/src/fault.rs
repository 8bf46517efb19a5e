//! Failpoints, for tests: kill the process around a step, fail a step, or fail the n-th change of a file.
//!
//! Compiled in with the feature `failpoints` only. One failpoint at a time, from the environment variable
//! `COFFERDAM_FAULT` or the file `/run/cofferdam.fault` (which is deleted when it strikes, so that the
//! recovery runs through):
//!
//! ```text
//! kill:before:write-file:2    SIGKILL before the second step of that kind; or kill:after:...
//! kill:probe:2                SIGKILL in the second probe, once its sandbox runs
//! slow:probe:2-6              the second to sixth probe hesitate once their sandbox runs, for longer than a kubelet bears with it
//! keep:probe:1                the first probe's pod is left behind, as by a worker that was killed
//! kill:change:7               SIGKILL before the seventh change of a file, wherever it is
//! fail:verify:1               the first step of that kind reports a failure
//! error:ENOSPC:7              the seventh change of a file fails with that errno; changes are counted from 1
//! ```

use cofferdam_core::record::StepKind;

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Before it.
    Before,
    /// After it.
    After,
}

/// Strikes if a `kill` failpoint names this step.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn step(_: StepKind, _: Side) {}

/// Whether a `fail` failpoint names this step.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn fails(_: StepKind) -> bool {
    false
}

/// Strikes if a `kill` or `slow` failpoint names this probe.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn probe() {}

/// Whether a `keep` failpoint names this probe.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn keeps_probe() -> bool {
    false
}

/// Fails if an `error` failpoint names this change.
#[cfg(not(feature = "failpoints"))]
#[allow(clippy::unnecessary_wraps, reason = "the same signature as with failpoints")]
pub(crate) const fn change() -> Result<(), rustix::io::Errno> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::{change, fails, keeps_probe, probe, step};

#[cfg(feature = "failpoints")]
mod armed {
    use super::{Side, StepKind};
    use rustix::io::Errno;
    use std::sync::atomic::{AtomicU32, Ordering};

    const FILE: &str = "/run/cofferdam.fault";
    /// A kubelet looks for pods that it does not know every two seconds (`housekeepingPeriod`).
    const HESITATION: std::time::Duration = std::time::Duration::from_secs(3);
    static SEEN: AtomicU32 = AtomicU32::new(0);

    fn armed() -> Option<String> {
        if let Ok(text) = std::env::var("COFFERDAM_FAULT") {
            return Some(text);
        }
        std::fs::read_to_string(FILE).ok()
    }

    fn disarm() {
        let _ = std::fs::remove_file(FILE);
    }

    /// Whether the armed failpoint is `prefix:<n>` and this is the n-th time that it is asked for.
    fn strikes(prefix: &str) -> bool {
        left(prefix) == Some(0)
    }

    /// The armed failpoint is `prefix:<n>` or `prefix:<m>-<n>`, and this is the m-th to n-th time that it is asked for: so
    /// many times are left.
    fn left(prefix: &str) -> Option<u32> {
        let text = armed()?;
        let counts = text.trim().strip_prefix(prefix)?.strip_prefix(':')?;
        let (first, last) = counts.split_once('-').unwrap_or((counts, counts));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        let now = SEEN.fetch_add(1, Ordering::SeqCst) + 1;
        if now < first { None } else { last.checked_sub(now) }
    }

    pub(crate) fn step(kind: StepKind, side: Side) {
        let side = match side {
            Side::Before => "before",
            Side::After => "after",
        };
        if strikes(&format!("kill:{side}:{}", kind.as_str())) {
            die();
        }
    }

    pub(crate) fn probe() {
        if strikes("kill:probe") {
            die();
        }
        if let Some(left) = left("slow:probe") {
            if left == 0 {
                disarm();
            }
            std::thread::sleep(HESITATION);
        }
    }

    pub(crate) fn keeps_probe() -> bool {
        let strikes = strikes("keep:probe");
        if strikes {
            disarm();
        }
        strikes
    }

    fn die() -> ! {
        disarm();
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }

    pub(crate) fn fails(kind: StepKind) -> bool {
        let strikes = strikes(&format!("fail:{}", kind.as_str()));
        if strikes {
            disarm();
        }
        strikes
    }

    pub(crate) fn change() -> Result<(), Errno> {
        if strikes("kill:change") {
            die();
        }
        for (name, errno) in [
            ("ENOSPC", Errno::NOSPC),
            ("EROFS", Errno::ROFS),
            ("EACCES", Errno::ACCESS),
            ("EXDEV", Errno::XDEV),
            ("EBUSY", Errno::BUSY),
            ("EIO", Errno::IO),
        ] {
            if armed().is_some_and(|text| text.starts_with(&format!("error:{name}:"))) {
                return if strikes(&format!("error:{name}")) { Err(errno) } else { Ok(()) };
            }
        }
        Ok(())
    }
}
