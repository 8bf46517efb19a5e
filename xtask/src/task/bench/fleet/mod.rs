//! `cargo xtask bench --fleet`: what an idle agent needs, and what a large fleet asks of the controller and of the API.
//!
//! ```text
//! agent   the real agent on a booted node with one runtime
//! scale   the real controller and API server, thousands of nodes with simulated agents
//! ```

mod agent;
mod scale;

use super::super::build::Release;
use super::super::screen::Screen;
use super::{Args, load};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// What was measured.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// The machine's load before, of one minute.
    load_before: f64,
    /// And after.
    load_after: f64,
    /// Its processors.
    processors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<agent::Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<scale::Rows>,
}

/// Runs it.
pub(super) fn run(args: &Args) -> Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => Release::start()?.finish()?,
    };
    let screen = Screen::new();
    let mut report = Report {
        load_before: load()?,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        ..Report::default()
    };
    let idle = Duration::from_secs(u64::from(args.idle));
    if !args.skip_agent {
        report.agent = Some(agent::measure(&binary, args.containerd, idle)?);
    }
    if args.nodes > 0 {
        report.controller = Some(scale::measure(&binary, args.nodes, idle)?);
    }
    report.load_after = load()?;
    if args.json {
        screen.line(&serde_json::to_string_pretty(&report)?);
    } else {
        screen.line(&table(&report)?);
    }
    Ok(())
}

fn table(report: &Report) -> Result<String> {
    let mut text = format!(
        "{} processors; load {:.1} before, {:.1} after: with other work on the machine, times are worth little\n",
        report.processors, report.load_before, report.load_after
    );
    if let Some(agent) = &report.agent {
        agent.show(&mut text)?;
    }
    if let Some(controller) = &report.controller {
        controller.show(&mut text)?;
    }
    Ok(text)
}

/// Bytes in MiB.
fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}

/// A line of the table.
fn row(text: &mut String, name: &str, value: &str) -> Result<()> {
    writeln!(text, "  {name:52} {value}").context("cannot write")
}
