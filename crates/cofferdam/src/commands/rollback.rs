//! `cofferdam rollback`.

use super::preview_or_carry_out;
use crate::cli::RollbackArgs;
use cofferdam_core::plan;
use cofferdam_host::error::Result;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::Wish;
use std::process::ExitCode;

pub(crate) fn run(args: &RollbackArgs) -> Result<ExitCode> {
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: false };
    let wish = Wish::Rollback { name: args.name.clone() };
    preview_or_carry_out(&args.node, args.node.survey(), args.dry_run, (wish, options), |survey| {
        Ok((survey.plan(|world| plan::rollback(world, &args.name, !args.skip_rehearsal))?, Vec::new()))
    })
}
