//! The probe: a pod sandbox and a container in it, from the pause image. Nothing less proves a handler: `Status`
//! lists handlers whose shim is missing, and on CRI-O a sandbox alone calls no OCI runtime.

use super::{ContainerRun, ContainerSpec, Cri, CriError, LogPlace, PodSpec};
use crate::fault;
use crate::worker::RUN;
use cofferdam_core::observation::Sandbox;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, Instant};

/// The namespace of every probe pod. No Kubernetes object is behind it.
pub const PROBE_NAMESPACE: &str = "cofferdam-probe";

/// The name of a probe's container.
const CONTAINER: &str = "probe";

/// How long a container must stay up to count as running.
const SETTLE: Duration = Duration::from_millis(200);

/// How often a kubelet looks for pods that it does not know, and takes them away (`housekeepingPeriod`).
const LOOKS: Duration = Duration::from_secs(2);

/// So many tries whose pod went away, and that were faster than those looks, are no coincidence.
const TRIES: u32 = 4;

/// So many are enough for a node that is slow.
const MOST_TRIES: u32 = 10;

/// After a failure: within this the sandbox is gone if somebody was taking it away. On a busy node that takes seconds.
const AFTERMATH: Duration = Duration::from_secs(8);

/// How often the aftermath is looked at.
const POLL: Duration = Duration::from_millis(100);

/// How long each call of the cleanup may take, also after the deadline.
const CLEANUP_LIMIT: Duration = Duration::from_secs(30);

/// What a probe showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum ProbeOutcome {
    /// The handler starts sandboxes and containers.
    Proven {
        /// How long it took.
        times: ProbeTimes,
        /// What could not be cleaned up, if anything.
        left: Option<String>,
    },
    /// This node cannot tell: nothing was started.
    Unproven {
        /// Why.
        reason: String,
    },
    /// The handler does not work.
    Failed {
        /// Where it failed.
        step: ProbeStep,
        /// The engine's words.
        reason: String,
    },
}

/// The steps of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeStep {
    /// Asking CRI for its status and images.
    Ask,
    /// `RunPodSandbox`.
    RunPodSandbox,
    /// `CreateContainer`.
    CreateContainer,
    /// `StartContainer`.
    StartContainer,
    /// The container must be running and stay so.
    Running,
}

impl fmt::Display for ProbeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ask => "asking CRI",
            Self::RunPodSandbox => "RunPodSandbox",
            Self::CreateContainer => "CreateContainer",
            Self::StartContainer => "StartContainer",
            Self::Running => "the container's run",
        })
    }
}

/// Milliseconds that a probe's calls took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTimes {
    /// `RunPodSandbox`.
    pub sandbox_ms: u64,
    /// `CreateContainer` and `StartContainer`.
    pub container_ms: u64,
    /// Stopping and removing both.
    pub cleanup_ms: u64,
}

/// Proves `handler` by starting a pod with it. `sandbox_image` is the pause image; `id_seed` makes the pod's name
/// and UID unique on this node. All calls that start something end by `deadline`; the cleanup may end later.
///
/// A kubelet takes pods away that it does not know (`HandlePodCleanups`). So "not found" after a successful start is no
/// failure; and with a kubelet (`has_kubelet`) a start whose sandbox is gone afterwards is tried again: the next look is
/// then two seconds off. On a node that is too busy to be faster than that it is tried as long as there is time.
pub fn probe(
    cri: &Cri,
    handler: &str,
    sandbox_image: &str,
    id_seed: &str,
    has_kubelet: bool,
    deadline: Instant,
) -> ProbeOutcome {
    let (mut attempt, mut telling) = (1, 0);
    loop {
        let began = Instant::now();
        let seed = format!("{id_seed}-{attempt}");
        let (outcome, taken) = try_once(cri, handler, sandbox_image, &seed, has_kubelet, deadline);
        let Some(exposed) = taken else { return outcome };
        // A slower one was certainly met by a look, and tells nothing of the handler.
        telling += u32::from(exposed < LOOKS);
        // What a try without time would end with tells less than this.
        let is_time = Instant::now() + began.elapsed() < deadline;
        if telling == TRIES || attempt == MOST_TRIES || !is_time {
            return outcome;
        }
        attempt += 1;
    }
}

/// One try; and if it failed and a kubelet may have taken its pod away, how long that could see it.
fn try_once(
    cri: &Cri,
    handler: &str,
    image: &str,
    seed: &str,
    has_kubelet: bool,
    deadline: Instant,
) -> (ProbeOutcome, Option<Duration>) {
    // Engines do not make it; what hinders us is said by the engine.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(log().folder);
    let pod = match prepare(cri, handler, image, seed) {
        Ok(pod) => pod,
        Err(outcome) => return (outcome, None),
    };
    let mut times = ProbeTimes::default();
    let began = Instant::now();
    let result = start(cri, handler, image, &pod, deadline, &mut times);
    let exposed = began.elapsed().saturating_sub(Duration::from_millis(times.sandbox_ms));
    // A sandbox that never came up was not taken away: a kubelet looks at those that are ready.
    let came_up = matches!(&result, Err((step, _)) if *step != ProbeStep::RunPodSandbox);
    let taken = (came_up && has_kubelet && is_taken(cri, &pod)).then_some(exposed);
    let started = Instant::now();
    let left = if fault::keeps_probe() { None } else { remove_pod(cri, &pod) };
    delete_log();
    times.cleanup_ms = millis(started);
    match result {
        Ok(()) => (ProbeOutcome::Proven { times, left }, None),
        Err((step, reason)) => (ProbeOutcome::Failed { step, reason }, taken),
    }
}

/// Whether the pod's sandbox ends within a moment, or has ended.
fn is_taken(cri: &Cri, pod: &PodSpec) -> bool {
    let until = Instant::now() + AFTERMATH;
    loop {
        match cri.sandboxes() {
            Ok(sandboxes) if !sandboxes.iter().any(|sandbox| sandbox.ready && is_of(sandbox, pod)) => {
                return true;
            }
            Ok(_) if Instant::now() < until => std::thread::sleep(POLL),
            _ => return false,
        }
    }
}

/// The same for all of them: there is one probe at a time. Shims write into this folder as well (gVisor's does), so it is
/// the probe's own.
fn log() -> LogPlace {
    LogPlace { folder: format!("{RUN}/probe"), prefix: "log-of".to_owned() }
}

/// Deletes what was written there.
fn delete_log() {
    let _ = std::fs::remove_dir_all(log().folder);
}

/// Removes every probe pod, e.g. of a worker that was killed. Returns how many it found.
///
/// # Errors
/// If CRI does not answer, or one cannot be removed.
pub fn sweep(cri: &Cri) -> Result<usize, CriError> {
    let found: Vec<_> = cri.sandboxes()?.into_iter().filter(|s| s.namespace == PROBE_NAMESPACE).collect();
    for sandbox in &found {
        cri.remove_pod_sandbox(&sandbox.id, CLEANUP_LIMIT)?;
    }
    delete_log();
    Ok(found.len())
}

fn prepare(cri: &Cri, handler: &str, image: &str, seed: &str) -> Result<PodSpec, ProbeOutcome> {
    let ask = |error: CriError| ProbeOutcome::Failed { step: ProbeStep::Ask, reason: error.to_string() };
    let unproven = |reason: String| ProbeOutcome::Unproven { reason };
    let status = cri.status().map_err(ask)?;
    if !status.network_ready {
        return Err(unproven(format!(
            "the node's pod network is not ready ({}); install a CNI plugin, then verify again",
            status.network_message
        )));
    }
    if !cri.has_image(image).map_err(ask)? {
        return Err(unproven(format!(
            "the engine does not have its pause image `{image}`; it comes with the node's first pod, or by pulling it"
        )));
    }
    Ok(PodSpec {
        namespace: PROBE_NAMESPACE.to_owned(),
        name: format!("{handler}-{seed}"),
        uid: seed.to_owned(),
        cgroup_parent: status.cgroup_parent(handler).to_owned(),
        log: log(),
    })
}

fn start(
    cri: &Cri,
    handler: &str,
    image: &str,
    pod: &PodSpec,
    deadline: Instant,
    times: &mut ProbeTimes,
) -> Result<(), (ProbeStep, String)> {
    let at = |step: ProbeStep| move |error: CriError| (step, error.to_string());
    let began = Instant::now();
    let sandbox = cri.run_pod_sandbox(pod, handler, left(deadline)).map_err(at(ProbeStep::RunPodSandbox))?;
    times.sandbox_ms = millis(began);
    fault::probe();

    let began = Instant::now();
    let spec =
        ContainerSpec { name: CONTAINER.to_owned(), image: image.to_owned(), ..ContainerSpec::default() };
    let container =
        cri.create_container(&sandbox, pod, &spec, left(deadline)).map_err(at(ProbeStep::CreateContainer))?;
    cri.start_container(&container, left(deadline)).map_err(at(ProbeStep::StartContainer))?;
    times.container_ms = millis(began);

    // Twice: a sandbox that dies at once still runs for a moment.
    running(cri, &container)?;
    std::thread::sleep(SETTLE);
    running(cri, &container)
}

fn running(cri: &Cri, container: &str) -> Result<(), (ProbeStep, String)> {
    match cri.container_run(container) {
        Ok(ContainerRun::Running) => Ok(()),
        Ok(ContainerRun::Exited { code, reason }) => {
            Err((ProbeStep::Running, format!("the pause container ended with code {code} {reason}")))
        }
        Ok(other) => Err((ProbeStep::Running, format!("the pause container is {other:?} after its start"))),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err((ProbeStep::Running, error.to_string())),
    }
}

/// Removes the pod by its name: a call that met its time limit returned no id. Returns what went wrong.
fn remove_pod(cri: &Cri, pod: &PodSpec) -> Option<String> {
    let sandboxes = match cri.sandboxes() {
        Ok(sandboxes) => sandboxes,
        Err(error) => return Some(error.to_string()),
    };
    let mut problem = None;
    for sandbox in sandboxes.iter().filter(|sandbox| is_of(sandbox, pod)) {
        let containers = sandbox.containers.iter().map(|c| cri.remove_container(&c.id, CLEANUP_LIMIT));
        let containers = containers.fold(Ok(()), Result::and);
        if let Err(error) = containers.and(cri.remove_pod_sandbox(&sandbox.id, CLEANUP_LIMIT)) {
            problem = Some(format!("probe pod {} ({}): {error}", pod.name, sandbox.id));
        }
    }
    problem
}

fn is_of(sandbox: &Sandbox, pod: &PodSpec) -> bool {
    sandbox.namespace == pod.namespace && sandbox.name == pod.name && sandbox.uid == pod.uid
}

fn left(deadline: Instant) -> Duration {
    // Never zero: that would be "no limit" to gRPC servers.
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
