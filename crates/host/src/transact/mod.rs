//! The transaction engine: the only way in which anything on a host changes.
//!
//! ```text
//! journal(staging) -> stage -> journal(applying) -> steps -> journal(restarting) -> restart, verify
//!                                                        -> ledger of the next generation = committed
//!                  -> journal(cleaning) -> clear away -> no journal
//! any failure before the commit: journal(rolling-back) -> undo in reverse -> engine as before -> no journal
//! ```
//!
//! The executor makes no choices: a [`Plan`](cofferdam_core::plan::Plan) says all there is to do, and each step
//! can be carried out again or taken back by looking at what is on disk.

mod dangling;
mod execute;
mod live;
mod recover;
mod repair;
mod undo;

pub use live::LiveEngine;
pub use recover::{Conflicts, When, recover};
pub use repair::{Mend, repair};

use crate::error::{HostError, Result};
use crate::event::{Ending, Event, Outcome, Pace, Sink, Transfer};
use crate::history::Scribe;
use crate::observe;
use crate::package::{PackageDir, Room, Source};
use crate::root::HostRoot;
use crate::store::{Keep, Store};
use crate::survey::{self, Survey, SurveyOptions};
use cofferdam_core::class::Class;
use cofferdam_core::history::Through;
use cofferdam_core::name::{HostPath, RuntimeName};
use cofferdam_core::observation::{EngineProcess, Sandbox, TreeUses};
use cofferdam_core::plan::{self, Expect, Force, Plan, Scope};
use cofferdam_core::record::{Change, Journal, Verdict};

/// What a transaction needs of the engine. Offline trees have none.
pub trait EngineControl {
    /// Starts the engine's own binary on the candidate files (none: deleted), isolated. Returns notes.
    ///
    /// # Errors
    /// If the engine refuses them, or something of others' would be lost.
    fn rehearse(&mut self, candidates: &[Candidate], ours: &[String]) -> Result<Vec<String>>;

    /// Restarts the unit and waits until the engine serves CRI.
    ///
    /// # Errors
    /// If it does not come up in time.
    fn restart(&mut self, unit: &str) -> Result<()>;

    /// systemd reads its units again.
    ///
    /// # Errors
    /// If it does not answer.
    fn reload_systemd(&mut self) -> Result<()>;

    /// The engine's process now.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn process(&mut self) -> Result<Option<EngineProcess>>;

    /// Whether the engine serves what it served before.
    ///
    /// # Errors
    /// What is missing.
    fn health(&mut self, expect: &Expectation<'_>) -> Result<()>;

    /// Starts a sandbox and a container in it under `handler`, and removes both.
    ///
    /// # Errors
    /// If they do not start.
    fn probe(&mut self, handler: &str) -> Result<Verdict>;

    /// Stops and removes the pods of probes that were cut off. Returns how many there were.
    ///
    /// # Errors
    /// If CRI does not answer, or one cannot be removed.
    fn sweep_probes(&mut self) -> Result<usize>;

    /// Who runs from which of `trees` now.
    fn uses(&mut self, trees: &[HostPath]) -> TreeUses;

    /// Stops and removes the sandboxes that run under `handlers`.
    ///
    /// # Errors
    /// If one cannot be stopped or removed.
    fn stop_sandboxes(&mut self, handlers: &[String]) -> Result<()>;
}

/// One file as it would be: its bytes, or none if it would not exist.
pub type Candidate = (HostPath, Option<Vec<u8>>);

/// What must hold of a healthy engine.
#[derive(Clone, Copy, Debug)]
pub struct Expectation<'a> {
    /// Handlers that it must list.
    pub handlers: &'a [String],
    /// Sandboxes whose containers must be the same, with the same restart counts.
    pub sandboxes: &'a [Sandbox],
    /// The handler whose sandboxes may be gone (a forced removal).
    pub except: &'a [String],
}

/// How a transaction is to be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Leave the rehearsal out.
    pub skip_rehearsal: bool,
    /// Stop the sandboxes that use what is removed.
    pub force: bool,
}

/// A host with whatever runs on it, ready for a transaction.
pub struct Host<'a> {
    /// Its root.
    pub root: &'a HostRoot,
    /// What to look at, and where things go.
    pub survey: &'a SurveyOptions,
    /// Its engine; none on an offline tree.
    pub engine: Option<&'a mut dyn EngineControl>,
    /// Writes down how it ended.
    pub scribe: &'a Scribe,
    /// Where events go.
    pub sink: &'a mut dyn Sink,
}

impl Host<'_> {
    /// Says which trees of earlier versions stay, and why.
    fn tell_kept(&mut self, plan: &Plan) {
        for kept in &plan.kept {
            self.sink.take(Event::Note { text: kept.to_string() });
        }
    }
}

/// Installs the package of `source`, or upgrades to it, unless it is installed already.
pub fn install(mut host: Host<'_>, source: &Source, expect: &Expect, options: Options) -> Outcome {
    let mut overridden = Vec::new();
    let declared = host.scribe.asker().through == Through::Apply;
    let outcome = run_with(
        &mut host,
        |host, store| open(host, store, source),
        |survey, package| {
            let mut plan = survey
                .plan(|world| plan::install(world, &package.package, expect, !options.skip_rehearsal))?;
            if !plan.is_empty() {
                if declared
                    && let Some(installed) = plan.after.runtimes.get_mut(&package.package.descriptor.name)
                {
                    installed.declared = true;
                }
                overridden = survey.overridden(&package.package.descriptor);
            }
            Ok(plan)
        },
    );
    Outcome { overridden, ..outcome }
}

/// Brings the package of `source` to the host, for an installation to come.
pub fn pull(mut host: Host<'_>, source: &Source) -> Outcome {
    run_with(
        &mut host,
        |host, store| open(host, store, source),
        |survey, package| survey.plan(|world| plan::pull(world, &package.package)),
    )
}

/// The package of `source`, and what is to be known of it.
fn open(host: &mut Host<'_>, store: &Store<'_>, source: &Source) -> Result<PackageDir> {
    let package = fetch(host, store, source)?;
    host.sink.take(Event::Read { package: Box::new(package.package.descriptor.clone()) });
    for finding in &package.package.findings {
        host.sink.take(Event::Note { text: finding.to_string() });
    }
    Ok(package)
}

/// Registers the version of before again.
pub fn rollback(mut host: Host<'_>, name: &RuntimeName, options: Options) -> Outcome {
    run(&mut host, None, |survey| survey.plan(|world| plan::rollback(world, name, !options.skip_rehearsal)))
}

/// Deletes trees that nothing needs any more.
pub fn collect(mut host: Host<'_>, scope: Scope) -> Outcome {
    run(&mut host, None, |survey| survey.plan(|world| plan::collect(world, scope)))
}

/// Removes a runtime.
pub fn remove(mut host: Host<'_>, name: &RuntimeName, options: Options) -> Outcome {
    let force = if options.force { Force::Yes } else { Force::No };
    run(&mut host, Some(name), |survey| {
        survey.plan(|world| plan::remove(world, name, force, !options.skip_rehearsal))
    })
}

/// A change without a package.
fn run(
    host: &mut Host<'_>,
    removing: Option<&RuntimeName>,
    make_plan: impl FnOnce(&mut Survey<'_>) -> Result<Plan>,
) -> Outcome {
    run_all(host, removing, |_, _| Ok(None), |survey, _| make_plan(survey))
}

/// A change with a package, which is opened under the lock: what is fetched lies among our temporary files.
fn run_with(
    host: &mut Host<'_>,
    open: impl FnOnce(&mut Host<'_>, &Store<'_>) -> Result<PackageDir>,
    make_plan: impl FnOnce(&mut Survey<'_>, &PackageDir) -> Result<Plan>,
) -> Outcome {
    run_all(
        host,
        None,
        |host, store| open(host, store).map(Some),
        |survey, package| match package {
            Some(package) => make_plan(survey, package),
            None => Err(HostError::new(Class::Internal, "there is no package")),
        },
    )
}

/// Said when a registry went away in the middle.
const KEPT: &str = "what came whole waits for the next try, and `cofferdam recover` deletes it";

/// Lock, finish what a crash left, look, plan, execute.
fn run_all(
    host: &mut Host<'_>,
    removing: Option<&RuntimeName>,
    open: impl FnOnce(&mut Host<'_>, &Store<'_>) -> Result<Option<PackageDir>>,
    make_plan: impl FnOnce(&mut Survey<'_>, Option<&PackageDir>) -> Result<Plan>,
) -> Outcome {
    let store = match Store::new(host.root) {
        Ok(store) => store,
        Err(error) => return Outcome::refused(&error, 0),
    };
    match settle(host, &store, removing) {
        Ok(None) => {}
        Ok(Some(outcome)) => return outcome,
        Err(error) => return Outcome::refused(&error, generation(&store)),
    }
    let (_lock, made) = match store.lock() {
        Ok(locked) => locked,
        Err(error) => return Outcome::refused(&error, 0),
    };
    let (outcome, keep) = match run_locked(host, &store, &made, open, make_plan) {
        Ok(outcome) => (outcome, Keep::Nothing),
        Err(error) if error.is_of_others() && store.has_fetched().unwrap_or(false) => {
            (failed(&store, &error.with_more_hint(KEPT)), Keep::Fetched)
        }
        Err(error) => (failed(&store, &error), Keep::Nothing),
    };
    match outcome.result {
        Ending::Refused => {
            let _ = store.sweep(keep);
            if keep == Keep::Nothing {
                let _ = leave_nothing(&store, &made);
            }
        }
        Ending::Unchanged => {
            let _ = store.sweep(Keep::Nothing);
        }
        _ => {}
    }
    outcome
}

/// The package of `source`. What has to be fetched for it is swept away with the transaction.
fn fetch(host: &mut Host<'_>, store: &Store<'_>, source: &Source) -> Result<PackageDir> {
    let ledger = store.ledger()?;
    let root = host.root;
    let mut pace = Pace::begin();
    let mut progress = |transfer: Transfer| {
        if let Some(transfer) = pace.lets(transfer) {
            host.sink.take(Event::Fetched(transfer));
        }
    };
    let installed = ledger.as_ref().map(|ledger| (root, ledger));
    let label = observe::label_at(root, &survey::prefix(ledger.as_ref(), host.survey)?);
    source.open(&mut Room { root, folder: store.fetched()?, installed, label, progress: &mut progress })
}

/// Finishes what a crash left, under a lock of its own: with the last runtime our folder and the lock in it go. An
/// outcome, if that is the end of it: others' edits stand in the way, or just what was asked for was finished.
fn settle(host: &mut Host<'_>, store: &Store<'_>, removing: Option<&RuntimeName>) -> Result<Option<Outcome>> {
    if store.journal()?.is_none() {
        return Ok(None);
    }
    let (_lock, _) = store.lock()?;
    let Some(journal) = store.journal()? else { return Ok(None) };
    let asked = matches!(&journal.change, Change::Remove { name } if Some(name) == removing);
    let outcome = recover::resume(host, store, journal, When::Running, Conflicts::Report)?;
    let over = outcome.result == Ending::Conflict || asked && outcome.result == Ending::Committed;
    Ok(over.then_some(outcome))
}

fn run_locked(
    host: &mut Host<'_>,
    store: &Store<'_>,
    made: &[HostPath],
    open: impl FnOnce(&mut Host<'_>, &Store<'_>) -> Result<Option<PackageDir>>,
    make_plan: impl FnOnce(&mut Survey<'_>, Option<&PackageDir>) -> Result<Plan>,
) -> Result<Outcome> {
    if store.journal()?.is_some() {
        let message = "another change was interrupted this very moment";
        return Err(HostError::new(Class::Unavailable, message).with_hint("try again"));
    }
    store.sweep(Keep::Fetched)?;
    let package = open(host, store)?;
    let mut survey = Survey::take(host.root, host.survey)?;
    let plan = make_plan(&mut survey, package.as_ref())?;
    if plan.is_empty() {
        host.tell_kept(&plan);
        leave_nothing(store, made)?;
        let generation = survey.ledger.as_ref().map_or(0, |ledger| ledger.generation);
        return Ok(Outcome::new(Ending::Unchanged, generation, format!("{}: nothing to do", plan.change)));
    }
    execute::execute(host, store, survey, plan, package.as_ref(), made)
}

/// After a run that did nothing, a host without a ledger keeps nothing of ours.
fn leave_nothing(store: &Store<'_>, made: &[HostPath]) -> Result<()> {
    if store.ledger()?.is_none() && store.journal()?.is_none() {
        store.forget(made)?;
    }
    Ok(())
}

/// What an error means: with a journal on disk, something is left to do.
fn failed(store: &Store<'_>, error: &HostError) -> Outcome {
    match store.journal() {
        Ok(None) => Outcome::refused(error, generation(store)),
        Ok(Some(_)) | Err(_) => Outcome::unfinished(error, generation(store)),
    }
}

fn generation(store: &Store<'_>) -> u64 {
    store.ledger().ok().flatten().map_or(0, |ledger| ledger.generation)
}

/// Where the tree is put together before it is moved to its place.
fn staging(journal: &Journal) -> Result<HostPath> {
    journal
        .after
        .prefix
        .join(&format!("runtimes/.staging-{}", journal.id))
        .map_err(|error| HostError::new(Class::Internal, error.to_string()))
}
