//! The hidden `cofferdam worker`, which systemd starts.

use crate::cli::WorkerArgs;
use crate::show;
use cofferdam_host::error::Result;
use cofferdam_host::worker;
use std::process::ExitCode;

/// Whoever follows reads the outcome from the events; the journal of the unit gets its message. A delivered outcome is
/// a success of the worker, whatever it says: a failed unit would make the node look degraded.
pub(crate) fn run(args: &WorkerArgs) -> Result<ExitCode> {
    let outcome = worker::run(&args.folder)?;
    show::line(&outcome.message);
    Ok(ExitCode::SUCCESS)
}
