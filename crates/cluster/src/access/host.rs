//! What the agent's pod gets of its node, and why: the only place that says so.
//!
//! The agent does not look at the host itself: it places its own program in one directory and has the host's systemd
//! run it. Who may do that is root on the node, so this table does not make the agent harmless to its own node. It keeps
//! the pod out of the host's namespaces, files and devices, where a mistake does harm and where Pod Security asks why.

#![allow(clippy::indexing_slicing)] // of objects that json! made in the same function

use serde_json::{Value, json};

/// A directory of the host in the pod.
#[derive(Clone, Copy, Debug)]
pub struct HostPath {
    /// The volume's name.
    pub name: &'static str,
    /// Where it is on the host and in the pod.
    pub path: &'static str,
    /// The hostPath's type; empty: no check.
    pub kind: &'static str,
    /// Whether the pod cannot write it.
    pub read_only: bool,
    /// Why it is needed.
    pub why: &'static str,
}

/// A setting of the pod or container that is about its power.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the pod's manifest.
    pub name: &'static str,
    /// Its value, in words.
    pub value: &'static str,
    /// Why it is so.
    pub why: &'static str,
}

/// Directories.
pub const PATHS: &[HostPath] = &[
    HostPath {
        name: "run-cofferdam",
        path: "/run/cofferdam",
        kind: "DirectoryOrCreate",
        read_only: false,
        why: "the agent places its own program there for systemd to start, writes requests and reads reports; it is \
              tmpfs, for root only",
    },
    HostPath {
        name: "run-dbus",
        path: "/run/dbus",
        kind: "",
        read_only: true,
        why: "the system bus's socket, over which systemd starts the report and the worker; the directory, since a \
              mounted socket would be the old one after the bus is restarted; without a type, since a host may have no bus",
    },
    HostPath {
        name: "run-systemd",
        path: "/run/systemd",
        kind: "Directory",
        read_only: true,
        why: "systemd's own socket, for hosts without a bus or while it is restarted",
    },
];

/// Settings that grant something.
pub const GRANTED: &[Setting] = &[
    Setting {
        name: "runAsUser",
        value: "0",
        why: "systemd starts units for root only; it asks for the user, not for capabilities",
    },
    Setting {
        name: "appArmorProfile",
        value: "Unconfined",
        why: "the engines' default profile has no rule for D-Bus, and AppArmor refuses what has none (Ubuntu); where there \
              is no AppArmor it means nothing",
    },
    Setting {
        name: "seLinuxOptions",
        value: "type: spc_t, only by the value agent.seLinuxType",
        why: "SELinux (enforcing) keeps a container from sockets and directories of its host",
    },
];

/// What the pod does not have.
pub const DENIED: &[Setting] = &[
    Setting { name: "privileged", value: "false", why: "no device, no kernel interface is needed" },
    Setting {
        name: "capabilities",
        value: "drop ALL",
        why: "none is needed: files in /run/cofferdam belong to root, and systemd asks for the user only",
    },
    Setting {
        name: "hostPID",
        value: "false",
        why: "sandboxes in use are found by the report, which systemd runs on the host itself",
    },
    Setting { name: "hostNetwork", value: "false", why: "the API is reached from the pod's own network" },
    Setting { name: "hostIPC", value: "false", why: "nothing is shared that way" },
    Setting { name: "readOnlyRootFilesystem", value: "true", why: "the image is one file" },
    Setting { name: "allowPrivilegeEscalation", value: "false", why: "it runs no other program" },
    Setting { name: "seccompProfile", value: "RuntimeDefault", why: "it makes ordinary system calls only" },
];

/// The container's security context. `seLinuxOptions` are added by the chart's value.
pub fn security_context() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "appArmorProfile": {"type": "Unconfined"},
        "capabilities": {"drop": ["ALL"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsGroup": 0,
        "runAsNonRoot": false,
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The container's mounts.
pub fn mounts() -> Value {
    PATHS
        .iter()
        .map(|path| {
            let mut mount = json!({
                "name": path.name,
                "mountPath": path.path,
                // What is mounted on the host later (or again) is seen in the pod.
                "mountPropagation": "HostToContainer",
            });
            if path.read_only {
                mount["readOnly"] = true.into();
            }
            mount
        })
        .collect()
}

/// The pod's volumes.
pub fn volumes() -> Value {
    PATHS
        .iter()
        .map(|path| {
            let mut source = json!({"path": path.path});
            if !path.kind.is_empty() {
                source["type"] = path.kind.into();
            }
            json!({"name": path.name, "hostPath": source})
        })
        .collect()
}

/// The table as Markdown.
pub fn document() -> String {
    let mut text = String::from("| the agent's pod has | | why |\n|---|---|---|\n");
    for path in PATHS {
        let access = if path.read_only { "read-only" } else { "read and write" };
        text.push_str(&format!("| hostPath `{}` | {access} | {} |\n", path.path, path.why));
    }
    for setting in GRANTED {
        text.push_str(&format!("| `{}` | {} | {} |\n", setting.name, setting.value, setting.why));
    }
    text.push_str("\n| it has not | | why |\n|---|---|---|\n");
    for setting in DENIED {
        text.push_str(&format!("| `{}` | {} | {} |\n", setting.name, setting.value, setting.why));
    }
    text
}
