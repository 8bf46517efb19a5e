//! `cofferdam plan`, `cofferdam install` and `cofferdam upgrade`.

use super::{carry_out, preview_or_carry_out};
use crate::cli::InstallArgs;
use crate::show;
use cofferdam_core::plan::{self, Expect};
use cofferdam_host::error::Result;
use cofferdam_host::event::Transfer;
use cofferdam_host::package::{Place, TemporaryRoom};
use cofferdam_host::store::Store;
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
    let source = args.package.source()?;
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: false };
    let wish = Wish::Install { source: source.clone(), expect: expect.clone() };
    // What has to be fetched is fetched once, by whoever installs it; that the same is there already is found there.
    if !dry_run && !matches!(source.place, Place::Dir(_)) {
        return carry_out(wish, options, args.survey(), &args.node);
    }
    let room = TemporaryRoom::default();
    let root = args.node.open_root()?;
    let ledger = Store::new(&root)?.ledger()?;
    let mut progress = show::Progress::new(args.node.json);
    let installed = ledger.as_ref().map(|ledger| (&root, ledger));
    let mut told = |transfer: Transfer| {
        // JSON shows the plan alone.
        if !args.node.json {
            progress.fetched(&transfer);
        }
    };
    // Files are not needed to plan, where the package says enough of itself.
    let package = match dry_run {
        true => room.look(&source, installed, &mut told),
        false => room.open(&source, installed, &mut told).map(|dir| dir.package),
    };
    progress.finish();
    let package = package?;
    preview_or_carry_out(&args.node, args.survey(), dry_run, (wish, options), |survey| {
        let plan = survey.plan(|world| plan::install(world, &package, &expect, !args.skip_rehearsal))?;
        Ok((plan, survey.overridden(&package.descriptor)))
    })
}
