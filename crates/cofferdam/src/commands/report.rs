//! The hidden `cofferdam report`, which systemd starts for the cluster's agent.

use crate::cli::ReportArgs;
use cofferdam_host::error::Result;
use cofferdam_host::report::{self, Depth};
use cofferdam_host::root::HostRoot;
use cofferdam_host::survey::{EngineChoice, SurveyOptions};
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode> {
    let options = SurveyOptions {
        prefix: None,
        engine: EngineChoice::Running { unit: args.unit.clone() },
        systemd: true,
        skip_checks: Vec::new(),
    };
    let depth = if args.full { Depth::Full } else { Depth::Quick };
    report::write(&HostRoot::open(Path::new("/"))?, &options, depth, &args.out)?;
    Ok(ExitCode::SUCCESS)
}
