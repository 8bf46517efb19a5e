//! One file per subcommand.

pub(crate) mod apply;
pub(crate) mod catalog;
pub(crate) mod cluster;
pub(crate) mod doctor;
pub(crate) mod follow;
pub(crate) mod gc;
pub(crate) mod generate;
pub(crate) mod install;
pub(crate) mod kubectl;
pub(crate) mod log;
pub(crate) mod pack;
pub(crate) mod pause;
pub(crate) mod pull;
pub(crate) mod recover;
pub(crate) mod remove;
pub(crate) mod repair;
pub(crate) mod report;
pub(crate) mod rollback;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod support_bundle;
pub(crate) mod uninstall;
pub(crate) mod verify;
pub(crate) mod worker;

use crate::cli::NodeArgs;
use crate::show;
use cofferdam_core::doctor::Overridden;
use cofferdam_core::history::Through;
use cofferdam_core::plan::Plan;
use cofferdam_host::error::Result;
use cofferdam_host::event::Outcome;
use cofferdam_host::history;
use cofferdam_host::store::Store;
use cofferdam_host::survey::{Survey, SurveyOptions};
use cofferdam_host::transact::Options;
use cofferdam_host::worker::{Job, Wish, perform, submit};
use std::process::ExitCode;

/// Carries a job out: here on an offline tree, by the worker on a live machine.
fn carry_out(wish: Wish, options: Options, survey: SurveyOptions, node: &NodeArgs) -> Result<ExitCode> {
    let asker = history::asker(Through::Command);
    run_job(&Job { wish, survey, options, asker, errand: None }, node)
}

fn run_job(job: &Job, node: &NodeArgs) -> Result<ExitCode> {
    Ok(show::outcome(&outcome_of(job, node)?, node.json))
}

/// How a job ended; what it does is shown meanwhile.
fn outcome_of(job: &Job, node: &NodeArgs) -> Result<Outcome> {
    let mut progress = show::Progress::new(node.json);
    let outcome = if node.is_offline() {
        perform(job, &node.open_root()?, &mut progress)
    } else {
        submit(job, &[])?.follow(&mut progress)?
    };
    progress.finish();
    Ok(outcome)
}

/// A plan, and the doctor's checks that were overridden for it.
type Planned = (Plan, Vec<Overridden>);

/// Carries out what `plan` is the preview of; nothing at all if there is nothing to do.
fn preview_or_carry_out(
    node: &NodeArgs,
    survey: SurveyOptions,
    dry_run: bool,
    (wish, options): (Wish, Options),
    plan: impl FnOnce(&mut Survey<'_>) -> Result<Planned>,
) -> Result<ExitCode> {
    node.require_root()?;
    if let Some((plan, overridden)) = look_ahead(node, &survey, dry_run, plan)? {
        if dry_run {
            return show::plan(&plan, &overridden, node.json);
        }
        if plan.is_empty() {
            return Ok(show::unchanged(&plan, node.json));
        }
    }
    carry_out(wish, options, survey, node)
}

/// The plan. None: what a crash left is finished first, and until then no plan means anything.
fn look_ahead(
    node: &NodeArgs,
    survey: &SurveyOptions,
    dry_run: bool,
    plan: impl FnOnce(&mut Survey<'_>) -> Result<Planned>,
) -> Result<Option<Planned>> {
    if !dry_run && has_journal(node)? {
        return Ok(None);
    }
    let root = node.open_root()?;
    plan(&mut Survey::take(&root, survey)?).map(Some)
}

/// Whether something was interrupted: then there is work to do in any case.
fn has_journal(node: &NodeArgs) -> Result<bool> {
    let root = node.open_root()?;
    Ok(Store::new(&root)?.journal()?.is_some())
}
