//! Ctrl-C: the command that is being waited for fails, and everything is torn down on the way out.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT and SIGTERM no longer end this process: the next wait for a command fails instead. To be
/// called once, by `main`; a process that never calls it ends at once and leaves its nodes to the next one.
pub fn watch() {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // It fails for signals that cannot be caught; these can.
        let _ = signal_hook::flag::register(signal, Arc::clone(flag));
    }
}

/// Whether a signal has come since the last call.
pub(crate) fn take() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.swap(false, Ordering::SeqCst))
}

/// Whether a signal has come that nobody took.
pub(crate) fn is_due() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::SeqCst))
}
