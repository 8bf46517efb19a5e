//! 300 generated configurations: several runtimes come and go in random order, others edit in between.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use cofferdam_core::engine::containerd::{
    ConfigInput, ConfigVersion, Effective, Entry, Layout, PieceKind, Placement, Registrations, RootOwned,
    Traces, compare, cut_root, drop_in, foreign_handlers, holds, layout, write_root,
};
use cofferdam_core::engine::{EngineVersion, Overwrite, Value};
use cofferdam_core::name::{HandlerName, HostPath, RuntimeName};
use cofferdam_core::splice;
use cofferdam_core::testing::{GeneratedConfig, Random, TUNE, containerd_config};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 300;
const RUNTIMES: [&str; 3] = ["crun", "gvisor", "krun"];

fn root() -> HostPath {
    HostPath::new("/etc/containerd/config.toml").unwrap()
}

fn engines(config: &GeneratedConfig) -> Vec<Option<EngineVersion>> {
    let versions: &[Option<&str>] = match config.version {
        Some(ConfigVersion::V4) => &[Some("2.4.2"), None],
        Some(ConfigVersion::V3) => &[Some("2.1.9"), Some("2.4.2"), None],
        Some(ConfigVersion::V1) => &[Some("1.6.20"), Some("1.7.24"), Some("2.4.2"), None],
        Some(ConfigVersion::V2) | None => &[Some("1.7.24"), Some("2.1.9"), None],
    };
    versions.iter().map(|version| version.and_then(EngineVersion::parse)).collect()
}

fn entries(runtime: &str, random: &mut Random) -> Vec<Entry> {
    let text = |text: String| Value::Text(text);
    let handlers = if random.once_in(3) {
        vec![runtime.to_owned(), format!("{runtime}-debug")]
    } else {
        vec![runtime.to_owned()]
    };
    handlers
        .into_iter()
        .map(|handler| Entry {
            keys: vec![
                ("runtime_type".into(), text("io.containerd.runc.v2".into())),
                ("pod_annotations".into(), Value::List(vec!["a'b\"c\\*".into(), "io.x.*".into()])),
                ("privileged_without_host_devices".into(), Value::Bool(true)),
                ("cni_max_conf_num".into(), Value::Integer(1)),
            ],
            options: if random.once_in(4) {
                Vec::new()
            } else {
                vec![
                    (
                        "BinaryName".into(),
                        text(format!("/opt/cofferdam/runtimes/{runtime}/1-abc/bin/{runtime}")),
                    ),
                    ("Root".into(), text(format!("/run/cofferdam/oci/{handler}"))),
                ]
            },
            handler: HandlerName::new(handler).unwrap(),
        })
        .collect()
}

struct Node {
    engine: Option<EngineVersion>,
    text: String,
    owned: Option<RootOwned>,
    wanted: Registrations,
}

impl Node {
    fn base(&self) -> String {
        let Some(owned) = &self.owned else { return self.text.clone() };
        let cut = cut_root(&self.text, owned, &Traces::default(), Overwrite::No)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.text));
        assert_eq!((cut.absent.len(), cut.kept.len()), (0, 0), "{cut:?}\n{}", self.text);
        splice::apply(&self.text, &cut.splices).unwrap()
    }

    fn layout(&self, base: &str) -> Layout {
        let files = BTreeMap::from([(root(), base.to_owned())]);
        let ours = BTreeSet::new();
        let input = ConfigInput {
            engine: self.engine,
            config: &root(),
            root: &root(),
            files: &files,
            effective: None,
            ours: &ours,
        };
        foreign_handlers(&input, &self.wanted).unwrap();
        layout(&input).unwrap()
    }

    fn settle(&mut self) {
        let base = self.base();
        let layout = self.layout(&base);
        let (new, owned) =
            write_root(&layout, Some(&base), &self.wanted).unwrap_or_else(|error| panic!("{error}\n{base}"));
        assert!(holds(&new.text, &owned));
        self.check(&layout, &base, &new.text, &owned);
        (self.text, self.owned) = (new.text, Some(owned));
    }

    fn check(&self, layout: &Layout, base: &str, text: &str, owned: &RootOwned) {
        let ours: BTreeSet<HandlerName> = owned
            .pieces
            .iter()
            .filter_map(|piece| match &piece.kind {
                PieceKind::Entry { entry, .. } => Some(entry.handler.clone()),
                _ => None,
            })
            .collect();
        let bare = |text: &str| text.replace("\r\n", "").contains('\n');
        assert!(bare(base) || !base.contains('\n') || !bare(text), "line ends of others\n{text:?}");
        assert_eq!(base.starts_with('\u{feff}'), text.starts_with('\u{feff}'), "{text:?}");
        let (before, after) = (Effective::parse(base).unwrap(), Effective::parse(text).unwrap());
        assert_eq!(compare(&before, &after, &ours), Vec::new(), "{text}");
        assert_eq!(compare(&before, &after, &BTreeSet::new()).is_empty(), ours.is_empty(), "{text}");
        let handlers = after.handlers();
        for (runtime, entry) in self.wanted.iter().flat_map(|(r, list)| list.iter().map(move |e| (r, e))) {
            if layout.placement == Placement::InPlace {
                assert_eq!(handlers[entry.handler.as_str()].runtime_type, "io.containerd.runc.v2", "{text}");
            } else {
                let file = drop_in(layout, runtime, std::slice::from_ref(entry));
                let file = Effective::parse(&file).unwrap();
                assert_eq!(file.version(), i64::from(layout.version));
                assert!(file.handlers().contains_key(entry.handler.as_str()));
                assert!(!after.imports().is_empty());
            }
        }
    }
}

/// An edit by somebody else, which means the same to the file with and without our parts.
fn foreign_edit(text: &str, number: usize) -> String {
    let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
    match number % 3 {
        0 => text.replacen(TUNE, &format!("# tuned {number}"), 1).replacen(
            "# tuned",
            &format!("# edited {number}"),
            1,
        ),
        1 => {
            let (bom, rest) = text.strip_prefix('\u{feff}').map_or(("", text), |rest| ("\u{feff}", rest));
            format!("{bom}# seen by somebody {number}{eol}{rest}")
        }
        _ => {
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { eol };
            let tail = if number.is_multiple_of(2) { eol } else { "" };
            format!("{text}{gap}[stream_processors.\"foreign.{number}\"]{eol}  path = \"/usr/bin/x\"{tail}")
        }
    }
}

fn round(config: &GeneratedConfig, engine: Option<EngineVersion>, edits: bool) {
    let mut random = Random::new(config.seed ^ 0xc0ffee);
    let mut node = Node { engine, text: config.text.clone(), owned: None, wanted: Registrations::new() };
    let mut bare = config.text.clone();
    for step in 0..8 {
        let name = RUNTIMES[random.below(RUNTIMES.len())];
        let runtime = RuntimeName::new(name).unwrap();
        if node.wanted.remove(&runtime).is_none() {
            node.wanted.insert(runtime, entries(name, &mut random));
        }
        node.settle();
        if edits && random.once_in(2) {
            let number = step * 10 + random.below(6);
            node.text = foreign_edit(&node.text, number);
            bare = foreign_edit(&bare, number);
        }
        assert_eq!(node.base(), bare, "seed {} {engine:?} step {step}\n{}", config.seed, node.text);
    }
    node.wanted.clear();
    node.settle();
    assert_eq!(node.text, bare, "seed {} {engine:?}", config.seed);
}

#[test]
fn runtimes_come_and_go_without_a_trace() {
    for seed in 0..SEEDS {
        let config = containerd_config(seed);
        for engine in engines(&config) {
            round(&config, engine, false);
        }
    }
}

#[test]
fn edits_of_others_stay() {
    for seed in 0..SEEDS {
        let config = containerd_config(seed);
        for engine in engines(&config) {
            round(&config, engine, true);
        }
    }
}

#[test]
fn the_generator_covers_its_styles() {
    let texts: Vec<String> = (0..SEEDS).map(|seed| containerd_config(seed).text).collect();
    let count = |test: &dyn Fn(&str) -> bool| texts.iter().filter(|text| test(text)).count();
    assert!(count(&|text| text.contains("\r\n")) > 60);
    assert!(count(&|text| text.starts_with('\u{feff}')) > 8);
    assert!(count(&|text| !text.ends_with('\n')) > 60);
    assert!(count(&|text| text.contains("runtimes = {")) > 20);
    assert!(count(&|text| text.contains("containerd.runtimes.runc.runtime_type =")) > 20);
    assert!(count(&|text| text.contains("imports = [ #")) > 15);
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len());
}
