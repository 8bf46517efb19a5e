//! Who uses a runtime, in people's words: pods by name, then whatever else names its files.

use crate::name::RuntimeName;
use crate::name::{HandlerName, HostPath};
use crate::observation::{CriObservation, Sandbox, TreeUse, TreeUses};
use crate::record::{Installed, Ledger};
use serde::{Deserialize, Serialize};

/// Someone who uses a runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "user")]
pub enum User {
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A container that is no pod's.
    Container {
        /// Its id.
        id: String,
        /// The engine's namespace.
        namespace: String,
    },
    /// A process that is no known container's.
    Process {
        /// Its id.
        pid: u32,
        /// Its name.
        comm: String,
    },
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(f, "pod {namespace}/{name}"),
            Self::Container { id, namespace } => write!(f, "container {id} (namespace {namespace})"),
            Self::Process { pid, comm } => write!(f, "process {pid} ({comm})"),
        }
    }
}

/// Everyone who runs from a tree.
pub fn tree_users(cri: &CriObservation, uses: &TreeUses, tree: &HostPath) -> Vec<String> {
    words(&find(cri, uses, &[tree], &[]))
}

fn words(users: &[User]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

/// [`users_of`] in words.
pub(super) fn runtime_users(
    cri: &CriObservation,
    uses: &TreeUses,
    ledger: &Ledger,
    name: &RuntimeName,
) -> Vec<String> {
    words(&users_of(cri, uses, ledger, name))
}

/// Everyone who uses a runtime in any version that is on the host.
pub fn users_of(cri: &CriObservation, uses: &TreeUses, ledger: &Ledger, name: &RuntimeName) -> Vec<User> {
    let versions: Vec<&Installed> =
        ledger.trees().filter(|(owner, _)| *owner == name).map(|(_, installed)| installed).collect();
    let trees: Vec<&HostPath> = versions.iter().map(|installed| &installed.tree).collect();
    let present = ledger.runtimes.get(name);
    let handlers: Vec<&HandlerName> = present.into_iter().flat_map(Installed::handlers).collect();
    find(cri, uses, &trees, &handlers)
}

/// The pods that run under a handler.
pub(super) fn handler_users(cri: &CriObservation, handler: &HandlerName) -> Vec<String> {
    words(&find(cri, &TreeUses::new(), &[], &[handler]))
}

fn find(cri: &CriObservation, uses: &TreeUses, trees: &[&HostPath], handlers: &[&HandlerName]) -> Vec<User> {
    let usages: Vec<&TreeUse> = trees.iter().filter_map(|tree| uses.get(*tree)).flatten().collect();
    let in_bundle = |id: &str| {
        usages.iter().any(|usage| matches!(usage, TreeUse::Bundle { id: found, .. } if found == id))
    };
    let sandboxes: &[Sandbox] = match cri {
        CriObservation::Ready(cri) => &cri.sandboxes,
        CriObservation::Unavailable { .. } | CriObservation::Offline => &[],
    };
    let uses_it = |sandbox: &&Sandbox| {
        handlers.iter().any(|handler| handler.as_str() == sandbox.handler) || ids(sandbox).any(in_bundle)
    };
    let pods: Vec<&Sandbox> = sandboxes.iter().filter(uses_it).collect();
    let mut users: Vec<User> = pods
        .iter()
        .map(|pod| User::Pod { namespace: pod.namespace.clone(), name: pod.name.clone() })
        .collect();
    for usage in usages {
        match usage {
            TreeUse::Bundle { id, .. } if pods.iter().any(|pod| ids(pod).any(|known| known == id)) => {}
            TreeUse::Bundle { id, namespace } => {
                users.push(User::Container { id: id.clone(), namespace: namespace.clone() });
            }
            // The processes of pods that are named already would only make the message longer.
            TreeUse::Process { .. } if !pods.is_empty() => {}
            TreeUse::Process { pid, comm } => users.push(User::Process { pid: *pid, comm: comm.clone() }),
        }
    }
    users
}

fn ids(sandbox: &Sandbox) -> impl Iterator<Item = &str> {
    let containers = sandbox.containers.iter().map(|container| container.id.as_str());
    std::iter::once(sandbox.id.as_str()).chain(containers)
}
