//! What the agent's pod gets of its node, and why: the only place that says so.
//!
//! The agent does not look at the host itself: it places its own program in one directory and has the host's systemd
//! run it. Who may do that is root on the node, so this table does not make the agent harmless to its own node. It keeps
//! the pod out of the host's namespaces, files and devices, where a mistake does harm and where Pod Security asks why.

#![allow(clippy::indexing_slicing)] // of objects that json! made in the same function

use serde_json::{Map, Value, json};

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
    /// Its value.
    pub value: Held,
    /// Why it is so.
    pub why: &'static str,
}

/// What a setting is, and where.
#[derive(Clone, Copy, Debug)]
pub enum Held {
    /// Yes or no, in the container's security context.
    Flag(bool),
    /// The number of a user, there.
    User(u32),
    /// The name of a profile, there.
    Profile(&'static str),
    /// All capabilities are dropped, there.
    NoCapabilities,
    /// The pod's own field is not set, which means no.
    Unset,
    /// Nothing, unless the chart is asked for it.
    ByChart(&'static str),
}

impl Held {
    /// Its value in the container's security context, if it stands there.
    fn in_context(self) -> Option<Value> {
        match self {
            Self::Flag(is_set) => Some(is_set.into()),
            Self::User(number) => Some(number.into()),
            Self::Profile(kind) => Some(json!({ "type": kind })),
            Self::NoCapabilities => Some(json!({ "drop": ["ALL"] })),
            Self::Unset | Self::ByChart(_) => None,
        }
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(is_set) => write!(f, "{is_set}"),
            Self::User(number) => write!(f, "{number}"),
            Self::Profile(kind) => f.write_str(kind),
            Self::NoCapabilities => f.write_str("drop ALL"),
            Self::Unset => f.write_str("false"),
            Self::ByChart(words) => write!(f, "{words}"),
        }
    }
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
        value: Held::User(0),
        why: "systemd starts units for root only; it asks for the user, not for capabilities",
    },
    Setting {
        name: "appArmorProfile",
        value: Held::Profile("Unconfined"),
        why: "the engines' default profile has no rule for D-Bus, and AppArmor refuses what has none (Ubuntu); where there \
              is no AppArmor it means nothing",
    },
    Setting {
        name: "seLinuxOptions",
        value: Held::ByChart("type: spc_t, only by the value agent.seLinuxType"),
        why: "SELinux (enforcing) keeps a container from sockets and directories of its host",
    },
];

/// What the pod does not have.
pub const DENIED: &[Setting] = &[
    Setting { name: "privileged", value: Held::Flag(false), why: "no device, no kernel interface is needed" },
    Setting {
        name: "capabilities",
        value: Held::NoCapabilities,
        why: "none is needed: files in /run/cofferdam belong to root, and systemd asks for the user only",
    },
    Setting {
        name: "hostPID",
        value: Held::Unset,
        why: "sandboxes in use are found by the report, which systemd runs on the host itself",
    },
    Setting { name: "hostNetwork", value: Held::Unset, why: "the API is reached from the pod's own network" },
    Setting { name: "hostIPC", value: Held::Unset, why: "nothing is shared that way" },
    Setting { name: "readOnlyRootFilesystem", value: Held::Flag(true), why: "the image is one file" },
    Setting { name: "allowPrivilegeEscalation", value: Held::Flag(false), why: "it runs no other program" },
    Setting {
        name: "seccompProfile",
        value: Held::Profile("RuntimeDefault"),
        why: "it makes ordinary system calls only",
    },
];

/// The container's security context: the table's settings, and what says of the user that it is meant. `seLinuxOptions` are
/// added by the chart's value.
pub fn security_context() -> Value {
    let meant = [("runAsGroup".to_owned(), 0.into()), ("runAsNonRoot".to_owned(), false.into())];
    let settings = GRANTED.iter().chain(DENIED);
    let settings =
        settings.filter_map(|setting| Some((setting.name.to_owned(), setting.value.in_context()?)));
    settings.chain(meant).collect::<Map<String, Value>>().into()
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
