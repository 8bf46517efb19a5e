//! Ways in which other installers broke nodes, by their numbers in docs/cases.md, where a daemon decides: what it makes of
//! its files, or what it does on a booted node. What the other one did is put before the same check, which must not let
//! it pass. Those in which the text decides are in crates/cofferdam/tests/cases.rs.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::engine::containerd::{Effective, compare};
use cofferdam_core::name::HandlerName;
use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::testbed::reader::Reader;
use xtask::testbed::trial::{Run, binary, wait_for};
use xtask::testbed::{Containerd, Node, NodeSpec, Runtime};

const CONFIG: &str = "/etc/containerd/config.toml";
const EKS_V2: &str = include_str!("../../crates/core/tests/data/containerd/eks-v2.toml");
const EKS_V3: &str = include_str!("../../crates/core/tests/data/containerd/eks-v3.toml");

/// An offline tree that a real containerd reads.
struct Offline {
    folder: TempDir,
    containerd: Containerd,
    reader: Reader,
}

impl Offline {
    fn new(containerd: Containerd) -> Self {
        let offline = Self {
            folder: tempfile::tempdir().unwrap(),
            containerd,
            reader: Reader::new(containerd).unwrap(),
        };
        for folder in ["/etc/containerd", "/usr/bin", "/var/lib"] {
            std::fs::create_dir_all(offline.at(folder)).unwrap();
        }
        let package = offline.folder.path().join("toy");
        std::fs::create_dir_all(package.join("bin")).unwrap();
        let text = "schema = 1\nname = \"toy\"\nversion = \"1.0\"\n[[handler]]\nname = \"toy\"\nshim = \"bin/shim\"\n";
        std::fs::write(package.join("runtime.toml"), text).unwrap();
        std::fs::write(package.join("bin/shim"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(package.join("bin/shim"), PermissionsExt::from_mode(0o755)).unwrap();
        offline
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::fs::write(self.at(path), text).unwrap();
    }

    fn run(&self, args: &[&str]) {
        let output = Command::new(binary().unwrap())
            .args(args)
            .args([
                "--no-systemd",
                "--engine",
                &format!("containerd@{}", self.containerd.version()),
                "--root",
            ])
            .arg(self.at("/"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn install(&self) {
        self.run(&["install", &format!("dir:{}/toy", self.folder.path().display())]);
    }

    /// What the daemon makes of its files; its complaint if it refuses them.
    fn read(&self) -> Result<Effective, String> {
        let output = self.reader.dump(&self.at("/")).unwrap();
        if !output.success() {
            return Err(output.stderr);
        }
        Effective::parse(&output.stdout).map_err(|error| error.to_string())
    }

    /// Everything of before is still there, as the daemon reads it; only the handler `new` may be more, and must be there.
    fn keeps(&self, before: &Effective, new: &str) -> Result<(), String> {
        let after = self.read()?;
        let ours: BTreeSet<HandlerName> = [HandlerName::new(new).unwrap()].into();
        // 1.7 fills in the name of its only sandbox controller where a table of runtimes is absent.
        let filled = |text: &String| text.ends_with(".sandbox_mode: \"podsandbox\" -> (absent)");
        let differences = compare(before, &after, &ours);
        let lost: Vec<String> = differences.iter().map(ToString::to_string).filter(|t| !filled(t)).collect();
        match (lost.is_empty(), after.handlers().contains_key(new)) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("no handler {new}")),
            (false, _) => Err(lost.join("; ")),
        }
    }

    /// Ours adds its handler and loses nothing, and what we leave is as we found it. The other's way (files that it
    /// writes; none: there it does no harm) is seen.
    fn case(containerd: Containerd, files: &[(&str, &str)], others: &[(&str, &str)]) {
        let shown = format!("containerd {}", containerd.version());
        let [ours, theirs] = [(); 2].map(|()| {
            let offline = Self::new(containerd);
            files.iter().for_each(|(path, text)| offline.put(path, text));
            offline
        });
        let before = ours.read().unwrap();
        assert!(before.handlers().contains_key("runc"), "{shown}");
        ours.install();
        assert_eq!(ours.keeps(&before, "toy"), Ok(()), "{shown}");
        ours.run(&["remove", "toy"]);
        assert_eq!(compare(&before, &ours.read().unwrap(), &BTreeSet::new()), Vec::new(), "{shown}");

        if others.is_empty() {
            return;
        }
        others.iter().for_each(|(path, text)| theirs.put(path, text));
        let wrong = theirs.keeps(&before, "toy").expect_err("the other's way is seen");
        eprintln!("{shown}: the other's way: {}", wrong.lines().last().unwrap_or_default());
    }
}

fn entry(version: u8, plugin: &str) -> String {
    format!(
        "version = {version}\n[plugins.\"{plugin}\".containerd.runtimes.toy]\nruntime_type = \"io.containerd.toy.v2\"\n"
    )
}

const GRPC: &str = "io.containerd.grpc.v1.cri";
const RUNTIME: &str = "io.containerd.cri.v1.runtime";

/// kata-containers#3229: where there was no configuration, one was made that lists only the new runtime: containerd 1.x
/// then has no `runc`, and CRI does not start. We write down what it would forget.
#[test]
fn case_01_a_created_configuration_without_runc() {
    for containerd in [Containerd::Debian16, Containerd::Debian17] {
        Offline::case(containerd, &[], &[(CONFIG, &entry(2, GRPC))]);
        // The same with a file that says nothing of runtimes.
        let site = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"a/b:1\"\n";
        let theirs = format!("{site}{}", entry(2, GRPC).replacen("version = 2\n", "", 1));
        Offline::case(containerd, &[(CONFIG, site)], &[(CONFIG, &theirs)]);
    }
}

/// k0s#6547: a configuration that imports a generated file, which imports another: a further import with only the new
/// runtime replaced the CRI settings of the others. On 1.x we edit the file whose tables count.
#[test]
fn case_10_a_two_step_import() {
    let root = "version = 2\nimports = [\"/run/k0s/cri.toml\"]\n";
    let first = "version = 2\nimports = [\"/etc/k0s/site.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\"]\n\
                 sandbox_image = \"a/b:1\"\n";
    let second = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"a/b:2\"\n\
                  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
                  runtime_type = \"io.containerd.runc.v2\"\n";
    let files = [(CONFIG, root), ("/run/k0s/cri.toml", first), ("/etc/k0s/site.toml", second)];
    let third = second.replacen("version = 2\n", "version = 2\nimports = [\"/etc/k0s/toy.toml\"]\n", 1);
    let theirs = [("/etc/k0s/toy.toml", &*entry(2, GRPC)), ("/etc/k0s/site.toml", &*third)];
    for containerd in [Containerd::Debian16, Containerd::Debian17] {
        Offline::case(containerd, &files, &theirs);
    }
}

/// METR hawk#273: on AL2023 a drop-in with only the new runtime removed `runc`.
#[test]
fn case_14_a_drop_in_on_al2023_removed_runc() {
    let theirs = format!("imports = [\"/etc/containerd/toy.toml\"]\n{EKS_V2}");
    let drop_in = entry(2, GRPC);
    let theirs = [(CONFIG, theirs.as_str()), ("/etc/containerd/toy.toml", &drop_in)];
    Offline::case(Containerd::Debian17, &[(CONFIG, EKS_V2)], &theirs);
}

/// nutanix capi-runtime-extensions#1613: a drop-in of version 3 beside a root file of version 2: 2.0 to 2.2 silently lose
/// the root's settings, the registry mirrors among them (2.4.2 no longer does). Ours are written in the root's version.
#[test]
fn case_15_a_drop_in_of_another_version_lost_the_registry() {
    let root = "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\"]\n\
                sandbox_image = \"a/b:1\"\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n\
                config_path = \"/etc/containerd/certs.d\"\n";
    let theirs = entry(3, RUNTIME);
    Offline::case(Containerd::Upstream21, &[(CONFIG, root)], &[("/etc/containerd/conf.d/toy.toml", &theirs)]);
    Offline::case(Containerd::Upstream24, &[(CONFIG, root)], &[]);
}

/// containerd-shim-spin#386: on containerd 2 the runtime went into version 2's tables of a file of version 3, which
/// nobody reads.
#[test]
fn case_18_version_2_tables_on_containerd_2() {
    let theirs = format!("{EKS_V3}\n{}", entry(3, GRPC).replacen("version = 3\n", "", 1));
    for containerd in [Containerd::Upstream21, Containerd::Upstream24] {
        Offline::case(containerd, &[(CONFIG, EKS_V3)], &[(CONFIG, &theirs)]);
    }
}

/// A program that is first on the PATH and is not the containerd that runs.
const DECOY: &str = "/usr/local/sbin/containerd";
const DECOY_CALLED: &str = "/run/decoy-called";

fn boot(containerd: Containerd) -> Node {
    let decoy = format!("#!/bin/sh\necho called >{DECOY_CALLED}\nexit 1\n");
    // Two starts in ten minutes: a third one is refused until the unit's counter is reset.
    let limit = "[Unit]\nStartLimitIntervalSec=600\nStartLimitBurst=2\n";
    let spec = NodeSpec::new(containerd).file(DECOY, decoy, 0o755).file(
        "/etc/systemd/system/containerd.service.d/limit.conf",
        limit,
        0o644,
    );
    let node = Node::boot(spec).unwrap();
    node.put_cofferdam().unwrap();
    node.put_package(Runtime::Crun).unwrap();
    node
}

fn cofferdam(node: &Node, args: &[&str], code: i32) -> Run {
    let run = node.cofferdam(args).unwrap();
    assert_eq!(run.code(), code, "{args:?}: {:#?}", run.output);
    run
}

/// The node serves pods under this handler.
fn serves(node: &Node, handler: &str) -> Result<(), String> {
    let pod = node.run_pod("case", handler).map_err(|error| error.to_string())?;
    node.remove_pod(&pod).map_err(|error| error.to_string())
}

/// kata-containers#10167: deploy, cleanup, deploy left the node unavailable. Each restart counts towards the unit's start
/// limit, and systemd then refuses the next one: we reset it, restart once for a change, and wait for CRI.
fn case_06_deploy_cleanup_deploy(node: &Node) {
    // The other cases on this node have met the limit many times over by now.
    cofferdam(node, &["install", &Runtime::Crun.source()], 0);
    assert_eq!(serves(node, "crun"), Ok(()));
    cofferdam(node, &["remove", "crun"], 0);
    assert_eq!(serves(node, ""), Ok(()));
    // The other's way: plain restarts.
    let restarts = || node.run(&["systemctl", "restart", "containerd"]).unwrap().success();
    assert!((0..3).any(|_| !restarts()), "the limit is not met");
    assert!(serves(node, "").is_err());
    node.ok(&["systemctl", "reset-failed", "containerd"]).unwrap();
    node.ok(&["systemctl", "restart", "containerd"]).unwrap();
    let limit = Duration::from_secs(20);
    wait_for("CRI", limit, || Ok(node.cri().and_then(|cri| Ok(cri.status()?)).ok())).unwrap();
}

/// confidential-containers operator#139, live: the daemon serves CRI, and the file that it would read next disables it.
fn case_08_a_disabled_cri_in_the_file_only(node: &Node) {
    let text = String::from_utf8(node.read(CONFIG).unwrap()).unwrap();
    let plugin = node.spec().containerd.cri_plugin();
    let disabled = format!("disabled_plugins = [\"{plugin}\"]\n[plugins]");
    node.put(CONFIG, text.replacen("\n[plugins]", &disabled, 1), 0o644).unwrap();
    let pid = node.engine_pid().unwrap();
    let run = cofferdam(node, &["install", &Runtime::Crun.source()], 3);
    assert!(run.outcome().unwrap().message.contains("disables the CRI plugin"), "{:#?}", run.output);
    assert_eq!(node.engine_pid().unwrap(), pid);
    assert_eq!(serves(node, ""), Ok(()));
    // The other's way.
    node.ok(&["systemctl", "restart", "containerd"]).unwrap();
    assert!(serves(node, "").is_err());
    node.put(CONFIG, text, 0o644).unwrap();
    node.ok(&["systemctl", "reset-failed", "containerd"]).unwrap();
    node.ok(&["systemctl", "restart", "containerd"]).unwrap();
    let limit = Duration::from_secs(20);
    wait_for("CRI", limit, || Ok(node.cri().and_then(|cri| Ok(cri.status()?)).ok())).unwrap();
}

/// gpu-operator#594, gpu-operator#712: containerd was restarted at each run, though nothing had changed.
fn case_12_no_restart_without_a_change(node: &Node) {
    let source = Runtime::Crun.source();
    cofferdam(node, &["install", &source], 0);
    let pid = node.engine_pid().unwrap();
    for args in [&["install", &*source][..], &["upgrade", &source], &["repair"], &["recover"], &["verify"]] {
        cofferdam(node, args, 0);
        assert_eq!(node.engine_pid().unwrap(), pid, "{args:?}");
    }
    cofferdam(node, &["remove", "crun"], 0);
    assert_ne!(node.engine_pid().unwrap(), pid, "a change is seen");
}

/// gpu-operator#1323, nvidia-container-toolkit#982: the `containerd` on the PATH was asked for its configuration, which was
/// not the one that runs. We ask the binary of the running process.
fn case_13_the_containerd_that_runs_is_asked(node: &Node) {
    assert!(node.read(DECOY_CALLED).is_err(), "all cases before ran with the decoy on the PATH");
    for args in [&["status"][..], &["plan", &Runtime::Crun.source()]] {
        cofferdam(node, args, 0);
    }
    assert!(node.read(DECOY_CALLED).is_err());
    // The other's way.
    assert!(!node.sh("containerd config dump").unwrap().success());
    assert!(node.read(DECOY_CALLED).is_ok());
}

/// Names that appeared in a folder while something was done.
fn appeared(folder: &Path, act: impl FnOnce()) -> Vec<String> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, folder, WatchFlags::CREATE | WatchFlags::MOVED_TO).unwrap();
    act();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    names
}

/// cri-o#6190, for containerd: a folder that is loaded without a filter on the ending, on a file system of its own, so that
/// a file cannot be renamed into it from elsewhere: nothing but whole files ever appears in it.
fn case_19_nothing_appears_where_everything_is_loaded(node: &Node) {
    let text = node.read(CONFIG).unwrap();
    node.ok(&["mount", "-t", "tmpfs", "tmpfs", "/etc/containerd"]).unwrap();
    node.ok(&["mkdir", "/etc/containerd/conf.d"]).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (first, rest) = text.split_once("\n[plugins]").unwrap();
    node.put(CONFIG, format!("{first}imports = [\"/etc/containerd/conf.d/*\"]\n[plugins]{rest}"), 0o644)
        .unwrap();
    let loaded = node.root().join("etc/containerd/conf.d");
    let beside = node.root().join("etc/containerd");
    let mut around = Vec::new();
    let names = appeared(&loaded, || {
        around = appeared(&beside, || {
            // The test's file system is in memory, and the doctor says so.
            cofferdam(node, &["install", &Runtime::Crun.source(), "--skip-check", "lasting"], 0);
            cofferdam(node, &["remove", "crun"], 0);
        });
    });
    assert_eq!(names, Vec::<String>::new());
    // What is written beside is a name that no pattern for configurations matches, or the file itself.
    assert!(around.iter().any(|name| name == "config.toml"), "the watch sees nothing: {around:?}");
    let odd: Vec<_> = around
        .iter()
        .filter(|name| {
            !name.starts_with(".cofferdam-") && !["config.toml", "cofferdam.d"].contains(&name.as_str())
        })
        .collect();
    assert!(odd.is_empty(), "{around:?}");
    assert!(around.iter().all(|name| name == "config.toml" || !name.ends_with(".toml")), "{around:?}");
    // The other's way.
    let names = appeared(&loaded, || node.put("/etc/containerd/conf.d/crun.toml.bak", "", 0o644).unwrap());
    assert!(!names.is_empty());
    node.ok(&["umount", "/etc/containerd"]).unwrap();
}

fn booted(containerd: Containerd, cases: &[fn(&Node)]) {
    let node = boot(containerd);
    let before = node.trees().unwrap();
    for case in cases {
        let begun = Instant::now();
        case(&node);
        assert_eq!(before.diff(&node.trees().unwrap()), Vec::<String>::new());
        eprintln!("{} in {:?}", containerd.version(), begun.elapsed());
    }
}

#[test]
fn cases_06_08_19_on_a_node_with_containerd_1() {
    booted(
        Containerd::Debian17,
        &[
            case_19_nothing_appears_where_everything_is_loaded,
            case_06_deploy_cleanup_deploy,
            case_08_a_disabled_cri_in_the_file_only,
        ],
    );
}

#[test]
fn cases_06_08_12_13_19_on_a_node_with_containerd_2() {
    booted(
        Containerd::Upstream24,
        &[
            case_12_no_restart_without_a_change,
            case_19_nothing_appears_where_everything_is_loaded,
            case_06_deploy_cleanup_deploy,
            case_08_a_disabled_cri_in_the_file_only,
            case_13_the_containerd_that_runs_is_asked,
        ],
    );
}
