//! What is applied to a cluster by those who decide outside of it: RuntimeClasses and label commands, and for fleets
//! without our API the pods that do the work. Pure: no cluster is asked.
//!
//! ```text
//! no_api   Namespace, ConfigMap and DaemonSet for each node selector
//! ```

mod no_api;

use crate::access;
use crate::api::RuntimeClasses;
use crate::api::names::{HANDLER_LABEL_PREFIX, PROVEN};
use crate::file::{Declared, RuntimeFile};
use crate::runtime_class::{handlers, runtime_classes};
use serde_json::Value;

/// How it is rendered.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the pods that do the work are part of it.
    pub no_api: bool,
    /// Their image.
    pub image: String,
    /// Their namespace.
    pub namespace: String,
    /// Whether they remove what an earlier file brought and this one does not name.
    pub prune: bool,
    /// The SELinux type of their container, for hosts that enforce SELinux.
    pub selinux_type: Option<String>,
}

/// Why a file cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Only the package's files say which handlers it has.
    #[error(
        "the handlers of `{0}` stand in its package, which is not looked at here; next: list them in spec.handlers, or set \
         spec.runtimeClasses to Unmanaged"
    )]
    UnknownHandlers(String),
    /// Two RuntimeClasses of one name.
    #[error(
        "the RuntimeClass `{class}` is that of `{first}` and of `{second}`; next: give one a runtimeClassName"
    )]
    Twice {
        /// The RuntimeClass.
        class: String,
        /// A SandboxRuntime.
        first: String,
        /// And another.
        second: String,
    },
    /// Each pod knows its part of the file only.
    #[error(
        "a file with several node selectors cannot be pruned: the pods of one would remove what those of the other \
         installed on a node that both select; next: render one file for each selector, whose nodes are apart"
    )]
    Prune,
    /// A defect of ours.
    #[error("cannot write YAML: {0}")]
    Yaml(String),
}

/// Everything that is applied, as YAML, with the label commands as comments at its head.
///
/// # Errors
/// If handlers are not known, or clash.
pub fn render(file: &RuntimeFile, options: &Options) -> Result<String, RenderError> {
    let mut objects: Vec<Value> = Vec::new();
    if options.no_api {
        objects.extend(no_api::objects(file, options)?);
    }
    let mut classes: Vec<(String, &str)> = Vec::new();
    for declared in &file.runtimes {
        let managed = declared.spec.runtime_classes == RuntimeClasses::Managed;
        if managed && handlers(&declared.spec, &[]).is_empty() {
            return Err(RenderError::UnknownHandlers(declared.name.clone()));
        }
        for class in runtime_classes(&declared.name, &declared.spec, &[]) {
            let name = class.metadata.name.clone().unwrap_or_default();
            if let Some((_, first)) = classes.iter().find(|(known, _)| *known == name) {
                let (first, second) = ((*first).to_owned(), declared.name.clone());
                return Err(RenderError::Twice { class: name, first, second });
            }
            classes.push((name, &declared.name));
            objects.push(json(&class)?);
        }
    }
    let yaml = access::manifest::yaml(&objects).map_err(RenderError::Yaml)?;
    Ok(format!("{}{yaml}", head(file, options)))
}

fn json(value: &impl serde::Serialize) -> Result<Value, RenderError> {
    serde_json::to_value(value).map_err(|error| RenderError::Yaml(error.to_string()))
}

fn head(file: &RuntimeFile, options: &Options) -> String {
    let mut text = String::from("# Made by: kubectl cofferdam render\n");
    let commands: Vec<String> = file.runtimes.iter().flat_map(labels).collect();
    if !commands.is_empty() {
        let when = if options.no_api {
            "once the pods below are ready (their init container proved the runtime)"
        } else {
            "once the nodes have the runtime (cofferdam apply, install or an image that holds it)"
        };
        text.push_str(&format!("#\n# RuntimeClasses select nodes by a label. Set it {when}:\n#\n"));
        for command in commands {
            text.push_str(&format!("#   {command}\n"));
        }
    }
    text
}

/// The commands that tell the scheduler which nodes have a runtime. None where the file chose labels of its own.
fn labels(declared: &Declared) -> Vec<String> {
    let spec = &declared.spec;
    if !spec.scheduling.node_selector.is_empty() {
        return Vec::new();
    }
    let pairs: Vec<String> = spec.node_selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let nodes = if pairs.is_empty() { "--all".to_owned() } else { format!("-l {}", pairs.join(",")) };
    let command = |name: &str| format!("kubectl label nodes {nodes} {HANDLER_LABEL_PREFIX}{name}={PROVEN}");
    handlers(spec, &[]).iter().map(|handler| command(&handler.name)).collect()
}
