//! `cofferdam plan` and `cofferdam install`.

use super::{carry_out, has_journal};
use crate::cli::InstallArgs;
use crate::show;
use cofferdam_core::doctor::Overridden;
use cofferdam_core::plan::{self, Plan};
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::survey::Survey;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::{Job, Wish, read_package};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Shows what an installation would change.
pub(crate) fn plan(args: &InstallArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let (plan, overridden) = make_plan(args, &package_folder(args)?)?;
    show::plan(&plan, &overridden, args.node.json)
}

/// Installs.
pub(crate) fn run(args: &InstallArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let folder = package_folder(args)?;
    // What a crash left is finished first: until then no plan means anything.
    if !has_journal(&args.node)? {
        let (plan, _) = make_plan(args, &folder)?;
        if plan.is_empty() {
            return Ok(show::unchanged(&plan, args.node.json));
        }
    }
    let wish = Wish::Install { folder, preset: args.preset.clone(), version: args.runtime_version.clone() };
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: false };
    carry_out(&Job { wish, survey: args.survey(), options }, &args.node)
}

/// The package's folder. The worker has another working directory.
fn package_folder(args: &InstallArgs) -> Result<PathBuf> {
    std::fs::canonicalize(&args.source)
        .map_err(|error| HostError::std_io("open the package", args.source.display(), error))
}

/// The plan, and the checks that said no and were overridden.
fn make_plan(args: &InstallArgs, folder: &Path) -> Result<(Plan, Vec<Overridden>)> {
    let package = read_package(folder, args.preset.as_deref(), args.runtime_version.as_deref())?;
    let root = args.node.open_root()?;
    let mut survey = Survey::take(&root, &args.survey())?;
    let plan = survey.plan(|world| plan::install(world, &package.package, !args.skip_rehearsal))?;
    Ok((plan, survey.overridden(&package.package.descriptor)))
}
