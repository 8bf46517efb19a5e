//! The tests of a suite: so many processes at a time, whichever program they are of.

use super::super::screen::{Screen, time};
use super::Lanes;
use super::programs::Program;
use crate::testbed::interrupt;
use anyhow::{Result, bail};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What one process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    /// A whole program, with libtest's own threads.
    Program,
    /// One test: it mostly waits.
    Test,
}

impl Each {
    /// What only computes gives way to nodes and clusters, which have time limits.
    const fn nicer(self) -> u8 {
        match self {
            Self::Program => 5,
            Self::Test => 0,
        }
    }
}

/// How a line begins that tells what a test reached: it is shown although the test passed.
const REACHED: &str = "reached: ";

/// What is the same for all tests of a run.
pub(super) struct Pool<'a> {
    /// What one process runs.
    pub(super) each: Each,
    /// So many processes at a time.
    pub(super) width: usize,
    /// So many more of them, once no other suite runs beside.
    pub(super) more: usize,
    /// Whether one does.
    pub(super) lanes: &'a Lanes,
    /// Only tests whose names contain this.
    pub(super) filter: Option<&'a str>,
    /// Their environment.
    pub(super) env: &'a [(&'a str, &'a Path)],
}

/// What is left to do, and what came out.
#[derive(Default)]
struct Board<'p> {
    /// A program, and its only test to run.
    waiting: Vec<(&'p Program, Option<String>)>,
    passed: usize,
    failures: Vec<String>,
}

impl Pool<'_> {
    /// Runs all tests of `programs`: how many passed, and what failed. What a failed process printed comes when it has ended.
    pub(super) fn run(&self, programs: &[&Program], screen: &Screen) -> (usize, Vec<String>) {
        let mut board = Board::default();
        for program in programs {
            match self.processes(program) {
                Ok(tests) => board.waiting.extend(tests.into_iter().map(|test| (*program, test))),
                Err(e) => board.failures.push(format!("{e:#}")),
            }
        }
        // They are taken from the end.
        board.waiting.reverse();
        let board = Mutex::new(board);
        std::thread::scope(|scope| {
            for number in 0..self.width + self.more {
                let board = &board;
                scope.spawn(move || self.work(number >= self.width, board, screen));
            }
        });
        let mut board = board.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !board.waiting.is_empty() {
            board.failures.push(format!("interrupted: {} were not begun", board.waiting.len()));
        }
        (board.passed, board.failures)
    }

    fn processes(&self, program: &Program) -> Result<Vec<Option<String>>> {
        if self.each == Each::Program {
            return Ok(vec![None]);
        }
        let tests = program.tests()?;
        if tests.is_empty() {
            bail!("{}: it has no test", program.title());
        }
        let fits = |name: &String| self.filter.is_none_or(|filter| name.contains(filter));
        Ok(tests.into_iter().filter(fits).map(Some).collect())
    }

    /// `waits`: only once no other suite runs beside.
    fn work(&self, waits: bool, board: &Mutex<Board<'_>>, screen: &Screen) {
        let lock = || board.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while !interrupt::is_due() {
            if waits && !self.lanes.is_last() && !lock().waiting.is_empty() {
                std::thread::sleep(Duration::from_millis(500));
                continue;
            }
            // Its own statement: the guard must not live for the whole test.
            let next = lock().waiting.pop();
            let Some((program, test)) = next else { return };
            let begun = Instant::now();
            let mut printed = String::new();
            let mut keep = |line: &str| {
                printed.push_str(line);
                printed.push('\n');
            };
            let (args, title) = match &test {
                Some(test) => (vec!["--exact", test], format!("{} {test}", program.title())),
                None => (self.filter.into_iter().collect(), program.title()),
            };
            let ended = program.run(&args, self.each.nicer(), self.env, &mut keep);
            let took = time(begun.elapsed());
            let mut board = lock();
            match ended {
                Ok(tests) if test.is_some() && tests != 1 => {
                    screen.line(&format!("{title} ... FAILED ({took})"));
                    board.failures.push(format!("{title}: {tests} tests ran"));
                }
                Ok(tests) => {
                    screen.line(&format!("{title} ... {tests} ok ({took})"));
                    let reached = printed.lines().filter_map(|line| line.strip_prefix(REACHED));
                    reached.for_each(|line| screen.line(&format!("    {line}")));
                    board.passed += tests;
                }
                Err(e) => {
                    screen.line(&format!("{printed}\n{title} ... FAILED ({took})"));
                    let reason = reason(&printed);
                    board.failures.push(match test {
                        Some(test) => format!("{test}: {e:#}{reason}"),
                        None => format!("{e:#}{reason}"),
                    });
                }
            }
        }
    }
}

/// Of a reason, the summary shows no more lines, and no more of each.
const REASON_LINES: usize = 10;
const REASON_WIDTH: usize = 400;

/// Why the first test failed, by what it printed: a panic's message, or the error that it returned.
fn reason(printed: &str) -> String {
    let begins = |line: &str| line.contains(" panicked at ") || line.starts_with("Error: ");
    let lines = printed.lines().skip_while(|line| !begins(line));
    lines
        .take_while(|line| !line.starts_with("stack backtrace:") && !line.starts_with("note: run with"))
        .take(REASON_LINES)
        .map(|line| format!("\n           {}", line.chars().take(REASON_WIDTH).collect::<String>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_first_panic() {
        let printed = "running 1 test\nthread 'a' (7) panicked at src/a.rs:1:2:\nleft: 1\nright: 2\n\
                       stack backtrace:\n 0: core\nthread 'b' (8) panicked at src/b.rs:3:4:\n";
        let indent = "\n           ";
        let wanted = ["thread 'a' (7) panicked at src/a.rs:1:2:", "left: 1", "right: 2"];
        assert_eq!(reason(printed), wanted.map(|line| format!("{indent}{line}")).concat());
        assert_eq!(reason("running 1 test\nError: it rains\n"), format!("{indent}Error: it rains"));
        assert_eq!(reason("all is well"), "");
        assert_eq!(reason(&format!("Error: {}", "x".repeat(500))).len(), indent.len() + REASON_WIDTH);
    }
}
