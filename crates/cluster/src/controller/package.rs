//! What a node is told of a revision. A revision may name a tag, and what that stands for changes: whoever goes back goes
//! back to the image that was there, by its digest. Pure.
//!
//! A node's own word counts for that node alone. The last good revision, which others are given too, is pinned to what most
//! of the nodes that have it say.

use crate::api::{PackageRevision, Revision, RuntimeState, SandboxNode};
use cofferdam_core::name::Digest;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The package of `revision`, for the node of `own` and the SandboxRuntime `name`: what the node has of it, else as the
/// fleet knows it, else as the node was told it.
pub(super) fn of(
    own: &SandboxNode,
    name: &str,
    revision: &Revision,
    fleet: &BTreeMap<Revision, PackageRevision>,
) -> Option<PackageRevision> {
    let told = own.spec.runtimes.iter().filter(|assigned| assigned.name == name);
    let told = told.flat_map(|assigned| assigned.fallback.iter().chain([&assigned.target]));
    let told = told.filter(|package| package.revision == *revision);
    let before = told.clone().find(|package| package.is_pinned());
    let before = before.or_else(|| told.clone().next());
    match (before, image(own, name, revision)) {
        (Some(before), _) if before.is_pinned() => Some(before.clone()),
        (Some(before), Some(image)) => Some(before.clone().pinned(image)),
        (before, _) => fleet.get(revision).or(before).cloned(),
    }
}

/// The image of which most nodes are that have `revision` of the SandboxRuntime `name`, if there is one.
pub(super) fn most_have(
    sandbox_nodes: &BTreeMap<String, Arc<SandboxNode>>,
    name: &str,
    revision: &Revision,
) -> Option<Digest> {
    let mut counts: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut all = 0;
    for own in sandbox_nodes.values().filter(|own| installed(own, name, revision).is_some()) {
        all += 1;
        if let Some(image) = image(own, name, revision) {
            *counts.entry(image).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.filter(|(_, count)| count * 2 > all).map(|(image, _)| image)
}

/// The last good revision as it is remembered: pinned to `image` where that is known, else as it was `before`.
pub(super) fn last_good(
    package: PackageRevision,
    before: Option<&PackageRevision>,
    image: Option<Digest>,
) -> PackageRevision {
    let before = before.filter(|before| before.revision == package.revision);
    match (image, before) {
        (Some(image), _) => package.pinned(image),
        (None, Some(before)) => before.clone(),
        (None, None) => package,
    }
}

/// The image of `revision` that this node says it has.
fn image(own: &SandboxNode, name: &str, revision: &Revision) -> Option<Digest> {
    Digest::try_from(installed(own, name, revision)?.image.clone()).ok()
}

/// What this node says of the SandboxRuntime, if it says that it has `revision` of it, and was told so.
fn installed<'n>(own: &'n SandboxNode, name: &str, revision: &Revision) -> Option<&'n RuntimeState> {
    let assigned = own.spec.runtimes.iter().find(|assigned| assigned.name == name)?;
    let mut told = assigned.fallback.iter().chain([&assigned.target]);
    let states = &own.status.as_ref()?.runtimes;
    let state =
        states.iter().find(|state| state.name == name && state.installed.as_ref() == Some(revision))?;
    told.any(|package| package.revision == *revision).then_some(state)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use serde_json::{Value, json};

    const TAG: &str = "registry.example/kata:1";

    fn package(revision: &str, reference: &str) -> Value {
        json!({ "revision": revision, "package": { "source": { "oci": { "reference": reference } } } })
    }

    /// A node that was told `target` and `fallback`, and says that it has the image `image` of `installed`.
    fn node(target: Value, fallback: Option<Value>, installed: &str, image: &str) -> SandboxNode {
        let digest = if image.is_empty() { String::new() } else { Digest::of(image.as_bytes()).to_string() };
        serde_json::from_value(json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxNode", "metadata": { "name": "n" },
            "spec": { "nodeUID": "u", "runtimes": [
                { "name": "kata", "sequence": 2, "target": target, "fallback": fallback },
            ] },
            "status": { "runtimes": [{
                "name": "kata", "sequence": 2, "revision": "r2", "state": "Failed", "installed": installed,
                "image": digest,
            }] },
        }))
        .unwrap()
    }

    fn revision(name: &str) -> Revision {
        Revision(name.to_owned())
    }

    fn fleet(packages: &[Value]) -> BTreeMap<Revision, PackageRevision> {
        let packages = packages.iter().map(|one| serde_json::from_value(one.clone()).unwrap());
        packages.map(|one: PackageRevision| (one.revision.clone(), one)).collect()
    }

    /// The reference that the node is told for `name`.
    fn told(own: &SandboxNode, name: &str, fleet: &BTreeMap<Revision, PackageRevision>) -> Option<String> {
        let package = of(own, "kata", &revision(name), fleet)?;
        assert_eq!(package.revision, revision(name), "it stays the revision that it is");
        Some(package.package.source.oci.unwrap().reference)
    }

    fn pinned(image: &str) -> String {
        format!("{TAG}@{}", Digest::of(image.as_bytes()))
    }

    #[test]
    fn a_node_goes_back_to_the_image_that_it_had() {
        let known = fleet(&[package("r1", TAG), package("r2", "registry.example/kata:2")]);
        // The upgrade failed; the node still has what was there before.
        let failed = node(package("r2", "registry.example/kata:2"), Some(package("r1", TAG)), "r1", "a");
        assert_eq!(told(&failed, "r1", &known), Some(pinned("a")));
        // What it does not have is asked of the registry.
        assert_eq!(told(&failed, "r2", &known).as_deref(), Some("registry.example/kata:2"));
        // Also where most nodes had another one.
        let most = fleet(&[package("r1", &pinned("b"))]);
        assert_eq!(told(&failed, "r1", &most), Some(pinned("a")));
        // It was removed there meanwhile: what the node was told stays pinned.
        let gone = node(package("r2", TAG), Some(package("r1", &pinned("a"))), "r3", "");
        assert_eq!(told(&gone, "r1", &known), Some(pinned("a")));
        // Nobody else knows the revision any more.
        assert_eq!(told(&gone, "r1", &fleet(&[])), Some(pinned("a")));
        assert_eq!(told(&gone, "r9", &fleet(&[])), None);
    }

    #[test]
    fn what_a_node_says_of_a_revision_that_it_was_never_told_counts_for_nothing() {
        let liar = node(package("r2", TAG), None, "r1", "evil");
        let good = fleet(&[package("r1", &pinned("a"))]);
        assert_eq!(told(&liar, "r1", &good), Some(pinned("a")));
        let nodes = BTreeMap::from([("n".to_owned(), Arc::new(liar))]);
        assert_eq!(most_have(&nodes, "kata", &revision("r1")), None);
    }

    #[test]
    fn a_digest_that_a_person_gave_stays() {
        let own = node(package("r2", TAG), Some(package("r1", &pinned("a"))), "r1", "other");
        assert_eq!(told(&own, "r1", &fleet(&[])), Some(pinned("a")));
        let given = fleet(&[package("r1", &pinned("a"))]).remove(&revision("r1")).unwrap();
        assert_eq!(last_good(given.clone(), None, Some(Digest::of(b"other"))), given);
    }

    #[test]
    fn files_are_as_they_are() {
        let files = json!({ "revision": "r1", "package": { "source": { "directory": "/srv" } } });
        let own = node(files.clone(), None, "r1", "a");
        assert_eq!(of(&own, "kata", &revision("r1"), &fleet(&[])), fleet(&[files]).into_values().next());
    }

    #[test]
    fn the_last_good_revision_is_what_most_have() {
        let has = |images: &[&str]| {
            let nodes = images.iter().enumerate();
            let nodes = nodes
                .map(|(n, image)| (n.to_string(), Arc::new(node(package("r1", TAG), None, "r1", image))));
            most_have(&nodes.collect(), "kata", &revision("r1"))
        };
        let digest = |image: &str| Some(Digest::of(image.as_bytes()));
        assert_eq!(has(&["a"]), digest("a"));
        assert_eq!(has(&["a", "evil", "a"]), digest("a"));
        assert_eq!(has(&["a", "b"]), None);
        assert_eq!(has(&["evil", "", ""]), None, "those that say nothing count, too");
        assert_eq!(has(&[]), None);

        let plain = fleet(&[package("r1", TAG)]).remove(&revision("r1")).unwrap();
        let reference = |package: PackageRevision| package.package.source.oci.unwrap().reference;
        let first = last_good(plain.clone(), None, digest("a"));
        assert_eq!(reference(first.clone()), pinned("a"));
        assert_eq!(
            reference(last_good(plain.clone(), Some(&first), None)),
            pinned("a"),
            "nobody knows better"
        );
        assert_eq!(reference(last_good(plain, None, None)), TAG);
    }
}
