//! `cofferdam gc`.

use super::preview_or_carry_out;
use crate::cli::GcArgs;
use cofferdam_core::plan::{self, Scope};
use cofferdam_host::error::Result;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::Wish;
use std::process::ExitCode;

pub(crate) fn run(args: &GcArgs) -> Result<ExitCode> {
    let scope = if args.all { Scope::All } else { Scope::Spare };
    let wish = Wish::Collect { scope };
    preview_or_carry_out(&args.node, args.node.survey(), args.dry_run, (wish, Options::default()), |survey| {
        Ok((survey.plan(|world| plan::collect(world, scope))?, Vec::new()))
    })
}
