//! Finishes what a crash or a failure left: forward if it was committed, back if it was not.

use super::execute::{boot_id, removed_handlers};
use super::{EngineControl, Expectation, Host, failed, generation, staging, undo};
use crate::error::{HostError, Result};
use crate::event::{Ending, Event, Outcome};
use crate::store::{Keep, Store};
use cofferdam_core::class::Class;
use cofferdam_core::history::Through;
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{PathState, TreeUses};
use cofferdam_core::record::{Journal, Phase, STATE, Step, StepKind, Unregistered};

/// When recovery runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The host is up: the engine is brought back to what it was, too.
    Running,
    /// Early at boot, before engines: files only. An engine ordered after us would wait for us if we restarted it.
    Boot,
}

/// What to do where someone else changed a file that should be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflicts {
    /// Leave all as it is and say what to do.
    Report,
    /// Their content stays, and the transaction ends.
    KeepTheirs,
}

/// Recovers the host, if there is something to recover.
pub fn recover(mut host: Host<'_>, when: When, conflicts: Conflicts) -> Outcome {
    let store = match Store::new(host.root) {
        Ok(store) => store,
        Err(error) => return Outcome::refused(&error, 0),
    };
    recover_store(&mut host, &store, when, conflicts).unwrap_or_else(|error| failed(&store, &error))
}

fn recover_store(
    host: &mut Host<'_>,
    store: &Store<'_>,
    when: When,
    conflicts: Conflicts,
) -> Result<Outcome> {
    let (_lock, made) = store.lock()?;
    let Some(journal) = store.journal()? else {
        sweep_probes(host, when);
        // Whoever asked the worker that was killed may ask again.
        let keep = match host.scribe.asker().through {
            Through::Worker => Keep::Fetched,
            _ => Keep::Nothing,
        };
        store.sweep(keep)?;
        let ledger = store.ledger()?;
        store.prune(ledger.as_ref())?;
        if ledger.is_none() && !(keep == Keep::Fetched && store.has_fetched()?) {
            store.forget(&made)?;
        }
        return Ok(Outcome::new(Ending::Unchanged, generation(store), "nothing to recover"));
    };
    resume(host, store, journal, when, conflicts)
}

/// Finishes the transaction of `journal`.
pub(super) fn resume(
    host: &mut Host<'_>,
    store: &Store<'_>,
    mut journal: Journal,
    when: When,
    conflicts: Conflicts,
) -> Result<Outcome> {
    // Before their handlers' trees go: the engine ends them with files from there.
    sweep_probes(host, when);
    if journal.is_committed(store.ledger()?.as_ref()) {
        let text = format!("{}: was committed, and is finished now", journal.change);
        let outcome = Outcome::new(Ending::Committed, journal.after.generation, text);
        clean(host, store, &journal, &outcome)?;
        return Ok(outcome);
    }
    take_back(host, store, &mut journal, Why::Interrupted, when, conflicts)
}

/// Why a transaction is taken back.
#[derive(Clone, Copy)]
enum Why<'e> {
    /// It failed.
    Failed(&'e HostError),
    /// Whoever carried it out is gone.
    Interrupted,
}

impl Why<'_> {
    fn words(self, journal: &Journal) -> String {
        match self {
            Self::Failed(error) => error.chain(),
            Self::Interrupted => journal.reason.clone().unwrap_or_else(|| "it was interrupted".to_owned()),
        }
    }
}

/// Removes the probe pods of a worker that was killed, if the engine is up. That it is not is no failure of the
/// recovery: such a pod harms nobody.
fn sweep_probes(host: &mut Host<'_>, when: When) {
    let Some(engine) = host.engine.as_deref_mut().filter(|_| when == When::Running) else { return };
    match engine.sweep_probes() {
        Ok(0) | Err(_) => {}
        Ok(count) => {
            let text = format!("removed what an interrupted probe left ({count} pods)");
            host.sink.take(Event::Note { text });
        }
    }
}

/// Takes a transaction back because of `error`.
pub(super) fn roll_back(
    host: &mut Host<'_>,
    store: &Store<'_>,
    journal: &mut Journal,
    error: &HostError,
) -> Result<Outcome> {
    // Before their handlers' trees go, as in a recovery.
    sweep_probes(host, When::Running);
    take_back(host, store, journal, Why::Failed(error), When::Running, Conflicts::Report)
}

fn take_back(
    host: &mut Host<'_>,
    store: &Store<'_>,
    journal: &mut Journal,
    why: Why<'_>,
    when: When,
    conflicts: Conflicts,
) -> Result<Outcome> {
    let reason = why.words(journal);
    host.sink.take(Event::RollingBack { reason: reason.clone() });
    let settled = journal.phase == Phase::Mended;
    journal.reason = Some(reason.clone());
    if !settled {
        journal.phase = Phase::RollingBack;
        // On a full disk the old journal says enough: not committed.
        let _ = store.put_journal(journal);
        let used = used_trees(host, journal, when);
        let undone = undo::undo(store, journal, &used)?;
        keep(store, journal, &used)?;
        if !undone.conflicts.is_empty() && conflicts == Conflicts::Report {
            return Ok(conflict(store, &undone.conflicts));
        }
    }
    if when == When::Boot {
        return mend(host, store, journal);
    }
    let engine = settle_engine(host, journal, settled);
    // Again: the engine may have been down before.
    sweep_probes(host, when);
    let mut message = format!("{}: taken back: {reason}", journal.change);
    if let Err(error) = engine {
        message
            .push_str(&format!("; the files are as before, but the engine is not well: {}", error.chain()));
    }
    let mut outcome = Outcome::new(Ending::RolledBack, generation(store), message);
    outcome.class = Some(Class::RolledBack);
    if let Why::Failed(error) = why {
        outcome.hint = error.hint();
        // What no engine saw failed for a reason of its own; say that one.
        if !journal.restarted && error.class() != Class::Internal {
            outcome.class = Some(error.class());
        }
    }
    finish(host, store, journal, &outcome)?;
    Ok(outcome)
}

/// The trees of this transaction that something runs from by now: pods that came between its restart and now. At boot
/// nothing runs.
fn used_trees(host: &mut Host<'_>, journal: &Journal, when: When) -> Vec<HostPath> {
    let Some(engine) = host.engine.as_deref_mut().filter(|_| when == When::Running) else {
        return Vec::new();
    };
    let placed = journal.steps.iter().filter_map(|step| match step {
        Step::PlaceTree { tree } => Some(tree.clone()),
        _ => None,
    });
    let placed: Vec<HostPath> = placed.collect();
    let uses = if placed.is_empty() { TreeUses::new() } else { engine.uses(&placed) };
    for tree in uses.keys() {
        host.sink.take(Event::Note { text: format!("{tree} stays: something runs from it already") });
    }
    uses.into_keys().collect()
}

/// Trees that stay are on record, so that they are collected once nothing runs from them.
fn keep(store: &Store<'_>, journal: &Journal, used: &[HostPath]) -> Result<()> {
    let Some(mut ledger) = journal.before.clone() else { return Ok(()) };
    let placed = journal.after.runtimes.iter().filter(|(_, installed)| used.contains(&installed.tree));
    let unknown: Vec<Unregistered> = placed
        .filter(|(_, installed)| ledger.trees().all(|(_, known)| known.tree != installed.tree))
        .map(|(name, installed)| Unregistered { name: name.clone(), installed: installed.clone() })
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let holds = |folder: &&HostPath| unknown.iter().any(|kept| kept.installed.tree.is_within(folder));
    let folders: Vec<HostPath> =
        journal.after.folders.iter().filter(holds).filter(|f| !ledger.folders.contains(f)).cloned().collect();
    ledger.folders.extend(folders);
    // The oldest place: a rollback must not bring back what did not prove itself.
    ledger.retired.splice(0..0, unknown);
    store.put_ledger(&ledger, &journal.id)
}

fn conflict(store: &Store<'_>, conflicts: &[String]) -> Outcome {
    let mut outcome = Outcome::new(Ending::Conflict, generation(store), conflicts.join("; "));
    outcome.class = Some(Class::Conflict);
    outcome.hint = Some(
        "nothing of theirs was touched. Put the file right and run cofferdam recover, or accept it as it is with \
         cofferdam recover --keep-theirs"
            .to_owned(),
    );
    outcome
}

/// Files are as before; what is left is to ask the engine, once it is up.
fn mend(host: &mut Host<'_>, store: &Store<'_>, journal: &mut Journal) -> Result<Outcome> {
    let running = match host.engine.as_deref_mut() {
        Some(engine) => engine.process().ok().flatten().is_some(),
        None => false,
    };
    journal.phase = Phase::Mended;
    // An engine that runs already may have read the files of the change.
    journal.restarted = running;
    store.put_journal(journal)?;
    let text = format!("{}: its files are as before; the engine is asked once it is up", journal.change);
    Ok(Outcome::new(Ending::Mended, generation(store), text))
}

/// Brings the engine back to what it served before.
fn settle_engine(host: &mut Host<'_>, journal: &Journal, settled: bool) -> Result<()> {
    let Some(engine) = host.engine.as_deref_mut() else { return Ok(()) };
    if journal.steps.iter().any(|step| step.kind() == StepKind::ReloadSystemd) {
        engine.reload_systemd()?;
    }
    let reread = !settled && journal.engine.is_some() && engine.process()? != journal.engine;
    let has_restart = journal.steps.iter().any(|step| step.kind() == StepKind::Restart);
    if let Some(unit) = journal.unit.as_ref().filter(|_| has_restart && (journal.restarted || reread)) {
        engine.restart(unit)?;
    }
    let same_boot = journal.boot == boot_id();
    let sandboxes = if same_boot { journal.sandboxes.as_slice() } else { &[] };
    let except = removed_handlers(journal);
    engine.health(&Expectation { handlers: &journal.handlers, sandboxes, except: &except })
}

/// Carries out what comes after the commit.
fn clean(host: &mut Host<'_>, store: &Store<'_>, journal: &Journal, outcome: &Outcome) -> Result<()> {
    for step in journal.steps.iter().skip_while(|step| !matches!(step, Step::Commit)).skip(1) {
        let engine = host.engine.as_mut().map(|engine| &mut **engine as &mut dyn EngineControl);
        if let Some(text) = clean_step(store, engine, step)? {
            host.sink.take(Event::Note { text });
        }
    }
    finish(host, store, journal, outcome)
}

/// One step after the commit, which may have been done already. Returns what stays, and why.
pub(super) fn clean_step(
    store: &Store<'_>,
    engine: Option<&mut dyn EngineControl>,
    step: &Step,
) -> Result<Option<String>> {
    let root = store.root();
    match step {
        Step::RemoveFile { path, before, .. } => match root.digest(path)? {
            Some(found) if found == *before => root.delete(path)?,
            Some(_) => return Ok(Some(format!("{path} stays: someone else changed it"))),
            None => {}
        },
        Step::RemoveLink { path, target } => match root.state(path)? {
            PathState::Link { target: found } if found == *target => root.delete(path)?,
            PathState::Absent => {}
            _ => return Ok(Some(format!("{path} stays: someone else changed it"))),
        },
        Step::RemoveTree { tree } => root.delete_all(tree)?,
        Step::RemoveFolder { path } => {
            if !root.delete_folder(path)? {
                return Ok(Some(format!("{path} stays: it holds what is not ours")));
            }
        }
        Step::Forget => forget_ledger(store)?,
        Step::ReloadSystemd => {
            if let Some(engine) = engine {
                // At boot systemd may not answer yet; it reads its units again at the next change anyway.
                let _ = engine.reload_systemd();
            }
        }
        Step::MakeFolder { .. }
        | Step::PlaceTree { .. }
        | Step::ReplaceTree { .. }
        | Step::Rehearse
        | Step::WriteFile { .. }
        | Step::MakeLink { .. }
        | Step::Restart { .. }
        | Step::Verify { .. }
        | Step::StopSandboxes { .. }
        | Step::Commit => {
            return Err(HostError::new(Class::Internal, format!("\"{step}\" cannot come after the commit")));
        }
    }
    Ok(None)
}

/// Deletes the ledger: the last runtime is gone.
pub(super) fn forget_ledger(store: &Store<'_>) -> Result<()> {
    store.root().delete(&store.path("ledger.json")?)
}

/// Ends a transaction: its temporary files and bytes go, its end is written down, then its journal goes; without a
/// ledger, everything of ours.
pub(super) fn finish(
    host: &mut Host<'_>,
    store: &Store<'_>,
    journal: &Journal,
    outcome: &Outcome,
) -> Result<()> {
    store.sweep(Keep::Nothing)?;
    // What a new copy was exchanged for lies there.
    store.root().delete_all(&staging(journal)?)?;
    for step in &journal.steps {
        if let Step::WriteFile { path, .. } | Step::RemoveFile { path, .. } = step {
            store.root().sweep_temporary(path, &journal.id)?;
        }
    }
    let ledger = store.ledger()?;
    store.prune(ledger.as_ref())?;
    if ledger.is_some()
        && let Err(error) = host.scribe.ended(store, journal, outcome)
    {
        // What happened, happened: a full disk keeps it from being told, not from being so.
        host.sink.take(Event::Note { text: format!("the log lacks this: {}", error.chain()) });
    }
    store.delete_journal()?;
    if ledger.is_none() {
        let state =
            HostPath::new(STATE).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        let owned = journal.before.iter().flat_map(|ledger| ledger.folders.iter());
        let mut folders: Vec<HostPath> = owned.filter(|folder| state.is_within(folder)).cloned().collect();
        folders.extend(
            journal.made.iter().filter(|folder| !folders.contains(folder)).cloned().collect::<Vec<_>>(),
        );
        store.forget(&folders)?;
    }
    Ok(())
}
