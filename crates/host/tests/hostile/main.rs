//! Archives that lie: each class by its name and its source, each case refused with the right words or unpacked without
//! harm. Around the folder that they are unpacked into lies a tree of canaries, which is compared after each case.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]
#![allow(missing_docs, clippy::missing_panics_doc, clippy::must_use_candidate)]

mod canary;
#[cfg(feature = "failpoints")]
mod guards;
mod headers;
mod images;
mod layers;
mod links;
mod paths;
mod plain;
mod privileges;
mod race;
mod sizes;
mod sparse;
mod streams;
mod tar;

use canary::Canary;
use cofferdam_host::archive::{ArchiveError, Compression, Limits, Lookup, Options, Unpacking};
use std::collections::BTreeSet;
use std::error::Error;
use std::io::Read;
use std::time::{Duration, Instant};

/// What is wrong with some archives, and where that was met before.
pub struct Class {
    pub name: &'static str,
    pub source: &'static str,
    pub cases: Vec<Case>,
}

/// An image's layers, how they are unpacked, and what is to become of them.
pub struct Case {
    pub name: String,
    pub layers: Vec<Layer>,
    pub options: Options,
    pub expected: Expected,
    /// Instead of unpacking the layers.
    pub check: Option<Check>,
}

pub type Check = Box<dyn Fn(&Canary, Lookup) -> Result<(), String>>;

pub struct Layer {
    pub bytes: Box<dyn Fn() -> Box<dyn Read>>,
    pub how: Compression,
}

pub enum Expected {
    /// An error with these words.
    Refused(&'static str),
    /// What is then there: `path` and what it is.
    Unpacked(Vec<String>),
}

/// Small enough that exceeding it costs nothing.
pub const SMALL: Limits =
    Limits { bytes: 10_000, entries: 20, names: 4000, depth: 5, ratio: 200, window: 8 << 20 };

/// Longer than any case takes, on a busy machine too.
const MOST_TIME: Duration = Duration::from_secs(60);

/// What this process may ever hold, in kilobytes: mostly the archives of all cases, which the tests hold themselves.
const MOST_MEMORY: u64 = 128 << 10;

impl Layer {
    pub fn plain(bytes: Vec<u8>) -> Self {
        Self::packed(bytes, Compression::None)
    }

    pub fn packed(bytes: Vec<u8>, how: Compression) -> Self {
        let bytes = move || Box::new(std::io::Cursor::new(bytes.clone())) as Box<dyn Read>;
        Self { bytes: Box::new(bytes), how }
    }
}

impl Case {
    pub fn refused(name: impl Into<String>, archive: Vec<u8>, words: &'static str) -> Self {
        Self::of(name, vec![Layer::plain(archive)], Expected::Refused(words))
    }

    pub fn unpacked(name: impl Into<String>, archive: Vec<u8>, there: &[&str]) -> Self {
        let there = there.iter().map(|line| (*line).to_owned()).collect();
        Self::of(name, vec![Layer::plain(archive)], Expected::Unpacked(there))
    }

    pub fn of(name: impl Into<String>, layers: Vec<Layer>, expected: Expected) -> Self {
        Self { name: name.into(), layers, options: SMALL.into(), expected, check: None }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }
}

fn classes() -> Vec<Class> {
    [
        paths::classes(),
        links::classes(),
        headers::classes(),
        sizes::classes(),
        sparse::classes(),
        privileges::classes(),
        layers::classes(),
        streams::classes(),
        images::classes(),
        race::classes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub fn told(error: &ArchiveError) -> String {
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

fn run(canary: &Canary, case: &Case, lookup: Lookup) -> Result<(), String> {
    if let Some(check) = &case.check {
        return check(canary, lookup);
    }
    let mut unpacking = Unpacking::new(canary.inside(), Options { lookup, ..case.options.clone() });
    let result = case.layers.iter().try_for_each(|layer| {
        unpacking.compressed_layer((layer.bytes)(), layer.how).map(drop).map_err(|error| told(&error))
    });
    if result.is_ok() {
        // What the list says is what is there, with the right digests.
        assert_eq!(canary::of_items(&unpacking.finish()), canary.shown_digests(), "{}", case.name);
    }
    result
}

/// Runs the classes, and collects what did not go as it should.
fn failures(classes: &[Class]) -> Vec<String> {
    let canary = Canary::new();
    let mut failures = Vec::new();
    for class in classes {
        for case in &class.cases {
            for lookup in [Lookup::Kernel, Lookup::Steps] {
                let name = format!("{} ({}): {} by {lookup:?}", class.name, class.source, case.name);
                let begun = Instant::now();
                let result = run(&canary, case, lookup);
                match (&case.expected, result) {
                    (Expected::Refused(words), Err(error)) if error.contains(words) => {}
                    (Expected::Refused(words), Err(error)) => {
                        failures.push(format!("{name}: no {words:?} in: {error}"));
                    }
                    (Expected::Refused(_), Ok(())) => {
                        failures.push(format!("{name}: unpacked {:?}", canary.shown()));
                    }
                    (Expected::Unpacked(_), Err(error)) => failures.push(format!("{name}: {error}")),
                    (Expected::Unpacked(there), Ok(())) => {
                        let found = canary.shown();
                        if found != *there {
                            failures.push(format!("{name}: {found:#?} instead of {there:#?}"));
                        }
                    }
                }
                if let Some(change) = canary.change() {
                    failures.push(format!("{name}: outside: {change}"));
                }
                if begun.elapsed() > MOST_TIME {
                    failures.push(format!("{name}: took {:?}", begun.elapsed()));
                }
                canary.clear();
            }
        }
    }
    failures
}

#[test]
fn hostile_archives_do_no_harm() {
    let classes = classes();
    let failures = failures(&classes);
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    #[cfg(feature = "failpoints")]
    assert_eq!(guards::without_a_case(), Vec::<String>::new(), "without them no case would go red");
    let peak = peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} kB were held at once");
}

#[test]
fn the_table_is_as_large_as_it_should_be() {
    let classes = classes();
    let names: BTreeSet<&str> = classes.iter().map(|class| class.name).collect();
    assert_eq!(names.len(), classes.len(), "a class has a name of its own");
    let mut cases = 0;
    for class in &classes {
        assert!(!class.cases.is_empty() && !class.source.is_empty(), "{}", class.name);
        let names: BTreeSet<&str> = class.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), class.cases.len(), "{}: a case has a name of its own: {names:?}", class.name);
        cases += class.cases.len();
        // cargo test --test hostile -- --nocapture shows the table.
        println!("{:3} {:50} {}", class.cases.len(), class.name, class.source);
    }
    println!("{} classes, {cases} cases, each by both ways of opening a path", classes.len());
    assert!(classes.len() >= 60 && cases >= 300, "{} classes, {cases} cases", classes.len());
}

/// The most that this process ever held, in kilobytes.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
