//! What each suite runs, and what it needs.

use super::super::build::Release;
use super::super::screen::Screen;
use super::Suite;
use super::programs::{Program, Programs};
use crate::testbed::{command, packages};
use anyhow::{Result, bail};
use std::path::Path;

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
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks something that the suites need:\n  {}", missing.join("\n  "))
}

/// Runs a suite: how many tests passed, and what failed.
pub(super) fn run(
    suite: Suite,
    programs: &Programs,
    filter: Option<&str>,
    screen: &Screen,
) -> (usize, Vec<String>) {
    let mut args: Vec<&str> = filter.into_iter().collect();
    match suite {
        Suite::Unit => {
            let fits = |name: &str| !name.starts_with("node_") && name != "purity" && name != STATIC_BINARY;
            all(&programs.with(fits), &args, &[], screen)
        }
        Suite::Purity => all(&programs.with(|name| name == "purity"), &args, &[], screen),
        Suite::Static => {
            let release = Release::start().and_then(Release::finish);
            match release {
                Err(e) => (0, vec![format!("{e:#}")]),
                Ok(binary) => {
                    let env = [("COFFERDAM_RELEASE", binary.as_path())];
                    all(&programs.with(|name| name == STATIC_BINARY), &args, &env, screen)
                }
            }
        }
        Suite::Node => {
            // One node at a time: two cores, and times that mean something.
            args.push("--test-threads=1");
            // The command is built already.
            let env: Vec<_> = programs.cofferdam().map(|path| ("COFFERDAM_BIN", path)).into_iter().collect();
            all(&programs.with(|name| name.starts_with("node_")), &args, &env, screen)
        }
    }
}

fn all(programs: &[&Program], args: &[&str], env: &[(&str, &Path)], screen: &Screen) -> (usize, Vec<String>) {
    let mut passed = 0;
    let mut failures = Vec::new();
    for program in programs {
        screen.line(&format!("\n-- {}", program.title()));
        match program.run(args, env, screen) {
            Ok(tests) => passed += tests,
            Err(e) => failures.push(format!("{e:#}")),
        }
    }
    (passed, failures)
}
