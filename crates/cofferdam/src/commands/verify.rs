//! `cofferdam verify`.

use crate::cli::NodeArgs;
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::plan::{self, Drift};
use cofferdam_host::error::Result;
use cofferdam_host::survey::Survey;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Report {
    generation: u64,
    /// Empty: all is as it was left.
    drift: Vec<Drift>,
}

pub(crate) fn run(args: &NodeArgs) -> Result<ExitCode> {
    args.require_root()?;
    let root = args.open_root()?;
    let mut survey = Survey::take(&root, &args.survey())?;
    let drift = survey.plan(plan::drift)?;
    let report = Report { generation: survey.ledger.as_ref().map_or(0, |ledger| ledger.generation), drift };
    let code = if report.drift.is_empty() { 0 } else { Class::Conflict.exit_code() };
    if args.json {
        show::json(&report)?;
        return Ok(ExitCode::from(code));
    }
    for drift in &report.drift {
        show::line(&drift.to_string());
    }
    if report.drift.is_empty() {
        show::line("no drift: everything is as it was installed");
    } else {
        show::hint("cofferdam repair puts it back; with --dry-run it shows what it would change");
    }
    Ok(ExitCode::from(code))
}
