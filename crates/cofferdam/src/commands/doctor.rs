//! `cofferdam doctor`.

use crate::cli::NodeArgs;
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_host::doctor::{self, Answer};
use cofferdam_host::error::Result;
use cofferdam_host::survey::Survey;
use std::process::ExitCode;

pub(crate) fn run(args: &NodeArgs) -> Result<ExitCode> {
    args.require_root()?;
    let root = args.open_root()?;
    let survey = Survey::take(&root, &args.survey())?;
    let findings = doctor::run(&survey);
    let bad = findings.iter().any(|finding| matches!(finding.answer, Answer::No { .. }));
    if args.json {
        show::json(&findings)?;
    } else {
        for finding in &findings {
            match &finding.answer {
                Answer::Yes { seen } => show::line(&format!("yes  {:16} {seen}", finding.check)),
                Answer::No { because, remedy } => {
                    show::line(&format!("NO   {:16} {because}", finding.check));
                    show::line(&format!("     {:16} do this: {remedy}", ""));
                }
                Answer::Unknown { why } => {
                    show::line(&format!("?    {:16} could not look: {why}", finding.check))
                }
            }
        }
    }
    Ok(if bad { ExitCode::from(Class::Unsupported.exit_code()) } else { ExitCode::SUCCESS })
}
