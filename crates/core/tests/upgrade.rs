//! Plans of upgrades, rollbacks, collections and repairs, on a recorded node.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod node;

use cofferdam_core::class::Class;
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{DamageKind, PathState, TreeDamage, TreeState, TreeUse};
use cofferdam_core::plan::{self, Drift, Expect, FileDrift, Overwrite, Plan, PlanError, Scope, Why};
use cofferdam_core::record::{Change, Step};
use node::{Node, name, package, path, refused, version};

impl Node {
    fn rollback(&self) -> Result<Plan, PlanError> {
        self.plan(|world| plan::rollback(world, &name("toy"), true))
    }

    fn collect(&self, scope: Scope) -> Plan {
        self.plan(|world| plan::collect(world, scope)).unwrap()
    }

    fn repair(&self, overwrite: Overwrite) -> Result<Plan, PlanError> {
        self.plan(|world| plan::repair(world, overwrite, true))
    }

    fn drift(&self) -> Vec<Drift> {
        self.plan(plan::drift).unwrap()
    }

    /// A node with these versions of `toy`, installed one after the other.
    fn with(versions: &[&str]) -> Self {
        let mut node = Self::live();
        for number in versions {
            let plan = node.install(&version("toy", number, "toy")).unwrap();
            node.carry_out(&plan);
        }
        node
    }

    fn present(&self) -> String {
        self.ledger.as_ref().unwrap().runtimes[&name("toy")].version.to_string()
    }

    fn tree(&self, number: &str) -> HostPath {
        let ledger = self.ledger.as_ref().unwrap();
        ledger.trees().find(|(_, i)| i.version.to_string() == number).unwrap().1.tree.clone()
    }

    /// A pod whose bundles name the tree.
    fn pod_on(&mut self, pod: &str, tree: HostPath) {
        self.sandbox(pod, "toy");
        let bundle = |id: String| TreeUse::Bundle { id, namespace: "k8s.io".to_owned() };
        self.uses
            .entry(tree)
            .or_default()
            .extend([bundle(format!("id-{pod}")), bundle(format!("app-{pod}"))]);
    }
}

fn removed(plan: &Plan) -> Vec<&HostPath> {
    let trees = plan.steps.iter().filter_map(|step| match step {
        Step::RemoveTree { tree } => Some(tree),
        _ => None,
    });
    trees.collect()
}

#[test]
fn an_upgrade_registers_beside_the_old_tree_and_restarts_once() {
    let mut node = Node::with(&["1.0"]);
    let old = node.tree("1.0");
    let plan = node.install(&version("toy", "2.0", "toy")).unwrap();
    assert_eq!(plan.change.to_string(), "upgrade toy 1.0 to 2.0");
    assert_eq!(plan.restarts().count(), 1);
    assert_eq!(removed(&plan), Vec::<&HostPath>::new(), "the old tree is what a rollback needs");
    node.carry_out(&plan);
    assert_eq!((node.present().as_str(), node.tree("1.0")), ("2.0", old));
    let text = &node.engine.files[&path("/etc/containerd/cofferdam.d/toy.toml")];
    assert!(text.contains("/2.0-") && !text.contains("/1.0-"), "{text}");
    assert!(node.install(&version("toy", "2.0", "toy")).unwrap().is_empty());
}

#[test]
fn upgrade_is_only_for_what_is_installed() {
    let upgrade = |node: &Node| {
        node.plan(|world| plan::install(world, &version("toy", "2.0", "toy"), &Expect::Installed, true))
    };
    refused(upgrade(&Node::live()), Class::Invalid, &["toy is not installed"], "status");
    assert!(upgrade(&Node::with(&["1.0"])).is_ok());
}

#[test]
fn another_runtime_does_not_take_the_place_of_one() {
    let node = Node::with(&["1.0"]);
    let of = |runtime: &str| {
        let expect = Expect::Runtime(name("toy"));
        node.plan(|world| plan::install(world, &version(runtime, "2.0", runtime), &expect, true))
    };
    assert!(of("toy").is_ok());
    refused(
        of("other"),
        Class::Invalid,
        &["the package is the runtime other, and toy is what is installed here"],
        "SandboxRuntime of its own",
    );
}

#[test]
fn a_rollback_needs_no_package_and_a_second_one_goes_forward_again() {
    let mut node = Node::with(&["1.0", "2.0"]);
    for (from, to) in [("2.0", "1.0"), ("1.0", "2.0")] {
        let plan = node.rollback().unwrap();
        assert_eq!(plan.change.to_string(), format!("roll toy back from {from} to {to}"));
        assert!(!plan.steps.iter().any(|step| matches!(step, Step::PlaceTree { .. })));
        node.carry_out(&plan);
        assert_eq!(node.present(), to);
    }
    refused(Node::with(&["1.0"]).rollback(), Class::Invalid, &["no earlier version of toy"], "upgrade");
    refused(Node::live().rollback(), Class::Invalid, &["toy is not installed"], "status");
}

#[test]
fn a_rollback_to_damaged_files_is_refused() {
    let mut node = Node::with(&["1.0", "2.0"]);
    let damage = vec![TreeDamage { path: "bin/shim".to_owned(), kind: DamageKind::Changed }];
    node.trees.insert(node.tree("1.0"), TreeState::Damaged { damage });
    refused(node.rollback(), Class::Conflict, &["toy 1.0", "bin/shim was changed"], "cofferdam repair toy");
    node.trees.insert(node.tree("1.0"), TreeState::Absent);
    refused(node.rollback(), Class::Conflict, &["all are gone"], "cofferdam repair toy");
}

#[test]
fn old_trees_go_with_the_next_commit_once_nobody_runs_from_them() {
    let mut node = Node::with(&["1.0", "2.0"]);
    let (first, second) = (node.tree("1.0"), node.tree("2.0"));
    node.pod_on("old", first.clone());
    let plan = node.install(&version("toy", "3.0", "toy")).unwrap();
    assert_eq!(removed(&plan), Vec::<&HostPath>::new());
    let why: Vec<_> = plan.kept.iter().map(|kept| (kept.tree.clone(), kept.why.clone())).collect();
    let used = Why::Used { users: vec!["pod default/old".to_owned()] };
    assert_eq!(why, [(first.clone(), used), (second, Why::Rollback)]);
    node.carry_out(&plan);

    node.uses.clear();
    let plan = node.install(&version("toy", "4.0", "toy")).unwrap();
    assert!(removed(&plan).contains(&&first), "{plan:#?}");
    node.carry_out(&plan);
    assert_eq!(node.ledger.as_ref().unwrap().retired.len(), 1);
}

#[test]
fn collection_spares_the_rollback_unless_told_otherwise_and_never_what_is_used() {
    let mut node = Node::with(&["1.0", "2.0"]);
    let old = node.tree("1.0");
    let spare = node.collect(Scope::Spare);
    assert!(spare.is_empty());
    assert_eq!(spare.kept.iter().map(|kept| &kept.why).collect::<Vec<_>>(), [&Why::Rollback]);
    node.pod_on("old", old.clone());
    assert!(node.collect(Scope::All).is_empty());
    node.uses.clear();
    let all = node.collect(Scope::All);
    assert_eq!(removed(&all), [&old]);
    assert_eq!(all.restarts().count(), 0);
    node.carry_out(&all);
    refused(node.rollback(), Class::Invalid, &["no earlier version"], "upgrade");
}

#[test]
fn a_handler_that_the_new_version_lacks_must_not_be_in_use() {
    let mut node = Node::with(&["1.0"]);
    let other = version("toy", "2.0", "other");
    assert!(node.install(&other).is_ok());
    node.sandbox("web", "toy");
    let words = ["toy 2.0 has no handler toy", "pod default/web"];
    refused(node.install(&other), Class::InUse, &words, "end these pods");
}

#[test]
fn removal_asks_after_the_users_of_every_version_and_takes_all_trees() {
    let mut node = Node::with(&["1.0", "2.0"]);
    let process = TreeUse::Process { pid: 5, comm: "runsc".to_owned() };
    node.uses.insert(node.tree("1.0"), vec![process]);
    let remove = |node: &Node| node.remove(&name("toy"), plan::Force::No);
    refused(remove(&node), Class::InUse, &["process 5 (runsc)"], "--wait");
    node.uses.clear();
    assert_eq!(removed(&remove(&node).unwrap()).len(), 2);
}

#[test]
fn nothing_drifts_by_itself() {
    let mut node = Node::with(&["1.0", "2.0"]);
    assert_eq!(node.drift(), Vec::new());
    assert!(node.repair(Overwrite::No).unwrap().is_empty());
    node.cri().handlers.clear();
    assert_eq!(node.drift().len(), 1, "the engine does not list toy");
    assert_eq!(node.repair(Overwrite::No).unwrap().restarts().count(), 1);
}

#[test]
fn a_damaged_tree_is_named_and_exchanged_for_a_new_copy() {
    let mut node = Node::with(&["1.0"]);
    let tree = node.tree("1.0");
    let damage = vec![TreeDamage { path: "bin/shim".to_owned(), kind: DamageKind::Missing }];
    node.trees.insert(tree.clone(), TreeState::Damaged { damage: damage.clone() });
    let found = node.drift();
    assert!(
        matches!(&found[..], [Drift::TreeDamaged { tree: at, damage: what, .. }] if *at == tree && *what == damage)
    );
    let plan = node.plan(|world| plan::repair_tree(world, &package("toy"))).unwrap();
    assert!(plan.steps.contains(&Step::ReplaceTree { tree: tree.clone() }), "{plan:#?}");
    assert!(matches!(plan.change, Change::RepairTree { .. }));
    assert_eq!(plan.restarts().count(), 0, "the path stays, so the engine need not know");
    // An installation of the same package does the same.
    assert!(node.install(&package("toy")).unwrap().steps.contains(&Step::ReplaceTree { tree }));
    let other = node.plan(|world| plan::repair_tree(world, &version("toy", "9.9", "toy")));
    refused(other, Class::Invalid, &["no installed version of toy"], "upgrade");
}

#[test]
fn units_that_someone_removed_disabled_or_edited_are_drift() {
    let unit = path("/etc/systemd/system/cofferdam-recover.service");
    let link = path("/etc/systemd/system/multi-user.target.wants/cofferdam-recover.service");
    for gone in [unit.clone(), link] {
        let mut node = Node::with(&["1.0"]);
        node.paths.insert(gone.clone(), PathState::Absent);
        assert_eq!(node.drift(), [Drift::File { path: gone.clone(), what: FileDrift::Missing }]);
        let plan = node.repair(Overwrite::No).unwrap();
        assert_eq!(plan.restarts().count(), 0);
        assert!(plan.steps.iter().any(|step| step.to_string().contains(gone.as_str())), "{plan:#?}");
    }
    let mut node = Node::with(&["1.0"]);
    let digest = cofferdam_core::name::Digest::of(b"edited");
    node.paths.insert(unit.clone(), PathState::File { digest, mode: 0o644 });
    assert_eq!(node.drift(), [Drift::File { path: unit.clone(), what: FileDrift::Changed }]);
    refused(node.repair(Overwrite::No), Class::Conflict, &[unit.as_str()], "--overwrite");
    assert!(!node.repair(Overwrite::Yes).unwrap().is_empty());
}
