//! `cofferdam status`.

use crate::cli::NodeArgs;
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::name::{HostPath, RuntimeName};
use cofferdam_core::observation::{
    ConfigOrigin, CriObservation, EngineObservation, EngineProcess, TargetObservation, UnitObservation,
};
use cofferdam_core::plan;
use cofferdam_core::record::{Installed, Verdict};
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::observe;
use cofferdam_host::root::HostRoot;
use cofferdam_host::store::Store;
use cofferdam_host::survey::{Look, SurveyOptions};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Status<'a> {
    generation: u64,
    /// The change under way, or interrupted.
    journal: Option<String>,
    /// Null if it could not be looked at.
    #[serde(rename = "engine")]
    view: Option<EngineView<'a>>,
    /// Why it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_error: Option<String>,
    #[serde(skip)]
    engine: Option<&'a EngineObservation>,
    target: &'a TargetObservation,
    runtimes: Vec<Runtime<'a>>,
}

/// The engine without the texts of its configuration, which may hold credentials for registries.
#[derive(Serialize)]
struct EngineView<'a> {
    version: &'a str,
    process: Option<&'a EngineProcess>,
    config: &'a HostPath,
    config_resolved: &'a HostPath,
    config_origin: ConfigOrigin,
    files: Vec<&'a HostPath>,
    unit: Option<&'a UnitObservation>,
    cri: &'a CriObservation,
}

impl<'a> EngineView<'a> {
    fn of(engine: &'a EngineObservation) -> Self {
        Self {
            version: &engine.version_text,
            process: engine.process.as_ref(),
            config: &engine.config,
            config_resolved: &engine.config_resolved,
            config_origin: engine.config_origin,
            files: engine.files.keys().collect(),
            unit: engine.unit.as_ref(),
            cri: &engine.cri,
        }
    }
}

#[derive(Serialize)]
struct Runtime<'a> {
    name: &'a str,
    #[serde(flatten)]
    installed: &'a Installed,
    /// Handlers that the engine lists.
    served: Vec<&'a str>,
    /// Who runs from its present version.
    users: Vec<String>,
    /// Earlier versions that are still there, the oldest first.
    earlier: Vec<Earlier<'a>>,
}

#[derive(Serialize)]
struct Earlier<'a> {
    #[serde(flatten)]
    installed: &'a Installed,
    /// Who runs from it.
    users: Vec<String>,
    /// Whether `rollback` brings it back.
    rollback: bool,
}

pub(crate) fn run(args: &NodeArgs) -> Result<ExitCode> {
    args.require_root()?;
    let root = args.open_root()?;
    let look = Look::take(&root, &args.survey())?;
    let target = observe::target(&root, &look.prefix)?;
    let status = status(&root, &look, &target)?;
    if args.json {
        return show::json(&status);
    }
    print(&status);
    Ok(ExitCode::SUCCESS)
}

/// The status as JSON.
pub(crate) fn document(root: &HostRoot, options: &SurveyOptions) -> Result<serde_json::Value> {
    let look = Look::take(root, options)?;
    let target = observe::target(root, &look.prefix)?;
    serde_json::to_value(status(root, &look, &target)?)
        .map_err(|error| HostError::new(Class::Internal, error.to_string()))
}

fn status<'s>(root: &HostRoot, look: &'s Look, target: &'s TargetObservation) -> Result<Status<'s>> {
    let engine = look.engine.as_ref().ok();
    Ok(Status {
        generation: look.ledger.as_ref().map_or(0, |ledger| ledger.generation),
        journal: Store::new(root)?.journal()?.map(|journal| journal.change.to_string()),
        view: engine.map(EngineView::of),
        engine_error: look.engine.as_ref().err().map(ToString::to_string),
        engine,
        target,
        runtimes: runtimes(look),
    })
}

fn runtimes(look: &Look) -> Vec<Runtime<'_>> {
    let cri = look.cri();
    let listed: &[String] = match &cri {
        CriObservation::Ready(ready) => &ready.handlers,
        CriObservation::Unavailable { .. } | CriObservation::Offline => &[],
    };
    let runtimes = look.ledger.iter().flat_map(|ledger| &ledger.runtimes);
    runtimes
        .map(|(name, installed)| Runtime {
            name: name.as_str(),
            served: installed
                .handlers()
                .map(|h| h.as_str())
                .filter(|h| listed.iter().any(|l| l == h))
                .collect(),
            users: plan::tree_users(&cri, &look.uses, &installed.tree),
            earlier: earlier(look, &cri, name),
            installed,
        })
        .collect()
}

fn earlier<'s>(look: &'s Look, cri: &CriObservation, name: &RuntimeName) -> Vec<Earlier<'s>> {
    let Some(ledger) = &look.ledger else { return Vec::new() };
    let target = ledger.rollback_target(name);
    ledger
        .retired
        .iter()
        .filter(|retired| retired.name == *name)
        .map(|retired| Earlier {
            installed: &retired.installed,
            users: plan::tree_users(cri, &look.uses, &retired.installed.tree),
            rollback: target.is_some_and(|target| target.tree == retired.installed.tree),
        })
        .collect()
}

fn print(status: &Status<'_>) {
    if let Some(error) = &status.engine_error {
        let lines = error.lines().collect::<Vec<_>>().join(&format!("\n{:12}", ""));
        show::line(&format!("engine      could not look: {lines}"));
    }
    if let Some(engine) = status.engine {
        print_engine(engine);
    }
    show::line(&format!("trees       {}, {} MiB free", status.target.prefix, status.target.free_bytes >> 20));
    if let Some(engine) = status.engine {
        print_cri(&engine.cri);
    }
    show::line(&format!("generation  {}", status.generation));
    if let Some(change) = &status.journal {
        show::line(&format!("under way   {change} (if nothing is running: cofferdam recover)"));
    }
    if status.runtimes.is_empty() {
        show::line("runtimes    none");
    }
    for runtime in &status.runtimes {
        print_runtime(runtime);
    }
}

fn print_engine(engine: &EngineObservation) {
    show::line(&format!("engine      containerd {}", engine.version_text));
    if let Some(process) = &engine.process {
        show::line(&format!("            {} (pid {})", process.binary, process.pid));
    }
    show::line(&format!("config      {}", engine.config));
    if let Some(unit) = &engine.unit {
        show::line(&format!(
            "unit        {} is {}, KillMode={}",
            unit.name, unit.active_state, unit.kill_mode
        ));
    }
}

fn print_cri(cri: &CriObservation) {
    match cri {
        CriObservation::Ready(ready) => {
            show::line(&format!("cri         {}", ready.socket));
            show::line(&format!("handlers    {}", ready.handlers.join(", ")));
            let containers: usize = ready.sandboxes.iter().map(|sandbox| sandbox.containers.len()).sum();
            let containers = count(containers, "container");
            show::line(&format!("sandboxes   {} with {containers}", ready.sandboxes.len()));
            for sandbox in &ready.sandboxes {
                let handler =
                    if sandbox.handler.is_empty() { &ready.default_handler } else { &sandbox.handler };
                let restarts: u32 = sandbox.containers.iter().map(|container| container.attempt).sum();
                show::line(&format!(
                    "            {}/{} under {handler}, {}, {}",
                    sandbox.namespace,
                    sandbox.name,
                    count(sandbox.containers.len(), "container"),
                    count(restarts as usize, "restart"),
                ));
            }
        }
        CriObservation::Unavailable { reason, .. } => {
            show::line(&format!("cri         does not answer: {reason}"))
        }
        CriObservation::Offline => show::line("cri         not asked: an offline tree"),
    }
}

/// A number and what it counts.
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn print_runtime(runtime: &Runtime<'_>) {
    let verdict = match &runtime.installed.verdict {
        Verdict::Proven => "proven".to_owned(),
        Verdict::Unproven { reason } => format!("unproven: {reason}"),
        Verdict::Offline => "not verified: installed on an offline tree".to_owned(),
    };
    show::line(&format!("runtime     {} {}, {verdict}", runtime.name, runtime.installed.version));
    show::line(&format!("            {}", runtime.installed.tree));
    if let Some(verified) = &runtime.installed.verified {
        show::line(&format!("            {verified}"));
    }
    let handlers: Vec<_> = runtime.installed.handlers().map(ToString::to_string).collect();
    let served = match (&runtime.installed.verdict, runtime.served.is_empty()) {
        (Verdict::Offline, true) => String::new(),
        (_, true) => ", none of them served".to_owned(),
        (_, false) => format!(", served {}", runtime.served.join(", ")),
    };
    show::line(&format!("            handlers {}{served}", handlers.join(", ")));
    for user in &runtime.users {
        show::line(&format!("            used by {user}"));
    }
    for earlier in runtime.earlier.iter().rev() {
        let rollback = if earlier.rollback { ", rollback brings it back" } else { "" };
        show::line(&format!("  earlier   {}{rollback}", earlier.installed.version));
        show::line(&format!("            {}", earlier.installed.tree));
        for user in &earlier.users {
            show::line(&format!("            used by {user}"));
        }
    }
}
