//! What a machine has, in one document: what an agent tells the cluster.
//!
//! An agent's pod does not see its host's processes and files. It places its own program on the host and has systemd run
//! `cofferdam report`, as it has systemd run the worker.
//!
//! ```text
//! /run/cofferdam/              0700, tmpfs
//!   bin/cofferdam-<digest12>   the agent's program, placed by the agent
//!   report-<id>.json           written by the report, read and deleted by the agent
//! ```

use crate::doctor::Checkup;
use crate::error::{HostError, Result};
use crate::root::HostRoot;
use crate::store::Store;
use crate::survey::{Look, Survey, SurveyOptions};
use crate::systemd::{Manager, Restart, SystemdError, TransientUnit, Type};
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Requirement;
use cofferdam_core::doctor::{self, Answer};
use cofferdam_core::name::{Digest, HandlerName, RuntimeName, Version};
use cofferdam_core::observation::CriObservation;
use cofferdam_core::plan::{self, Drift, User};
use cofferdam_core::record::{Installed, Verdict};
use cofferdam_core::trust::Verified;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The transient unit's name: one report at a time.
pub const REPORT_UNIT: &str = "cofferdam-report.service";

const POLL: Duration = Duration::from_millis(30);

/// How often it is tried whether another report has ended.
const TURN: Duration = Duration::from_millis(500);

/// Checking every file of a large runtime on a slow disk takes a while.
const LIMIT: Duration = Duration::from_secs(300);

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// Registrations, units, what the engine serves, who uses what. No file of a tree is read.
    Quick,
    /// That, every file of each tree, and the doctor's checks.
    Full,
}

/// What a machine has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How much was looked at.
    pub depth: Depth,
    /// The kernel's release.
    pub kernel: String,
    /// The operating system's name.
    pub os: String,
    /// containerd's version; empty if it could not be asked.
    pub engine_version: String,
    /// What is wrong with the engine, if something is.
    pub engine_error: Option<String>,
    /// The ledger's generation.
    pub generation: u64,
    /// The change that was interrupted, if one was.
    pub journal: Option<String>,
    /// What is installed.
    pub runtimes: BTreeMap<RuntimeName, RuntimeReport>,
    /// What the doctor does not say yes to; empty in a quick report.
    pub checks: Vec<CheckReport>,
    /// What runtimes may require of a node, and this one does not have; empty in a quick report.
    #[serde(default)]
    pub requirements: Vec<CheckReport>,
    /// Why nothing could be compared with what was installed: no `drift` then means nothing.
    #[serde(default)]
    pub not_compared: Option<String>,
}

/// One installed runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeReport {
    /// Its version.
    pub version: Version,
    /// Its tree's digest.
    pub digest: Digest,
    /// The digest of the image that it was unpacked from, as the registry names it.
    #[serde(default)]
    pub image: Option<Digest>,
    /// What its probe said.
    pub verdict: Verdict,
    /// Its handlers, and whether the engine lists each.
    pub handlers: BTreeMap<HandlerName, bool>,
    /// What differs from what was installed, in words.
    pub drift: Vec<String>,
    /// Who uses it, in any version.
    pub users: Vec<User>,
    /// Whether a declarative file brought it.
    #[serde(default)]
    pub declared: bool,
    /// What was verified before it was unpacked.
    #[serde(default)]
    pub verified: Option<Verified>,
}

/// A check of the doctor's that is not a yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// Whether it is a no; else it could not look.
    pub no: bool,
    /// Because.
    pub because: String,
}

/// Looks at this machine.
///
/// # Errors
/// If our own records cannot be read. An engine that does not answer is part of the report.
pub fn take(root: &HostRoot, options: &SurveyOptions, depth: Depth) -> Result<Report> {
    let look = Look::take(root, options)?;
    let (drift, not_compared) = match drift(root, options, depth) {
        Ok(drift) => (drift, None),
        Err(error) => (Vec::new(), Some(error.chain())),
    };
    let checkup = Checkup::take(root, options)?;
    let facts = checkup.facts();
    let cri = look.cri();
    let runtimes = look.ledger.iter().flat_map(|ledger| {
        ledger.runtimes.iter().map(|(name, installed)| {
            let users = plan::users_of(&cri, &look.uses, ledger, name);
            (name.clone(), runtime(name, installed, &cri, &drift, users))
        })
    });
    let is_full = depth == Depth::Full;
    Ok(Report {
        depth,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        os: facts.os.as_ref().ok().and_then(Option::as_ref).map(|os| os.name.clone()).unwrap_or_default(),
        engine_version: look.engine.as_ref().map(|e| e.version_text.clone()).unwrap_or_default(),
        engine_error: engine_error(&look, &cri),
        generation: look.ledger.as_ref().map_or(0, |ledger| ledger.generation),
        journal: Store::new(root)?.journal()?.map(|journal| journal.change.to_string()),
        runtimes: runtimes.collect(),
        checks: if is_full { checks(&checkup) } else { Vec::new() },
        requirements: if is_full { requirements(&checkup) } else { Vec::new() },
        not_compared,
    })
}

/// Takes a report and writes it to `path`, whole or not at all.
///
/// # Errors
/// Those of [`take`], or if it cannot be written.
pub fn write(root: &HostRoot, options: &SurveyOptions, depth: Depth, path: &Path) -> Result<()> {
    let taken = take(root, options, depth);
    let answer: Told<&Report> = taken.as_ref().map_err(Failed::of);
    let bytes =
        serde_json::to_vec(&answer).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
    let fail = |error| HostError::std_io("write", path.display(), error);
    let partial = path.with_extension("partial");
    crate::worker::write_private(&partial, &bytes)?;
    std::fs::rename(&partial, path).map_err(fail)?;
    taken.map(drop)
}

/// What stands in the file.
type Told<R> = std::result::Result<R, Failed>;

/// An error as far as whoever reads it needs it.
#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    class: Class,
    message: String,
    hint: Option<String>,
}

impl Failed {
    fn of(error: &HostError) -> Self {
        Self { class: error.class(), message: error.chain(), hint: error.hint() }
    }
}

impl From<Failed> for HostError {
    fn from(failed: Failed) -> Self {
        let error = Self::new(failed.class, failed.message);
        match failed.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

fn told(bytes: &[u8], path: &Path) -> Result<Report> {
    let told: Told<Report> = serde_json::from_slice(bytes)
        .map_err(|error| HostError::new(Class::Internal, format!("{}: {error}", path.display())))?;
    told.map_err(HostError::from)
}

fn engine_error(look: &Look, cri: &CriObservation) -> Option<String> {
    match (&look.engine, cri) {
        (Err(error), _) => Some(error.to_string()),
        (Ok(_), CriObservation::Unavailable { reason, .. }) => Some(format!("CRI does not answer: {reason}")),
        (Ok(_), CriObservation::Ready(_) | CriObservation::Offline) => None,
    }
}

/// What differs, of any runtime.
fn drift(root: &HostRoot, options: &SurveyOptions, depth: Depth) -> Result<Vec<Drift>> {
    let mut survey = Survey::take(root, options)?;
    if depth == Depth::Quick {
        survey.trust_trees()?;
    }
    survey.plan(plan::drift)
}

fn runtime(
    name: &RuntimeName,
    installed: &Installed,
    cri: &CriObservation,
    drift: &[Drift],
    users: Vec<User>,
) -> RuntimeReport {
    let listed: &[String] = match cri {
        CriObservation::Ready(ready) => &ready.handlers,
        CriObservation::Unavailable { .. } | CriObservation::Offline => &[],
    };
    let concerns = |drift: &&Drift| drift.runtime().is_none_or(|owner| owner == name);
    RuntimeReport {
        version: installed.version.clone(),
        digest: installed.digest,
        image: installed.image,
        verdict: installed.verdict.clone(),
        handlers: installed
            .handlers()
            .map(|handler| (handler.clone(), listed.iter().any(|listed| listed == handler.as_str())))
            .collect(),
        drift: drift.iter().filter(concerns).map(ToString::to_string).collect(),
        users,
        declared: installed.declared,
        verified: installed.verified.clone(),
    }
}

fn checks(checkup: &Checkup) -> Vec<CheckReport> {
    let findings = doctor::run(&checkup.case(None)).into_iter();
    findings.filter_map(|finding| not_yes(finding.check.to_owned(), finding.answer)).collect()
}

/// For each requirement that is not met the first reason, a no before what could not be looked at.
fn requirements(checkup: &Checkup) -> Vec<CheckReport> {
    let of = |requirement: Requirement| {
        let (_, findings) = doctor::requirement_readiness(&checkup.case(None), requirement);
        let reasons = findings.into_iter().filter_map(|f| not_yes(requirement.to_string(), f.answer));
        reasons.min_by_key(|report| !report.no)
    };
    Requirement::ALL.into_iter().filter_map(of).collect()
}

fn not_yes(name: String, answer: Answer) -> Option<CheckReport> {
    match answer {
        Answer::Yes { .. } => None,
        Answer::No { because, .. } => Some(CheckReport { name, no: true, because }),
        Answer::Unknown { why } => Some(CheckReport { name, no: false, because: why }),
    }
}

/// Has systemd run the report with the program at `program` on the host, and reads it.
///
/// # Errors
/// If systemd refuses, or the report fails or takes too long, as one before it may.
pub fn ask(program: &Path, unit: &str, depth: Depth) -> Result<Report> {
    let mut manager = Manager::connect()?;
    let path = report_path();
    let (program, out) = (program.display().to_string(), path.display().to_string());
    let full = (depth == Depth::Full).then_some("--full");
    let exec = [&program, "report", "--unit", unit, "--out", &out].into_iter().chain(full);
    let transient = TransientUnit {
        name: REPORT_UNIT.to_owned(),
        description: "Cofferdam: a look at this node for the cluster's agent".to_owned(),
        exec: exec.map(str::to_owned).collect(),
        kind: Type::Simple,
        restart: Restart::No,
        restart_delay: Duration::ZERO,
        after: Vec::new(),
        runtime_limit: Some(LIMIT),
    };
    start(&mut manager, &transient)?;
    let report = wait(&mut manager, &path);
    let _ = std::fs::remove_file(&path);
    report
}

/// Starts it once no other report is being made: one that an earlier agent asked for may outlive that agent.
fn start(manager: &mut Manager, unit: &TransientUnit) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        manager.reset_failed(&unit.name)?;
        match manager.start_transient(unit) {
            Ok(_) => return Ok(()),
            Err(SystemdError::UnitExists { .. }) if Instant::now() < deadline => {
                std::thread::sleep(TURN);
            }
            Err(SystemdError::UnitExists { .. }) => {
                let text = "another report is being made on this node, and does not end";
                return Err(HostError::new(Class::Unavailable, text)
                    .with_hint(format!("journalctl -u {REPORT_UNIT} on the node says why")));
            }
            Err(other) => return Err(other.into()),
        }
    }
}

fn report_path() -> PathBuf {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Path::new(crate::worker::RUN).join(format!("report-{:x}.json", now.as_nanos()))
}

fn wait(manager: &mut Manager, path: &Path) -> Result<Report> {
    let deadline = Instant::now() + LIMIT;
    let (mut ended, mut checked) = (false, Instant::now());
    loop {
        if let Ok(bytes) = std::fs::read(path) {
            return told(&bytes, path);
        }
        if ended || Instant::now() > deadline {
            let what = if ended { "the report ended without a result" } else { "the report takes too long" };
            return Err(HostError::new(Class::Unavailable, what)
                .with_hint(format!("journalctl -u {REPORT_UNIT} on the node says why")));
        }
        if checked.elapsed() > Duration::from_secs(1) {
            // The result is looked for once more before giving up.
            ended = !manager.unit(REPORT_UNIT)?.is_busy();
            checked = Instant::now();
        }
        std::thread::sleep(POLL);
    }
}
