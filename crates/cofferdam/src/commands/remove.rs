//! `cofferdam remove`.

use super::{carry_out, has_journal};
use crate::cli::RemoveArgs;
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::plan::{self, Force, Plan};
use cofferdam_host::error::Result;
use cofferdam_host::survey::Survey;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::Wish;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often pods are looked at while waiting for them.
const POLL: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &RemoveArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    match wait_for_plan(args) {
        Ok(plan) if args.dry_run => return show::plan(&plan, &[], args.node.json),
        Ok(_) => {}
        // What a crash left is finished first: until then no plan means anything.
        Err(error) if args.dry_run || error.class() == Class::InUse || !has_journal(&args.node)? => {
            return Err(error);
        }
        Err(_) => {}
    }
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: args.force };
    let wish = Wish::Remove { name: args.name.clone() };
    carry_out(wish, options, args.node.survey(), &args.node)
}

/// The plan, once nothing uses the runtime or the wait is over.
fn wait_for_plan(args: &RemoveArgs) -> Result<Plan> {
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    let force = if args.force { Force::Yes } else { Force::No };
    let root = args.node.open_root()?;
    let mut said = String::new();
    loop {
        let mut survey = Survey::take(&root, &args.node.survey())?;
        match survey.plan(|world| plan::remove(world, &args.name, force, !args.skip_rehearsal)) {
            Err(error)
                if error.class() == Class::InUse && deadline.is_some_and(|end| Instant::now() < end) =>
            {
                let text = format!("waiting: {error}");
                if said != text {
                    show::waiting(&text, args.node.json);
                    said = text;
                }
                std::thread::sleep(POLL);
            }
            result => return result,
        }
    }
}
