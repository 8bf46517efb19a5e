//! Who may do what: tables in code, from which the manifests and the tables of the documentation are generated.
//!
//! ```text
//! rbac       which verb each ServiceAccount has on what, and why
//! policies   what RBAC cannot say: which object, which field
//! host       what the agent's pod gets of its node, and why
//! manifest   the Kubernetes objects and their text
//! ```

pub mod host;
pub mod manifest;
pub mod policies;
pub mod rbac;

/// The namespace of the plain manifests. The chart has the release's.
pub const NAMESPACE: &str = "cofferdam-system";

/// The Lease that the controllers elect a leader by.
pub const LEASE: &str = "cofferdam-controller";

/// One of our ServiceAccounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The controller.
    Controller,
    /// The agent: one pod on each node.
    Agent,
    /// The chart's hook before an uninstall.
    Uninstall,
}

impl Who {
    /// All.
    pub const ALL: [Self; 3] = [Self::Controller, Self::Agent, Self::Uninstall];

    /// The ServiceAccount's name, and that of its roles.
    pub const fn account(self) -> &'static str {
        match self {
            Self::Controller => "cofferdam-controller",
            Self::Agent => "cofferdam-agent",
            Self::Uninstall => "cofferdam-uninstall",
        }
    }

    /// The user's name that the API server gives it.
    pub fn user(self, namespace: &str) -> String {
        format!("system:serviceaccount:{namespace}:{}", self.account())
    }
}
