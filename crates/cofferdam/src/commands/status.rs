//! `cofferdam status`.

use crate::cli::NodeArgs;
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::name::{HostPath, RuntimeName};
use cofferdam_core::observation::{
    ConfigOrigin, CriObservation, EngineObservation, EngineProcess, TargetObservation, UnitObservation,
};
use cofferdam_core::record::{Installed, Verdict};
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::root::HostRoot;
use cofferdam_host::store::Store;
use cofferdam_host::survey::Survey;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Status<'a> {
    generation: u64,
    /// The change under way, or interrupted.
    journal: Option<String>,
    #[serde(rename = "engine")]
    view: EngineView<'a>,
    #[serde(skip)]
    engine: &'a EngineObservation,
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
    let survey = match Survey::take(&root, &args.survey()) {
        Ok(survey) => survey,
        Err(error) => {
            if !args.json {
                records(&root)?;
            }
            return Err(error);
        }
    };
    let status = look(&root, &survey)?;
    if args.json {
        return show::json(&status);
    }
    print(&status);
    Ok(ExitCode::SUCCESS)
}

/// What our records say, where the engine cannot be looked at: whoever mends it wants to know.
fn records(root: &HostRoot) -> Result<()> {
    let store = Store::new(root)?;
    if let Some(journal) = store.journal()? {
        print_journal(&journal.change.to_string());
    }
    for (name, installed) in store.ledger()?.iter().flat_map(|ledger| &ledger.runtimes) {
        show::line(&format!("runtime     {name} {}, as it was installed", installed.version));
        show::line(&format!("            {}", installed.tree));
    }
    Ok(())
}

fn print_journal(change: &str) {
    show::line(&format!("under way   {change} (if nothing is running: cofferdam recover)"));
}

/// The status as JSON.
pub(crate) fn document(root: &HostRoot, survey: &Survey<'_>) -> Result<serde_json::Value> {
    serde_json::to_value(look(root, survey)?)
        .map_err(|error| HostError::new(Class::Internal, error.to_string()))
}

fn look<'s>(root: &HostRoot, survey: &'s Survey<'_>) -> Result<Status<'s>> {
    Ok(Status {
        generation: survey.ledger.as_ref().map_or(0, |ledger| ledger.generation),
        journal: Store::new(root)?.journal()?.map(|journal| journal.change.to_string()),
        view: EngineView::of(&survey.engine),
        engine: &survey.engine,
        target: &survey.target,
        runtimes: runtimes(survey),
    })
}

fn runtimes<'s>(survey: &'s Survey<'_>) -> Vec<Runtime<'s>> {
    let listed: &[String] = match &survey.engine.cri {
        CriObservation::Ready(ready) => &ready.handlers,
        CriObservation::Unavailable { .. } | CriObservation::Offline => &[],
    };
    let runtimes = survey.ledger.iter().flat_map(|ledger| &ledger.runtimes);
    runtimes
        .map(|(name, installed)| Runtime {
            name: name.as_str(),
            served: installed
                .handlers()
                .map(|h| h.as_str())
                .filter(|h| listed.iter().any(|l| l == h))
                .collect(),
            users: survey.users(&installed.tree),
            earlier: earlier(survey, name),
            installed,
        })
        .collect()
}

fn earlier<'s>(survey: &'s Survey<'_>, name: &RuntimeName) -> Vec<Earlier<'s>> {
    let Some(ledger) = &survey.ledger else { return Vec::new() };
    let target = ledger.rollback_target(name);
    ledger
        .retired
        .iter()
        .filter(|retired| retired.name == *name)
        .map(|retired| Earlier {
            installed: &retired.installed,
            users: survey.users(&retired.installed.tree),
            rollback: target.is_some_and(|target| target.tree == retired.installed.tree),
        })
        .collect()
}

fn print(status: &Status<'_>) {
    let engine = status.engine;
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
    show::line(&format!("trees       {}, {} MiB free", status.target.prefix, status.target.free_bytes >> 20));
    match &engine.cri {
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
    show::line(&format!("generation  {}", status.generation));
    if let Some(change) = &status.journal {
        print_journal(change);
    }
    if status.runtimes.is_empty() {
        show::line("runtimes    none");
    }
    for runtime in &status.runtimes {
        print_runtime(runtime);
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
