//! How results are shown: to people on standard output and error, to programs as JSON on standard output.

mod error;
mod fetch;
mod look;
mod progress;

pub(crate) use error::{error, usage};
pub(crate) use look::set_up;
pub(crate) use progress::Progress;

use cofferdam_core::class::Class;
use cofferdam_core::doctor::Overridden;
use cofferdam_core::plan::Plan;
use cofferdam_core::record::Verdict;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::event::{Ending, Event, Outcome};
use look::{CAUSE, DONE, ERROR, FADED, HINT, Volume, volume};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// One line on standard output. A reader that went away is no reason to panic. Colours in it are left out where none
/// are wanted.
pub(crate) fn line(text: &str) {
    let _ = writeln!(anstream::stdout().lock(), "{text}");
}

/// One line on standard output that `--quiet` leaves out.
pub(crate) fn say(text: &str) {
    if volume() != Volume::Quiet {
        line(text);
    }
}

/// One line on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// What to do next.
pub(crate) fn hint(text: &str) {
    note(&format!("{HINT}hint:{HINT:#} {text}"));
}

/// A value as JSON on standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<ExitCode> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
    line(&text);
    Ok(ExitCode::SUCCESS)
}

/// A value as JSON on a line of its own.
pub(crate) fn json_line(value: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_string(value).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
    line(&text);
    Ok(())
}

/// How a change ended, for people; for programs it is the last event, on a line of its own.
pub(crate) fn outcome(outcome: &Outcome, as_json: bool) -> ExitCode {
    if as_json {
        progress::event(&Event::Finished(outcome.clone()));
        return ExitCode::from(outcome.exit_code());
    }
    match outcome.class {
        None => say(&format!("{DONE}{}{DONE:#}", outcome.message)),
        Some(_) => note(&format!("{ERROR}error:{ERROR:#} {}", outcome.message)),
    }
    match &outcome.verdict {
        Some(Verdict::Proven) => say("proven: a sandbox and a container in it ran under each handler"),
        Some(Verdict::Unproven { reason }) => note(&format!("unproven: {reason}")),
        Some(Verdict::Offline) => say("offline: no engine was asked, so nothing is proven"),
        None => {}
    }
    match outcome.result {
        Ending::RolledBack => note("the node is as it was before"),
        Ending::Refused => note("nothing was changed"),
        Ending::Committed | Ending::Unchanged | Ending::Conflict | Ending::Mended | Ending::Unfinished => {}
    }
    outcome.overridden.iter().for_each(say_overridden);
    if let Some(text) = &outcome.hint {
        hint(text);
    }
    if volume() == Volume::Verbose && !outcome.millis.is_empty() {
        let parts: Vec<_> =
            outcome.millis.iter().map(|(part, millis)| format!("{part} {millis} ms")).collect();
        line(&format!("{FADED}{}{FADED:#}", parts.join(", ")));
    }
    ExitCode::from(outcome.exit_code())
}

/// What is waited for, before a change begins.
pub(crate) fn waiting(text: &str, as_json: bool) {
    if as_json {
        progress::event(&Event::Note { text: text.to_owned() });
    } else if volume() != Volume::Quiet {
        note(text);
    }
}

fn say_overridden(overridden: &Overridden) {
    note(&format!("skipped: the check {} said no: {}", overridden.check, overridden.because));
}

/// There was nothing to do.
pub(crate) fn unchanged(plan: &Plan, as_json: bool) -> ExitCode {
    let generation = plan.after.generation.saturating_sub(1);
    for text in plan.kept.iter().map(ToString::to_string) {
        if as_json {
            progress::event(&Event::Note { text });
        } else {
            say(&text);
        }
    }
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
    kept: &'a [cofferdam_core::plan::Kept],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    overridden: &'a [Overridden],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    findings: &'a [cofferdam_core::descriptor::Finding],
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
            kept: &plan.kept,
            overridden,
            findings: &plan.findings,
        });
    }
    plan.kept.iter().for_each(|kept| line(&kept.to_string()));
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
        file.diff.trim_end_matches('\n').split('\n').for_each(diff_line);
    }
    let restarts: Vec<_> = plan.restarts().collect();
    let restarts = if restarts.is_empty() { "nothing".to_owned() } else { restarts.join(", ") };
    line(&format!("\nwrites {}, restarts {restarts}", indicatif::HumanBytes(plan.bytes)));
    overridden.iter().for_each(say_overridden);
    plan.findings.iter().for_each(|finding| note(&finding.to_string()));
    Ok(ExitCode::SUCCESS)
}

fn diff_line(text: &str) {
    let style = match text.as_bytes().first() {
        Some(b'+') => DONE,
        Some(b'-') => ERROR,
        Some(b'@') => CAUSE,
        _ => return line(text),
    };
    line(&format!("{style}{text}{style:#}"));
}
