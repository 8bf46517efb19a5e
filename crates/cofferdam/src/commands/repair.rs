//! `cofferdam repair`.

use super::{carry_out, preview_or_carry_out};
use crate::cli::RepairArgs;
use crate::show;
use cofferdam_core::plan::{self, Drift, Overwrite};
use cofferdam_host::error::Result;
use cofferdam_host::survey::Survey;
use cofferdam_host::transact::{Mend, Options};
use cofferdam_host::worker::Wish;
use std::process::ExitCode;

pub(crate) fn run(args: &RepairArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let overwrite = if args.overwrite { Overwrite::Yes } else { Overwrite::No };
    let from = args.from.as_ref().map(|place| args.access.place(place)).transpose()?;
    let (policy, limits) = (args.trust.policy()?, args.limits.limits());
    let wish = Wish::Repair(Mend { name: args.name.clone(), from, overwrite, policy, limits });
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: false };
    if args.dry_run {
        show_damaged_trees(args)?;
        return preview_or_carry_out(&args.node, args.node.survey(), true, (wish, options), |survey| {
            Ok((survey.plan(|world| plan::repair(world, overwrite, !args.skip_rehearsal))?, Vec::new()))
        });
    }
    carry_out(wish, options, args.node.survey(), &args.node)
}

/// A tree is replaced by a transaction of its own, before registrations and units are looked at.
fn show_damaged_trees(args: &RepairArgs) -> Result<()> {
    if args.node.json {
        return Ok(());
    }
    let root = args.node.open_root()?;
    for drift in Survey::take(&root, &args.node.survey())?.plan(plan::drift)? {
        if let Drift::TreeDamaged { tree, .. } | Drift::TreeMissing { tree, .. } = drift {
            show::line(&format!("replace {tree} by a new copy"));
        }
    }
    Ok(())
}
