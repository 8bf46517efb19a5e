//! Many sandboxes, and many changes: on a node where pods run throughout, none is restarted.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::observation::Sandbox;
use cofferdam_core::testing::Random;
use cofferdam_host::event::Ending;
use xtask::testbed::engine::CONFIG_PATH;
use xtask::testbed::{Containerd, Node, NodeSpec, Pod, Release, Runtime};

const RELEASES: [Release; 2] = [Release::Old, Release::New];

fn node(containerd: Containerd) -> Node {
    let node = Node::boot(NodeSpec::new(containerd)).unwrap();
    node.put_cofferdam().unwrap();
    for runtime in [Runtime::GvisorOci, Runtime::Crun] {
        RELEASES.iter().for_each(|release| node.put_release(runtime, *release).unwrap());
    }
    node
}

/// Those of gVisor cost more.
const SANDBOXES: [(Runtime, usize); 2] = [(Runtime::Crun, 10), (Runtime::GvisorOci, 4)];

fn fifty(containerd: Containerd) {
    let node = node(containerd);
    let mut pods = 0;
    for (runtime, count) in SANDBOXES {
        node.change(&["install", &runtime.source()]).unwrap();
        for n in 0..count {
            node.run_pod(&format!("{}-{n}", runtime.name()), runtime.handler()).unwrap();
            pods += 1;
        }
    }
    for n in pods..50 {
        node.run_pod(&format!("runc-{n}"), "").unwrap();
    }
    let before = node.pods().unwrap();
    let running = |pod: &&Sandbox| pod.ready && pod.containers.len() == 1 && pod.containers[0].running;
    assert_eq!(before.iter().filter(running).count(), 50);
    node.put_package(Runtime::Gvisor).unwrap();
    let changes: [&[&str]; 4] = [
        &["install", &Runtime::Gvisor.source()],
        &["upgrade", &Runtime::GvisorOci.source_of(Release::New)],
        &["rollback", Runtime::GvisorOci.name()],
        &["remove", Runtime::Gvisor.name()],
    ];
    for args in changes {
        let pid = node.engine_pid().unwrap();
        assert_eq!(node.change(args).unwrap().result, Ending::Committed);
        assert_ne!(node.engine_pid().unwrap(), pid, "{args:?}: the engine was restarted");
        assert_eq!(before, node.pods().unwrap(), "{args:?}");
    }
}

#[test]
fn fifty_sandboxes_live_through_every_change_on_debians_containerd() {
    fifty(Containerd::Debian17);
}

#[test]
fn fifty_sandboxes_live_through_every_change_on_upstreams_containerd() {
    fifty(Containerd::Upstream24);
}

/// How many changes, and the seed from which they follow.
const ROUNDS: usize = 30;
const SEED: u64 = 4;

/// A runtime's versions: the registered one and the one that a rollback brings back.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    present: Option<Release>,
    earlier: Option<Release>,
}

/// A node with pods that run throughout: one of runc, one of gVisor's old release.
struct Rounds {
    node: Node,
    random: Random,
    pods: Vec<Sandbox>,
    gvisor: Model,
    crun: Model,
    /// The configuration as it would be without us.
    theirs: String,
}

impl Rounds {
    fn model(&mut self, runtime: Runtime) -> &mut Model {
        if runtime == Runtime::Crun { &mut self.crun } else { &mut self.gvisor }
    }

    /// One change, with the exit code and the model that it should give.
    fn operate(&mut self, runtime: Runtime) {
        let was = *self.model(runtime);
        let Model { present, earlier } = was;
        let used = runtime == Runtime::GvisorOci;
        let release = RELEASES[self.random.below(2)];
        let (args, code, now) = match self.random.below(8) {
            0..=2 => {
                let earlier = if present == Some(release) { earlier } else { present };
                let now = Model { present: Some(release), earlier };
                (vec!["install".into(), runtime.source_of(release)], 0, now)
            }
            3 | 4 => {
                let now = Model { present: earlier, earlier: present };
                let code = if earlier.is_some() { 0 } else { 2 };
                (vec!["rollback".into(), runtime.name().into()], code, now)
            }
            5 => {
                let code = match present {
                    None => 2,
                    Some(_) if used => 5,
                    Some(_) => 0,
                };
                (vec!["remove".into(), runtime.name().into()], code, Model::default())
            }
            6 => {
                self.spoil(runtime);
                (vec!["repair".into()], 0, was)
            }
            _ => (vec!["gc".into()], 0, was),
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = self.node.cofferdam(&args).unwrap();
        eprintln!("{args:?} with {was:?}: {} in {:.1?}", run.code(), run.output.took);
        assert_eq!(run.code(), code, "{args:?} with {was:?}: {:#?}", run.output);
        *self.model(runtime) = if code == 0 { now } else { was };
    }

    /// Adds a file to the registered tree, which is in use maybe.
    fn spoil(&mut self, runtime: Runtime) {
        if self.model(runtime).present.is_some() {
            let script =
                format!("for t in /opt/cofferdam/runtimes/{}/*; do touch $t/bin/more; done", runtime.name());
            self.node.sh(&script).unwrap().ok().unwrap();
        }
    }

    /// Someone else defines a handler.
    fn edit(&mut self, n: usize) {
        let plugin = self.node.spec().containerd.cri_plugin();
        let edit = format!(
            "\n# theirs {n}\n[plugins.\"{plugin}\".containerd.runtimes.theirs-{n}]\n  runtime_type = \"io.containerd.runc.v2\"\n"
        );
        let text = String::from_utf8(self.node.read(CONFIG_PATH).unwrap()).unwrap();
        self.node.put(CONFIG_PATH, text + &edit, 0o644).unwrap();
        self.theirs += &edit;
    }

    /// Nothing drifted, what should be served is, and the pods of before run.
    fn holds(&self) {
        let run = self.node.cofferdam(&["verify"]).unwrap();
        assert_eq!(run.code(), 0, "{:#?}", run.output);
        let handlers = self.node.cri().unwrap().status().unwrap().handlers;
        for (runtime, model) in [(Runtime::GvisorOci, self.gvisor), (Runtime::Crun, self.crun)] {
            let served = handlers.iter().any(|h| h == runtime.handler());
            assert_eq!(served, model.present.is_some(), "{runtime:?}: {handlers:?}");
        }
        assert_eq!(self.node.pods().unwrap(), self.pods);
    }
}

#[test]
fn rounds_of_changes_with_edits_of_others_between_restart_no_container() {
    let node = node(Containerd::Upstream24);
    let runc = node.run_pod("runc", "").unwrap();
    let before = node.trees().unwrap();
    let theirs = String::from_utf8(node.read(CONFIG_PATH).unwrap()).unwrap();
    node.change(&["install", &Runtime::GvisorOci.source_of(Release::Old)]).unwrap();
    let gvisor = node.run_pod("gvisor", Runtime::GvisorOci.handler()).unwrap();
    let pods = node.pods().unwrap();
    let model = Model { present: Some(Release::Old), earlier: None };
    let random = Random::new(SEED);
    let mut rounds = Rounds { node, random, pods, gvisor: model, crun: Model::default(), theirs };
    for n in 0..ROUNDS {
        let runtime = [Runtime::GvisorOci, Runtime::Crun][rounds.random.below(2)];
        rounds.operate(runtime);
        rounds.holds();
        if rounds.random.once_in(4) {
            rounds.edit(n);
        }
    }
    end(&rounds, &[&runc, &gvisor]);
    let config = [CONFIG_PATH];
    let after = rounds.node.trees().unwrap();
    assert_eq!(before.without(&config).diff(&after.without(&config)), Vec::<String>::new());
    assert_eq!(String::from_utf8(rounds.node.read(CONFIG_PATH).unwrap()).unwrap(), rounds.theirs);
}

/// The pods run and end; then everything is removed.
fn end(rounds: &Rounds, pods: &[&Pod]) {
    for pod in pods {
        assert_eq!(rounds.node.exec_ok(pod, &["echo", "here"]).unwrap(), "here");
        rounds.node.remove_pod(pod).unwrap();
    }
    rounds.node.change(&["remove", Runtime::GvisorOci.name()]).unwrap();
    if rounds.crun.present.is_some() {
        rounds.node.change(&["remove", Runtime::Crun.name()]).unwrap();
    }
}
