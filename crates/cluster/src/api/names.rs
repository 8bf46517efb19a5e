//! Names that others see: labels, annotations, the finalizer, types of conditions. Part of the API.

/// Labels with this prefix say which handlers are proven on a node now: `<prefix><handler>=true`. A kubelet cannot set
/// labels below `node-restriction.kubernetes.io` (admission plugin NodeRestriction).
pub const HANDLER_LABEL_PREFIX: &str = "cofferdam.node-restriction.kubernetes.io/";

/// Its value.
pub const PROVEN: &str = "true";

/// Keeps a SandboxRuntime until no node has it any more.
pub const FINALIZER: &str = "cofferdam.dev/nodes";

/// On everything that the controller makes: the SandboxRuntime that it is for.
pub const OWNER_LABEL: &str = "cofferdam.dev/sandboxruntime";

/// The field manager of the controller's writes, and the source of its Events.
pub const CONTROLLER: &str = "cofferdam-controller";

/// The field manager of an agent's writes.
pub const AGENT: &str = "cofferdam-agent";

/// On a SandboxRuntime: its value changed means "try the failed nodes again".
pub const RETRY_ANNOTATION: &str = "cofferdam.dev/retry";

/// On a SandboxNode, followed by the SandboxRuntime's name: the same on this node.
pub const RETRY_ANNOTATION_PREFIX: &str = "retry.cofferdam.dev/";

/// A node's operating system, as its kubelet labels it.
pub const OS_LABEL: &str = "kubernetes.io/os";
/// The one that agents run on.
pub const LINUX: &str = "linux";

/// Startup taints are below this prefix: `cofferdam.dev/<name>`.
pub const TAINT_PREFIX: &str = "cofferdam.dev/";

/// Labels that kata-deploy's users select by; written on demand, never read by us.
pub const KATA_RUNTIME_LABEL: &str = "katacontainers.io/kata-runtime";
/// The one of its first releases.
pub const OLD_KATA_RUNTIME_LABEL: &str = "kata-containers.io/kata-runtime";
/// Names the engine, in its first releases.
pub const OLD_ENGINE_LABEL: &str = "kata-containers.io/container-runtime";

/// Every node that should have it, has it and proved it.
pub const READY: &str = "Ready";
/// Nodes are being changed, or wait for it.
pub const PROGRESSING: &str = "Progressing";
/// The rollout stopped, or nodes failed.
pub const DEGRADED: &str = "Degraded";
/// On a SandboxNode: its agent can look at the node. The agent writes it, and a dead one no more.
pub const AGENT_READY: &str = "AgentReady";
