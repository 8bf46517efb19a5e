//! `cargo xtask test`: every suite with its time, several side by side.

mod pool;
mod programs;
mod suites;

use super::screen::{Screen, time};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use programs::Programs;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs the test suites, all or the named ones, and goes on after a failed one. Those that mostly wait run beside the others.
///
/// Needs root on Debian 12 or later, Rust and Go. Missing Debian packages are named and installed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these suites.
    #[arg(long, value_enum)]
    suite: Vec<Suite>,
    /// Only tests whose names contain this.
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Only the fault matrix.
    #[arg(long, conflicts_with_all = ["suite", "filter"])]
    matrix: bool,
    /// Write docs/matrix.md as it ran, instead of comparing it.
    #[arg(long, requires = "matrix")]
    write: bool,
}

/// A suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Every crate's own tests, the command line's on offline trees among them.
    Unit,
    /// The core does no I/O and pulls in no crate that does.
    Purity,
    /// The release binary: static, without getaddrinfo, runs in an empty root.
    Static,
    /// Real nodes with containerd 1.6 to 2.4, and the fault matrix.
    Node,
    /// Real clusters: a control plane with nodes.
    Cluster,
}

impl Suite {
    const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Purity => "purity",
            Self::Static => "static",
            Self::Node => "node",
            Self::Cluster => "cluster",
        }
    }

    /// Suites of one lane run one after the other, lanes side by side.
    const fn lane(self) -> usize {
        match self {
            Self::Unit | Self::Purity => 0,
            Self::Node => 1,
            Self::Cluster => 2,
            // What it links last leaves processors idle: it is better done before the others end.
            Self::Static => 3,
        }
    }
}

impl Args {
    fn suites(&self) -> Vec<Suite> {
        if self.matrix {
            return vec![Suite::Node];
        }
        let all = Suite::value_variants().iter().copied();
        all.filter(|suite| self.suite.is_empty() || self.suite.contains(suite)).collect()
    }
}

/// What is run of a suite.
struct Selection<'a> {
    /// Tests whose names contain this.
    filter: Option<&'a str>,
    /// Of the node suite, the fault matrix.
    matrix_only: bool,
    /// Its page is written, not compared.
    write: bool,
    /// Whether other suites run beside.
    lanes: Lanes,
}

/// How many lanes still run.
#[derive(Debug, Default)]
struct Lanes(AtomicUsize);

impl Lanes {
    fn of(suites: &[Suite]) -> Self {
        let lanes: BTreeSet<usize> = suites.iter().map(|suite| suite.lane()).collect();
        Self(AtomicUsize::new(lanes.len()))
    }

    /// One more has ended.
    fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether no more than one is left.
    fn is_last(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 1
    }
}

/// How a suite ended.
struct Score {
    suite: Suite,
    passed: usize,
    failures: Vec<String>,
    took: Duration,
}

/// Runs the task. Returns the exit code.
///
/// # Errors
/// Something is missing on this machine, or the tests do not build.
pub fn run(args: &Args) -> Result<u8> {
    let mut screen = Screen::new();
    let chosen = args.suites();
    let selection = Selection {
        filter: args.filter.as_deref(),
        matrix_only: args.matrix,
        write: args.write,
        lanes: Lanes::of(&chosen),
    };
    suites::prerequisites(&chosen)?;
    screen.heading("build the tests");
    let begun = Instant::now();
    let programs = Programs::build()?;
    screen.good(&format!("{} test programs, {}", programs.len(), time(begun.elapsed())));
    suites::prepare(&chosen)?;
    screen.heading(&format!(
        "suites {}",
        chosen.iter().map(|suite| suite.name()).collect::<Vec<_>>().join(", ")
    ));
    let scores = side_by_side(&chosen, &selection.lanes, |suite| {
        let begun = Instant::now();
        let (passed, failures) = suites::run(suite, &programs, &selection, &screen);
        let score = Score { suite, passed, failures, took: begun.elapsed() };
        screen.line(&format!("suite {}: {}", suite.name(), time(score.took)));
        score
    });
    summary(&mut screen, &scores, args.filter.is_some());
    Ok(u8::from(scores.iter().any(|s| !s.good(args.filter.is_some()))))
}

/// Runs `suites`, a lane beside the other. Returns what each came to, in their order.
fn side_by_side(suites: &[Suite], lanes: &Lanes, run: impl Fn(Suite) -> Score + Sync) -> Vec<Score> {
    let run = &run;
    let lane = |number| {
        let own: Vec<Suite> = suites.iter().copied().filter(|suite| suite.lane() == number).collect();
        let scores: Vec<Score> = own.iter().copied().map(run).collect();
        if !own.is_empty() {
            lanes.end();
        }
        scores
    };
    let lane = &lane;
    let mut scores: Vec<Score> = std::thread::scope(|scope| {
        let running = [0, 1, 2, 3].map(|number| scope.spawn(move || lane(number)));
        running
            .into_iter()
            .flat_map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    scores.sort_by_key(|score| suites.iter().position(|suite| *suite == score.suite));
    scores
}

impl Score {
    /// A suite without tests proves nothing, unless names were asked for.
    const fn good(&self, filtered: bool) -> bool {
        self.failures.is_empty() && (filtered || self.passed > 0)
    }
}

fn summary(screen: &mut Screen, scores: &[Score], filtered: bool) {
    screen.heading("summary");
    for score in scores {
        let verdict = if score.good(filtered) { "passed" } else { "FAILED" };
        let text =
            format!("{:8} {verdict}  {:5} tests  {:>12}", score.suite.name(), score.passed, time(score.took));
        if score.good(filtered) {
            screen.line(&text)
        } else {
            screen.bad(&text)
        }
        for failure in &score.failures {
            screen.bad(&format!("         {failure}"));
        }
        if score.passed == 0 && score.failures.is_empty() && !filtered {
            screen.bad("         no test ran");
        }
    }
    screen.line(&format!("all together {}", time(screen.elapsed())));
}

/// The number before a word, as in `ok. 12 passed; 0 failed`.
fn number_before(text: &str, word: &str) -> Option<usize> {
    text.split([' ', ';', '.']).filter(|w| !w.is_empty()).collect::<Vec<_>>().windows(2).find_map(|pair| {
        match pair {
            [number, next] if *next == word => number.parse().ok(),
            _ => None,
        }
    })
}

/// [`number_before`] of a line that libtest ends with.
fn passed_in(line: &str) -> Result<usize> {
    if !line.starts_with("test result: ") {
        bail!("not a result");
    }
    number_before(line, "passed").context("no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_libtest_are_read() {
        let line =
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(passed_in(line).ok(), Some(12));
        assert!(passed_in("12 passed").is_err());
        assert!(passed_in("test result: nothing").is_err());
    }
}
