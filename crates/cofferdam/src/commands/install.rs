//! `cofferdam plan` and `cofferdam install`.

use super::carry_out;
use crate::cli::InstallArgs;
use crate::show;
use cofferdam_core::plan::{self, Plan};
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::survey::Survey;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::{Job, Wish, read_package};
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows what an installation would change.
pub(crate) fn plan(args: &InstallArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let (plan, _) = make_plan(args)?;
    show::plan(&plan, args.node.json)
}

/// Installs.
pub(crate) fn run(args: &InstallArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let (plan, folder) = make_plan(args)?;
    if plan.is_empty() && !has_journal(args)? {
        return Ok(show::unchanged(&plan, args.node.json));
    }
    let wish = Wish::Install { folder, preset: args.preset.clone(), version: args.runtime_version.clone() };
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: false };
    carry_out(&Job { wish, survey: args.node.survey(), options }, &args.node)
}

fn make_plan(args: &InstallArgs) -> Result<(Plan, PathBuf)> {
    // The worker has another working directory.
    let folder = std::fs::canonicalize(&args.source)
        .map_err(|error| HostError::std_io("open the package", args.source.display(), error))?;
    let package = read_package(&folder, args.preset.as_deref(), args.runtime_version.as_deref())?;
    let root = args.node.open_root()?;
    let mut survey = Survey::take(&root, &args.node.survey())?;
    let plan = survey.plan(|world| plan::install(world, &package.package, !args.skip_rehearsal))?;
    Ok((plan, folder))
}

/// Whether something was interrupted: then the worker has work to do in any case.
fn has_journal(args: &InstallArgs) -> Result<bool> {
    let root = args.node.open_root()?;
    Ok(cofferdam_host::store::Store::new(&root)?.journal()?.is_some())
}
