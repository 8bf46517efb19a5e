//! Other installers and ours on one node, with the real daemon: after each step it serves everybody's handlers, the pod of
//! before still runs in its container, and at the end nothing of ours is left.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::engine::containerd::{Effective, compare};
use cofferdam_core::record::Verdict;
use cofferdam_core::testing::peers;
use cofferdam_host::event::Outcome;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use xtask::testbed::trial::wait_for;
use xtask::testbed::{Containerd, Node, NodeSpec, Pod, Runtime};

const CONFIG: &str = "/etc/containerd/config.toml";
const KATA: &str = "/etc/containerd/conf.d/kata-deploy.toml";
const GLOB: &str = "/etc/containerd/conf.d/*.toml";

struct Trial {
    node: Node,
    keep: Pod,
}

impl Trial {
    fn text(&self) -> String {
        String::from_utf8(self.node.read(CONFIG).unwrap()).unwrap()
    }

    /// Another installer writes the main file.
    fn put(&self, text: &str) {
        self.node.put(CONFIG, text, 0o644).unwrap();
    }

    /// Another installer restarts containerd.
    fn restart(&self) {
        self.node.ok(&["systemctl", "restart", "containerd"]).unwrap();
        let asked = || Ok(self.node.cri().and_then(|cri| Ok(cri.status()?)).ok());
        wait_for("CRI", Duration::from_secs(20), asked).unwrap();
    }

    fn dump(&self) -> Effective {
        Effective::parse(&self.node.ok(&["containerd", "config", "dump"]).unwrap()).unwrap()
    }

    fn change(&self, args: &[&str]) -> Outcome {
        let begun = Instant::now();
        let run = self.node.cofferdam(args).unwrap();
        assert_eq!(run.code(), 0, "{args:?}: {:#?}", run.output);
        eprintln!("{}: {} in {:?}", self.node.machine(), args.join(" "), begun.elapsed());
        run.outcome().unwrap()
    }

    fn install(&self, runtime: Runtime) {
        assert_eq!(self.change(&["install", &runtime.source()]).verdict, Some(Verdict::Proven));
    }

    /// The engine lists these, pods run under the `running` ones, and the pod of before is as it was.
    fn serves(&self, shown: &str, listed: &[&str], running: &[&str]) {
        let handlers = self.node.cri().unwrap().status().unwrap().handlers;
        let missing: Vec<_> = listed
            .iter()
            .chain(running)
            .filter(|h| !h.is_empty() && !handlers.contains(&(**h).to_owned()))
            .collect();
        assert!(missing.is_empty(), "{shown}: {missing:?} are not among {handlers:?}");
        for handler in running {
            let pod =
                self.node.run_pod("other", handler).unwrap_or_else(|e| panic!("{shown}, {handler}: {e}"));
            self.node.remove_pod(&pod).unwrap();
        }
        assert_eq!(self.node.attempt(&self.keep).unwrap(), Some((0, true)), "{shown}");
    }

    /// Nothing drifted, and nothing is to be done.
    fn change_nothing(&self, shown: &str) {
        let pid = self.node.engine_pid().unwrap();
        let found = self.node.cofferdam(&["verify"]).unwrap();
        assert_eq!(found.code(), 0, "{shown}: {:#?}", found.output);
        self.change(&["repair"]);
        assert_eq!(self.node.engine_pid().unwrap(), pid, "{shown}");
    }

    fn kata(&self, containerd: Containerd) {
        let text = self.text();
        if containerd == Containerd::Debian17 {
            self.node.put(&format!("{CONFIG}.bak"), &text, 0o644).unwrap();
            self.put(&peers::kata_main(&text).unwrap());
        } else {
            self.node.put(KATA, peers::kata_drop_in(3, peers::tables_of(&text)), 0o644).unwrap();
            self.put(&peers::add_import(&text, GLOB).unwrap());
        }
        self.restart();
    }

    fn kata_removed(&self, containerd: Containerd) {
        let text = self.text();
        if containerd == Containerd::Debian17 {
            self.put(&peers::kata_main_removed(&text).unwrap());
            self.node.remove(&format!("{CONFIG}.bak")).unwrap();
        } else {
            self.put(&peers::drop_import(&text, GLOB).unwrap());
            self.node.remove(KATA).unwrap();
        }
        self.restart();
    }
}

fn beside_others(containerd: Containerd) {
    let node = Node::boot(NodeSpec::new(containerd)).unwrap();
    node.put_cofferdam().unwrap();
    node.put_package(Runtime::Crun).unwrap();
    node.put_package(Runtime::GvisorOci).unwrap();
    // nvidia's runtime is runc under another name.
    node.sh("ln -s $(command -v runc) /usr/bin/nvidia-container-runtime").unwrap().ok().unwrap();
    let keep = node.run_pod("keep", "").unwrap();
    let trial = Trial { node, keep };
    let (before, files) = (trial.dump(), trial.node.trees().unwrap());

    trial.kata(containerd);
    trial.install(Runtime::Crun);
    trial.serves("kata before us", &["kata-qemu"], &["", "crun"]);

    trial.put(&peers::nvidia(&trial.text()).unwrap());
    trial.restart();
    trial.serves("nvidia after us", &["kata-qemu"], &["", "nvidia", "crun"]);
    trial.change_nothing("nvidia after us");

    // Without a restart: ours takes it into effect.
    let spin = peers::spin_block(&trial.text());
    trial.put(&format!("{}{spin}", trial.text()));
    trial.install(Runtime::GvisorOci);
    let listed = ["kata-qemu", "spin-v2"];
    trial.serves("spin between", &listed, &["", "nvidia", "crun", "runsc-oci"]);

    trial.kata_removed(containerd);
    let found = trial.node.cofferdam(&["verify"]).unwrap();
    // On 2.x our files lay in the folder whose import kata-deploy took away.
    let lost = containerd != Containerd::Debian17;
    assert_eq!(found.code(), if lost { 4 } else { 0 }, "{:#?}", found.output);
    trial.change(&["repair"]);
    assert_eq!(trial.node.cofferdam(&["verify"]).unwrap().code(), 0);
    trial.serves("kata went", &["spin-v2"], &["nvidia", "crun", "runsc-oci"]);

    trial.change(&["remove", "crun"]);
    trial.serves("one of ours went", &["spin-v2"], &["nvidia", "runsc-oci"]);
    assert!(trial.text().contains(&spin), "spin finds its text");
    trial.put(&peers::nvidia_removed(&trial.text().replacen(&spin, "", 1)).unwrap());
    trial.change(&["remove", "gvisor-oci"]);
    assert_eq!(compare(&before, &trial.dump(), &BTreeSet::new()), Vec::new());
    trial.serves("all went", &[], &[""]);
    let left: Vec<String> = files.diff(&trial.node.trees().unwrap());
    assert!(left.iter().all(|line| !line.contains("cofferdam")), "{left:#?}");
    assert!(!trial.text().contains("/opt/cofferdam"), "{}", trial.text());
}

#[test]
fn beside_kata_nvidia_and_spin_with_containerd_1() {
    beside_others(Containerd::Debian17);
}

#[test]
fn beside_kata_nvidia_and_spin_with_containerd_2() {
    beside_others(Containerd::Upstream24);
}
