//! `cargo xtask bench`: how long planning and whole changes take, with `--fleet` what a cluster is asked for, and with
//! `--pull` how fast a runtime comes out of a registry.

mod fleet;
mod pull;

use super::build::Release;
use super::screen::Screen;
use crate::testbed::cache::Cache;
use crate::testbed::{Containerd, Node, NodeSpec, Runtime, package};
use anyhow::{Context, Result, ensure};
use cofferdam_core::doctor::{Facts, Fitness};
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{EngineObservation, PathState, TargetObservation, TreeState, TreeUses};
use cofferdam_core::plan::{self, Expect, Package, Plan, PlanError, World};
use cofferdam_host::event::Outcome;
use cofferdam_host::package::{Place, Source, TemporaryRoom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Measures planning, and install, no-op and remove on a node, beside the same change by a shell script.
///
/// Needs what the demo needs; `--containerd 2.4` and `--fleet` need Go as well.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's containerd: 1.6, 1.7, 2.1 or 2.4.
    #[arg(long, default_value = "1.7")]
    containerd: Containerd,
    /// How often each is measured; the median counts [default: 3, with --pull 5]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=50))]
    runs: Option<u8>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Measure a fleet instead: an idle agent on a real node; the controller with simulated agents on a real API server.
    #[arg(long)]
    fleet: bool,
    /// With --fleet: the number of nodes whose agents are simulated; 0 leaves the controller out.
    #[arg(long, default_value_t = 5000, requires = "fleet", value_parser = clap::value_parser!(u32).range(0..=20_000))]
    nodes: u32,
    /// With --fleet: for how many seconds idling is measured.
    #[arg(long, default_value_t = 300, requires = "fleet", value_parser = clap::value_parser!(u16).range(1..=3600))]
    idle: u16,
    /// With --fleet: leave the agent out.
    #[arg(long, requires = "fleet")]
    skip_agent: bool,
    /// With --fleet: the program to measure, instead of a release build of this checkout.
    #[arg(long, value_name = "FILE", requires = "fleet")]
    binary: Option<std::path::PathBuf>,
    /// Measure how fast a runtime comes out of a registry instead, beside the least that it can cost and other programs, and
    /// how much an upgrade moves.
    #[arg(long, conflicts_with = "fleet")]
    pull: bool,
    /// With --pull: how large the runtime is, in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 1000, requires = "pull", value_parser = clap::value_parser!(u32).range(1..=4000))]
    size: u32,
    /// With --pull: how many files it has.
    #[arg(long, default_value_t = 6000, requires = "pull", value_parser = clap::value_parser!(u32).range(100..=50_000))]
    files: u32,
    /// With --pull: leave the other programs out (skopeo, umoci, containerd).
    #[arg(long, requires = "pull")]
    skip_others: bool,
}

impl Args {
    fn runs(&self) -> u8 {
        self.runs.unwrap_or(if self.pull { 5 } else { 3 })
    }
}

/// A configuration of about a megabyte, as a generator might leave it.
const TABLES: usize = 2000;

/// A change on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// What a careful person types instead, without any proof: the floor for install and remove.
const BY_HAND: &str = r#"set -e
cp -r /root/package /opt/by-hand
cp -a /etc/containerd/config.toml /root/config.before
cat >>/etc/containerd/config.toml <<END
[plugins."TABLE".containerd.runtimes.by-hand]
  runtime_type = "io.containerd.runc.v2"
  [plugins."TABLE".containerd.runtimes.by-hand.options]
    BinaryName = "/opt/by-hand/bin/runsc-pod"
END
sync
systemctl restart containerd
until ctr version >/dev/null 2>&1; do sleep 0.02; done"#;

/// And back.
const BACK_BY_HAND: &str = "set -e
cp -a /root/config.before /etc/containerd/config.toml
rm -r /opt/by-hand
sync
systemctl restart containerd
until ctr version >/dev/null 2>&1; do sleep 0.02; done";

/// What was measured. All times in milliseconds, medians.
#[derive(Debug, Default, Serialize)]
struct Report {
    containerd: &'static str,
    runs: u8,
    planning: BTreeMap<&'static str, f64>,
    changes: BTreeMap<&'static str, BTreeMap<String, f64>>,
}

/// The part of `cofferdam status --json` that a plan needs.
#[derive(Deserialize)]
struct Status {
    engine: EngineObservation,
}

/// Runs the task.
///
/// # Errors
/// The node does not boot, or a change does not end as it should.
pub fn run(args: &Args) -> Result<()> {
    if args.fleet {
        return fleet::run(args);
    }
    if args.pull {
        return pull::run(args);
    }
    let cache = Cache::open()?;
    let release = Release::start()?;
    let folder = tempfile::tempdir().context("cannot make a temporary directory")?;
    package::pack(&cache, Runtime::GvisorOci, package::Release::Old, folder.path())?;
    let binary = release.finish()?;
    let node = Node::boot_in(&cache, NodeSpec::new(args.containerd))?;
    node.put("/usr/local/bin/cofferdam", std::fs::read(binary)?, 0o755)?;
    node.put_tree(folder.path(), "/root/package")?;
    let mut report =
        Report { containerd: args.containerd.version(), runs: args.runs(), ..Default::default() };
    planning(&mut report, &node, folder.path())?;
    changes(&mut report, &node)?;
    let screen = Screen::new();
    if args.json {
        screen.line(&serde_json::to_string_pretty(&report)?);
    } else {
        screen.line(&table(&report)?);
    }
    Ok(())
}

/// On this machine, from what the node's cofferdam saw.
fn planning(report: &mut Report, node: &Node, folder: &Path) -> Result<()> {
    let status = node.ok(&["cofferdam", "status", "--json"])?;
    let Status { mut engine } = serde_json::from_str(&status).context("cannot read the observation")?;
    let package = TemporaryRoom::default()
        .open(&Source::plain(Place::Dir(folder.to_owned())), None, &mut |_| {})?
        .package;
    let runs = report.runs;
    let time = median(runs, || plan_once(&engine, &package))?;
    report.planning.insert("recorded observation", time);

    let text = large();
    ensure!(text.len() > 1_000_000, "the large configuration has only {} bytes", text.len());
    engine.files = BTreeMap::from([(engine.config_resolved.clone(), text)]);
    engine.dump = None;
    let time = median(runs, || plan_once(&engine, &package))?;
    report.planning.insert("1 MB, 2000 tables", time);
    Ok(())
}

fn plan_once(engine: &EngineObservation, package: &Package) -> Result<Duration> {
    let target = TargetObservation {
        prefix: HostPath::new(cofferdam_core::record::PREFIX)?,
        read_only: false,
        noexec: false,
        free_bytes: 1 << 40,
        free_inodes: 1 << 30,
    };
    let (uses, kept) = (TreeUses::new(), BTreeMap::new());
    let fitness = Fitness { facts: Facts::unseen("a benchmark"), skip: Vec::new() };
    let (mut paths, mut trees) = (BTreeMap::new(), BTreeMap::new());
    if let Some(text) = engine.files.get(&engine.config_resolved) {
        let digest = cofferdam_core::name::Digest::of(text.as_bytes());
        paths.insert(engine.config_resolved.clone(), PathState::File { digest, mode: 0o644 });
    }
    let begun = Instant::now();
    let plan: Plan = loop {
        let world = World {
            ledger: None,
            engine,
            target: &target,
            uses: &uses,
            paths: &paths,
            trees: &trees,
            kept: &kept,
            worker: None,
            fitness: &fitness,
        };
        match plan::install(&world, package, &Expect::Anything, true) {
            Err(PlanError::Unobserved(path)) => {
                paths.insert(path, PathState::Absent);
            }
            Err(PlanError::Unchecked { tree, .. }) => {
                trees.insert(tree, TreeState::Absent);
            }
            other => break other?,
        }
    };
    let took = begun.elapsed();
    ensure!(!plan.is_empty(), "the plan is empty");
    Ok(took)
}

fn large() -> String {
    let mut text = String::from("version = 2\n");
    for number in 0..TABLES {
        let _ = write!(
            text,
            "\n# handler {number}, one of many\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.h{number}]\n  \
             runtime_type = \"io.containerd.runc.v2\"\n  pod_annotations = [\"io.example.h{number}.*\"]\n  \
             options = {{ BinaryName = \"/opt/runtimes/h{number}/bin/runtime\", Root = \"/run/h{number}\" }}\n  \
             # {}\n",
            "what it is for, at some length. ".repeat(8)
        );
    }
    text
}

fn changes(report: &mut Report, node: &Node) -> Result<()> {
    let by_hand = BY_HAND.replace("TABLE", node.spec().containerd.cri_plugin());
    let mut all: BTreeMap<&'static str, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for _ in 0..report.runs {
        for (name, command) in [
            ("1 install", "cofferdam install dir:/root/package --json"),
            ("2 no-op", "cofferdam install dir:/root/package --json"),
            ("3 remove", "cofferdam remove gvisor-oci --json"),
        ] {
            let (took, output) = timed(node, command)?;
            let last = output.lines().last().unwrap_or_default();
            let outcome: Outcome = serde_json::from_str(last).context("cannot read the outcome")?;
            let parts = all.entry(name).or_default();
            parts.entry("total".into()).or_default().push(took);
            for (part, time) in outcome.millis {
                parts.entry(part).or_default().push(Duration::from_millis(time).as_secs_f64() * 1e3);
            }
        }
        for (name, command) in [("4 install by hand", by_hand.as_str()), ("5 remove by hand", BACK_BY_HAND)] {
            let (took, _) = timed(node, command)?;
            all.entry(name).or_default().entry("total".into()).or_default().push(took);
        }
    }
    let medians = |parts: BTreeMap<String, Vec<f64>>| {
        parts.into_iter().map(|(part, times)| (part, middle(times))).collect()
    };
    report.changes = all.into_iter().map(|(name, parts)| (name, medians(parts))).collect();
    Ok(())
}

fn timed(node: &Node, command: &str) -> Result<(f64, String)> {
    let output = node.run_for(LIMIT, &["sh", "-c", command])?.ok()?;
    Ok((output.took.as_secs_f64() * 1e3, output.stdout))
}

fn median(runs: u8, mut measure: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let times: Result<Vec<f64>> = (0..runs).map(|_| Ok(measure()?.as_secs_f64() * 1e3)).collect();
    Ok(middle(times?))
}

/// The machine's load of the last minute.
fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    let first = text.split_whitespace().next().and_then(|number| number.parse().ok());
    first.context("/proc/loadavg has no number")
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Columns of the table, in the order in which a change runs through them.
const PARTS: [&str; 8] = ["total", "stage", "apply", "rehearsal", "restart", "verify", "probe", "clean"];

fn table(report: &Report) -> Result<String> {
    let mut text = format!(
        "containerd {}, {} runs, medians in ms\n\nplanning (in xtask: a development build)\n",
        report.containerd, report.runs
    );
    for (name, time) in &report.planning {
        writeln!(text, "  {name:24} {time:10.2}")?;
    }
    write!(text, "\n{:20}", "changes on a node")?;
    for part in PARTS {
        write!(text, "{part:>10}")?;
    }
    for (name, parts) in &report.changes {
        write!(text, "\n{name:20}")?;
        for part in PARTS {
            match parts.get(part) {
                Some(time) => write!(text, "{time:10.0}")?,
                None => write!(text, "{:>10}", "-")?,
            }
        }
    }
    text.push_str(
        "\n\nverify contains probe. By hand: cp, an appended table, systemctl restart, until the daemon answers;\n\
         no rehearsal, no proof, no way back after a crash: the floor, not an equal.",
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_configuration_is_what_it_says() {
        let text = large();
        assert!(text.len() > 1_000_000, "{}", text.len());
        assert_eq!(text.matches("\n[plugins.").count(), TABLES);
    }
}
