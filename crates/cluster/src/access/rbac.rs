//! Which verb each ServiceAccount has on what, and why. There is no wildcard, no secret, no `escalate`, `bind` or
//! `impersonate`: the type has no word for them.

use super::{LEASE, Who};
use crate::api::GROUP;

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read all.
    List,
    /// Be told of changes.
    Watch,
    /// Make one.
    Create,
    /// Change parts of one.
    Patch,
    /// Delete one.
    Delete,
}

impl Verb {
    /// As RBAC writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Within {
    /// On cluster-scoped objects.
    Cluster,
    /// In the namespace that Cofferdam runs in.
    Own,
    /// In the namespace `default`, where Events about cluster-scoped objects are.
    Default,
}

/// One resource and what it is needed for, a verb at a time.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Whose.
    pub who: Who,
    /// Where.
    pub within: Within,
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with `/status` for the subresource.
    pub resource: &'static str,
    /// Only objects of these names; empty: all.
    pub names: &'static [&'static str],
    /// Each verb with its reason.
    pub needs: &'static [(Verb, &'static str)],
}

const LEASES: &str = "coordination.k8s.io";

/// The table.
pub const TABLE: &[Row] = &[
    Row {
        who: Who::Controller,
        within: Within::Cluster,
        group: GROUP,
        resource: "sandboxruntimes",
        names: &[],
        needs: &[
            (Verb::List, "what the fleet should have"),
            (Verb::Watch, "to hear of a change at once"),
            (Verb::Patch, "our finalizer (a policy refuses every other field)"),
        ],
    },
    Row {
        who: Who::Controller,
        within: Within::Cluster,
        group: GROUP,
        resource: "sandboxruntimes/status",
        names: &[],
        needs: &[(Verb::Patch, "says how far the rollout is")],
    },
    Row {
        who: Who::Controller,
        within: Within::Cluster,
        group: GROUP,
        resource: "sandboxnodes",
        names: &[],
        needs: &[
            (Verb::List, "what each node has"),
            (Verb::Watch, "to hear of a node's progress at once"),
            (Verb::Create, "for a node that comes"),
            (Verb::Patch, "says what a node should have"),
        ],
    },
    Row {
        who: Who::Controller,
        within: Within::Cluster,
        group: "",
        resource: "nodes",
        names: &[],
        needs: &[
            (Verb::List, "which nodes there are, their labels, whether they are ready"),
            (Verb::Watch, "to hear of a node that comes, goes or fails"),
            (Verb::Patch, "our labels and our taint (a policy refuses every other field)"),
        ],
    },
    Row {
        who: Who::Controller,
        within: Within::Cluster,
        group: "node.k8s.io",
        resource: "runtimeclasses",
        names: &[],
        needs: &[
            (Verb::List, "which RuntimeClasses are ours"),
            (Verb::Watch, "to mend one that was edited or deleted"),
            (Verb::Create, "one for each handler"),
            (Verb::Patch, "to mend our own (a policy refuses others')"),
            (Verb::Delete, "our own, with the SandboxRuntime (a policy refuses others')"),
        ],
    },
    Row {
        who: Who::Controller,
        within: Within::Default,
        group: "events.k8s.io",
        resource: "events",
        names: &[],
        needs: &[(Verb::Create, "tells what happened"), (Verb::Patch, "counts what happens again")],
    },
    Row {
        who: Who::Controller,
        within: Within::Own,
        group: LEASES,
        resource: "leases",
        names: &[],
        needs: &[(Verb::Create, "the leader's Lease; RBAC cannot limit this verb to a name")],
    },
    Row {
        who: Who::Controller,
        within: Within::Own,
        group: LEASES,
        resource: "leases",
        names: &[LEASE],
        needs: &[(Verb::Get, "who leads"), (Verb::Patch, "to take the lead, to keep it, to give it up")],
    },
    Row {
        who: Who::Agent,
        within: Within::Cluster,
        group: GROUP,
        resource: "sandboxnodes",
        names: &[],
        needs: &[
            (Verb::List, "what its node should have; RBAC cannot limit this to one object for each pod"),
            (Verb::Watch, "to hear of a change at once, and to sleep otherwise"),
        ],
    },
    Row {
        who: Who::Agent,
        within: Within::Cluster,
        group: GROUP,
        resource: "sandboxnodes/status",
        names: &[],
        needs: &[(Verb::Patch, "says what its node has (a policy refuses other nodes')")],
    },
    Row {
        who: Who::Uninstall,
        within: Within::Cluster,
        group: GROUP,
        resource: "sandboxnodes",
        names: &[],
        needs: &[(Verb::List, "which handlers nodes have, and how far the removal is")],
    },
    Row {
        who: Who::Uninstall,
        within: Within::Cluster,
        group: "",
        resource: "pods",
        names: &[],
        needs: &[(Verb::List, "whether one runs with our handlers; agents' reports may be minutes old")],
    },
    Row {
        who: Who::Uninstall,
        within: Within::Cluster,
        group: "node.k8s.io",
        resource: "runtimeclasses",
        names: &[],
        needs: &[(Verb::List, "which of them name our handlers")],
    },
    Row {
        who: Who::Uninstall,
        within: Within::Cluster,
        group: GROUP,
        resource: "sandboxruntimes",
        names: &[],
        needs: &[
            (Verb::List, "which are to go, and which are left"),
            (Verb::Delete, "has the nodes cleaned"),
        ],
    },
];

/// The rows of one ServiceAccount in one place.
pub fn rows(who: Who, within: Within) -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(move |row| row.who == who && row.within == within)
}

/// The table as Markdown.
pub fn document() -> String {
    let mut text = String::from("| who | where | what | verb | why |\n|---|---|---|---|---|\n");
    for row in TABLE {
        let within = match row.within {
            Within::Cluster => "cluster",
            Within::Own => "own namespace",
            Within::Default => "namespace `default`",
        };
        let group = if row.group.is_empty() { String::new() } else { format!(".{}", row.group) };
        let (resource, subresource) = row.resource.split_once('/').unwrap_or((row.resource, ""));
        let slash = if subresource.is_empty() { "" } else { "/" };
        let names = match row.names {
            [] => String::new(),
            names => format!(" named `{}`", names.join("`, `")),
        };
        for (verb, why) in row.needs {
            text.push_str(&format!(
                "| {} | {within} | `{resource}{group}{slash}{subresource}`{names} | {} | {why} |\n",
                row.who.account(),
                verb.word()
            ));
        }
    }
    text
}
