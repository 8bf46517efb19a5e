//! The planner: from a recorded node to ordered steps, or to a refusal that names what stands in the way.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod node;

use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Requirement;
use cofferdam_core::doctor::Skip;
use cofferdam_core::doctor::facts::Kvm;
use cofferdam_core::name::Digest;
use cofferdam_core::observation::{CriObservation, TreeUse};
use cofferdam_core::plan::{Blob, Force, Package};
use cofferdam_core::record::{Step, Verdict};
use node::{CONFIG, Node, name, package, refused, shown};

#[test]
fn installation_rehearses_writes_restarts_once_and_verifies_before_the_commit() {
    let plan = Node::live().install(&package("toy")).unwrap();
    assert_eq!(
        shown(&plan),
        [
            "make folder /opt/cofferdam",
            "make folder /opt/cofferdam/runtimes",
            "make folder /opt/cofferdam/runtimes/toy",
            "place /opt/cofferdam/runtimes/toy/TREE",
            "make folder /opt/cofferdam/bin",
            "create /opt/cofferdam/bin/cofferdam",
            "create /etc/systemd/system/cofferdam-recover.service",
            "link /etc/systemd/system/multi-user.target.wants/cofferdam-recover.service -> \
             /etc/systemd/system/cofferdam-recover.service",
            "reload systemd's units",
            "rehearse: the engine starts on the new configuration, isolated",
            "make folder /etc/containerd/cofferdam.d",
            "create /etc/containerd/cofferdam.d/toy.toml",
            "change /etc/containerd/config.toml",
            "restart containerd.service",
            "verify the engine and its sandboxes, probe toy",
            "commit",
        ]
    );
    assert_eq!(plan.restarts().collect::<Vec<_>>(), ["containerd.service"]);
}

#[test]
fn installing_again_is_no_step_and_removal_mirrors_it() {
    let mut node = Node::live();
    let first = node.install(&package("toy")).unwrap();
    node.carry_out(&first);
    assert!(node.install(&package("toy")).unwrap().is_empty());

    let plan = node.remove(&name("toy"), Force::No).unwrap();
    assert_eq!(
        shown(&plan),
        [
            "rehearse: the engine starts on the new configuration, isolated",
            "change /etc/containerd/config.toml",
            "delete /etc/containerd/cofferdam.d/toy.toml",
            "restart containerd.service",
            "verify the engine and its sandboxes",
            "commit",
            "delete /opt/cofferdam/runtimes/toy/TREE",
            "delete link /etc/systemd/system/multi-user.target.wants/cofferdam-recover.service",
            "delete /etc/systemd/system/cofferdam-recover.service",
            "reload systemd's units",
            "delete /opt/cofferdam/bin/cofferdam",
            "delete folder /etc/containerd/cofferdam.d if it is empty",
            "delete folder /opt/cofferdam/bin if it is empty",
            "delete folder /opt/cofferdam/runtimes/toy if it is empty",
            "delete folder /opt/cofferdam/runtimes if it is empty",
            "delete folder /opt/cofferdam if it is empty",
            "delete our records",
        ]
    );
    let written = plan.steps.iter().find_map(|step| match step {
        Step::WriteFile { after, .. } => Some(&plan.blobs[after]),
        _ => None,
    });
    assert_eq!(written, Some(&Blob::Text(CONFIG.to_owned())), "the bytes of before");
}

#[test]
fn an_unlisted_handler_costs_a_restart_but_no_write() {
    let mut node = Node::live();
    let first = node.install(&package("toy")).unwrap();
    node.carry_out(&first);
    node.cri().handlers.retain(|handler| handler != "toy");
    let plan = node.install(&package("toy")).unwrap();
    let steps = [
        "rehearse: the engine starts on the new configuration, isolated",
        "restart containerd.service",
        "verify the engine and its sandboxes, probe toy",
        "commit",
    ];
    assert_eq!(shown(&plan), steps);
}

/// The image of a node was made with it, or the pod network was not up.
#[test]
fn what_was_never_proven_is_probed_without_a_restart() {
    let mut node = Node::live();
    let first = node.install(&package("toy")).unwrap();
    node.carry_out(&first);
    for verdict in [Verdict::Offline, Verdict::Unproven { reason: "no pod network".to_owned() }] {
        node.ledger.as_mut().unwrap().runtimes.get_mut(&name("toy")).unwrap().verdict = verdict;
        let plan = node.install(&package("toy")).unwrap();
        assert_eq!(shown(&plan), ["verify the engine and its sandboxes, probe toy", "commit"]);
    }
    (node.engine.process, node.engine.unit, node.engine.cri) = (None, None, CriObservation::Offline);
    assert!(node.install(&package("toy")).unwrap().is_empty(), "nobody can be asked");
}

#[test]
fn an_offline_tree_gets_files_only() {
    let mut node = Node::live();
    (node.engine.process, node.engine.unit, node.engine.cri) = (None, None, CriObservation::Offline);
    node.worker = None;
    let steps = shown(&node.install(&package("toy")).unwrap());
    assert!(!steps.iter().any(|s| s.contains("restart") || s.contains("verify") || s.contains("rehearse")));
    assert_eq!(steps.last().map(String::as_str), Some("commit"));
}

#[test]
fn a_restart_that_would_kill_sandboxes_is_refused() {
    for mode in ["control-group", "mixed"] {
        let mut node = Node::live();
        node.engine.unit.as_mut().unwrap().kill_mode = mode.to_owned();
        refused(
            node.install(&package("toy")),
            Class::Unsupported,
            &["kill-mode", mode],
            "--skip-check kill-mode",
        );
        node.fitness.skip = vec![Skip::new("kill-mode").unwrap()];
        assert!(node.install(&package("toy")).is_ok(), "nothing runs");
        node.sandbox("web", "");
        let words = ["containerd.service", mode, "1 running sandboxes"];
        refused(node.install(&package("toy")), Class::Unsupported, &words, "KillMode=process");
        node.cri().sandboxes[0].ready = false;
        assert!(node.install(&package("toy")).is_ok(), "nothing runs any more");
    }
}

/// What the doctor says no to is not planned, unless the user says so, or nothing is left to do.
#[test]
fn a_node_that_is_not_fit_is_refused() {
    let mut node = Node::live();
    node.cri().network_ready = false;
    let way_out = "--skip-check cni";
    refused(
        node.install(&package("toy")),
        Class::Unsupported,
        &["not fit for toy: cni: ", "pod network"],
        way_out,
    );
    node.fitness.skip = vec![Skip::new("cni").unwrap()];
    let descriptor = package("toy").descriptor;
    let overridden = node.fitness.overridden(&node.engine, &node.target, &descriptor);
    assert_eq!(overridden.iter().map(|o| o.check.as_str()).collect::<Vec<_>>(), ["cni"]);
    let plan = node.install(&package("toy")).unwrap();
    node.carry_out(&plan);
    node.fitness.skip.clear();
    assert!(node.install(&package("toy")).unwrap().is_empty(), "it is there already");
    assert!(node.remove(&name("toy"), Force::No).is_ok(), "removal asks no doctor");
}

#[test]
fn what_a_handler_requires_is_asked_for_and_nothing_else() {
    let mut node = Node::live();
    node.fitness.facts.kvm = Ok(Kvm::Absent);
    assert!(node.install(&package("toy")).is_ok(), "it requires nothing");
    let mut kata = package("kata");
    kata.descriptor.handlers[0].requires = vec![Requirement::Kvm];
    refused(
        node.install(&kata),
        Class::Unsupported,
        &["not fit for kata: kvm: ", "no /dev/kvm"],
        "--skip-check kvm",
    );
    node.fitness.facts.kvm = Ok(Kvm::Open { api_version: 12 });
    assert!(node.install(&kata).is_ok());
}

#[test]
fn engines_that_cannot_be_restarted_or_asked_are_refused() {
    let mut node = Node::live();
    node.engine.unit = None;
    refused(node.install(&package("toy")), Class::Unsupported, &["pid 77"], "systemd unit");
    let mut node = Node::live();
    node.engine.cri = CriObservation::Unavailable { socket: None, reason: "connection refused".to_owned() };
    refused(node.install(&package("toy")), Class::Unavailable, &["connection refused"], "cofferdam doctor");
}

#[test]
fn places_that_cannot_hold_a_tree_are_refused() {
    let mut node = Node::live();
    node.target.read_only = true;
    refused(
        node.install(&package("toy")),
        Class::Unsupported,
        &["target-writable", "/opt/cofferdam", "read-only"],
        "--prefix",
    );
    let mut node = Node::live();
    node.target.noexec = true;
    refused(
        node.install(&package("toy")),
        Class::Unsupported,
        &["target-exec", "/opt/cofferdam", "noexec"],
        "--prefix",
    );
    let mut node = Node::live();
    node.target.free_bytes = 1 << 20;
    refused(node.install(&package("toy")), Class::Unsupported, &["1048576 bytes"], "--prefix");
    let mut node = Node::live();
    node.target.free_inodes = 1;
    refused(node.install(&package("toy")), Class::Unsupported, &["1 inodes"], "--prefix");
}

#[test]
fn what_is_used_is_not_removed_and_its_users_are_named() {
    let mut node = Node::live();
    let first = node.install(&package("toy")).unwrap();
    node.carry_out(&first);
    node.sandbox("web", "toy");
    node.sandbox("other", "");
    let tree = node.ledger.as_ref().unwrap().runtimes[&name("toy")].tree.clone();
    let bundle = |id: &str| TreeUse::Bundle { id: id.to_owned(), namespace: "k8s.io".to_owned() };
    let process = TreeUse::Process { pid: 99, comm: "shim".to_owned() };
    node.uses.insert(tree.clone(), vec![bundle("app-web"), bundle("stray"), process.clone()]);
    let error = node.remove(&name("toy"), Force::No).unwrap_err();
    assert_eq!(error.to_string(), "toy is in use by pod default/web, container stray (namespace k8s.io)");
    refused(node.remove(&name("toy"), Force::No), Class::InUse, &[], "--wait");

    let steps = shown(&node.remove(&name("toy"), Force::Yes).unwrap());
    let at = |text: &str| steps.iter().position(|step| step.contains(text)).unwrap();
    assert!(at("verify") < at("stop") && at("stop") < at("commit"), "{steps:#?}");

    node.cri().sandboxes.clear();
    node.uses.insert(tree, vec![process]);
    refused(node.remove(&name("toy"), Force::No), Class::InUse, &["process 99 (shim)"], "--force");
}

#[test]
fn one_of_two_goes_and_the_rest_stays() {
    let mut node = Node::live();
    for runtime in ["toy", "two"] {
        let plan = node.install(&package(runtime)).unwrap();
        node.carry_out(&plan);
    }
    let plan = node.remove(&name("toy"), Force::No).unwrap();
    let steps = shown(&plan);
    for stays in ["cofferdam-recover", "our records", "cofferdam.d if", "config.toml", "/opt/cofferdam if"] {
        assert!(!steps.iter().any(|step| step.contains(stays)), "{stays}: {steps:#?}");
    }
    assert_eq!(plan.after.runtimes.keys().map(ToString::to_string).collect::<Vec<_>>(), ["two"]);
}

#[test]
fn names_decide_before_anything_else() {
    let mut node = Node::live();
    refused(node.remove(&name("toy"), Force::No), Class::Invalid, &["toy is not installed"], "status");
    let first = node.install(&package("toy")).unwrap();
    node.carry_out(&first);
    let rebuilt = Package { digest: Digest::of(b"another build"), ..package("toy") };
    let plan = node.install(&rebuilt).unwrap();
    assert_eq!(plan.change.to_string(), "upgrade toy 1.0 to 1.0", "another build is another version");
}
