//! containerd replaced underneath an installation, by a newer and an older one, and a configuration that its own tool
//! migrates: the engine always starts and serves runc, and what no longer fits is named and mended.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_host::event::Ending;
use xtask::testbed::{Containerd, Node, NodeSpec, Runtime};

const CONFIG: &str = "/etc/containerd/config.toml";

fn change(node: &Node, args: &[&str]) -> Ending {
    let run = node.cofferdam(args).unwrap();
    assert_eq!(run.code(), 0, "{args:?}: {:#?}", run.output);
    run.outcome().unwrap().result
}

fn config(node: &Node) -> String {
    String::from_utf8(node.read(CONFIG).unwrap()).unwrap()
}

/// A pod runs under each of these handlers.
fn pods_run(node: &Node, handlers: &[&str]) {
    for handler in handlers {
        let pod = node.run_pod(&format!("try-{handler}"), handler).unwrap();
        assert_eq!(node.exec_ok(&pod, &["echo", "there"]).unwrap(), "there");
        node.remove_pod(&pod).unwrap();
    }
}

fn is_sound(node: &Node) {
    let run = node.cofferdam(&["verify"]).unwrap();
    assert_eq!(run.code(), 0, "{:#?}", run.output);
    assert_eq!(change(node, &["repair"]), Ending::Unchanged);
}

#[test]
fn an_engine_that_is_replaced_starts_and_serves() {
    let node = Node::boot(NodeSpec::new(Containerd::Debian17)).unwrap();
    node.put_cofferdam().unwrap();
    node.put_package(Runtime::Crun).unwrap();
    let bare = config(&node);
    assert_eq!(change(&node, &["install", &Runtime::Crun.source()]), Ending::Committed);
    let installed = config(&node);
    let keep = node.run_pod("keep", Runtime::Crun.handler()).unwrap();
    for other in [Containerd::Upstream24, Containerd::Debian17, Containerd::Upstream21] {
        node.swap_containerd(other).unwrap();
        pods_run(&node, &["", Runtime::Crun.handler()]);
        is_sound(&node);
        assert_eq!(config(&node), installed, "{other:?}");
        assert_eq!(node.attempt(&keep).unwrap(), Some((0, true)), "{other:?}");
    }

    // The administrator migrates the file: ours is in it, as tables among all others.
    node.swap_containerd(Containerd::Upstream24).unwrap();
    let migrate =
        "containerd config migrate >/root/new.toml && cat /root/new.toml >/etc/containerd/config.toml";
    node.sh(migrate).unwrap().ok().unwrap();
    node.restart_containerd().unwrap();
    pods_run(&node, &["", Runtime::Crun.handler()]);
    let run = node.cofferdam(&["verify"]).unwrap();
    assert_ne!(run.code(), 0, "{:#?}", run.output);
    let drop_in = "/etc/containerd/conf.d/cofferdam-crun.toml";
    assert!(
        run.output.stdout.contains("misplaced") && run.output.stdout.contains(drop_in),
        "{:#?}",
        run.output
    );
    assert_eq!(change(&node, &["repair"]), Ending::Committed);
    assert!(!config(&node).contains("runtimes.crun"));
    is_sound(&node);
    pods_run(&node, &["", Runtime::Crun.handler()]);
    assert_eq!(node.attempt(&keep).unwrap(), Some((0, true)));

    node.remove_pod(&keep).unwrap();
    assert_eq!(change(&node, &["remove", Runtime::Crun.name()]), Ending::Committed);
    pods_run(&node, &[""]);
    let left =
        node.sh("grep -r -e runtimes.crun -e /cofferdam /etc/containerd; ls /etc/containerd/conf.d").unwrap();
    assert_eq!(left.stdout.trim(), "", "{left:#?}");
    // Back to the file of before, as it was.
    node.put(CONFIG, &bare, 0o644).unwrap();
    node.swap_containerd(Containerd::Debian17).unwrap();
    pods_run(&node, &[""]);
}
