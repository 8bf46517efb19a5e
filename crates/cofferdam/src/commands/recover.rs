//! `cofferdam recover`.

use super::run_job;
use crate::cli::{NodeArgs, RecoverArgs};
use crate::show;
use cofferdam_core::history::Through;
use cofferdam_host::error::Result;
use cofferdam_host::event::Ending;
use cofferdam_host::history::{self, Scribe};
use cofferdam_host::root::HostRoot;
use cofferdam_host::store::Store;
use cofferdam_host::transact::{self, Conflicts, EngineControl, Host, LiveEngine, Options, When};
use cofferdam_host::worker::{self, Job, Wish};
use std::process::ExitCode;

pub(crate) fn run(args: &RecoverArgs) -> Result<ExitCode> {
    let mut node = args.node.clone();
    node.require_root()?;
    // What was interrupted says which engine it was about.
    let root = node.open_root()?;
    if let Some(unit) = Store::new(&root)?.journal()?.and_then(|journal| journal.unit) {
        node.unit = unit;
    }
    let job = Job {
        wish: Wish::Recover { keep_theirs: args.keep_theirs },
        survey: node.survey(),
        options: Options::default(),
        asker: history::asker(if args.boot { Through::Boot } else { Through::Command }),
        errand: None,
    };
    if args.boot { at_boot(&node, &root, &job) } else { run_job(&job, &node) }
}

/// Mends files, and queues the worker that asks the engine once it is up. Waiting for it here would be waiting for
/// an engine that waits for us.
fn at_boot(node: &NodeArgs, root: &HostRoot, job: &Job) -> Result<ExitCode> {
    let mut progress = show::Progress::new(node.json);
    let mut engine = LiveEngine::new(root, node.unit.clone());
    let scribe = Scribe::new(job.asker.clone(), job.wish.to_string());
    let host = Host {
        root,
        survey: &job.survey,
        engine: Some(&mut engine as &mut dyn EngineControl),
        scribe: &scribe,
        sink: &mut progress,
    };
    let outcome = transact::recover(host, When::Boot, Conflicts::Report);
    // A host that cannot be written says so by its outcome already.
    let _ = scribe.not_ended(root, &outcome);
    progress.finish();
    if outcome.result == Ending::Mended {
        worker::submit(job, std::slice::from_ref(&node.unit))?;
    }
    Ok(show::outcome(&outcome, node.json))
}
