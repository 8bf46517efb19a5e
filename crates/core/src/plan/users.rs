//! Who uses a runtime, in people's words: pods by name, then whatever else names its files.

use crate::name::RuntimeName;
use crate::name::{HandlerName, HostPath};
use crate::observation::{CriObservation, Sandbox, TreeUse, TreeUses};
use crate::record::{Installed, Ledger};

/// Everyone who runs from a tree.
pub fn tree_users(cri: &CriObservation, uses: &TreeUses, tree: &HostPath) -> Vec<String> {
    find(cri, uses, &[tree], &[])
}

/// Everyone who uses a runtime in any version that is on the host.
pub(super) fn runtime_users(
    cri: &CriObservation,
    uses: &TreeUses,
    ledger: &Ledger,
    name: &RuntimeName,
) -> Vec<String> {
    let versions: Vec<&Installed> =
        ledger.trees().filter(|(owner, _)| *owner == name).map(|(_, installed)| installed).collect();
    let trees: Vec<&HostPath> = versions.iter().map(|installed| &installed.tree).collect();
    let present = ledger.runtimes.get(name);
    let handlers: Vec<&HandlerName> = present.into_iter().flat_map(Installed::handlers).collect();
    find(cri, uses, &trees, &handlers)
}

/// The pods that run under a handler.
pub(super) fn handler_users(cri: &CriObservation, handler: &HandlerName) -> Vec<String> {
    find(cri, &TreeUses::new(), &[], &[handler])
}

fn find(
    cri: &CriObservation,
    uses: &TreeUses,
    trees: &[&HostPath],
    handlers: &[&HandlerName],
) -> Vec<String> {
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
    let mut users: Vec<String> =
        pods.iter().map(|pod| format!("pod {}/{}", pod.namespace, pod.name)).collect();
    for usage in usages {
        match usage {
            TreeUse::Bundle { id, .. } if pods.iter().any(|pod| ids(pod).any(|known| known == id)) => {}
            TreeUse::Bundle { id, namespace } => {
                users.push(format!("container {id} (namespace {namespace})"));
            }
            // The processes of pods that are named already would only make the message longer.
            TreeUse::Process { .. } if !pods.is_empty() => {}
            TreeUse::Process { pid, comm } => users.push(format!("process {pid} ({comm})")),
        }
    }
    users
}

fn ids(sandbox: &Sandbox) -> impl Iterator<Item = &str> {
    let containers = sandbox.containers.iter().map(|container| container.id.as_str());
    std::iter::once(sandbox.id.as_str()).chain(containers)
}
