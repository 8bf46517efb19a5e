//! `cargo xtask bench --pull`: a runtime of a gigabyte from a registry on this machine to a folder, durably.
//!
//! ```text
//! data      the runtime, the same each time
//! registry  what serves it
//! ground    where they write: a file system that is new for each
//! measure   programs under the clock
//! others    skopeo with umoci, containerd's ctr
//! rows      one way of compressing: everyone, round by round
//! upgrade   how much a fleet's nodes fetch for an upgrade
//! ```
//!
//! The floor is what the work itself costs: the same decompressor, SHA-256 of both streams, the same files, one syncfs, by
//! the best split over two cores, with nothing checked (`crates/host/examples/unpack.rs`).

mod data;
mod ground;
mod measure;
mod others;
mod registry;
mod rows;
mod upgrade;

use super::super::build::{Release, TARGET, cargo, target_dir};
use super::super::screen::Screen;
use super::{Args, load};
use crate::testbed::cache::Cache;
use crate::testbed::{Containerd, packages};
use anyhow::{Context, Result, ensure};
use data::{Data, Shape};
use ground::Ground;
use measure::{Sample, run as run_command};
use others::{Engine, Skopeo};
use registry::Server;
use rows::{Row, Target};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use upgrade::{Upgrade, mb};

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    processors: usize,
    /// The machine's load before, of one minute.
    load_before: f64,
    /// And after.
    load_after: f64,
    runs: u8,
    files: u32,
    /// Of all files.
    bytes: u64,
    /// Of its layer, by way of compressing.
    layers: Vec<(&'static str, u64)>,
    rows: Vec<Row>,
    targets: Vec<Target>,
    upgrades: Vec<Upgrade>,
    missing: Vec<String>,
}

/// What all measurements share.
struct Setting<'a> {
    /// The release binary.
    cofferdam: &'a Path,
    /// The example `unpack`, as a release.
    unpack: &'a Path,
    ground: &'a Ground,
    server: &'a Server,
    shape: Shape,
    screen: &'a Screen,
}

/// The programs to compare with.
struct Others {
    skopeo: Skopeo,
    engines: Vec<Engine>,
}

/// Runs it.
///
/// # Errors
/// Nothing can be built or served, or what is measured fails.
pub(super) fn run(args: &Args) -> Result<()> {
    let screen = Screen::new();
    packages::need_root()?;
    packages::ensure(&["zstd"])?;
    let release = Release::start()?;
    let others = if args.skip_others { None } else { Some(others()?) };
    let cofferdam = release.finish()?;
    let unpack = build()?;
    let folder = target_dir().join("bench-pull");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let shape = Shape { files: args.files, megabytes: args.size };
    let data = Data::prepare(&folder, shape, &|text| screen.line(text))?;
    let server = Server::start()?;
    screen.line("making a file system for what is measured");
    let ground = Ground::prepare(&folder, shape)?;
    server.put_layers(&data);
    let setting = Setting {
        cofferdam: &cofferdam,
        unpack: &unpack,
        ground: &ground,
        server: &server,
        shape,
        screen: &screen,
    };
    let mut report = Report {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        load_before: load()?,
        load_after: 0.0,
        runs: args.runs(),
        files: shape.files,
        bytes: data.bytes,
        layers: data.packed.iter().map(|packed| (packed.name, packed.size)).collect(),
        rows: Vec::new(),
        targets: Vec::new(),
        upgrades: Vec::new(),
        missing: Vec::new(),
    };
    for packed in &data.packed {
        let rows = rows::measure(&setting, packed, others.as_ref(), args.runs(), &mut report.missing)?;
        report.targets.extend(rows::targets(packed.name, &rows));
        report.rows.extend(rows);
    }
    report.upgrades = upgrade::measure(&setting)?;
    report.load_after = load()?;
    if args.json {
        screen.line(&serde_json::to_string_pretty(&report)?);
    } else {
        show(&report, &screen);
    }
    Ok(())
}

fn others() -> Result<Others> {
    packages::need_go("umoci and containerd 2.4 are built with it")?;
    let cache = Cache::open()?;
    let skopeo = Skopeo::get(&cache)?;
    let engines = Containerd::MAJORS.into_iter().map(|containerd| Engine::get(&cache, containerd));
    Ok(Others { skopeo, engines: engines.collect::<Result<_>>()? })
}

/// The measured example, as a release.
fn build() -> Result<PathBuf> {
    let status = cargo()
        .args(["build", "--quiet", "--release", "--package", "cofferdam-host", "--example", "unpack"])
        .args(["--target", TARGET])
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the measured program does not build (see above)");
    Ok(target_dir().join("release/examples/unpack"))
}

impl Setting<'_> {
    /// A command of Cofferdam's for an image of the server and an offline tree, as a user types it.
    fn carry_out(&self, command: &str, tag: &str, root: &Path) -> Result<Sample> {
        run_command(
            Command::new(self.cofferdam)
                .args([command, &format!("oci:{}", self.server.reference(tag)), "--plain-http", "--root"])
                .arg(root)
                .args(["--engine", "containerd@2.4", "--no-systemd"]),
        )
    }
}

fn show(report: &Report, screen: &Screen) {
    let layers: Vec<String> =
        report.layers.iter().map(|(name, size)| format!("{name} {}", mb(*size))).collect();
    screen.line(&format!(
        "\n{} files, {}; one layer: {}\n{} processors; load {:.1} before, {:.1} after: with other work on the machine, \
         times are worth little\nmedians of {}, in seconds; the ratio is to the best floor",
        report.files,
        mb(report.bytes),
        layers.join(", "),
        report.processors,
        report.load_before,
        report.load_after,
        report.runs
    ));
    screen.line(&format!(
        "\n{:5} {:34} {:>8} {:>8} {:>8} {:>7} {:>9}",
        "", "", "median", "fastest", "slowest", "ratio", "peak"
    ));
    for row in &report.rows {
        screen.line(&row.line());
    }
    screen.line(
        "\nCofferdam and the floor: durable, one syncfs is in the time. umoci syncs nothing; containerd syncs what it \
         fetched, and not what it unpacked.\npeak: the most memory that one of its processes held.\n",
    );
    for target in &report.targets {
        screen.line(&target.line());
    }
    screen.line("\nwhat an upgrade moves (packages of `cofferdam pack`; the version of before is installed)");
    for upgrade in &report.upgrades {
        screen.line(&upgrade.line());
    }
    for text in &report.missing {
        screen.line(&format!("not measured: {text}"));
    }
}
