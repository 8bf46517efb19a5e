//! Carries a plan out.

use super::{Candidate, EngineControl, Expectation, Host, generation, recover, staging, undo};
use crate::error::{HostError, Result};
use crate::event::{Ending, Event, Outcome, Stopwatch};
use crate::fault::{self, Side};
use crate::package::{PackageDir, Shared};
use crate::store::Store;
use crate::survey::Survey;
use cofferdam_core::class::Class;
use cofferdam_core::name::{Digest, HandlerName, HostPath};
use cofferdam_core::observation::CriObservation;
use cofferdam_core::plan::{Blob, Plan};
use cofferdam_core::record::{Change, Installed, Journal, Phase, SCHEMA, Step, StepKind, Verdict};
use std::time::Instant;

/// Carries `plan` out, and takes it back if it fails before the commit.
pub(super) fn execute(
    host: &mut Host<'_>,
    store: &Store<'_>,
    survey: Survey<'_>,
    plan: Plan,
    package: Option<&PackageDir>,
    made: &[HostPath],
) -> Result<Outcome> {
    let mut journal = open_journal(host, &survey, &plan, made)?;
    host.sink.take(Event::Started {
        id: journal.id.clone(),
        change: plan.change.to_string(),
        steps: plan.steps.len(),
    });
    let mut watch = Stopwatch::default();
    let mut run =
        Run { host, store, journal: &mut journal, watch: &mut watch, verdict: None, manifest: None };
    let result = run.all(&plan, package);
    let verdict = run.verdict.take();
    let done = Outcome {
        verdict: match &plan.change {
            Change::Install { .. } | Change::Upgrade { .. } | Change::Rollback { .. } => {
                verdict.or_else(|| Some(known_verdict(&plan)))
            }
            Change::RepairTree { .. } | Change::Repair => verdict,
            Change::Pull { .. } | Change::Remove { .. } | Change::Collect => None,
        },
        ..Outcome::new(Ending::Committed, plan.after.generation, format!("{}: done", plan.change))
    };
    let result = result.and_then(|()| recover::finish(host, store, &journal, &done));
    let mut outcome = match result {
        Ok(()) => done,
        // The ledger is in place: from here on there is only forward, and recovery goes on.
        Err(error) if journal.is_committed(store.ledger()?.as_ref()) => {
            let mut outcome = Outcome::refused(&error, generation(store));
            outcome.result = Ending::Committed;
            outcome.hint = Some("the change holds; cofferdam recover clears away what is left".to_owned());
            outcome
        }
        Err(error) => recover::roll_back(host, store, &mut journal, &error)?,
    };
    if outcome.result == Ending::Committed {
        host.tell_kept(&plan);
    }
    outcome.millis = watch.into_millis();
    Ok(outcome)
}

/// What is known of the runtime without a probe.
fn known_verdict(plan: &Plan) -> Verdict {
    let installed = plan.change.runtime().and_then(|name| plan.after.runtimes.get(name));
    installed.map_or(Verdict::Offline, |installed| installed.verdict.clone())
}

fn open_journal(host: &mut Host<'_>, survey: &Survey<'_>, plan: &Plan, made: &[HostPath]) -> Result<Journal> {
    let sandboxes = match &survey.engine.cri {
        CriObservation::Ready(cri) => cri.sandboxes.clone(),
        CriObservation::Unavailable { .. } | CriObservation::Offline => Vec::new(),
    };
    let mut journal = Journal {
        schema: SCHEMA,
        id: transaction_id(),
        change: plan.change.clone(),
        asker: Some(host.scribe.asker().clone()),
        phase: Phase::Staging,
        steps: plan.steps.clone(),
        before: survey.ledger.clone(),
        after: plan.after.clone(),
        engine: survey.engine.process.clone(),
        unit: survey.engine.unit.as_ref().map(|unit| unit.name.clone()),
        boot: boot_id(),
        handlers: survey.lasting_handlers(),
        proven: Vec::new(),
        sandboxes,
        restarted: false,
        reason: None,
        made: made.to_vec(),
    };
    // What a restart could break is proven before it, so that a later failure is known to be ours.
    if plan.has(StepKind::Restart)
        && let Some(engine) = host.engine.as_deref_mut()
    {
        for handler in survey.handlers_to_keep(plan.change.runtime()) {
            if matches!(engine.probe(&handler), Ok(Verdict::Proven)) {
                journal.proven.push(handler);
            }
        }
    }
    Ok(journal)
}

struct Run<'r, 'h> {
    host: &'r mut Host<'h>,
    store: &'r Store<'r>,
    journal: &'r mut Journal,
    watch: &'r mut Stopwatch,
    verdict: Option<Verdict>,
    /// The digest of the staged tree's manifest.
    manifest: Option<Digest>,
}

impl Run<'_, '_> {
    fn all(&mut self, plan: &Plan, package: Option<&PackageDir>) -> Result<()> {
        self.store.put_journal(self.journal)?;
        let started = Instant::now();
        self.stage(package)?;
        self.keep_blobs(plan)?;
        self.watch.add("stage", started.elapsed());
        self.enter(Phase::Applying)?;
        for (index, step) in plan.steps.iter().enumerate() {
            self.host.sink.take(Event::Step { index: index + 1, kind: step.kind(), text: step.to_string() });
            fault::step(step.kind(), Side::Before);
            if fault::fails(step.kind()) {
                return Err(HostError::new(Class::Internal, format!("failpoint: {step}")));
            }
            let started = Instant::now();
            if self.journal.phase == Phase::Cleaning {
                self.clean(step)?;
            } else {
                self.step(step, plan)?;
            }
            self.watch.add(part(step), started.elapsed());
            fault::step(step.kind(), Side::After);
        }
        Ok(())
    }

    fn enter(&mut self, phase: Phase) -> Result<()> {
        self.journal.phase = phase;
        self.store.put_journal(self.journal)
    }

    /// Copies the package beside the live trees, if the plan places one.
    fn stage(&mut self, package: Option<&PackageDir>) -> Result<()> {
        let steps = self.journal.steps.clone();
        let Some(tree) = steps.iter().find_map(|step| match step {
            Step::PlaceTree { tree } | Step::ReplaceTree { tree } => Some(tree),
            _ => None,
        }) else {
            return Ok(());
        };
        let package = package.ok_or_else(|| {
            HostError::new(Class::Internal, "a tree is to be placed, but there is no package")
        })?;
        for step in &steps {
            match step {
                Step::MakeFolder { path } if tree.is_within(path) => {
                    self.host.root.make_folder(path, 0o755)?
                }
                _ => {}
            }
        }
        let total = package.package.bytes;
        let sink = &mut *self.host.sink;
        let shared = Shared::of(self.host.root, self.store.ledger()?.as_ref())?;
        let staged = package.stage(self.host.root, &staging(self.journal)?, tree, &shared, &mut |bytes| {
            sink.take(Event::Staged { bytes, total });
        })?;
        self.manifest = Some(staged);
        self.record_manifest();
        Ok(())
    }

    /// All bytes of after and of before are durable before the first visible change.
    fn keep_blobs(&self, plan: &Plan) -> Result<()> {
        for (digest, blob) in &plan.blobs {
            match blob {
                Blob::Text(text) => self.store.keep(digest, text.as_bytes(), &self.journal.id)?,
                Blob::Worker => self.store.keep(digest, &worker_bytes()?, &self.journal.id)?,
            }
        }
        for step in plan.steps.iter().take_while(|step| !matches!(step, Step::Commit)) {
            if let Step::WriteFile { path, before: Some(before), .. }
            | Step::RemoveFile { path, before, .. } = step
            {
                undo::expect_digest(self.host.root, path, Some(before))?;
                let present = self.host.root.read(path)?.unwrap_or_default();
                self.store.keep(before, &present, &self.journal.id)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, plan: &Plan) -> Result<()> {
        let root = self.host.root;
        match step {
            Step::MakeFolder { path } => root.make_folder(path, 0o755),
            Step::PlaceTree { tree } => root.move_new(&staging(self.journal)?, tree),
            Step::ReplaceTree { tree } => root.exchange(&staging(self.journal)?, tree),
            Step::Rehearse => self.rehearse(plan),
            Step::WriteFile { path, before, after, mode } => {
                undo::expect_digest(root, path, before.as_ref())?;
                let bytes = self.store.kept(after)?;
                root.write_file(path, bytes.as_slice(), *mode, &self.journal.id)
            }
            Step::MakeLink { path, target } => root.make_link(path, target),
            Step::Restart { unit } => {
                self.journal.restarted = true;
                self.enter(Phase::Restarting)?;
                self.engine()?.restart(unit)
            }
            Step::Verify { handlers } => {
                self.verify()?;
                for handler in handlers {
                    let started = Instant::now();
                    let verdict = self.engine()?.probe(handler.as_str())?;
                    self.watch.add("probe", started.elapsed());
                    if !matches!(self.verdict, Some(Verdict::Unproven { .. })) {
                        self.verdict = Some(verdict);
                    }
                }
                Ok(())
            }
            Step::StopSandboxes { handlers } => {
                let handlers: Vec<String> = handlers.iter().map(ToString::to_string).collect();
                self.engine()?.stop_sandboxes(&handlers)
            }
            Step::Commit => self.commit(),
            Step::ReloadSystemd => match self.host.engine.as_deref_mut() {
                Some(engine) => engine.reload_systemd(),
                None => Ok(()),
            },
            Step::RemoveFile { path, before, .. } => {
                undo::expect_digest(root, path, Some(before))?;
                root.delete(path)
            }
            Step::RemoveLink { .. } | Step::RemoveTree { .. } | Step::RemoveFolder { .. } | Step::Forget => {
                Err(HostError::new(Class::Internal, format!("\"{step}\" cannot come before the commit")))
            }
        }
    }

    /// A step after the commit.
    fn clean(&mut self, step: &Step) -> Result<()> {
        let engine = self.host.engine.as_mut().map(|engine| &mut **engine as &mut dyn EngineControl);
        if let Some(text) = recover::clean_step(self.store, engine, step)? {
            self.host.sink.take(Event::Note { text });
        }
        Ok(())
    }

    fn engine(&mut self) -> Result<&mut dyn EngineControl> {
        match self.host.engine.as_deref_mut() {
            Some(engine) => Ok(engine),
            None => {
                Err(HostError::new(Class::Internal, "the plan needs an engine, but this is an offline tree"))
            }
        }
    }

    fn rehearse(&mut self, plan: &Plan) -> Result<()> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for step in plan.steps.iter().skip_while(|step| step.kind() != StepKind::Rehearse) {
            match step {
                Step::WriteFile { path, after, .. } => {
                    candidates.push((path.clone(), Some(self.store.kept(after)?)))
                }
                Step::RemoveFile { path, .. } => candidates.push((path.clone(), None)),
                Step::Commit => break,
                _ => {}
            }
        }
        let ours = handlers_of_ours(self.journal);
        for text in self.engine()?.rehearse(&candidates, &ours)? {
            self.host.sink.take(Event::Note { text });
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<()> {
        let journal = self.journal.clone();
        let gone = removed_handlers(&journal);
        let mut handlers: Vec<String> =
            journal.handlers.iter().filter(|h| !gone.contains(h)).cloned().collect();
        // Without a restart nothing can be served that was not before.
        if journal.steps.iter().any(|step| step.kind() == StepKind::Restart) {
            let all = journal.after.runtimes.values().flat_map(Installed::handlers);
            handlers.extend(all.map(ToString::to_string));
        }
        let engine = self.engine()?;
        engine.health(&Expectation { handlers: &handlers, sandboxes: &journal.sandboxes, except: &gone })?;
        for handler in &journal.proven {
            if let Verdict::Unproven { reason } = engine.probe(handler)? {
                return Err(HostError::new(
                    Class::RolledBack,
                    format!(
                        "handler {handler:?} started sandboxes before, and cannot be proven now: {reason}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// What is to be deleted may be in use since the plan was made: pods come until the engine restarts.
    fn refuse_late_users(&mut self) -> Result<()> {
        let forced = self.journal.steps.iter().any(|step| step.kind() == StepKind::StopSandboxes);
        let going = self.journal.steps.iter().filter_map(|step| match step {
            Step::RemoveTree { tree } if !forced => Some(tree.clone()),
            _ => None,
        });
        let going: Vec<HostPath> = going.collect();
        let Some(engine) = self.host.engine.as_deref_mut().filter(|_| !going.is_empty()) else {
            return Ok(());
        };
        match engine.uses(&going).into_keys().next() {
            None => Ok(()),
            Some(tree) => Err(HostError::new(
                Class::InUse,
                format!("something began to run from {tree} while this change was made"),
            )
            .with_hint("end these pods, or wait for them with --wait 10m")),
        }
    }

    fn commit(&mut self) -> Result<()> {
        self.refuse_late_users()?;
        self.record_proof();
        let mut after = self.journal.after.clone();
        for folder in self
            .journal
            .made
            .iter()
            .rev()
            .filter(|folder| !after.folders.contains(folder))
            .cloned()
            .collect::<Vec<_>>()
        {
            after.folders.insert(0, folder);
        }
        self.journal.after = after;
        self.store.put_ledger(&self.journal.after, &self.journal.id)?;
        self.enter(Phase::Cleaning)
    }
}

impl Run<'_, '_> {
    /// What the probes said goes to the runtimes whose handlers were probed.
    fn record_proof(&mut self) {
        let Some(verdict) = &self.verdict else { return };
        let probed: Vec<&HandlerName> = self
            .journal
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Verify { handlers } => Some(handlers),
                _ => None,
            })
            .flatten()
            .collect();
        for installed in self.journal.after.runtimes.values_mut() {
            if installed.handlers().any(|handler| probed.contains(&handler)) {
                installed.verdict = verdict.clone();
            }
        }
    }

    /// What was staged is what later checks compare the tree with.
    fn record_manifest(&mut self) {
        let placed = self.journal.steps.iter().find_map(|step| match step {
            Step::PlaceTree { tree } | Step::ReplaceTree { tree } => Some(tree.clone()),
            _ => None,
        });
        let after = &mut self.journal.after;
        let others = after.retired.iter_mut().chain(&mut after.pulled).map(|other| &mut other.installed);
        for installed in after.runtimes.values_mut().chain(others) {
            if Some(&installed.tree) == placed.as_ref() {
                installed.manifest = self.manifest;
            }
        }
    }
}

/// Handlers of ours, before or after: the only ones that may differ in the engine's configuration.
fn handlers_of_ours(journal: &Journal) -> Vec<String> {
    let ledgers = journal.before.iter().chain(std::iter::once(&journal.after));
    ledgers
        .flat_map(|ledger| ledger.runtimes.values())
        .flat_map(|r| r.handlers().map(ToString::to_string))
        .collect()
}

/// Handlers that the change takes away.
pub(super) fn removed_handlers(journal: &Journal) -> Vec<String> {
    let before = journal.before.iter().flat_map(|ledger| ledger.runtimes.values());
    let gone = before.flat_map(Installed::handlers).filter(|h| journal.after.owner_of(h.as_str()).is_none());
    gone.map(ToString::to_string).collect()
}

const fn part(step: &Step) -> &'static str {
    match step {
        Step::Rehearse => "rehearsal",
        Step::Restart { .. } => "restart",
        Step::Verify { .. } => "verify",
        Step::PlaceTree { .. } | Step::ReplaceTree { .. } => "stage",
        Step::RemoveTree { .. } | Step::RemoveFolder { .. } | Step::Forget => "clean",
        _ => "apply",
    }
}

fn worker_bytes() -> Result<Vec<u8>> {
    let path = "/proc/self/exe";
    std::fs::read(path).map_err(|error| HostError::std_io("read", path, error))
}

/// Unique on this host: the time and the process.
fn transaction_id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}

/// This boot's id; empty where /proc has none.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
