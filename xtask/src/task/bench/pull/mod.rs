//! `cargo xtask bench --pull`: a runtime of a gigabyte from a registry on this machine to a folder.
//!
//! ```text
//! data      the runtime, the same each time
//! registry  what serves it
//! others    skopeo with umoci, containerd's ctr
//! ```

mod data;
mod others;
mod registry;

use super::super::build::{TARGET, cargo, target_dir};
use super::super::screen::Screen;
use anyhow::{Context, Result, bail, ensure};
use data::{Data, Packed};
use registry::Server;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) millis: f64,
    /// In kilobytes, where the program tells.
    pub(super) peak: Option<u64>,
}

/// What was measured for one program and one way of compressing.
#[derive(Debug, Serialize)]
struct Row {
    compression: &'static str,
    program: String,
    /// The median, in seconds.
    seconds: f64,
    fastest: f64,
    slowest: f64,
    /// How many times as long as the floor.
    ratio: f64,
    /// The largest of all runs, in kilobytes.
    peak: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// Nothing can be built or served, or what is measured fails.
pub(super) fn run(runs: u8, json: bool, megabytes: u32, ctr: &[PathBuf]) -> Result<()> {
    let screen = Screen::new();
    let program = build()?;
    let folder = target_dir().join("bench-pull");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let data = Data::prepare(&folder, megabytes, &|text| screen.line(text))?;
    let server = Server::start(&data)?;
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    for packed in &data.packed {
        let bench = Bench { program: &program, folder: &folder, server: &server, packed, runs };
        rows.extend(bench.rows(ctr, &mut missing, &screen)?);
    }
    missing.sort();
    missing.dedup();
    if json {
        screen.line(&serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    screen.line(&format!(
        "\n{} files, {} MB; medians of {runs}, in seconds; the ratio is to the floor (by its best split over two cores)",
        data.files,
        data.bytes / 1_000_000
    ));
    screen.line(&format!(
        "{:6} {:34} {:>8} {:>8} {:>8} {:>7} {:>10}",
        "", "", "median", "fastest", "slowest", "ratio", "peak"
    ));
    for row in &rows {
        let peak = row.peak.map_or_else(|| "-".to_owned(), |peak| format!("{} kB", peak));
        screen.line(&format!(
            "{:6} {:34} {:8.2} {:8.2} {:8.2} {:7.2} {peak:>10}",
            row.compression, row.program, row.seconds, row.fastest, row.slowest, row.ratio
        ));
    }
    screen
        .line("ours and the floor: durable (one syncfs is in the time). skopeo, umoci and ctr sync nothing.");
    for text in &missing {
        screen.line(&format!("not measured: {text}"));
    }
    Ok(())
}

/// The measured program, as a release.
fn build() -> Result<PathBuf> {
    let status = cargo()
        .args(["build", "--quiet", "--release", "--package", "cofferdam-host", "--example", "unpack"])
        .args(["--target", TARGET])
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the measured program does not build (see above)");
    Ok(target_dir().join("release/examples/unpack"))
}

struct Bench<'a> {
    program: &'a Path,
    folder: &'a Path,
    server: &'a Server,
    packed: &'a Packed,
    runs: u8,
}

/// A way to measure something once.
type Measure<'m> = Box<dyn FnMut() -> Result<Sample> + 'm>;

impl Bench<'_> {
    fn rows(&self, ctr: &[PathBuf], missing: &mut Vec<String>, screen: &Screen) -> Result<Vec<Row>> {
        let reference = self.server.reference(self.packed.name);
        let mut all: Vec<(String, Measure<'_>)> = Vec::new();
        all.push(("ours".to_owned(), Box::new(|| self.unpack(&["ours", &reference]))));
        for split in ["1", "2", "3"] {
            let measure = move || {
                let (address, blob) = (self.server.address(), self.server.blob(self.packed));
                self.unpack(&["floor", &address, &blob, self.packed.name, split])
            };
            all.push((format!("floor, split {split}"), Box::new(measure)));
        }
        let (tool, file) = (self.packed.tool, self.packed.file.display());
        if others::is_there(tool) {
            let pipe = format!("{tool} -dc '{file}' | sha256sum");
            all.push((format!("{tool} -dc | sha256sum"), Box::new(move || others::shell(&pipe))));
        } else {
            missing.push(format!("{tool} -dc: it is not installed"));
        }
        let lacking: Vec<&str> =
            ["skopeo", "umoci"].into_iter().filter(|tool| !others::is_there(tool)).collect();
        if lacking.is_empty() {
            all.push((
                "skopeo + umoci".to_owned(),
                Box::new(|| others::skopeo_umoci(self.folder, &reference)),
            ));
        } else {
            missing
                .push(format!("skopeo + umoci: {} not installed (apt-get install)", lacking.join(" and ")));
        }
        if ctr.is_empty() {
            missing.push("ctr images pull: name a folder with containerd and ctr by --ctr".to_owned());
        }
        for bin in ctr {
            let name = format!("ctr of {}", bin.display());
            all.push((name, Box::new(|| others::ctr(bin, self.folder, &reference))));
        }
        // Round by round: what else the machine does hits all alike.
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); all.len()];
        for round in 0..self.runs {
            for ((name, measure), samples) in all.iter_mut().zip(&mut samples) {
                let sample = measure().with_context(|| format!("{name}, {}", self.packed.name))?;
                screen.line(&format!(
                    "{} {}: {name}: {:.2} s",
                    self.packed.name,
                    round + 1,
                    sample.millis / 1e3
                ));
                samples.push(sample);
            }
        }
        let names = all.into_iter().map(|(name, _)| name);
        let rows = names.zip(samples).map(|(name, samples)| self.row(name, &samples));
        let mut rows: Vec<Row> = rows.collect();
        let floors = rows.iter().filter(|row| row.program.starts_with("floor"));
        let floor = floors.map(|row| row.seconds).fold(f64::INFINITY, f64::min);
        for row in &mut rows {
            row.ratio = row.seconds / floor;
        }
        Ok(rows)
    }

    fn row(&self, program: String, samples: &[Sample]) -> Row {
        let mut times: Vec<f64> = samples.iter().map(|sample| sample.millis / 1e3).collect();
        times.sort_by(f64::total_cmp);
        Row {
            compression: self.packed.name,
            program,
            seconds: super::middle(times.clone()),
            fastest: times.first().copied().unwrap_or_default(),
            slowest: times.last().copied().unwrap_or_default(),
            ratio: 0.0,
            peak: samples.iter().filter_map(|sample| sample.peak).max(),
        }
    }

    /// Runs the measured program on a new folder.
    fn unpack(&self, arguments: &[&str]) -> Result<Sample> {
        let folder = others::empty(self.folder, "unpacked")?;
        let output = Command::new(self.program)
            .args(arguments)
            .arg(&folder)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{} {}: {}", self.program.display(), arguments.join(" "), output.status);
        }
        let last = text.lines().last().unwrap_or_default();
        let (millis, peak) = last.split_once(' ').with_context(|| format!("cannot read {last:?}"))?;
        Ok(Sample { millis: millis.parse()?, peak: Some(peak.parse()?) })
    }
}

/// Measures what `work` takes.
pub(super) fn timed(work: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let begun = Instant::now();
    work()?;
    Ok(Sample { millis: begun.elapsed().as_secs_f64() * 1e3, peak: None })
}
