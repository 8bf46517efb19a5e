//! One way of compressing: everyone unpacks the same layer, round by round.

use super::data::Packed;
use super::measure::{Sample, empty, run};
use super::{Others, Setting, others, registry, upgrade};
use anyhow::{Context, Result};
use serde::Serialize;
use std::process::Command;

/// What our own rows and the floor's are called.
const OURS: &str = "cofferdam pull";
const FLOOR: &str = "floor";
const SKOPEO: &str = "skopeo";
const CTR: &str = "ctr";

/// The most memory that we may need.
const MOST_MEMORY: f64 = 64.0;

/// What was measured for one program and one way of compressing.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    compression: &'static str,
    program: String,
    /// The median.
    seconds: f64,
    fastest: f64,
    slowest: f64,
    /// How many times as long as the best floor.
    ratio: f64,
    /// The most memory of all runs, in bytes.
    peak: Option<u64>,
}

/// What should be, and what is.
#[derive(Debug, Serialize)]
pub(super) struct Target {
    what: String,
    found: f64,
    wanted: f64,
    is_met: bool,
}

/// A way to measure something once.
type Measure<'m> = Box<dyn FnMut() -> Result<Sample> + 'm>;

/// Measures everyone.
pub(super) fn measure(
    setting: &Setting<'_>,
    packed: &Packed,
    compared: Option<&Others>,
    runs: u8,
    missing: &mut Vec<String>,
) -> Result<Vec<Row>> {
    let mut all = contestants(setting, packed, compared, missing);
    // Round by round: what else the machine does hits all alike.
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); all.len()];
    for round in 1..=runs {
        for ((name, measure), samples) in all.iter_mut().zip(&mut samples) {
            setting.ground.anew()?;
            let sample = measure().with_context(|| format!("{name}, {}", packed.name))?;
            let seconds = sample.seconds;
            setting.screen.line(&format!("{} {round}/{runs}: {name}: {seconds:.2} s", packed.name));
            samples.push(sample);
        }
    }
    let names = all.into_iter().map(|(name, _)| name);
    let mut rows: Vec<Row> =
        names.zip(samples).map(|(name, samples)| Row::of(packed.name, name, &samples)).collect();
    let floor = best(&rows, FLOOR).unwrap_or(f64::NAN);
    for row in &mut rows {
        row.ratio = row.seconds / floor;
    }
    Ok(rows)
}

fn contestants<'m>(
    setting: &'m Setting<'_>,
    packed: &'m Packed,
    compared: Option<&'m Others>,
    missing: &mut Vec<String>,
) -> Vec<(String, Measure<'m>)> {
    let reference = setting.server.reference(packed.name);
    let mut all: Vec<(String, Measure<'m>)> = Vec::new();
    let whole =
        move || setting.carry_out("pull", packed.name, &upgrade::root(&setting.ground.folder, "root")?);
    all.push((OURS.to_owned(), Box::new(whole)));
    let ours = vec!["ours".to_owned(), reference.clone()];
    all.push(("our unpacking alone".to_owned(), Box::new(move || unpack(setting, &ours))));
    for split in ["1", "2", "3"] {
        let (address, blob) = (setting.server.address(), registry::path_of(packed));
        let arguments = ["floor", &address, &blob, packed.name, split].map(str::to_owned);
        all.push((format!("{FLOOR}, split {split}"), Box::new(move || unpack(setting, &arguments))));
    }
    let (tool, file) = (packed.tool, packed.file.display());
    if others::is_there(tool) {
        let pipe = format!("{tool} -dc '{file}' | sha256sum");
        all.push((format!("{tool} -dc | sha256sum"), Box::new(move || others::shell(&pipe))));
    } else {
        missing.push(format!("{tool} -dc: it is not installed"));
    }
    if let Some(Others { skopeo, engines }) = compared {
        let from = reference.clone();
        all.push((skopeo.name.clone(), Box::new(move || skopeo.pull(&setting.ground.folder, &from))));
        for engine in engines {
            let from = reference.clone();
            all.push((engine.name.clone(), Box::new(move || engine.pull(&setting.ground.folder, &from))));
        }
    }
    all
}

/// Runs the measured example on a new folder.
fn unpack(setting: &Setting<'_>, arguments: &[String]) -> Result<Sample> {
    let folder = empty(&setting.ground.folder, "unpacked")?;
    run(Command::new(setting.unpack).args(arguments).arg(&folder))
}

/// The median of the fastest of those whose names begin so.
fn best(rows: &[Row], name: &str) -> Option<f64> {
    rows.iter().filter(|row| row.program.starts_with(name)).map(|row| row.seconds).reduce(f64::min)
}

/// What the rows of one way of compressing should show, and show.
pub(super) fn targets(compression: &str, rows: &[Row]) -> Vec<Target> {
    let ours = rows.iter().find(|row| row.program == OURS);
    let Some(ours) = ours else { return Vec::new() };
    let times = if compression == "gzip" { 3.0 } else { 1.0 };
    let mut targets: Vec<Target> = rows
        .iter()
        .filter_map(|row| {
            let wanted = match row.program.split(' ').next() {
                Some(SKOPEO) => 3.0,
                Some(CTR) => times,
                _ => return None,
            };
            let what = format!("{compression}: times as fast as {}", row.program);
            Some(Target::at_least(what, row.seconds / ours.seconds, wanted))
        })
        .collect();
    targets.push(Target::at_most(format!("{compression}: times the floor"), ours.ratio, 1.5));
    if let Some(peak) = ours.peak {
        let what = format!("{compression}: MiB of memory at most");
        targets.push(Target::at_most(what, peak as f64 / f64::from(1 << 20), MOST_MEMORY));
    }
    targets
}

impl Target {
    fn at_least(what: String, found: f64, wanted: f64) -> Self {
        Self { what, found, wanted, is_met: found >= wanted }
    }

    fn at_most(what: String, found: f64, wanted: f64) -> Self {
        Self { what, found, wanted, is_met: found <= wanted }
    }

    /// As a line for people.
    pub(super) fn line(&self) -> String {
        let Self { what, found, wanted, is_met } = self;
        let word = if *is_met { "met" } else { "MISSED" };
        format!("{word:6} {what}: {found:.2} (wanted: {wanted})")
    }
}

impl Row {
    fn of(compression: &'static str, program: String, samples: &[Sample]) -> Self {
        let mut times: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
        times.sort_by(f64::total_cmp);
        Self {
            compression,
            program,
            seconds: super::super::middle(times.clone()),
            fastest: times.first().copied().unwrap_or_default(),
            slowest: times.last().copied().unwrap_or_default(),
            ratio: f64::NAN,
            peak: samples.iter().filter_map(|sample| sample.peak).max(),
        }
    }

    /// As a line for people.
    pub(super) fn line(&self) -> String {
        let peak = self
            .peak
            .map_or_else(|| "-".to_owned(), |peak| format!("{:.0} MiB", peak as f64 / f64::from(1 << 20)));
        format!(
            "{:5} {:34} {:8.2} {:8.2} {:8.2} {:7.2} {peak:>9}",
            self.compression, self.program, self.seconds, self.fastest, self.slowest, self.ratio
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(program: &str, seconds: &[f64]) -> Row {
        let samples: Vec<Sample> =
            seconds.iter().map(|&seconds| Sample { seconds, peak: Some(70 << 20) }).collect();
        Row::of("gzip", program.to_owned(), &samples)
    }

    #[test]
    fn targets_are_judged_by_medians() {
        let mut rows = vec![
            row(OURS, &[2.0, 9.0, 1.0]),
            row("floor, split 1", &[1.6]),
            row("floor, split 2", &[1.8]),
            row("skopeo 1 + umoci 2", &[7.0]),
            row("ctr of containerd 1.7", &[5.0]),
        ];
        assert_eq!(best(&rows, FLOOR), Some(1.6));
        rows[0].ratio = 2.0 / 1.6;
        let met = |compression: &str| -> Vec<bool> {
            targets(compression, &rows).iter().map(|target| target.is_met).collect()
        };
        // skopeo by 3.5, ctr by 2.5, the floor by 1.25, memory by 70.
        assert_eq!(met("gzip"), [true, false, true, false]);
        assert_eq!(met("zstd"), [true, true, true, false]);
    }
}
