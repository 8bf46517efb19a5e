//! The rollout's promises, on random fleets in random trouble; and that the checks would see them broken.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod fleet;
mod judge;
mod large;
mod mutants;
mod removal;
mod tally;
mod trouble;
mod world;

use cofferdam_core::rollout::Reason;
use mutants::{Decider, MUTANTS, Mutant};
use std::io::Write;
use tally::Tally;
use world::World;

/// How many lives are simulated.
const RUNS: u64 = 600;

fn broken(mutant: Option<Mutant>, tally: &mut Tally) -> Option<(u64, String)> {
    (0..RUNS).find_map(|seed| {
        let decider = mutant.map_or_else(Decider::default, Decider::with);
        let mut world = World::new(seed, &decider);
        let outcome = world.run();
        tally.add(&world.tally);
        outcome.err().map(|broken| (seed, broken))
    })
}

/// Tells what was reached past libtest, which keeps what passing tests print for itself.
fn reached(text: &str) {
    let lines: String = text.lines().map(|line| format!("reached: {line}\n")).collect();
    std::io::stderr().write_all(lines.as_bytes()).unwrap();
}

#[test]
fn every_promise_is_kept_on_random_fleets_in_random_trouble() {
    let mut tally = Tally::default();
    let found = broken(None, &mut tally);
    let (table, never) = tally.table();
    reached(&format!("{RUNS} lives:\n{table}"));
    assert_eq!(found, None, "seed and broken promise");
    assert!(never.is_empty(), "never reached: {never:?}");
}

#[test]
fn every_planted_defect_is_found() {
    let mut missed = Vec::new();
    for mutant in MUTANTS {
        match broken(Some(mutant), &mut Tally::default()) {
            Some((seed, broken)) => {
                let promise: String = broken.chars().take(110).collect();
                reached(&format!("{mutant:?} is found by seed {seed}: {promise}"));
            }
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn the_documentation_has_every_reason_and_phase() {
    let text = include_str!("../../../../docs/rollout.md");
    for word in Reason::WORDS.iter().chain(&tally::PHASES) {
        assert!(text.contains(&format!("| `{word}` |")), "docs/rollout.md has no row for {word}");
    }
}

/// One life, for looking at: `COFFERDAM_SEED=1 cargo test -p cofferdam-core --test rollout one_life -- --nocapture`.
#[test]
fn one_life() {
    let seed = std::env::var("COFFERDAM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let decider = Decider::default();
    let mut world = World::new(seed, &decider);
    world.trace = std::env::var_os("COFFERDAM_SEED").is_some();
    assert_eq!(world.run(), Ok(()));
}
