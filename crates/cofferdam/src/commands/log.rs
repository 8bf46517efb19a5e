//! `cofferdam log`.

use crate::cli::LogArgs;
use crate::show;
use cofferdam_core::history::LogEntry;
use cofferdam_core::record::Verdict;
use cofferdam_host::error::Result;
use cofferdam_host::history;
use cofferdam_host::store::Store;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
struct Log<'a> {
    entries: &'a [LogEntry],
    /// Lines that this version cannot read.
    unknown: usize,
}

pub(crate) fn run(args: &LogArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let root = args.node.open_root()?;
    let log = history::read(&Store::new(&root)?)?;
    let skipped = args.number.map_or(0, |number| log.entries.len().saturating_sub(number));
    let entries = log.entries.get(skipped..).unwrap_or_default();
    if args.node.json {
        return show::json(&Log { entries, unknown: log.unknown });
    }
    for entry in entries {
        print(entry);
    }
    if entries.is_empty() {
        show::note("the log is empty: nothing is installed (the last removal deletes the log, too)");
    }
    if log.unknown > 0 {
        show::note(&format!("{} lines were left out: this version cannot read them", log.unknown));
    }
    Ok(ExitCode::SUCCESS)
}

fn print(entry: &LogEntry) {
    show::line(&format!("{}  {:11}  {}", entry.time, entry.result.as_str(), entry.change));
    let generation = if entry.before == entry.after {
        format!("generation {}", entry.after)
    } else {
        format!("generation {} -> {}", entry.before, entry.after)
    };
    let seconds = entry.millis as f64 / 1000.0;
    detail(&format!("by {}, {seconds:.1} s, {generation}, id {}", entry.by, entry.id));
    if let Some(by) = &entry.ended_by {
        detail(&format!("ended by {by}"));
    }
    match &entry.verdict {
        Some(Verdict::Proven) => detail("proven"),
        Some(Verdict::Unproven { reason }) => detail(&format!("unproven: {reason}")),
        Some(Verdict::Offline) => detail("not verified: an offline tree"),
        None => {}
    }
    if let Some(class) = entry.class {
        for (index, line) in entry.message.lines().enumerate() {
            detail(&if index == 0 { format!("{class}: {line}") } else { format!("  {line}") });
        }
    }
}

fn detail(text: &str) {
    show::line(&format!("                      {text}"));
}
