//! `[handler.engine.*]`: what an engine's entry shall say beyond what follows from the handler.

use super::ContainerdOverrides;
use super::finding::FindingKind;
use super::reader::{Reader, Section, Spanned};
use crate::engine::Value;
use std::collections::BTreeMap;
use toml_edit::Item;

const ENGINES: &[&str] = &["containerd", "crio", "docker"];
const CONTAINERD: &[&str] = &["runtime-type", "config-type-url", "entry", "options"];

/// Keys of a runtime's table that follow from the descriptor, with what to write instead.
const DERIVED_ENTRY: &[(&str, &str)] = &[
    ("runtime_type", "it follows from `shim` or `oci-runtime`; `runtime-type` replaces it"),
    (
        "runtime_path",
        "it follows from `shim`; with it, containerd 2.x kills running containers at each restart",
    ),
    ("options", "write them in `[handler.engine.containerd.options]`"),
    ("pod_annotations", "write `pod-annotations` in `[[handler]]`"),
    ("container_annotations", "write `container-annotations` in `[[handler]]`"),
    ("privileged_without_host_devices", "write `privileged-without-host-devices` in `[[handler]]`"),
    ("snapshotter", "write `snapshotter` in `[[handler]]`"),
];

/// The same for its `options`.
const DERIVED_OPTIONS: &[(&str, &str)] = &[
    ("BinaryName", "it follows from `oci-runtime`"),
    ("Root", "every OCI runtime gets a root of its own"),
    ("ConfigPath", "it follows from `config`"),
    ("TypeUrl", "write `config-type-url` in `[handler.engine.containerd]`"),
];

/// Reads `[handler.engine]`.
pub(super) fn engines(reader: &mut Reader<'_>, handler: &Section<'_>) -> ContainerdOverrides {
    let Some(engine) = reader.section(handler, "engine", "`[handler.engine]`") else {
        return ContainerdOverrides::default();
    };
    reader.only(&engine, ENGINES, |_| None);
    for later in ["crio", "docker"].into_iter().filter(|later| engine.has(later)) {
        let message = format!("overrides for `{later}` are not supported yet");
        let hint = Some("this release knows `[handler.engine.containerd]`; remove the table".to_owned());
        reader.report(FindingKind::NotSupported, &engine.key_span(later), &message, hint);
    }
    reader
        .section(&engine, "containerd", "`[handler.engine.containerd]`")
        .map(|section| containerd(reader, handler, &section))
        .unwrap_or_default()
}

fn containerd(reader: &mut Reader<'_>, handler: &Section<'_>, section: &Section<'_>) -> ContainerdOverrides {
    reader.only(section, CONTAINERD, |key| {
        Some(format!("a key of containerd's runtime table belongs in `entry`: `entry = {{ {key} = ... }}`"))
    });
    let runtime_type = reader.text(section, "runtime-type").map(|value| runtime_type(reader, &value));
    let config_type_url = reader.text(section, "config-type-url").map(|value| {
        if value.value.is_empty() {
            reader.report(FindingKind::BadValue, &value.span, "`config-type-url` is empty", None);
        }
        value.value.to_owned()
    });
    if config_type_url.is_some() && !handler.has("config") {
        let hint =
            Some("it is the type of the file that `config` names: add `config`, or remove it".to_owned());
        let span = section.key_span("config-type-url");
        reader.report(FindingKind::Contradiction, &span, "`config-type-url` needs a `config`", hint);
    }
    ContainerdOverrides {
        runtime_type,
        config_type_url,
        entry: values(reader, section, "entry", DERIVED_ENTRY),
        options: values(reader, section, "options", DERIVED_OPTIONS),
    }
}

/// A name of the form `io.containerd.x.v2`, or an absolute path: containerd takes nothing else.
fn runtime_type(reader: &mut Reader<'_>, value: &Spanned<&str>) -> String {
    let name =
        |s: &str| s.split('.').count() >= 2 && s.split('.').all(|part| !part.is_empty()) && !s.contains('/');
    let plain = !value.value.chars().any(|c| c.is_control() || c.is_whitespace());
    if !plain || !(name(value.value) || crate::name::HostPath::new(value.value).is_ok()) {
        let hint =
            Some("e.g. `io.containerd.kata.v2`; without the key it follows from the handler".to_owned());
        let message =
            format!("`runtime-type`: `{}` is neither a runtime's name nor an absolute path", value.value);
        reader.report(FindingKind::BadName, &value.span, &message, hint);
    }
    value.value.to_owned()
}

/// A table whose keys go into the engine's configuration as they are.
fn values(
    reader: &mut Reader<'_>,
    parent: &Section<'_>,
    key: &str,
    derived: &[(&str, &str)],
) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let Some(section) = reader.section(parent, key, &format!("`{key}`")) else { return found };
    for (name, item) in section.entries() {
        let at = section.key_span(name);
        if let Some((_, instead)) = derived.iter().find(|(derived, _)| *derived == name) {
            let message = format!("`{key}` cannot set `{name}`");
            reader.report(FindingKind::Contradiction, &at, &message, Some((*instead).to_owned()));
        } else if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        {
            let message = format!("`{name}` is not a key of containerd's configuration");
            let hint = Some("keys there are made of A-Z, a-z, 0-9, `_` and -".to_owned());
            reader.report(FindingKind::BadName, &at, &message, hint);
        } else if let Some(value) = value(item) {
            found.insert(name.to_owned(), value);
        } else {
            let message =
                format!("`{name}` must be a string, a whole number, true or false, or a list of strings");
            reader.report(FindingKind::WrongType, &section.value_span(name), &message, None);
        }
    }
    found
}

fn value(item: &Item) -> Option<Value> {
    match item.as_value()? {
        toml_edit::Value::String(text) => Some(Value::Text(text.value().clone())),
        toml_edit::Value::Integer(number) => Some(Value::Integer(*number.value())),
        toml_edit::Value::Boolean(flag) => Some(Value::Bool(*flag.value())),
        toml_edit::Value::Array(list) => {
            list.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>().map(Value::List)
        }
        _ => None,
    }
}
