//! What `Status` (verbose) tells.
//!
//! `info["config"]` is the CRI plugin's effective configuration as JSON. Its keys are the same in 1.6, 1.7 and 2.x
//! as far as runtimes go (`containerd.defaultRuntimeName`, `containerd.runtimes.X.options`); `sandboxImage` is
//! there up to 1.7 only: 2.0 moved it to the image plugin, which CRI does not show. `runtime_handlers` is empty up
//! to 1.7.

use super::api;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What `Status` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriStatus {
    /// `RuntimeReady`.
    pub runtime_ready: bool,
    /// `NetworkReady`.
    pub network_ready: bool,
    /// The network condition's message, if it is not ready.
    pub network_message: String,
    /// The handlers, sorted, without the empty default one.
    pub handlers: Vec<String>,
    /// The default handler's name; empty if the engine does not tell.
    pub default_handler: String,
    /// The pause image, where CRI tells it (containerd up to 1.7).
    pub sandbox_image: Option<String>,
    /// Settings of each handler, where CRI tells them (containerd).
    pub settings: BTreeMap<String, HandlerSettings>,
}

/// A handler's settings, as far as a pod's configuration depends on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerSettings {
    /// `runtime_type`.
    pub runtime_type: String,
    /// `options.SystemdCgroup`.
    pub systemd_cgroup: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    containerd: Containerd,
    #[serde(rename = "sandboxImage")]
    sandbox_image: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Containerd {
    default_runtime_name: String,
    runtimes: Option<BTreeMap<String, Runtime>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    runtime_type: String,
    options: Option<serde_json::Map<String, serde_json::Value>>,
}

impl CriStatus {
    pub(super) fn from_response(response: api::StatusResponse) -> Self {
        let config = response.info.get("config").map(String::as_str);
        let conditions = response.status.unwrap_or_default().conditions;
        let listed = response.runtime_handlers.into_iter().map(|handler| handler.name);
        Self::from_parts(&conditions, listed, config)
    }

    fn from_parts(
        conditions: &[api::RuntimeCondition],
        listed: impl Iterator<Item = String>,
        config: Option<&str>,
    ) -> Self {
        let condition = |name: &str| conditions.iter().find(|condition| condition.r#type == name);
        let network = condition("NetworkReady");
        // CRI-O has no such JSON, and an engine to come may change it: then only what CRI itself defines is known.
        let config: Config = config.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let settings: BTreeMap<String, HandlerSettings> = config
            .containerd
            .runtimes
            .unwrap_or_default()
            .into_iter()
            .map(|(name, runtime)| (name, HandlerSettings::from(runtime)))
            .collect();
        let mut handlers: Vec<String> =
            listed.chain(settings.keys().cloned()).filter(|n| !n.is_empty()).collect();
        handlers.sort();
        handlers.dedup();
        Self {
            runtime_ready: condition("RuntimeReady").is_some_and(|condition| condition.status),
            network_ready: network.is_some_and(|condition| condition.status),
            network_message: network
                .filter(|condition| !condition.status)
                .map(|condition| condition.message.clone())
                .unwrap_or_default(),
            handlers,
            default_handler: config.containerd.default_runtime_name,
            sandbox_image: config.sandbox_image.filter(|image| !image.is_empty()),
            settings,
        }
    }

    /// The parent cgroup that a pod needs so that it is named as under the kubelet. The kubelet has one driver for
    /// all pods and it must agree with the default handler's: with `SystemdCgroup` runc refuses a plain path, and
    /// without it takes any. `system.slice` exists wherever systemd runs.
    pub fn cgroup_parent(&self, handler: &str) -> &'static str {
        let systemd = |name: &str| self.settings.get(name).is_some_and(|settings| settings.systemd_cgroup);
        if systemd(handler) || systemd(&self.default_handler) { "system.slice" } else { "" }
    }
}

impl From<Runtime> for HandlerSettings {
    fn from(runtime: Runtime) -> Self {
        let option = |name: &str| runtime.options.as_ref().and_then(|options| options.get(name));
        Self {
            systemd_cgroup: option("SystemdCgroup").and_then(serde_json::Value::as_bool).unwrap_or(false),
            runtime_type: runtime.runtime_type,
        }
    }
}
