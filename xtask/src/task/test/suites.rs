//! What each suite runs, and what it needs.

use super::super::build::{Release, workspace};
use super::super::screen::Screen;
use super::pool::{Each, Pool};
use super::programs::Programs;
use super::{Selection, Suite};
use crate::matrix::{self, Ran};
use crate::testbed::cache::Cache;
use crate::testbed::{command, gotools, packages};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// The program that runs the fault matrix.
const MATRIX: &str = "node_matrix";

/// So many nodes at a time, beside the clusters. More of them than the machine has processors for make engines lose what they
/// run: containerd gives a shim five seconds to answer after a restart.
const NODES: usize = 2;

/// So many more once the other suites have ended: nodes mostly wait.
const MORE_NODES: usize = 2;

/// What the names of the cluster suite's programs begin with.
const CLUSTER: &str = "cluster_";

/// So many clusters at a time: a control plane wants more than a node.
const CLUSTERS: usize = 2;

/// Its tests look at one binary, and say with this variable which.
const STATIC_BINARY: &str = "static_binary";

/// Names everything that is missing, before anything is built.
pub(super) fn prerequisites(chosen: &[Suite]) -> Result<()> {
    let mut missing = Vec::new();
    let mut need = |result: crate::testbed::Result<()>| {
        if let Err(e) = result {
            missing.push(e.to_string());
        }
    };
    need(packages::need_root());
    need(command::Command::new("dpkg-query").arg("--version").ok().map(|_| ()));
    need(command::Command::new("cc").arg("--version").ok().map(|_| ()));
    if chosen.contains(&Suite::Node) {
        need(packages::need_go(
            "the node suite runs containerd 2.4 and gVisor's shim, which are built with it",
        ));
    }
    if chosen.contains(&Suite::Cluster) {
        need(packages::need_go("the cluster suite runs Kubernetes and helm, which are built with it"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks something that the suites need:\n  {}", missing.join("\n  "))
}

/// Builds what the longest lane waits for, before the lanes share the processors: it would come last otherwise.
///
/// # Errors
/// It does not build.
pub(super) fn prepare(chosen: &[Suite]) -> Result<()> {
    if chosen.contains(&Suite::Cluster) {
        let cache = Cache::open()?;
        gotools::control_plane(&cache)?;
        gotools::helm(&cache)?;
    }
    Ok(())
}

/// Runs a suite: how many tests passed, and what failed.
pub(super) fn run(
    suite: Suite,
    programs: &Programs,
    selection: &Selection<'_>,
    screen: &Screen,
) -> (usize, Vec<String>) {
    let Selection { filter, lanes, .. } = selection;
    let whole = Pool { each: Each::Program, width: 1, more: 0, lanes, filter: *filter, env: &[] };
    match suite {
        Suite::Unit => {
            let elsewhere = |name: &str| {
                name.starts_with("node_")
                    || name.starts_with(CLUSTER)
                    || name == "purity"
                    || name == STATIC_BINARY
            };
            whole.run(&programs.with(|name| !elsewhere(name)), screen)
        }
        Suite::Purity => whole.run(&programs.with(|name| name == "purity"), screen),
        Suite::Static => match Release::start().and_then(Release::finish) {
            Err(e) => (0, vec![format!("{e:#}")]),
            Ok(binary) => {
                let env = [("COFFERDAM_RELEASE", binary.as_path())];
                Pool { env: &env, ..whole }.run(&programs.with(|name| name == STATIC_BINARY), screen)
            }
        },
        Suite::Node => nodes(programs, selection, screen),
        Suite::Cluster => {
            // The command is built already.
            let env: Vec<_> = programs.cofferdam().map(|path| ("COFFERDAM_BIN", path)).into_iter().collect();
            let pool = Pool { each: Each::Test, width: CLUSTERS, env: &env, ..whole };
            pool.run(&programs.with(|name| name.starts_with(CLUSTER)), screen)
        }
    }
}

/// The node suite, with what ran of the fault matrix.
fn nodes(programs: &Programs, selection: &Selection<'_>, screen: &Screen) -> (usize, Vec<String>) {
    let records = match tempfile::tempdir() {
        Ok(records) => records,
        Err(e) => return (0, vec![format!("cannot make a temporary directory: {e}")]),
    };
    let mut env = vec![(matrix::RECORDS, records.path())];
    // The command is built already.
    env.extend(programs.cofferdam().map(|path| ("COFFERDAM_BIN", path)));
    let fits = |name: &str| if selection.matrix_only { name == MATRIX } else { name.starts_with("node_") };
    let Selection { filter, lanes, .. } = selection;
    let pool = Pool { each: Each::Test, width: NODES, more: MORE_NODES, lanes, filter: *filter, env: &env };
    let (passed, mut failures) = pool.run(&programs.with(fits), screen);
    if selection.filter.is_none()
        && let Err(e) = judge(records.path(), selection.write, screen)
    {
        failures.push(format!("{e:#}"));
    }
    (passed, failures)
}

/// Every cell that is listed as real ran, and the page says so.
fn judge(records: &Path, write: bool, screen: &Screen) -> Result<()> {
    let ran = Ran::read(records)?;
    screen.line(&format!("\nfault matrix\n\n{}", ran.table()));
    let missing = ran.missing();
    if !missing.is_empty() {
        bail!("the fault matrix lists cells as real that did not run: {}", missing.join(", "));
    }
    let page = workspace().join("docs/matrix.md");
    if write {
        return std::fs::write(&page, ran.document())
            .with_context(|| format!("cannot write {}", page.display()));
    }
    if std::fs::read_to_string(&page).is_ok_and(|text| text == ran.document()) {
        return Ok(());
    }
    bail!("docs/matrix.md is not what ran; next: cargo xtask test --matrix --write")
}
