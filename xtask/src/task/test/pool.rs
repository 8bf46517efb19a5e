//! Tests that mostly wait: several at a time, each in a process of its own, whichever program it is in.

use super::super::screen::{Screen, time};
use super::programs::Program;
use crate::testbed::interrupt;
use anyhow::{Result, bail};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// What is the same for all tests of a run.
pub(super) struct Pool<'a> {
    /// So many at a time.
    pub(super) width: usize,
    /// Only tests whose names contain this.
    pub(super) filter: Option<&'a str>,
    /// Their environment.
    pub(super) env: &'a [(&'a str, &'a Path)],
}

/// What is left to do, and what came out.
#[derive(Default)]
struct Board<'p> {
    waiting: Vec<(&'p Program, String)>,
    passed: usize,
    failures: Vec<String>,
}

impl Pool<'_> {
    /// Runs all tests of `programs`: how many passed, and what failed. A test's output comes when it has ended.
    pub(super) fn run(&self, programs: &[&Program], screen: &Screen) -> (usize, Vec<String>) {
        let mut board = Board::default();
        for program in programs {
            match self.tests(program) {
                Ok(tests) => board.waiting.extend(tests.into_iter().map(|test| (*program, test))),
                Err(e) => board.failures.push(format!("{e:#}")),
            }
        }
        // They are taken from the end.
        board.waiting.reverse();
        let board = Mutex::new(board);
        std::thread::scope(|scope| {
            for _ in 0..self.width {
                scope.spawn(|| self.work(&board, screen));
            }
        });
        let mut board = board.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !board.waiting.is_empty() {
            board.failures.push(format!("interrupted: {} tests were not begun", board.waiting.len()));
        }
        (board.passed, board.failures)
    }

    fn tests(&self, program: &Program) -> Result<Vec<String>> {
        let tests = program.tests()?;
        if tests.is_empty() {
            bail!("{}: it has no test", program.title());
        }
        let fits = |name: &String| self.filter.is_none_or(|filter| name.contains(filter));
        Ok(tests.into_iter().filter(fits).collect())
    }

    fn work(&self, board: &Mutex<Board<'_>>, screen: &Screen) {
        let lock = || board.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while !interrupt::is_due() {
            // Its own statement: the guard must not live for the whole test.
            let next = lock().waiting.pop();
            let Some((program, test)) = next else { return };
            let begun = Instant::now();
            let mut printed = String::new();
            let mut keep = |line: &str| {
                printed.push_str(line);
                printed.push('\n');
            };
            let ended = program.run(&["--exact", &test], self.env, &mut keep);
            let mut board = lock();
            let verdict = if ended.is_ok() { "ok" } else { "FAILED" };
            let line = format!("{} {test} ... {verdict} ({})", program.title(), time(begun.elapsed()));
            match ended {
                Ok(1) => board.passed += 1,
                Ok(tests) => board.failures.push(format!("{}: {test}: {tests} tests ran", program.title())),
                Err(e) => {
                    screen.line(&printed);
                    board.failures.push(format!("{test}: {e:#}"));
                }
            }
            screen.line(&line);
        }
    }
}
