//! The hidden `cofferdam worker`, which systemd starts.

use crate::cli::WorkerArgs;
use cofferdam_host::error::Result;
use cofferdam_host::worker;
use std::process::ExitCode;

pub(crate) fn run(args: &WorkerArgs) -> Result<ExitCode> {
    worker::run(&args.folder).map(|outcome| ExitCode::from(outcome.exit_code()))
}
