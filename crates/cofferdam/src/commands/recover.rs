//! `cofferdam recover`.

use super::carry_out;
use crate::cli::RecoverArgs;
use crate::show;
use cofferdam_host::error::Result;
use cofferdam_host::event::Ending;
use cofferdam_host::transact::{self, Conflicts, EngineControl, Host, LiveEngine, Options, When};
use cofferdam_host::worker::{self, Job, Wish};
use std::process::ExitCode;

pub(crate) fn run(args: &RecoverArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let job = Job {
        wish: Wish::Recover { keep_theirs: args.keep_theirs },
        survey: args.node.survey(),
        options: Options::default(),
    };
    if args.boot { at_boot(args, &job) } else { carry_out(&job, &args.node) }
}

/// Mends files, and queues the worker that asks the engine once it is up. Waiting for it here would be waiting for
/// an engine that waits for us.
fn at_boot(args: &RecoverArgs, job: &Job) -> Result<ExitCode> {
    let root = args.node.open_root()?;
    let mut progress = show::Progress::new(args.node.json);
    let mut engine = LiveEngine::new(&root, args.node.unit.clone());
    let host = Host {
        root: &root,
        survey: &job.survey,
        engine: Some(&mut engine as &mut dyn EngineControl),
        sink: &mut progress,
    };
    let outcome = transact::recover(host, When::Boot, Conflicts::Report);
    progress.finish();
    if outcome.result == Ending::Mended {
        worker::submit(job, std::slice::from_ref(&args.node.unit))?;
    }
    Ok(show::outcome(&outcome, args.node.json))
}
