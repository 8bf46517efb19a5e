//! `cofferdam plan`, `cofferdam install` and `cofferdam upgrade`.

use super::preview_or_carry_out;
use crate::cli::{InstallArgs, absolute};
use cofferdam_core::plan::{self, Expect};
use cofferdam_host::error::Result;
use cofferdam_host::package::Source;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::Wish;
use std::process::ExitCode;

/// Shows what an installation would change.
pub(crate) fn plan(args: &InstallArgs) -> Result<ExitCode> {
    install(args, Expect::Anything, true)
}

/// Installs, or upgrades if another version is there.
pub(crate) fn run(args: &InstallArgs) -> Result<ExitCode> {
    install(args, Expect::Anything, false)
}

/// Upgrades.
pub(crate) fn upgrade(args: &InstallArgs) -> Result<ExitCode> {
    install(args, Expect::Installed, false)
}

fn install(args: &InstallArgs, expect: Expect, dry_run: bool) -> Result<ExitCode> {
    args.node.require_root()?;
    let (preset, version) = (args.preset.clone(), args.runtime_version.clone());
    let source = Source { folder: absolute(&args.source)?, preset, version };
    let package = source.read()?;
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: false };
    let wish = Wish::Install { source, expect };
    preview_or_carry_out(&args.node, args.survey(), dry_run, (wish, options), |survey| {
        let plan =
            survey.plan(|world| plan::install(world, &package.package, expect, !args.skip_rehearsal))?;
        Ok((plan, survey.overridden(&package.package.descriptor)))
    })
}
