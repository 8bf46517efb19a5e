//! How results are shown: to people on standard output and error, to programs as JSON on standard output.

mod progress;

pub(crate) use progress::Progress;

use cofferdam_core::class::Class;
use cofferdam_core::doctor::Overridden;
use cofferdam_core::plan::Plan;
use cofferdam_core::record::Verdict;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::event::{Ending, Outcome};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// One line on standard output. A reader that went away is no reason to panic.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// One line on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A value as JSON on standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<ExitCode> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
    line(&text);
    Ok(ExitCode::SUCCESS)
}

/// An error: what failed, its causes, a way out.
pub(crate) fn error(error: &HostError, as_json: bool) -> ExitCode {
    if as_json {
        let outcome = Outcome::refused(error, 0);
        let _ = json(&outcome);
    } else {
        note(&format!("error: {error}"));
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            note(&format!("cause: {cause}"));
            source = cause.source();
        }
        if let Some(hint) = error.hint() {
            note(&format!("hint: {hint}"));
        }
    }
    ExitCode::from(error.class().exit_code())
}

/// How a change ended.
pub(crate) fn outcome(outcome: &Outcome, as_json: bool) -> ExitCode {
    if as_json {
        let _ = json(outcome);
        return ExitCode::from(outcome.exit_code());
    }
    match outcome.class {
        None => line(&outcome.message),
        Some(_) => note(&format!("error: {}", outcome.message)),
    }
    match &outcome.verdict {
        Some(Verdict::Proven) => line("proven: a sandbox and a container in it ran under each handler"),
        Some(Verdict::Unproven { reason }) => line(&format!("unproven: {reason}")),
        Some(Verdict::Offline) => line("offline: no engine was asked; cofferdam verifies nothing on a tree"),
        None => {}
    }
    match outcome.result {
        Ending::RolledBack => note("the node is as it was before"),
        Ending::Refused => note("nothing was changed"),
        Ending::Committed | Ending::Unchanged | Ending::Conflict | Ending::Mended | Ending::Unfinished => {}
    }
    outcome.overridden.iter().for_each(say_overridden);
    if let Some(hint) = &outcome.hint {
        note(&format!("hint: {hint}"));
    }
    ExitCode::from(outcome.exit_code())
}

fn say_overridden(overridden: &Overridden) {
    note(&format!("skipped: the check {} said no: {}", overridden.check, overridden.because));
}

/// There was nothing to do.
pub(crate) fn unchanged(plan: &Plan, as_json: bool) -> ExitCode {
    let generation = plan.after.generation.saturating_sub(1);
    outcome(&Outcome::new(Ending::Unchanged, generation, format!("{}: nothing to do", plan.change)), as_json)
}

/// A plan as JSON.
#[derive(Serialize)]
struct PlanView<'a> {
    change: String,
    empty: bool,
    steps: &'a [cofferdam_core::record::Step],
    files: &'a [cofferdam_core::plan::FileChange],
    restarts: Vec<&'a str>,
    bytes: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    overridden: &'a [Overridden],
}

/// What a plan would do, and the checks that were overridden for it.
pub(crate) fn plan(plan: &Plan, overridden: &[Overridden], as_json: bool) -> Result<ExitCode> {
    if as_json {
        return json(&PlanView {
            change: plan.change.to_string(),
            empty: plan.is_empty(),
            steps: &plan.steps,
            files: &plan.files,
            restarts: plan.restarts().collect(),
            bytes: plan.bytes,
            overridden,
        });
    }
    if plan.is_empty() {
        line(&format!("{}: nothing to do", plan.change));
        return Ok(ExitCode::SUCCESS);
    }
    line(&format!("{}:", plan.change));
    for (index, step) in plan.steps.iter().enumerate() {
        line(&format!("{:4}. {step}", index + 1));
    }
    for file in &plan.files {
        line("");
        line(file.diff.trim_end_matches('\n'));
    }
    let restarts: Vec<_> = plan.restarts().collect();
    let restarts = if restarts.is_empty() { "nothing".to_owned() } else { restarts.join(", ") };
    line(&format!("\nwrites {}, restarts {restarts}", indicatif::HumanBytes(plan.bytes)));
    overridden.iter().for_each(say_overridden);
    Ok(ExitCode::SUCCESS)
}
