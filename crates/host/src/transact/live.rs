//! The running engine, for transactions: containerd under systemd.

use super::{Candidate, EngineControl, Expectation};
use crate::cri::{self, Cri, ProbeOutcome};
use crate::error::{HostError, Result};
use crate::observe::{self, EnginePaths};
use crate::rehearse::{self, DaemonOutcome};
use crate::root::HostRoot;
use crate::systemd::Manager;
use cofferdam_core::class::Class;
use cofferdam_core::continuity;
use cofferdam_core::engine::containerd::{Effective, compare};
use cofferdam_core::name::{HandlerName, HostPath};
use cofferdam_core::observation::{CriObservation, CriReady, EngineObservation, EngineProcess, TreeUses};
use cofferdam_core::record::Verdict;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// A restart takes a quarter of a second; an engine that needs longer than this hangs.
const RESTART_LIMIT: Duration = Duration::from_secs(30);

/// With stuck containers CRI needs some seconds after the unit is active.
const CRI_LIMIT: Duration = Duration::from_secs(30);

/// containerd registers its services before it listens: one that answers without CRI stays so, and each second
/// of waiting for it is one in which the node has no CRI.
const NOT_SERVED_LIMIT: Duration = Duration::from_secs(1);

/// A sandbox that boots a guest kernel needs seconds, on a busy node tens of them.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// A dump takes 50 ms.
const DUMP_LIMIT: Duration = Duration::from_secs(10);

/// A daemon without sandboxes answers within 200 ms.
const REHEARSAL_LIMIT: Duration = Duration::from_secs(20);

/// Within this a kubelet has a new sandbox for a pod that lost its own: it looks at its pods every second, and starts
/// the first one anew without delay.
const REPLACED_WITHIN: Duration = Duration::from_secs(10);

const REPLACED_POLL: Duration = Duration::from_millis(500);

/// Where containerd has its bundles unless it is told otherwise.
const USUAL_STATE: &str = "/run/containerd";

const POLL: Duration = Duration::from_millis(50);

/// containerd under a systemd unit.
#[derive(Debug)]
pub struct LiveEngine<'a> {
    root: &'a HostRoot,
    unit: String,
    probes: u32,
    /// The socket that serves CRI, and the pause image.
    known: Option<(HostPath, String)>,
}

impl<'a> LiveEngine<'a> {
    /// The containerd that runs under `unit`.
    pub fn new(root: &'a HostRoot, unit: impl Into<String>) -> Self {
        Self { root, unit: unit.into(), probes: 0, known: None }
    }

    fn observe(&self) -> Result<EngineObservation> {
        Ok(observe::containerd(
            self.root,
            &observe::Options { unit: self.unit.clone(), ..Default::default() },
        )?)
    }

    /// CRI's answer, if it is ready. Where it is asked is found out once: a restart of ours does not move it.
    fn ready(&mut self) -> Result<CriReady> {
        let ready = match &self.known {
            Some((socket, image)) => {
                Cri::connect(Path::new(socket.as_str()))?.ready(socket.clone(), Some(image))?
            }
            None => self.first_answer()?,
        };
        if !ready.runtime_ready {
            return Err(unavailable("containerd's CRI says that its runtime is not ready"));
        }
        Ok(ready)
    }

    fn first_answer(&mut self) -> Result<CriReady> {
        match self.observe()?.cri {
            CriObservation::Ready(ready) => {
                self.known = Some((ready.socket.clone(), ready.sandbox_image.clone()));
                Ok(ready)
            }
            CriObservation::Unavailable { reason, .. } => {
                Err(unavailable(format!("containerd does not serve CRI: {reason}")))
            }
            CriObservation::Offline => Err(unavailable("there is no engine on an offline tree")),
        }
    }

    /// Waits until CRI answers and is ready.
    fn wait_ready(&mut self) -> Result<CriReady> {
        let started = Instant::now();
        loop {
            match self.ready() {
                Ok(ready) => return Ok(ready),
                Err(error) if started.elapsed() >= patience(&error) => return Err(error),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Refuses if `expect`'s sandboxes are not all there. Where somebody may just have stopped a pod, it waits: a kubelet
    /// starts a lost one anew within seconds, and a deleted one never.
    fn refuse_lost_sandboxes(&mut self, expect: &Expectation<'_>, ready: CriReady) -> Result<()> {
        let started = Instant::now();
        let mut ready = ready;
        loop {
            let cri = Cri::connect(Path::new(ready.socket.as_str()))?;
            let end_is_known = |id: &str| cri.container_run(id).is_ok_and(|run| run.end_is_known());
            let probes = |namespace: &str| namespace == cri::PROBE_NAMESPACE;
            let losses =
                continuity::losses(expect.sandboxes, &ready.sandboxes, expect.except, probes, end_is_known);
            let certain = losses.iter().any(|loss| loss.certain);
            if losses.is_empty() || (!certain && started.elapsed() >= REPLACED_WITHIN) {
                return Ok(());
            }
            if certain || !observe::has_kubelet(self.root) {
                let texts: Vec<String> = losses.into_iter().map(|loss| loss.text).collect();
                let text = format!("the restart cost running sandboxes: {}", texts.join("; "));
                return Err(unavailable(text));
            }
            std::thread::sleep(REPLACED_POLL);
            ready = self.wait_ready()?;
        }
    }

    /// Why the rehearsal's daemon failed: because of the change, or because the present files would not start either.
    fn refusal(&self, engine: &EngineObservation, reason: &str) -> HostError {
        let present = request(engine, &[])
            .and_then(|request| Ok(rehearse::rehearse(&request, &rehearse::Helper::default())?));
        match present {
            Ok(rehearse::Rehearsal { daemon: DaemonOutcome::Failed { reason }, .. }) => {
                let message = format!(
                    "containerd would not come back from a restart even on its present configuration: {reason}"
                );
                HostError::new(Class::Unsupported, message).with_hint(
                    "mend the engine's configuration first; the running daemon still has an older one",
                )
            }
            _ => HostError::new(
                Class::Unsupported,
                format!("containerd refuses the new configuration: {reason}"),
            )
            .with_hint("look at the settings that the descriptor adds under [handler.engine.containerd]"),
        }
    }

    fn connect(&mut self) -> Result<(Cri, CriReady)> {
        let ready = self.ready()?;
        let cri = Cri::connect(Path::new(ready.socket.as_str()))?;
        Ok((cri, ready))
    }
}

/// How long an answer like this may get better.
fn patience(error: &HostError) -> Duration {
    match error.class() {
        Class::Unsupported => NOT_SERVED_LIMIT,
        _ => CRI_LIMIT,
    }
}

/// What the engine would make of `candidates`.
fn request(engine: &EngineObservation, candidates: &[Candidate]) -> Result<rehearse::Request> {
    let missing = || HostError::new(Class::Internal, "there is no running engine to rehearse with");
    let process = engine.process.as_ref().ok_or_else(missing)?;
    let paths = EnginePaths::of(engine)?.ok_or_else(missing)?;
    Ok(rehearse::Request {
        binary: process.binary.clone(),
        args: process.args.clone(),
        config: engine.config.clone(),
        root: paths.root,
        state: paths.state,
        address: paths.address,
        candidates: candidates
            .iter()
            .map(|(path, content)| rehearse::Candidate { path: path.clone(), content: content.clone() })
            .collect(),
        dump_limit: DUMP_LIMIT,
        daemon_limit: REHEARSAL_LIMIT,
    })
}

/// Nothing of others may be lost: only our handlers may differ between the two dumps.
fn refuse_losses(engine: &EngineObservation, dump: &str, ours: &[String]) -> Result<()> {
    let parse =
        |text| Effective::parse(text).map_err(|error| HostError::new(error.class(), error.to_string()));
    let before = parse(engine.dump.as_deref().unwrap_or_default())?;
    let ours: BTreeSet<HandlerName> =
        ours.iter().filter_map(|name| HandlerName::new(name.as_str()).ok()).collect();
    let lost: Vec<String> = compare(&before, &parse(dump)?, &ours).iter().map(ToString::to_string).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let message = format!("the new configuration would change what is not ours: {}", lost.join("; "));
    Err(HostError::new(Class::Conflict, message)
        .with_hint("put these settings where they count, or report this"))
}

fn unavailable(message: impl Into<String>) -> HostError {
    HostError::new(Class::Unavailable, message)
}

impl EngineControl for LiveEngine<'_> {
    fn rehearse(&mut self, candidates: &[Candidate], ours: &[String]) -> Result<Vec<String>> {
        let engine = self.observe()?;
        // Shown where they end: a folder of the engine's may be a link.
        let shown: Result<Vec<Candidate>> =
            candidates.iter().map(|(path, content)| Ok((self.root.real(path)?, content.clone()))).collect();
        let request = request(&engine, &shown?)?;
        let rehearsal = rehearse::rehearse(&request, &rehearse::Helper::default())?;
        refuse_losses(&engine, &rehearsal.dump, ours)?;
        let mut notes = rehearsal.notes;
        match rehearsal.daemon {
            DaemonOutcome::Answered { millis, .. } => {
                notes.push(format!(
                    "rehearsed: containerd serves CRI on the new configuration after {millis} ms"
                ));
            }
            DaemonOutcome::NotStarted { reason } => {
                notes.push(format!("rehearsed without a daemon: {reason}"))
            }
            DaemonOutcome::Failed { reason } => return Err(self.refusal(&engine, &reason)),
        }
        Ok(notes)
    }

    fn restart(&mut self, unit: &str) -> Result<()> {
        let mut manager = Manager::connect()?;
        // An engine that hangs in its start would be waited for until its stop limit; its shims are not touched.
        if matches!(manager.unit(unit)?.active_state.as_str(), "activating" | "deactivating") {
            let _ = manager.kill_main(unit);
        }
        manager.restart(unit, RESTART_LIMIT)?;
        self.wait_ready().map(drop)
    }

    fn reload_systemd(&mut self) -> Result<()> {
        Ok(Manager::connect()?.reload()?)
    }

    fn process(&mut self) -> Result<Option<EngineProcess>> {
        Ok(observe::process(&self.unit)?)
    }

    fn health(&mut self, expect: &Expectation<'_>) -> Result<()> {
        let state = Manager::connect()?.unit(&self.unit)?;
        if state.active_state != "active" {
            return Err(unavailable(format!("{} is {} ({})", self.unit, state.active_state, state.result)));
        }
        let ready = self.wait_ready()?;
        let missing: Vec<&str> =
            expect.handlers.iter().filter(|h| !ready.handlers.contains(h)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(unavailable(format!("containerd does not list the handlers {}", missing.join(", "))));
        }
        self.refuse_lost_sandboxes(expect, ready)
    }

    fn probe(&mut self, handler: &str) -> Result<Verdict> {
        let (cri, ready) = self.connect()?;
        self.probes += 1;
        let seed = format!("{}-{}", std::process::id(), self.probes);
        let has_kubelet = observe::has_kubelet(self.root);
        let deadline = Instant::now() + PROBE_LIMIT;
        match cri::probe(&cri, handler, &ready.sandbox_image, &seed, has_kubelet, deadline) {
            ProbeOutcome::Proven { .. } => Ok(Verdict::Proven),
            ProbeOutcome::Unproven { reason } => Ok(Verdict::Unproven { reason }),
            ProbeOutcome::Failed { step, reason } => Err(unavailable(format!(
                "a sandbox under the handler {handler} did not start: {step}: {reason}"
            ))),
        }
    }

    fn sweep_probes(&mut self) -> Result<usize> {
        let (cri, _) = self.connect()?;
        Ok(cri::sweep(&cri)?)
    }

    fn uses(&mut self, trees: &[HostPath]) -> TreeUses {
        let paths = self.observe().ok().and_then(|engine| EnginePaths::of(&engine).ok().flatten());
        // An engine that is down left its bundles where it usually has them.
        let state = paths.map(|paths| paths.state).or_else(|| HostPath::new(USUAL_STATE).ok());
        observe::uses(&state.into_iter().collect::<Vec<_>>(), trees)
    }

    fn stop_sandboxes(&mut self, handlers: &[String]) -> Result<()> {
        let (cri, ready) = self.connect()?;
        for sandbox in ready.sandboxes.iter().filter(|sandbox| handlers.contains(&sandbox.handler)) {
            cri.remove_pod_sandbox(&sandbox.id, PROBE_LIMIT)?;
        }
        Ok(())
    }
}
