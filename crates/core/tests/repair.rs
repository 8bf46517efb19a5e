//! What becomes of our registrations when an administrator migrates, moves, links, deletes or reformats the
//! configuration: found, put in place again, and taken away without a trace.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod node;

use cofferdam_core::class::Class;
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::engine::containerd::{Effective, compare, import_matches, import_patterns};
use cofferdam_core::name::{Digest, HostPath};
use cofferdam_core::observation::PathState;
use cofferdam_core::plan::{self, Blob, Force, Overwrite, Package, Plan, PlanError, registered};
use cofferdam_core::record::Step;
use node::{Node, described, name, path, refused};
use std::collections::{BTreeMap, BTreeSet};

const ROOT: &str = "/etc/containerd/config.toml";
const DROP_IN: &str = "/etc/containerd/cofferdam.d/toy.toml";
const MOVED: &str = "/srv/containerd/config.toml";

const OLD: &str = "# The node's own settings
version = 2

[plugins.\"io.containerd.grpc.v1.cri\"]
  sandbox_image = \"registry.example/pause:3.10\"

  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
    runtime_type = \"io.containerd.runc.v2\"
    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]
      SystemdCgroup = false
";

const NEW: &str = "version = 3

[plugins.\"io.containerd.cri.v1.images\".pinned_images]
  sandbox = \"registry.example/pause:3.10\"
";

/// A package whose entry is the one in the migrated samples.
fn toy(handler: &str) -> Package {
    let text =
        format!("schema = 1\nname = \"toy\"\nversion = \"1.0\"\n[[handler]]\nname = \"toy\"\n{handler}");
    described(&text)
}

fn oci() -> Package {
    toy("oci-runtime = \"bin/toy\"\npod-annotations = [\"io.toy.*\"]\n")
}

fn shim() -> Package {
    toy("shim = \"bin/shim\"\nconfig = \"etc/toy.toml\"\npod-annotations = [\"io.toy.*\"]\n\
         [handler.engine.containerd]\nconfig-type-url = \"io.containerd.runsc.v1.options\"\n")
}

/// A node with a disk: what the engine reads follows from its root file and the imports.
struct Host {
    node: Node,
    disk: BTreeMap<HostPath, String>,
    package: Package,
}

impl Host {
    /// Installed on `engine`, whose root file holds this.
    fn installed(engine: &str, root: Option<&str>, package: Package) -> Self {
        let mut host = Self { node: Node::live(), disk: BTreeMap::new(), package };
        host.node.paths.insert(path("/srv"), PathState::Folder);
        host.node.paths.insert(path("/srv/containerd"), PathState::Folder);
        host.disk.extend(root.map(|text| (path(ROOT), text.to_owned())));
        host.engine(engine);
        let plan = host.node.install(&host.package).unwrap();
        host.carry_out(&plan);
        assert_eq!(host.misfits(), Vec::<String>::new());
        host
    }

    fn engine(&mut self, version: &str) {
        self.node.engine.version = EngineVersion::parse(version);
        version.clone_into(&mut self.node.engine.version_text);
        self.observe();
    }

    /// The engine is given another root file.
    fn root_is(&mut self, named: &str, resolved: &str) {
        self.node.engine.config = path(named);
        self.node.engine.config_resolved = path(resolved);
        self.observe();
    }

    fn observe(&mut self) {
        let Self { node, disk, .. } = self;
        let engine = &mut node.engine;
        engine.files.clear();
        let mut waiting = vec![(engine.config.clone(), engine.config_resolved.clone())];
        while let Some((named, at)) = waiting.pop() {
            let Some(text) = disk.get(&at).filter(|_| !engine.files.contains_key(&at)) else { continue };
            engine.files.insert(at, text.clone());
            for pattern in import_patterns(&named, text) {
                let (folder, pattern) = pattern.rsplit_once('/').unwrap();
                let imported = disk.keys().filter(|path| {
                    path.parent().unwrap().as_str() == folder && import_matches(pattern, path.file_name())
                });
                waiting.extend(imported.map(|path| (path.clone(), path.clone())));
            }
        }
        let ours = node.ledger.iter().flat_map(|ledger| ledger.files.keys());
        let apart = ours.filter(|path| !engine.files.contains_key(*path));
        engine.apart = apart.filter_map(|path| Some((path.clone(), disk.get(path)?.clone()))).collect();
        let gone: Vec<HostPath> = node
            .paths
            .iter()
            .filter(|(path, state)| {
                matches!(state, PathState::File { .. }) && path.as_str().ends_with(".toml")
            })
            .map(|(path, _)| path.clone())
            .collect();
        node.paths.extend(gone.into_iter().map(|path| (path, PathState::Absent)));
        node.paths.extend(disk.iter().map(|(path, text)| {
            (path.clone(), PathState::File { digest: Digest::of(text.as_bytes()), mode: 0o644 })
        }));
    }

    fn carry_out(&mut self, plan: &Plan) {
        for step in &plan.steps {
            match step {
                Step::WriteFile { path, before, after, .. } => {
                    if let Blob::Text(text) = &plan.blobs[after]
                        && path.as_str().ends_with(".toml")
                    {
                        let found = self.disk.get(path).map(|text| Digest::of(text.as_bytes()));
                        assert_eq!(found, *before, "{path}");
                        self.disk.insert(path.clone(), text.clone());
                        self.every_import_by_name_exists();
                    }
                }
                Step::RemoveFile { path, .. } => {
                    self.disk.remove(path);
                    self.every_import_by_name_exists();
                }
                _ => {}
            }
        }
        self.node.carry_out(plan);
        self.observe();
    }

    fn every_import_by_name_exists(&self) {
        for (file, text) in &self.disk {
            for pattern in import_patterns(file, text).iter().filter(|pattern| !pattern.contains('*')) {
                assert!(self.disk.contains_key(&path(pattern)), "{file} imports {pattern}");
            }
        }
    }

    fn text(&self, at: &str) -> &str {
        &self.disk[&path(at)]
    }

    /// Somebody changes a file.
    fn edit(&mut self, at: &str, change: impl Fn(&str) -> String) {
        let text = change(self.text(at));
        self.put(at, &text);
    }

    fn put(&mut self, at: &str, text: &str) {
        self.disk.insert(path(at), text.to_owned());
        self.observe();
    }

    fn delete(&mut self, at: &str) -> String {
        let text = self.disk.remove(&path(at)).unwrap();
        self.observe();
        text
    }

    /// A sample of `config migrate`, with the paths of this host's package.
    fn migrated(&mut self, sample: &str) -> String {
        let tree = format!("1.0-{}", self.package.digest.short());
        sample.replace("1.0-abc", &tree)
    }

    fn misfits(&self) -> Vec<String> {
        let ledger = self.node.ledger.as_ref().unwrap();
        registered(&self.node.engine, ledger).unwrap().iter().map(ToString::to_string).collect()
    }

    /// All that `verify` has to say.
    fn drift(&self) -> Vec<String> {
        self.node.plan(plan::drift).unwrap().iter().map(ToString::to_string).collect()
    }

    fn repair(&self, overwrite: Overwrite) -> Result<Plan, PlanError> {
        self.node.plan(|world| plan::repair(world, overwrite, true))
    }

    /// How often a handler's table stands in all files.
    fn tables(&self) -> usize {
        let count = |text: &String| text.matches(".containerd.runtimes.toy]").count();
        self.disk.values().map(count).sum()
    }

    /// Repairs, and holds the result to all that a repair promises.
    fn mend(&mut self) {
        self.mend_with(Overwrite::No);
    }

    fn mend_with(&mut self, overwrite: Overwrite) {
        assert_ne!(self.misfits(), Vec::<String>::new(), "nothing to mend");
        let plan = self.repair(overwrite).unwrap();
        self.carry_out(&plan);
        assert_eq!(self.misfits(), Vec::<String>::new(), "{:#?}", self.disk);
        assert_eq!(self.tables(), 1, "{:#?}", self.disk);
        self.sound();
        assert!(self.node.install(&self.package).unwrap().is_empty());
    }

    /// Nothing is found, and there is nothing to mend.
    fn sound(&self) {
        assert_eq!(self.drift(), Vec::<String>::new());
        let again = self.repair(Overwrite::No).unwrap();
        assert!(again.is_empty(), "{:#?}", again.files);
    }

    /// Removes the runtime: nothing of ours is left on the disk.
    fn remove(&mut self) {
        let plan = self.node.remove(&name("toy"), Force::No).unwrap();
        self.carry_out(&plan);
        for (path, text) in &self.disk {
            assert!(!text.contains("toy") && !text.contains("cofferdam"), "{path}:\n{text}");
        }
    }
}

/// Both mean the same to containerd.
fn assert_means(one: &str, other: &str) {
    let (one, other) = (Effective::parse(one).unwrap(), Effective::parse(other).unwrap());
    assert_eq!(one.version(), other.version());
    assert_eq!(one.imports(), other.imports());
    assert_eq!(compare(&one, &other, &BTreeSet::new()), []);
}

/// As a formatter writes it: no comments, no indentation, other quotes.
fn formatted(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| format!("{}\n", line.replace('"', "'"))).collect()
}

#[test]
fn a_configuration_that_was_migrated_gets_its_drop_in() {
    for (engine, sample, home) in [
        (
            "2.4.2",
            include_str!("data/containerd/migrated-2-by-2.4.toml"),
            "/etc/containerd/conf.d/cofferdam-toy.toml",
        ),
        ("2.1.9", include_str!("data/containerd/migrated-2-by-2.1.toml"), DROP_IN),
    ] {
        for before in ["1.7.24", engine] {
            let mut host = Host::installed(before, Some(OLD), oci());
            host.engine(engine);
            let text = host.migrated(sample);
            host.put(ROOT, &text);
            host.mend();
            assert!(host.disk.contains_key(&path(home)));
            host.remove();
            let bare: String = host.text(ROOT).to_owned();
            let ours = BTreeSet::from(["toy".to_owned().try_into().unwrap()]);
            let (left, was) = (Effective::parse(&bare).unwrap(), Effective::parse(&text).unwrap());
            assert_eq!(compare(&was, &left, &ours), []);
            assert_eq!(left.imports(), was.imports());
        }
    }
}

#[test]
fn a_drop_in_that_a_migration_put_into_the_root_file_goes_back() {
    let mut host = Host::installed("2.4.2", Some(NEW), shim());
    let text = host.migrated(include_str!("data/containerd/migrated-3-by-2.4.toml"));
    host.put(ROOT, &text);
    host.mend();
    let home = path("/etc/containerd/conf.d/cofferdam-toy.toml");
    assert!(host.disk[&home].contains("version = 4\n"), "{}", host.disk[&home]);
    assert!(!host.disk.contains_key(&path(DROP_IN)));
    assert!(!host.text(ROOT).contains("cofferdam.d"), "our import is not needed any more");
    host.remove();
    // Without its conf.d, our own folder stays in use.
    let mut host = Host::installed("2.4.2", Some(NEW), shim());
    host.put(ROOT, &text.replace("'/etc/containerd/conf.d/*.toml', ", ""));
    host.mend();
    assert!(host.text(DROP_IN).contains("version = 4\n"));
    host.remove();
}

#[test]
fn a_version_raised_by_hand_raises_the_drop_in() {
    let mut host = Host::installed("2.4.2", Some(NEW), shim());
    host.edit(ROOT, |text| text.replace("version = 3", "version = 4"));
    host.mend();
    assert!(host.text(DROP_IN).contains("version = 4\n"));
    host.remove();
    assert_eq!(host.text(ROOT), NEW.replace('3', "4").replace("4.10", "3.10"));
}

#[test]
fn a_dump_in_place_of_the_file_needs_no_repair() {
    let mut host = Host::installed("1.7.24", Some(OLD), oci());
    let text = host.migrated(include_str!("data/containerd/dumped-2-by-1.7.toml"));
    host.put(ROOT, &text);
    host.sound();
    host.remove();
}

#[test]
fn another_containerd_underneath_needs_no_repair() {
    for root in [Some(OLD), None] {
        let mut host = Host::installed("1.7.24", root, oci());
        let text = host.text(ROOT).to_owned();
        for engine in ["2.4.2", "2.1.9", "1.6.20", "1.7.24"] {
            host.engine(engine);
            host.sound();
            assert_eq!(host.text(ROOT), text);
        }
        host.engine("2.4.2");
        host.remove();
        assert_eq!(host.disk.get(&path(ROOT)).map(String::as_str), root);
    }
}

#[test]
fn a_file_that_was_moved_is_found() {
    // Moved as it is: the bytes of before come back, in the new place.
    for (engine, root, package) in [("1.7.24", OLD, oci()), ("2.4.2", OLD, oci()), ("2.4.2", NEW, shim())] {
        let mut host = Host::installed(engine, Some(root), package);
        let text = host.delete(ROOT);
        host.put(MOVED, &text);
        host.root_is(MOVED, MOVED);
        if root == OLD {
            assert!(host.repair(Overwrite::No).unwrap().is_empty(), "it stands where it should");
        } else {
            host.mend();
        }
        host.remove();
        assert_eq!(host.text(MOVED), root);
        assert!(!host.disk.contains_key(&path(ROOT)));
    }
    // One that we had made becomes empty: who moved it made it theirs, and containerd is told to read it.
    let mut host = Host::installed("1.7.24", None, oci());
    let text = host.delete(ROOT);
    host.put(MOVED, &text);
    host.root_is(MOVED, MOVED);
    assert!(host.repair(Overwrite::No).unwrap().is_empty());
    host.remove();
    assert_eq!(host.text(MOVED), "");
}

#[test]
fn another_file_that_the_engine_was_given_gets_it() {
    for (engine, was, now, package) in [
        ("1.7.24", OLD, OLD, oci()),
        ("2.4.2", OLD, NEW, shim()),
        ("2.4.2", NEW, OLD, shim()),
        ("2.4.2", NEW, NEW, shim()),
    ] {
        // The old file stays: what we wrote there is taken out.
        let mut host = Host::installed(engine, Some(was), package.clone());
        host.put(MOVED, now);
        host.root_is(MOVED, MOVED);
        host.mend();
        assert_eq!(host.text(ROOT), was);
        host.remove();
        assert_eq!(host.text(MOVED), now);
        // A copy of the old file, edited: both are cleaned.
        let mut host = Host::installed(engine, Some(was), package);
        let copy = format!("# a copy\n{}", host.text(ROOT));
        host.put(MOVED, &copy);
        host.root_is(MOVED, MOVED);
        let plan = host.repair(Overwrite::No).unwrap();
        host.carry_out(&plan);
        assert_eq!((host.misfits(), host.tables()), (Vec::new(), 1));
        assert_eq!(host.text(ROOT), was);
        host.remove();
        assert_means(host.text(MOVED), was);
        assert!(host.text(MOVED).starts_with("# a copy\n"));
    }
}

#[test]
fn a_link_to_elsewhere_is_followed() {
    let mut host = Host::installed("1.7.24", Some(OLD), oci());
    let text = host.delete(ROOT);
    host.put("/srv/containerd/kept.toml", &format!("# moved\n{text}"));
    host.node.paths.insert(path(ROOT), PathState::Link { target: "/srv/containerd/kept.toml".to_owned() });
    host.root_is(ROOT, "/srv/containerd/kept.toml");
    assert_eq!(host.misfits(), Vec::<String>::new());
    assert!(host.repair(Overwrite::No).unwrap().is_empty());
    // To a file without ours.
    host.put("/srv/containerd/kept.toml", OLD);
    host.mend();
    host.remove();
    assert_eq!(host.text("/srv/containerd/kept.toml"), OLD);
}

#[test]
fn a_deleted_file_is_made_again() {
    for (engine, root, package) in [("1.7.24", OLD, oci()), ("2.4.2", NEW, shim()), ("2.4.2", OLD, shim())] {
        let mut host = Host::installed(engine, Some(root), package);
        host.delete(ROOT);
        host.mend();
        assert!(host.text(ROOT).starts_with("version = 2\n"), "{}", host.text(ROOT));
        host.remove();
        assert!(host.disk.is_empty(), "their deletion stands: {:#?}", host.disk);
    }
}

#[test]
fn a_formatter_makes_no_difference() {
    for (engine, root, package) in [("1.7.24", OLD, oci()), ("2.4.2", OLD, oci()), ("2.4.2", NEW, shim())] {
        let mut host = Host::installed(engine, Some(root), package);
        host.edit(ROOT, formatted);
        if root == NEW {
            host.edit(DROP_IN, formatted);
        }
        host.sound();
        host.remove();
        assert_means(host.text(ROOT), root);
    }
}

#[test]
fn what_someone_deleted_comes_back() {
    // Our import, our drop-in, both, our tables.
    let mut host = Host::installed("2.4.2", Some(NEW), shim());
    host.put(ROOT, NEW);
    host.mend();
    host.delete(DROP_IN);
    host.mend();
    host.put(ROOT, NEW);
    host.delete(DROP_IN);
    host.mend();
    host.remove();
    assert_eq!(host.text(ROOT), NEW);
    let mut host = Host::installed("1.7.24", Some(OLD), oci());
    host.put(ROOT, OLD);
    host.mend();
    host.edit(ROOT, |text| {
        text.split("\n      # cofferdam").next().unwrap().split("\n  # coff").next().unwrap().to_owned()
    });
    host.mend();
    host.remove();
    assert_means(host.text(ROOT), OLD);
}

#[test]
fn a_drop_in_that_was_moved_goes_back() {
    let mut host = Host::installed("2.4.2", Some(NEW), shim());
    let text = host.delete(DROP_IN);
    host.put("/etc/containerd/cofferdam.d/10-toy.toml", &text);
    host.mend();
    assert!(!host.disk.contains_key(&path("/etc/containerd/cofferdam.d/10-toy.toml")));
    host.remove();
    // The whole folder, with its root file.
    let mut host = Host::installed("2.4.2", Some(NEW), shim());
    let (root, drop_in) = (host.delete(ROOT), host.delete(DROP_IN));
    host.put(MOVED, &root);
    host.put("/srv/containerd/cofferdam.d/toy.toml", &drop_in);
    host.root_is(MOVED, MOVED);
    host.mend();
    host.remove();
    assert_eq!(host.text(MOVED), NEW);
}

#[test]
fn what_someone_edited_is_theirs_until_they_say_so() {
    for (engine, root, package, at) in [("1.7.24", OLD, oci(), ROOT), ("2.4.2", NEW, shim(), DROP_IN)] {
        let mut host = Host::installed(engine, Some(root), package);
        let before = host.disk.clone();
        host.edit(at, |text| text.replace("io.toy.*", "io.other.*"));
        let edited = host.disk.clone();
        let error = host.repair(Overwrite::No).unwrap_err();
        assert_eq!(error.class(), Class::Conflict);
        let said = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(said.contains(at) && said.contains("repair --overwrite"), "{said}");
        assert_eq!(host.node.remove(&name("toy"), Force::No).unwrap_err().class(), Class::Conflict);
        host.mend_with(Overwrite::Yes);
        assert_eq!(host.disk.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        host.disk.iter().for_each(|(path, text)| assert_means(text, &before[path]));
        host.disk = edited;
        host.remove_is_refused();
    }
    let mut host = Host::installed("1.7.24", Some(OLD), oci());
    host.engine("2.4.2");
    let text = host.migrated(include_str!("data/containerd/migrated-2-by-2.4.toml"));
    host.put(ROOT, &text.replace("io.toy.*", "io.other.*"));
    assert_eq!(host.repair(Overwrite::No).unwrap_err().class(), Class::Conflict);
    host.mend_with(Overwrite::Yes);
    host.remove();
}

impl Host {
    fn remove_is_refused(&mut self) {
        self.observe();
        let error = self.node.remove(&name("toy"), Force::No).unwrap_err();
        assert_eq!(error.class(), Class::Conflict, "{error}");
    }
}

#[test]
fn a_comment_in_our_drop_in_is_not_thrown_away() {
    for comment in
        [|text: &str| format!("{text}# theirs\n"), |text: &str| text.replacen("\n  ", " # x\n  ", 1)]
    {
        let mut host = Host::installed("2.4.2", Some(NEW), shim());
        host.edit(DROP_IN, comment);
        assert_eq!(host.drift(), [format!("{DROP_IN} was changed")]);
        refused(host.repair(Overwrite::No), Class::Conflict, &[DROP_IN], "--overwrite");
        host.remove_is_refused();
        let plan = host.repair(Overwrite::Yes).unwrap();
        host.carry_out(&plan);
        host.sound();
    }
}

#[test]
fn a_table_of_the_same_name_that_is_not_ours_stays() {
    let theirs =
        "\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.toy]\nruntime_type = \"theirs\"\n";
    let mut host = Host::installed("2.4.2", Some(NEW), shim());
    host.edit(ROOT, |text| format!("{text}{theirs}"));
    for overwrite in [Overwrite::No, Overwrite::Yes] {
        let error = host.repair(overwrite).unwrap_err();
        assert_eq!(error.class(), Class::Conflict);
        assert!(error.to_string().contains("already exists and is not ours"), "{error}");
    }
}

#[test]
fn releases_that_cannot_be_served_are_refused() {
    let mut host = Host::installed("1.7.24", Some(OLD), oci());
    for (engine, why) in [("1.5.18", "1.6 and later"), ("1.6.10", "recreates running pods")] {
        host.engine(engine);
        refused(host.repair(Overwrite::No), Class::Unsupported, &[why], "");
    }
}
