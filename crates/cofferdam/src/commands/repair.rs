//! `cofferdam repair`.

use super::{carry_out, preview_or_carry_out};
use crate::cli::{RepairArgs, absolute};
use cofferdam_core::plan::{self, Overwrite};
use cofferdam_host::error::Result;
use cofferdam_host::transact::{Mend, Options};
use cofferdam_host::worker::Wish;
use std::process::ExitCode;

pub(crate) fn run(args: &RepairArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let overwrite = if args.overwrite { Overwrite::Yes } else { Overwrite::No };
    let from = args.from.as_deref().map(absolute).transpose()?;
    let wish = Wish::Repair(Mend { name: args.name.clone(), from, overwrite });
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: false };
    if args.dry_run {
        return preview_or_carry_out(&args.node, true, wish, options, |world| {
            plan::repair(world, overwrite, !args.skip_rehearsal)
        });
    }
    carry_out(wish, options, &args.node)
}
