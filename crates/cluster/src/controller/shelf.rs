//! The objects of one kind, as a watch brings them (pure).

use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that can be seen.
    None,
    /// Nothing but a sign of life.
    Beat,
    /// Something.
    Change,
}

/// Those that parse, and those that do not.
type Listing<K> = (HashMap<String, Arc<K>>, BTreeMap<String, String>);

/// Objects of a cluster-scoped kind by their name, and those that do not parse.
///
/// One that does not parse is known by its name and the reason: nobody takes it for gone. What was known of it before is
/// no longer shown, since it is no longer so.
#[derive(Debug)]
pub(super) struct Shelf<K> {
    objects: HashMap<String, Arc<K>>,
    unreadable: BTreeMap<String, String>,
    /// A list that is being read: it counts once it is complete.
    listing: Option<Listing<K>>,
    listed: bool,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self { objects: HashMap::new(), unreadable: BTreeMap::new(), listing: None, listed: false }
    }
}

impl<K: Resource<DynamicType = ()>> Shelf<K> {
    /// Takes an event in. `prune` takes from an object what nobody needs; `same` says whether the second object differs
    /// from the first only by a sign of life.
    pub(super) fn take(
        &mut self,
        event: Event<DeserializeGuard<K>>,
        prune: impl Fn(&mut K),
        same: impl Fn(&K, &K) -> bool,
    ) -> News {
        match event {
            Event::Init => {
                self.listing = Some(Default::default());
                News::None
            }
            Event::InitApply(object) => {
                let (objects, unreadable) = self.listing.get_or_insert_default();
                put(objects, unreadable, object, prune);
                News::None
            }
            Event::InitDone => {
                if let Some(listing) = self.listing.take() {
                    (self.objects, self.unreadable) = listing;
                }
                self.listed = true;
                News::Change
            }
            Event::Apply(object) => {
                let name = object.name_any();
                let before = self.objects.get(&name).cloned();
                put(&mut self.objects, &mut self.unreadable, object, prune);
                match (before, self.objects.get(&name)) {
                    (Some(before), Some(after)) if same(&before, after) => News::Beat,
                    _ => News::Change,
                }
            }
            Event::Delete(object) => {
                let name = object.name_any();
                self.objects.remove(&name);
                self.unreadable.remove(&name);
                News::Change
            }
        }
    }

    /// Whether a list was read to its end.
    pub(super) const fn is_listed(&self) -> bool {
        self.listed
    }

    /// All that parse.
    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    /// Those that do not, and why.
    pub(super) const fn unreadable(&self) -> &BTreeMap<String, String> {
        &self.unreadable
    }
}

fn put<K: Resource<DynamicType = ()>>(
    objects: &mut HashMap<String, Arc<K>>,
    unreadable: &mut BTreeMap<String, String>,
    object: DeserializeGuard<K>,
    prune: impl Fn(&mut K),
) {
    let name = object.name_any();
    match object.0 {
        Ok(mut object) => {
            prune(&mut object);
            unreadable.remove(&name);
            objects.insert(name, Arc::new(object));
        }
        Err(error) => {
            let kind = K::kind(&());
            tracing::error!(%kind, name, %error, "an object does not parse: it is left as it is");
            objects.remove(&name);
            unreadable.insert(name, error.error);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::SandboxNode;
    use serde_json::{Value, json};

    fn object(name: &str, state: &str) -> DeserializeGuard<SandboxNode> {
        let object = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxNode",
            "metadata": { "name": name, "uid": name, "resourceVersion": "1" },
            "spec": { "nodeUID": "u", "runtimes": [] },
            "status": { "runtimes": [{ "name": "gv", "sequence": 1, "revision": "r", "state": state }] },
        });
        serde_json::from_value::<DeserializeGuard<SandboxNode>>(object).unwrap()
    }

    fn take(shelf: &mut Shelf<SandboxNode>, event: Event<DeserializeGuard<SandboxNode>>) -> News {
        shelf.take(event, |_| {}, |one, other| one == other)
    }

    fn listed(objects: Vec<DeserializeGuard<SandboxNode>>) -> Shelf<SandboxNode> {
        let mut shelf = Shelf::default();
        take(&mut shelf, Event::Init);
        objects
            .into_iter()
            .for_each(|object| assert_eq!(take(&mut shelf, Event::InitApply(object)), News::None));
        assert!(!shelf.is_listed());
        take(&mut shelf, Event::InitDone);
        shelf
    }

    fn names(shelf: &Shelf<SandboxNode>) -> Value {
        let mut names: Vec<String> = shelf.all().iter().map(|object| object.name_any()).collect();
        names.sort();
        json!([names, shelf.unreadable().keys().collect::<Vec<_>>()])
    }

    #[test]
    fn one_that_does_not_parse_in_a_list_is_known_by_name() {
        let shelf = listed(vec![object("a", "Proven"), object("b", "Levitating"), object("c", "Proven")]);
        assert_eq!(names(&shelf), json!([["a", "c"], ["b"]]));
    }

    #[test]
    fn one_that_does_not_parse_any_more_is_not_shown_as_it_was() {
        let mut shelf = listed(vec![object("a", "Proven"), object("b", "Proven")]);
        assert_eq!(take(&mut shelf, Event::Apply(object("b", "Levitating"))), News::Change);
        assert_eq!(names(&shelf), json!([["a"], ["b"]]));
        assert_eq!(take(&mut shelf, Event::Apply(object("b", "Proven"))), News::Change);
        assert_eq!(names(&shelf), json!([["a", "b"], []]));
    }

    #[test]
    fn one_that_does_not_parse_can_be_deleted() {
        let mut shelf = listed(vec![object("a", "Proven"), object("b", "Proven")]);
        take(&mut shelf, Event::Apply(object("b", "Levitating")));
        take(&mut shelf, Event::Delete(object("b", "Levitating")));
        assert_eq!(names(&shelf), json!([["a"], []]));
    }

    #[test]
    fn a_list_counts_once_it_is_complete() {
        let mut shelf = listed(vec![object("a", "Proven"), object("b", "Proven")]);
        take(&mut shelf, Event::Init);
        take(&mut shelf, Event::InitApply(object("a", "Proven")));
        assert_eq!(names(&shelf), json!([["a", "b"], []]));
        // It broke off, and begins anew.
        take(&mut shelf, Event::Init);
        take(&mut shelf, Event::InitApply(object("b", "Proven")));
        take(&mut shelf, Event::InitDone);
        assert_eq!(names(&shelf), json!([["b"], []]));
    }

    #[test]
    fn a_sign_of_life_is_no_change() {
        let mut shelf = listed(vec![object("a", "Proven")]);
        assert_eq!(take(&mut shelf, Event::Apply(object("a", "Proven"))), News::Beat);
        assert_eq!(take(&mut shelf, Event::Apply(object("a", "Failed"))), News::Change);
    }
}
