//! SIGKILL around each step and before each change of a file: afterwards the tree is the old one or the new one, never
//! something between, and later runs work.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use cofferdam_core::record::StepKind;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use support::{Bench, Snapshot, assert_same, differences, small_program};

/// Kinds of steps that are killed elsewhere: four ask or restart a running engine (suites on booted nodes kill there),
/// and a damaged tree that was exchanged for a sound one is not brought back (`upgrade` kills there).
const ELSEWHERE: [StepKind; 5] =
    [StepKind::Rehearse, StepKind::Restart, StepKind::Verify, StepKind::StopSandboxes, StepKind::ReplaceTree];

/// What is there before the change under test, and the change.
struct Scenario {
    name: &'static str,
    engine: &'static str,
    config: Option<&'static str>,
    /// The worker's copy, if the tree has systemd.
    program: Option<PathBuf>,
    /// Runtimes installed before.
    before: &'static [&'static str],
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    Install(&'static str),
    /// To version 2.0.
    Upgrade(&'static str),
    Remove(&'static str),
}

/// A point at which the process is killed.
struct Point {
    kind: StepKind,
    fault: String,
    /// Whether the step is about the recovery unit or the worker's copy.
    recovery: bool,
}

fn scenarios(program: Option<&Path>) -> Vec<Scenario> {
    let config = Some("version = 3\n# theirs\n");
    let scenario = |name, config, before, change| Scenario {
        name,
        engine: "containerd@2.4",
        config,
        program: program.map(Path::to_owned),
        before,
        change,
    };
    vec![
        scenario("install on nothing", None, &[], Change::Install("one")),
        scenario("install", config, &[], Change::Install("one")),
        scenario("install a second", config, &["two"], Change::Install("one")),
        scenario("upgrade", config, &["one"], Change::Upgrade("one")),
        scenario("remove the only one", config, &["one"], Change::Remove("one")),
        scenario("remove the only one from nothing", None, &["one"], Change::Remove("one")),
        scenario("remove one of two", config, &["one", "two"], Change::Remove("one")),
        Scenario {
            engine: "containerd@1.7",
            ..scenario("install with 1.7", Some("version = 2\n"), &[], Change::Install("one"))
        },
    ]
}

/// What a change begins and ends with.
struct Ends {
    /// Without anything of ours.
    bare: Snapshot,
    before: Snapshot,
    after: Snapshot,
    /// The tree before, to be copied.
    prepared: Bench,
}

/// Packages that all trees of a test share: the ledger names where a package came from.
struct Shop(Bench);

impl Shop {
    fn new() -> Self {
        Self(Bench::new("containerd"))
    }

    fn package(&self, name: &str) -> String {
        self.0.package(name)
    }

    fn newer(&self, name: &str) -> String {
        self.0.package_with(name, "2.0", &[name])
    }
}

impl Scenario {
    /// A tree without anything of ours.
    fn bare(&self) -> Bench {
        let mut bench = Bench::new(self.engine);
        // Every real tree has it. Should we have to make it, nothing can be recorded before.
        std::fs::create_dir_all(bench.at("/var/lib")).unwrap();
        if let Some(config) = self.config {
            bench = bench.with_config(config);
        }
        match &self.program {
            Some(program) => bench.with_systemd(program),
            None => bench,
        }
    }

    /// The tree before the change.
    fn prepared(&self, shop: &Shop) -> Bench {
        let bench = self.bare();
        for name in self.before {
            bench.run(&["install", &shop.package(name)]).expect(0);
        }
        bench
    }

    fn args(&self, shop: &Shop) -> Vec<String> {
        match self.change {
            Change::Install(name) => vec!["install".to_owned(), shop.package(name)],
            Change::Upgrade(name) => vec!["upgrade".to_owned(), shop.newer(name)],
            Change::Remove(name) => vec!["remove".to_owned(), name.to_owned()],
        }
    }

    /// Both sides of each step of the plan.
    fn points(&self, shop: &Shop) -> Vec<Point> {
        let bench = self.prepared(shop);
        let plan = match self.change {
            Change::Install(name) => bench.run(&["plan", &shop.package(name), "--json"]),
            Change::Upgrade(name) => bench.run(&["plan", &shop.newer(name), "--json"]),
            Change::Remove(name) => bench.run(&["remove", name, "--dry-run", "--json"]),
        };
        let plan = plan.expect(0).json();
        let mut seen: Vec<StepKind> = Vec::new();
        let mut points = Vec::new();
        for step in plan["steps"].as_array().unwrap() {
            let kind: StepKind = serde_json::from_value(step["step"].clone()).unwrap();
            seen.push(kind);
            let count = seen.iter().filter(|k| **k == kind).count();
            let path = step["path"].as_str().unwrap_or_default();
            let recovery =
                path.contains("systemd") || path.contains("/bin") || kind == StepKind::ReloadSystemd;
            for side in ["before", "after"] {
                let fault = format!("kill:{side}:{}:{count}", kind.as_str());
                points.push(Point { kind, fault, recovery });
            }
        }
        points
    }

    /// The trees before and after, from runs that nothing interrupts; and from the one after, nothing is left in the end.
    fn ends(&self, shop: &Shop) -> Ends {
        let prepared = self.prepared(shop);
        let before = prepared.snapshot();
        let bench = prepared.copy();
        bench.run(&strs(&self.args(shop))).expect(0);
        let ends = Ends { bare: self.bare().snapshot(), before, after: bench.snapshot(), prepared };
        remove_all(&bench, &ends.bare, self.name);
        ends
    }

    /// Kills at `fault`, recovers, and goes on. False if the fault did not strike.
    fn kill_and_recover(&self, shop: &Shop, ends: &Ends, fault: &str) -> bool {
        let context = format!("{}, {fault}", self.name);
        let Ends { bare, before, after, prepared } = ends;
        let bench = prepared.copy();
        let args = self.args(shop);
        if bench.run_with(Some(fault), &strs(&args)).signal.is_none() {
            return false;
        }
        let ran = bench.run(&["recover"]);
        assert!(matches!(ran.code, Some(0 | 7)), "{context}: {ran}");
        let now = bench.snapshot();
        let is_after = differences(after, &now).is_empty();
        if !is_after {
            assert_same(before, &now, &context);
        }
        bench.run(&["recover"]).expect(0).says("nothing to recover");
        assert_same(&now, &bench.snapshot(), &format!("{context}: recovered twice"));
        match self.change {
            Change::Remove(name) if is_after => {
                bench.run(&["install", &shop.package(name)]).expect(0);
                remove_all(&bench, bare, &context);
            }
            _ => {
                bench.run(&strs(&args)).expect(0);
                assert_same(after, &bench.snapshot(), &format!("{context}: then again"));
            }
        }
        true
    }

    /// Kills at `fault`, and goes on with the same command as if nothing had happened. False if it did not strike.
    fn kill_and_repeat(&self, shop: &Shop, ends: &Ends, fault: &str) -> bool {
        let context = format!("{}, {fault}, repeated", self.name);
        let Ends { after, prepared, .. } = ends;
        let bench = prepared.copy();
        let args = self.args(shop);
        if bench.run_with(Some(fault), &strs(&args)).signal.is_none() {
            return false;
        }
        let ran = bench.run(&strs(&args));
        if matches!(self.change, Change::Remove(_)) && ran.err.contains("is not installed") {
            // It was over: all that is left is our empty folder, which the next run clears away.
            let left = differences(after, &bench.snapshot());
            assert!(left.iter().all(|path| path.starts_with("/var/lib/cofferdam")), "{context}: {left:?}");
            bench.run(&["recover"]).expect(0);
        } else {
            assert_eq!(ran.code, Some(0), "{context}: {ran}");
        }
        assert_same(after, &bench.snapshot(), &context);
        true
    }
}

fn remove_all(bench: &Bench, bare: &Snapshot, context: &str) {
    let status = bench.run(&["status", "--json"]).expect(0).json();
    for runtime in status["runtimes"].as_array().unwrap() {
        bench.run(&["remove", runtime["name"].as_str().unwrap()]).expect(0);
    }
    assert_same(bare, &bench.snapshot(), &format!("{context}: all removed"));
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn killed_around_each_step_the_tree_is_old_or_new() {
    let folder = support::scratch();
    let program = small_program(folder.path());
    let shop = Shop::new();
    let mut reached = BTreeSet::new();
    let mut count = 0;
    for systemd in [false, true] {
        for scenario in scenarios(systemd.then_some(program.as_path())) {
            let points: Vec<Point> = scenario
                .points(&shop)
                .into_iter()
                // With systemd only what the trees without it lack.
                .filter(|point| !systemd || point.recovery)
                .collect();
            if points.is_empty() {
                continue;
            }
            let ends = scenario.ends(&shop);
            for point in points {
                assert!(
                    scenario.kill_and_recover(&shop, &ends, &point.fault),
                    "{} did not strike",
                    point.fault
                );
                assert!(
                    scenario.kill_and_repeat(&shop, &ends, &point.fault),
                    "{} did not strike",
                    point.fault
                );
                reached.insert(point.kind);
                count += 1;
            }
        }
    }
    for kind in StepKind::ALL {
        assert_ne!(reached.contains(&kind), ELSEWHERE.contains(&kind), "{kind:?}: points of its own?");
    }
    println!("{count} points around steps, each recovered by hand and by the next run");
}

#[test]
fn killed_before_each_change_the_tree_is_old_or_new() {
    let shop = Shop::new();
    let mut count = 0;
    for scenario in scenarios(None) {
        let ends = scenario.ends(&shop);
        for n in 1.. {
            let fault = format!("kill:change:{n}");
            if !scenario.kill_and_recover(&shop, &ends, &fault) {
                assert!(n > 20, "{}: only {n} changes", scenario.name);
                break;
            }
            assert!(scenario.kill_and_repeat(&shop, &ends, &fault));
            count += 1;
        }
    }
    println!("{count} points before changes, each recovered by hand and by the next run");
}
