//! The doctor's table: every check answers yes, no and "could not look", each for its reason; verdicts follow.
//!
//! `*.json` beside this are facts of real machines, as `cofferdam doctor --json` printed them.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod node;
mod rows;

use cofferdam_core::descriptor::Requirement;
use cofferdam_core::doctor::facts::{CgroupDriver, Installer, Kvm, ModuleState, Modules, OsRelease, Trace};
use cofferdam_core::doctor::{
    Answer, Applies, CHECKS, Facts, FaultKind, Finding, Gate, Readiness, Skip, UnknownCheck, readiness,
    requirement_readiness, run,
};
use cofferdam_core::engine::EngineVersion;
use node::{DUMP, Node, cpu, modules, path, unseen};
use rows::{ROWS, Row};
use std::collections::BTreeSet;

#[test]
fn every_check_of_the_table_has_its_cases() {
    let of = |names: Vec<&'static str>| names.into_iter().collect::<BTreeSet<_>>();
    let table = of(CHECKS.iter().map(|check| check.name).collect());
    assert_eq!(table.len(), CHECKS.len(), "names are distinct");
    assert_eq!(table, of(ROWS.iter().map(|row| row.check).collect()));
    let documented = include_str!("../../../../docs/doctor.md");
    for name in table {
        assert!(documented.contains(&format!("| `{name}` |")), "docs/doctor.md has no row for {name}");
    }
}

#[test]
fn every_check_says_yes_no_and_could_not_look() {
    for Row { check, no, because, remedy, unseen } in ROWS {
        let good = Node::good().answer(check);
        assert!(matches!(&good, Answer::Yes { seen } if !seen.is_empty()), "{check}: {good:?}");

        let mut bad = Node::good();
        no(&mut bad);
        let answer = bad.answer(check);
        let Answer::No { because: said, remedy: way_out } = &answer else { panic!("{check}: {answer:?}") };
        assert!(said.contains(because), "{check}: no {because:?} in {said:?}");
        assert!(way_out.contains(remedy), "{check}: no {remedy:?} in {way_out:?}");

        let mut dark = Node::good();
        unseen(&mut dark);
        let answer = dark.answer(check);
        assert!(matches!(&answer, Answer::Unknown { why } if !why.is_empty()), "{check}: {answer:?}");
    }
}

#[test]
fn every_requirement_is_asked_by_a_check() {
    let node = Node::good();
    let documented = include_str!("../../../../docs/descriptor.md");
    for requirement in Requirement::ALL {
        let (readiness, findings) = requirement_readiness(&node.node_alone(), requirement);
        assert!(!findings.is_empty(), "{requirement}");
        assert_eq!(readiness, Readiness::Ready, "{requirement}");
        assert_eq!(Requirement::find(requirement.as_str()), Some(requirement));
        let json = serde_json::to_value(requirement).unwrap();
        assert_eq!(json, requirement.as_str(), "one name everywhere");
        assert!(documented.contains(&format!("\n| `{requirement}` |")), "docs/descriptor.md: {requirement}");
    }
}

fn names(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.check).collect()
}

/// Facts of a real machine, and what is known about it.
#[test]
fn a_recorded_machine_is_judged_as_it_is() {
    let node = Node::recorded(include_str!("node-in-a-container.json"));
    let alone = run(&node.node_alone());
    assert_eq!(readiness(&alone), Readiness::Ready, "{alone:#?}");
    let of = |requirement| requirement_readiness(&node.node_alone(), requirement).0;
    // AMD's processor in a virtual machine without svm, with KVM by other means; no modules of its own.
    for there in [Requirement::Kvm, Requirement::KvmOrKkm, Requirement::Tun] {
        assert_eq!(of(there), Readiness::Ready, "{there}");
    }
    for (missing, check) in [
        (Requirement::VhostNet, "vhost-net"),
        (Requirement::VhostVsock, "vhost-vsock"),
        (Requirement::CgroupV2, "cgroup-v2"),
        (Requirement::SevSnp, "sev-snp"),
        (Requirement::Tdx, "tdx"),
    ] {
        assert_eq!(of(missing), Readiness::NotReady { because: vec![check] }, "{missing}");
    }
}

#[test]
fn only_what_applies_is_asked() {
    let mut node = Node::good();
    let alone = run(&node.node_alone());
    assert!(!names(&alone).contains(&"kvm"), "{:?}", names(&alone));
    node.wanted.handlers[0].requires = vec![Requirement::VhostVsock];
    let asked = run(&node.case());
    assert_eq!(asked.len(), alone.len() + 1);
    assert!(names(&asked).contains(&"vhost-vsock"));

    // An offline tree: what only the machine could tell is not asked, but for what a runtime requires.
    node.offline();
    node.facts = Facts { os: Ok(None), ..Facts::unseen("offline") };
    let asked = run(&node.case());
    for machine in ["cni", "unit", "target-exec", "lasting", "selinux", "clock"] {
        assert!(!names(&asked).contains(&machine), "{machine}");
    }
    assert!(names(&asked).contains(&"vhost-vsock") && names(&asked).contains(&"host-system"));
}

#[test]
fn verdicts_name_what_decides() {
    let mut node = Node::good();
    assert_eq!(readiness(&run(&node.case())), Readiness::Ready);
    node.facts.clock = unseen();
    assert_eq!(readiness(&run(&node.case())), Readiness::CannotTell { because: vec!["clock"] });
    node.facts.kvm = Ok(Kvm::Refused { reason: "Device or resource busy".to_owned() });
    assert_eq!(readiness(&run(&node.case())), Readiness::NotReady { because: vec!["kvm"] });
}

#[test]
fn without_an_engine_the_rest_is_answered() {
    let mut node = Node::good();
    node.no_engine(FaultKind::NoProcess);
    let findings = run(&node.case());
    let no: Vec<_> = findings.iter().filter(|finding| finding.is_no()).map(|f| f.check).collect();
    assert_eq!(no, ["engine-binary"]);
    let yes = findings.iter().filter(|finding| matches!(finding.answer, Answer::Yes { .. })).count();
    assert!(yes > 20, "{findings:#?}");
}

#[test]
fn only_checks_that_leave_a_choice_are_skipped() {
    for check in CHECKS {
        let skip = Skip::new(check.name);
        assert_eq!(skip.is_ok(), check.gate == Gate::Skippable, "{}", check.name);
        assert!(
            check.gate == Gate::Skippable || !matches!(check.applies, Applies::If(_)),
            "{}: what a package requires may be wrong about a node",
            check.name
        );
    }
    assert_eq!(Skip::new("unit").unwrap_err(), UnknownCheck::Closed("unit"));
    assert!(Skip::new("cnii").unwrap_err().to_string().contains("did you mean `cni`?"));
}

#[test]
fn others_presence_alone_is_no_obstacle() {
    let mut node = Node::good();
    let path_of_nvidia = "/etc/nvidia-container-runtime/config.toml".to_owned();
    node.facts.traces =
        Ok(vec![Trace { installer: Installer::NvidiaContainerToolkit, path: path_of_nvidia }]);
    let answer = node.answer("other-installers");
    assert!(matches!(&answer, Answer::Yes { seen } if seen.contains("nvidia")), "{answer:?}");
    // A registration in the engine's files is a trace, too; one in a comment is none.
    let text = "version = 2\n# /opt/kata/bin was here\n[plugins.x]\nBinaryName = \"/opt/kwasm/bin/x\"\n";
    node.engine().files.insert(path("/etc/containerd/config.toml"), text.to_owned());
    let answer = node.answer("other-installers");
    assert!(
        matches!(&answer, Answer::Yes { seen } if seen.contains("KWasm") && !seen.contains("kata-deploy"))
    );
}

#[test]
fn our_own_registration_and_an_unpacked_archive_are_nobody_elses() {
    let mut node = Node::good();
    node.facts.traces = Ok(vec![Trace { installer: Installer::KataDeploy, path: "/opt/kata".to_owned() }]);
    let text = "version = 2\n[plugins.x]\n\
                runtime_type = \"/opt/cofferdam/runtimes/spin/1-abc/bin/containerd-shim-spin-v2\"\n";
    node.engine().files.insert(path("/etc/containerd/config.toml"), text.to_owned());
    let answer = node.answer("other-installers");
    assert!(
        matches!(&answer, Answer::Yes { seen } if seen.contains("/opt/kata") && !seen.contains("Spin")),
        "{answer:?}"
    );
}

#[test]
fn engines_that_recreate_pods_are_those_that_did() {
    for (release, recreates) in [("1.6.8", false), ("1.6.9", true), ("1.6.13", true), ("1.6.14", false)] {
        let mut node = Node::good();
        node.engine().version = EngineVersion::parse(release);
        assert_eq!(matches!(node.answer("engine-restart"), Answer::No { .. }), recreates, "{release}");
        assert!(matches!(node.answer("engine-version"), Answer::Yes { .. }), "{release}");
    }
}

#[test]
fn imports_by_glob_or_of_files_that_exist_are_fine() {
    for import in ["/etc/containerd/conf.d/*.toml", "/etc/containerd/config.toml"] {
        let mut node = Node::good();
        node.imports(import);
        assert!(matches!(node.answer("engine-imports"), Answer::Yes { .. }), "{import}");
    }
}

#[test]
fn kubelets_of_today_follow_the_engine() {
    let mut node = Node::good();
    node.kubelet(CgroupDriver::Systemd);
    node.engine().version = EngineVersion::parse("2.1.0");
    assert!(matches!(node.answer("cgroup-driver"), Answer::Yes { .. }));
    let dump = DUMP.replace("SystemdCgroup = false", "SystemdCgroup = true");
    assert_ne!(dump, DUMP);
    let mut node = Node::good();
    node.kubelet(CgroupDriver::Systemd);
    node.engine().dump = Some(dump);
    let answer = node.answer("cgroup-driver");
    assert!(matches!(&answer, Answer::Yes { seen } if seen.starts_with("systemd")), "{answer:?}");
}

#[test]
fn virtualization_by_other_means_counts() {
    let mut node = Node::good();
    node.facts.cpu = Ok(cpu("AuthenticAMD", &["lm", "sse4_1", "hypervisor"]));
    node.facts.modules = Ok(Modules { listed: false, ..modules(ModuleState::Missing) });
    for check in ["cpu-flags", "kvm-module", "kvm", "unrestricted-guest"] {
        assert!(matches!(node.answer(check), Answer::Yes { .. }), "{check}: {:?}", node.answer(check));
    }
}

#[test]
fn immutable_systems_are_told_what_to_do_instead() {
    for (id, instead) in [
        ("talos", "siderolabs/gvisor"),
        ("bottlerocket", "nodes of another"),
        ("cos", "GKE Sandbox"),
        ("rhcos", "OpenShift"),
    ] {
        let mut node = Node::good();
        node.facts.os = Ok(Some(OsRelease::parse(&format!("ID={id}\n"))));
        let answer = node.answer("host-system");
        assert!(matches!(&answer, Answer::No { remedy, .. } if remedy.contains(instead)), "{answer:?}");
    }
    let mut flatcar = Node::good();
    flatcar.facts.os = Ok(Some(OsRelease::parse("ID=flatcar\n")));
    flatcar.facts.config.as_mut().unwrap().read_only = true;
    assert!(matches!(flatcar.answer("host-system"), Answer::Yes { .. }));
    let answer = flatcar.answer("config-writable");
    assert!(
        matches!(&answer, Answer::No { remedy, .. } if remedy.contains("CONTAINERD_CONFIG")),
        "{answer:?}"
    );
}
