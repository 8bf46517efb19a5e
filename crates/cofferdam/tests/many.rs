//! Rounds on generated configurations: runtimes are installed, upgraded, rolled back, spoilt and repaired, collected and
//! removed in any order, others edit in between, and the last removal leaves every byte as it was without us.

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

const VERSIONS: [&str; 3] = ["1.0", "2.0", "2.1+rc.1"];

/// What a runtime should be by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    /// The registered version.
    present: Option<usize>,
    /// The one that a rollback brings back. Nothing runs from an offline tree, so there is no other.
    earlier: Option<usize>,
}

/// What is done to a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// Install or upgrade to this version.
    Put(usize),
    Rollback,
    Remove,
    /// After its tree was spoilt.
    Repair,
    Collect,
    CollectAll,
}

impl Operation {
    fn pick(random: &mut Random) -> Self {
        match random.below(12) {
            0..=4 => Self::Put(random.below(VERSIONS.len())),
            5 | 6 => Self::Rollback,
            7 | 8 => Self::Remove,
            9 => Self::Repair,
            10 => Self::Collect,
            _ => Self::CollectAll,
        }
    }
}

impl Model {
    /// Whether the operation is possible, and what is there after it.
    fn after(&self, operation: Operation) -> Option<Self> {
        let Self { present, earlier } = *self;
        match operation {
            Operation::Put(version) if present == Some(version) => Some(self.clone()),
            Operation::Put(version) => Some(Self { present: Some(version), earlier: present }),
            Operation::Rollback => earlier.map(|earlier| Self { present: Some(earlier), earlier: present }),
            Operation::Remove => present.map(|_| Self::default()),
            Operation::Repair | Operation::Collect => Some(self.clone()),
            // It collects for every runtime: see the caller.
            Operation::CollectAll => Some(Self { present, earlier: None }),
        }
    }
}

/// An offline tree with runtimes that come and go.
struct Round {
    bench: Bench,
    names: Vec<&'static str>,
    models: Vec<Model>,
    /// The configuration as it would be without us.
    theirs: String,
    context: String,
    operations: usize,
}

impl Round {
    fn new(seed: u64, random: &mut Random) -> (Self, support::Snapshot) {
        let config = containerd_config(seed);
        let engine = release(config.version, config.bom, random);
        let bench = Bench::new(engine).with_config(&config.text);
        let before = bench.snapshot();
        let mut names = vec!["one", "two", "three"];
        names.truncate(2 + random.below(2));
        let models = vec![Model::default(); names.len()];
        let context = format!("seed {seed}, {engine}:\n{}\n", config.text);
        (Self { bench, names, models, theirs: config.text, context, operations: 0 }, before)
    }

    fn run(&self, code: i32, args: &[&str]) {
        let ran = self.bench.run(args);
        assert_eq!(ran.code, Some(code), "{}{ran}\n{}", self.context, self.bench.read(CONFIG));
    }

    fn operate(&mut self, at: usize, operation: Operation) {
        let name = self.names[at];
        let after = self.models[at].after(operation);
        let code = if after.is_some() { 0 } else { 2 };
        match operation {
            Operation::Put(version) => {
                let verb = if self.models[at].present.is_some() { "upgrade" } else { "install" };
                let package = self.bench.package_with(name, VERSIONS[version], &[name]);
                self.run(code, &[verb, &package]);
            }
            Operation::Rollback => self.run(code, &["rollback", name]),
            Operation::Remove => self.run(code, &["remove", name]),
            Operation::Repair => {
                if self.spoil(name) {
                    self.run(4, &["verify"]);
                }
                self.run(code, &["repair"]);
                self.run(0, &["verify"]);
            }
            Operation::Collect => self.run(code, &["gc"]),
            Operation::CollectAll => {
                self.run(code, &["gc", "--all"]);
                self.models.iter_mut().for_each(|model| model.earlier = None);
            }
        }
        if let Some(after) = after {
            self.models[at] = after;
        }
        self.operations += 1;
    }

    /// Deletes a file of each of its trees.
    fn spoil(&self, name: &str) -> bool {
        let Ok(trees) = std::fs::read_dir(self.bench.at(&format!("/opt/cofferdam/runtimes/{name}"))) else {
            return false;
        };
        let trees: Vec<_> = trees.map(|tree| tree.unwrap().path()).collect();
        trees.iter().for_each(|tree| std::fs::remove_file(tree.join(format!("etc/{name}.toml"))).unwrap());
        !trees.is_empty()
    }

    fn edit(&mut self, kind: usize, n: usize) {
        self.bench.write(CONFIG, &edit(&self.bench.read(CONFIG), kind, n));
        self.theirs = edit(&self.theirs, kind, n);
    }

    /// What `status` tells is what it should be.
    fn check(&self) {
        let status = self.bench.run(&["status", "--json"]).expect(0).json();
        for (name, model) in self.names.iter().zip(&self.models) {
            let runtimes = status["runtimes"].as_array().unwrap();
            let runtime = runtimes.iter().find(|runtime| runtime["name"] == *name);
            let version = |value: &serde_json::Value| {
                VERSIONS.iter().position(|version| value["version"] == *version).unwrap()
            };
            let earlier = runtime.map(|runtime| runtime["earlier"].as_array().unwrap().clone());
            let earlier = earlier.unwrap_or_default();
            assert!(earlier.len() <= 1, "{}{name}: {earlier:?}", self.context);
            let found = Model { present: runtime.map(version), earlier: earlier.first().map(version) };
            assert_eq!(found, *model, "{}{name}", self.context);
        }
    }

    fn remove_all(&mut self) {
        for at in 0..self.names.len() {
            if self.models[at].present.is_some() {
                self.operate(at, Operation::Remove);
            }
        }
    }
}

#[test]
fn every_byte_of_generated_configurations_comes_back() {
    let (mut operations, mut edits) = (0, 0);
    for seed in 0..COUNT {
        let mut random = Random::new(seed ^ 0x5eed);
        let (mut round, before) = Round::new(seed, &mut random);
        round.operate(0, Operation::Put(0));
        for n in 0..8 {
            let at = random.below(round.names.len());
            round.operate(at, Operation::pick(&mut random));
            if seed % 2 == 1 && random.once_in(3) {
                round.edit(random.below(3), n);
                edits += 1;
            }
        }
        round.check();
        round.remove_all();
        operations += round.operations;
        let mut after = before;
        after.get_mut(CONFIG).unwrap().content = round.theirs.into_bytes();
        assert_same(&after, &round.bench.snapshot(), &round.context);
    }
    println!("{COUNT} configurations, {operations} operations, {edits} edits of others");
}
