//! Configurations before the real daemons' own readers: what they print of each, before and after ours are in it,
//! differs in nothing but our handlers. No node boots.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::engine::containerd::{
    ConfigInput, ConfigVersion, Effective, Entry, Layout, Placement, Registrations, RootOwned, Traces, admit,
    compare, cut_root, drop_in, layout, write_root,
};
use cofferdam_core::engine::{EngineVersion, Overwrite, Value};
use cofferdam_core::name::{HandlerName, HostPath, RuntimeName};
use cofferdam_core::splice;
use cofferdam_core::testing::{GeneratedConfig, containerd_config};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use xtask::testbed::Containerd;
use xtask::testbed::reader::Reader;

/// How many generated configurations; their seeds are 0 to this.
const SEEDS: u64 = 300;

const RUNTIMES: [&str; 2] = ["crun", "gvisor"];

const SAMPLES: [(&str, &str); 9] = [
    ("flatcar", include_str!("../../crates/core/tests/data/containerd/flatcar-config.toml")),
    ("eks-v2", include_str!("../../crates/core/tests/data/containerd/eks-v2.toml")),
    ("eks-v3", include_str!("../../crates/core/tests/data/containerd/eks-v3.toml")),
    ("microk8s", include_str!("../../crates/core/tests/data/containerd/microk8s-containerd-template.toml")),
    ("debian", include_str!("../../crates/core/tests/data/containerd/debian.toml")),
    ("default 1.6", include_str!("../../crates/core/tests/data/containerd/default-1.6.toml")),
    ("default 1.7", include_str!("../../crates/core/tests/data/containerd/default-1.7.toml")),
    ("default 2.1", include_str!("../../crates/core/tests/data/containerd/default-2.1.toml")),
    ("default 2.4", include_str!("../../crates/core/tests/data/containerd/default-2.4.toml")),
];

fn program(name: &str) -> String {
    format!("/opt/x/bin/{name}")
}

fn wanted() -> Registrations {
    let entry = |name: &str| Entry {
        handler: HandlerName::new(name).unwrap(),
        keys: vec![("runtime_type".into(), Value::Text("io.containerd.runc.v2".into()))],
        options: vec![("BinaryName".into(), Value::Text(program(name)))],
    };
    RUNTIMES.iter().map(|name| (RuntimeName::new(*name).unwrap(), vec![entry(name)])).collect()
}

/// A real containerd.
struct Daemon {
    reader: Reader,
    engine: EngineVersion,
}

impl Daemon {
    fn new(containerd: Containerd, release: &str) -> Self {
        let reader = Reader::new(containerd).unwrap();
        let daemon = Self { reader, engine: EngineVersion::parse(release).unwrap() };
        let version = daemon.run(&["--version"]).unwrap();
        assert!(version.contains(release), "{version}");
        daemon
    }

    /// What it prints; its complaint if it fails.
    fn run(&self, args: &[&str]) -> Result<String, String> {
        let output = self.reader.run(args).unwrap();
        // The last line; those before it are its log.
        let complaint = output.stderr.trim().rsplit('\n').next().unwrap().to_owned();
        if output.success() { Ok(output.stdout) } else { Err(complaint) }
    }

    fn effective(&self, file: &Path) -> Result<Effective, String> {
        let dump = self.run(&["--config", file.to_str().unwrap(), "config", "dump"])?;
        Ok(Effective::parse(&dump).unwrap())
    }
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Only ours differed, and removal gave the bytes of before.
    Held,
    /// The daemon cannot load it as it is.
    RefusedByDaemon(String),
    /// The dialect does not touch it.
    RefusedByUs(String),
}

/// Registers the runtimes in `text`, looks with the daemon's eyes, and takes them out again.
fn round(daemon: &Daemon, name: &str, text: &str) -> Fate {
    let dir = tempfile::tempdir().unwrap();
    let shown = dir.path().to_str().unwrap();
    // Folders that it imports: below ours, so that drop-ins can go there and nothing of this machine is read.
    let text =
        &text.replace("/etc/nowhere", shown).replace("/etc/containerd/conf.d", &format!("{shown}/conf.d"));
    let file = dir.path().join("config.toml");
    let path = HostPath::new(file.to_str().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    let before = match daemon.effective(&file) {
        Ok(before) => before,
        Err(complaint) => return Fate::RefusedByDaemon(complaint.replace(shown, "DIR")),
    };
    let files = BTreeMap::from([(path.clone(), text.clone())]);
    let ours = BTreeSet::new();
    let input = ConfigInput {
        engine: Some(daemon.engine),
        config: &path,
        root: &path,
        files: &files,
        effective: Some(&before),
        ours: &ours,
    };
    let layout = match layout(&input) {
        Ok(layout) => layout,
        Err(error) => return Fate::RefusedByUs(error.to_string().replace(shown, "DIR")),
    };
    let wanted = wanted();
    admit(&input, &wanted).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    let (new, owned) =
        write_root(&layout, Some(text), &wanted).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    fs::write(&file, &new.text).unwrap();
    write_drop_ins(dir.path(), &layout, &wanted);
    let after = daemon.effective(&file).unwrap_or_else(|error| panic!("{name}: {error}\n{}", new.text));
    check(name, &new.text, &before, &after);
    assert_eq!(&removed(name, &new.text, &owned), text, "{name}");
    Fate::Held
}

fn write_drop_ins(dir: &Path, layout: &Layout, wanted: &Registrations) {
    if layout.placement == Placement::InPlace {
        return;
    }
    for (runtime, entries) in wanted {
        let at = layout.drop_in_path(runtime).unwrap();
        let at = Path::new(at.as_str());
        assert!(at.starts_with(dir), "{}", at.display());
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, drop_in(layout, runtime, entries)).unwrap();
    }
}

fn check(name: &str, text: &str, before: &Effective, after: &Effective) {
    let ours: BTreeSet<_> = RUNTIMES.iter().map(|name| HandlerName::new(*name).unwrap()).collect();
    assert_eq!(compare(before, after, &ours), Vec::new(), "{name}\n{text}");
    assert!(!compare(before, after, &BTreeSet::new()).is_empty(), "{name}: nothing was added\n{text}");
    let handlers = after.handlers();
    for runtime in RUNTIMES {
        let handler = handlers.get(runtime).unwrap_or_else(|| panic!("{name}: no {runtime}\n{text}"));
        assert_eq!(handler.runtime_type, "io.containerd.runc.v2", "{name}\n{text}");
        let binary = handler.table.get(&["options", "BinaryName"]).and_then(|value| value.text());
        assert_eq!(binary, Some(program(runtime).as_str()), "{name}\n{text}");
    }
}

fn removed(name: &str, text: &str, owned: &RootOwned) -> String {
    let cut = cut_root(text, owned, &Traces::default(), Overwrite::No)
        .unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    assert_eq!((cut.absent.len(), cut.kept.len()), (0, 0), "{name}: {cut:?}\n{text}");
    splice::apply(text, &cut.splices).unwrap()
}

/// How many configurations met which fate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    held: usize,
    refused_by_daemon: usize,
    refused_by_us: usize,
}

fn tally(of: &str, fates: &[(String, Fate)]) -> Tally {
    let mut tally = Tally::default();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (_, fate) in fates {
        match fate {
            Fate::Held => tally.held += 1,
            Fate::RefusedByDaemon(why) => {
                tally.refused_by_daemon += 1;
                *reasons.entry(format!("the daemon: {why}")).or_default() += 1;
            }
            Fate::RefusedByUs(why) => {
                tally.refused_by_us += 1;
                *reasons.entry(format!("the dialect: {why}")).or_default() += 1;
            }
        }
    }
    println!("{of}: {tally:?} of {}", fates.len());
    for (reason, times) in reasons {
        println!("  {times} x {reason}");
    }
    tally
}

/// The defaults and samples; those that this daemon cannot load are `unloadable`.
fn fixed(containerd: Containerd, daemon: &Daemon, unloadable: &[&str]) {
    let default = daemon.run(&["config", "default"]).unwrap();
    let mut texts = vec![("its own default", default.as_str()), ("admin", containerd.admin_config())];
    texts.extend(SAMPLES);
    let fates: Vec<_> =
        texts.into_iter().map(|(name, text)| (name.to_owned(), round(daemon, name, text))).collect();
    tally(&format!("{}, defaults and samples", daemon.engine), &fates);
    for (name, fate) in &fates {
        let refused = matches!(fate, Fate::RefusedByDaemon(_));
        assert_eq!(refused, unloadable.contains(&name.as_str()), "{name}: {fate:?}");
        assert!(refused || *fate == Fate::Held, "{name}: {fate:?}");
    }
}

/// The generated configurations; `loads` says which of them this daemon can load.
fn generated(daemon: &Daemon, loads: impl Fn(&GeneratedConfig) -> bool) -> Tally {
    let configs: Vec<_> = (0..SEEDS).map(containerd_config).collect();
    let name = |config: &GeneratedConfig| format!("seed {}", config.seed);
    let fates: Vec<_> =
        configs.iter().map(|config| (name(config), round(daemon, &name(config), &config.text))).collect();
    let tally = tally(&format!("{}, generated", daemon.engine), &fates);
    for (config, (name, fate)) in configs.iter().zip(&fates) {
        let refused = matches!(fate, Fate::RefusedByDaemon(_));
        assert_eq!(refused, !loads(config), "{name}: {fate:?}\n{}", config.text);
    }
    tally
}

#[test]
fn only_our_handlers_differ_as_containerd_2_reads_it() {
    let daemon = Daemon::new(Containerd::Upstream24, "2.4.2");
    fixed(Containerd::Upstream24, &daemon, &[]);
    // It takes a byte order mark for a syntax error.
    let tally = generated(&daemon, |config| !config.bom);
    assert_eq!(tally.refused_by_us, 0, "{tally:?}");
    assert!(tally.held >= 250, "{tally:?}");
}

#[test]
fn only_our_handlers_differ_as_containerd_1_reads_it() {
    let daemon = Daemon::new(Containerd::Debian17, "1.7.24");
    fixed(Containerd::Debian17, &daemon, &["eks-v3", "default 2.1", "default 2.4"]);
    let tally =
        generated(&daemon, |config| config.version.is_none_or(|version| version <= ConfigVersion::V2));
    assert_eq!(tally.refused_by_us, 0, "{tally:?}");
    assert!(tally.held >= 140, "{tally:?}");
}
