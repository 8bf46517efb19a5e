//! One file per subcommand.

pub(crate) mod catalog;
pub(crate) mod doctor;
pub(crate) mod install;
pub(crate) mod log;
pub(crate) mod recover;
pub(crate) mod remove;
pub(crate) mod status;
pub(crate) mod support_bundle;
pub(crate) mod worker;

use crate::cli::NodeArgs;
use crate::show;
use cofferdam_core::history::Through;
use cofferdam_host::error::Result;
use cofferdam_host::history;
use cofferdam_host::store::Store;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::{Job, Wish, perform, submit};
use std::process::ExitCode;

/// Carries a job out: here on an offline tree, by the worker on a live machine.
fn carry_out(wish: Wish, options: Options, node: &NodeArgs) -> Result<ExitCode> {
    let asker = history::asker(Through::Command);
    run_job(&Job { wish, survey: node.survey(), options, asker }, node)
}

fn run_job(job: &Job, node: &NodeArgs) -> Result<ExitCode> {
    let mut progress = show::Progress::new(node.json);
    let outcome = if node.is_offline() {
        perform(job, &node.open_root()?, &mut progress)
    } else {
        submit(job, &[])?.follow(&mut progress)?
    };
    progress.finish();
    Ok(show::outcome(&outcome, node.json))
}

/// Whether something was interrupted: then there is work to do in any case.
fn has_journal(node: &NodeArgs) -> Result<bool> {
    let root = node.open_root()?;
    Ok(Store::new(&root)?.journal()?.is_some())
}
