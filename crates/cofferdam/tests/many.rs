//! Generated configurations: runtimes come and go in any order, others edit in between, and the last removal leaves every
//! byte as it was without us.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use cofferdam_core::engine::containerd::ConfigVersion;
use cofferdam_core::testing::{Random, TUNE, containerd_config};
use support::{Bench, CONFIG, assert_same};

/// How many configurations; their seeds are 0 to this.
const COUNT: u64 = 300;

/// A release that reads configurations of this version.
fn release(version: Option<ConfigVersion>, bom: bool, random: &mut Random) -> &'static str {
    match version {
        _ if bom => "containerd@1.7",
        Some(ConfigVersion::V1) => random.pick(&["containerd@1.6", "containerd@2.4"]).unwrap(),
        Some(ConfigVersion::V4) => "containerd@2.4",
        Some(ConfigVersion::V3) => random.pick(&["containerd@2.1", "containerd@2.4"]).unwrap(),
        _ => random.pick(&["containerd@1.6", "containerd@1.7", "containerd@2.1"]).unwrap(),
    }
}

/// One edit of others, with the same effect on a text with ours in it and on one without.
fn edit(text: &str, kind: usize, n: usize) -> String {
    let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
    match kind {
        0 if text.contains(TUNE) => text.replacen(TUNE, &format!("# tuned, edit {n}"), 1),
        1 if text.contains("tuned, edit") => text.replacen("tuned, edit", "tuned, again, edit", 1),
        _ => {
            let text = text.strip_suffix(eol).unwrap_or(text);
            format!("{text}{eol}# appended {n}{eol}[debug{n}]{eol}  level = \"info\"{eol}")
        }
    }
}

#[test]
fn every_byte_of_generated_configurations_comes_back() {
    let (mut operations, mut edits) = (0, 0);
    for seed in 0..COUNT {
        let config = containerd_config(seed);
        let mut random = Random::new(seed ^ 0x5eed);
        let engine = release(config.version, config.bom, &mut random);
        let bench = Bench::new(engine).with_config(&config.text);
        let before = bench.snapshot();
        let mut names = vec!["one", "two", "three"];
        names.truncate(2 + random.below(2));
        let packages: Vec<String> = names.iter().map(|name| bench.package(name)).collect();
        let context = format!("seed {seed}, {engine}:\n{}\n", config.text);
        let editing = seed % 2 == 1;
        // The configuration as it would be without us.
        let mut theirs = config.text.clone();
        let mut there = vec![false; names.len()];
        let first = bench.run(&["install", &packages[0]]);
        assert_eq!(first.code, Some(0), "{context}{first}");
        there[0] = true;
        for n in 0..8 {
            let at = random.below(names.len());
            let ran = if there[at] {
                bench.run(&["remove", names[at]])
            } else {
                bench.run(&["install", &packages[at]])
            };
            assert_eq!(ran.code, Some(0), "{context}{ran}\n{}", bench.read(CONFIG));
            there[at] = !there[at];
            operations += 1;
            if editing && random.once_in(3) {
                let kind = random.below(3);
                bench.write(CONFIG, &edit(&bench.read(CONFIG), kind, n));
                theirs = edit(&theirs, kind, n);
                edits += 1;
            }
        }
        for at in 0..names.len() {
            if there[at] {
                let ran = bench.run(&["remove", names[at]]);
                assert_eq!(ran.code, Some(0), "{context}{ran}\n{}", bench.read(CONFIG));
            }
        }
        let mut after = before;
        after.get_mut(CONFIG).unwrap().content = theirs.into_bytes();
        assert_same(&after, &bench.snapshot(), &context);
    }
    println!("{COUNT} configurations, {operations} operations, {edits} edits of others");
}
