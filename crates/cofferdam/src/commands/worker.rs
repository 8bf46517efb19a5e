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
    // systemd's journal keeps this one line even where the last removal deleted our log.
    let class = outcome.class.map_or_else(String::new, |class| format!(" ({class})"));
    let result = outcome.result.as_str();
    show::line(&format!("{result}{class}, generation {}: {}", outcome.generation, outcome.message));
    Ok(ExitCode::SUCCESS)
}
