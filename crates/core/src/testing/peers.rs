//! The edits of other installers and of people, as texts: what their tools make of a configuration file of containerd.
//! Each does what the tool of that name does, no more carefully.

use crate::engine::containerd::DialectError;
use crate::engine::containerd::{Effective, Tables, Tree};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use toml_edit::{Array, DocumentMut, Item, Table, TomlError, value};

/// Which plugin's tables hold the runtimes in `text`, by what its `version` says.
pub fn tables_of(text: &str) -> Tables {
    match Effective::parse(text).map(|parsed| parsed.version()) {
        Ok(version) if version >= 3 => Tables::Runtime,
        Ok(2) | Err(_) => Tables::Grpc,
        Ok(_) => Tables::Cri,
    }
}

/// A tool that prints a document anew (go-toml, `tomlq`): order, comments and spelling are gone.
///
/// # Errors
/// If `text` is no TOML.
pub fn reprint(text: &str) -> Result<String, DialectError> {
    let mut out = String::new();
    if let Tree::Table(table) = Effective::parse(text)?.tree() {
        print(table, &mut Vec::new(), &mut out);
    }
    Ok(out)
}

fn print<'t>(table: &'t BTreeMap<String, Tree>, path: &mut Vec<&'t str>, out: &mut String) {
    for (key, tree) in table.iter().filter(|(_, tree)| !matches!(tree, Tree::Table(_))) {
        let _ = writeln!(out, "{} = {tree}", quoted(key));
    }
    for (key, tree) in table {
        let Tree::Table(child) = tree else { continue };
        path.push(key);
        let header: Vec<String> = path.iter().map(|key| quoted(key)).collect();
        let _ = writeln!(out, "\n[{}]", header.join("."));
        print(child, path, out);
        path.pop();
    }
}

fn quoted(key: &str) -> String {
    let bare = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare { key.to_owned() } else { format!("\"{key}\"") }
}

/// The table of runtimes, made where it is missing; none if something in the way is no table.
fn runtimes(doc: &mut DocumentMut, tables: Tables) -> Option<&mut Table> {
    let mut table = doc.as_table_mut();
    for key in tables.runtimes() {
        let child = table.entry(key).or_insert_with(|| {
            let mut made = Table::new();
            made.set_implicit(true);
            Item::Table(made)
        });
        table = child.as_table_mut()?;
    }
    Some(table)
}

fn runtime(kind: &str, option: (&str, &str)) -> Table {
    let mut entry = Table::new();
    entry.insert("runtime_type", value(kind));
    let mut options = Table::new();
    options.insert(option.0, value(option.1));
    entry.insert("options", Item::Table(options));
    entry
}

/// kata-deploy on containerd 2.x: the file of its own.
pub fn kata_drop_in(version: i64, tables: Tables) -> String {
    let plugin = tables.plugin();
    format!(
        "version = {version}\n[plugins.\"{plugin}\".containerd.runtimes.kata-qemu]\n\
         runtime_type = \"io.containerd.kata-qemu.v2\"\n\
         runtime_path = \"/opt/kata/bin/containerd-shim-kata-v2\"\nprivileged_without_host_devices = true\n\
         pod_annotations = [\"io.katacontainers.*\"]\n\
         [plugins.\"{plugin}\".containerd.runtimes.kata-qemu.options]\n\
         ConfigPath = \"/opt/kata/share/defaults/kata-containers/configuration-qemu.toml\"\n"
    )
}

/// kata-deploy on containerd 2.0 and 2.1: `path` among the imports of the main file.
///
/// # Errors
/// If `text` is no TOML.
pub fn add_import(text: &str, path: &str) -> Result<String, TomlError> {
    let mut doc: DocumentMut = text.parse()?;
    if let Some(list) = doc.entry("imports").or_insert_with(|| value(Array::new())).as_array_mut() {
        list.push(path);
    }
    Ok(doc.to_string())
}

/// Its removal, which leaves an empty list.
///
/// # Errors
/// If `text` is no TOML.
pub fn drop_import(text: &str, path: &str) -> Result<String, TomlError> {
    let mut doc: DocumentMut = text.parse()?;
    if let Some(list) = doc.get_mut("imports").and_then(Item::as_array_mut) {
        list.retain(|item| item.as_str() != Some(path));
    }
    Ok(doc.to_string())
}

/// kata-deploy on containerd 1.x: a runtime in the main file.
///
/// # Errors
/// If `text` is no TOML.
pub fn kata_main(text: &str) -> Result<String, TomlError> {
    let mut doc: DocumentMut = text.parse()?;
    if let Some(runtimes) = runtimes(&mut doc, tables_of(text)) {
        let config = "/opt/kata/share/defaults/kata-containers/configuration-qemu.toml";
        runtimes
            .insert("kata-qemu", Item::Table(runtime("io.containerd.kata-qemu.v2", ("ConfigPath", config))));
    }
    Ok(doc.to_string())
}

/// Its removal.
///
/// # Errors
/// If `text` is no TOML.
pub fn kata_main_removed(text: &str) -> Result<String, TomlError> {
    without_runtime(text, "kata-qemu")
}

fn without_runtime(text: &str, name: &str) -> Result<String, TomlError> {
    let mut doc: DocumentMut = text.parse()?;
    if let Some(runtimes) = runtimes(&mut doc, tables_of(text)) {
        runtimes.remove(name);
    }
    Ok(doc.to_string())
}

/// `nvidia-ctk runtime configure --set-as-default`: its runtime, a copy of runc's with another binary, and the default
/// changed, all printed anew.
///
/// # Errors
/// If `text` is no TOML.
pub fn nvidia(text: &str) -> Result<String, String> {
    let mut doc: DocumentMut = text.parse().map_err(|error: TomlError| error.to_string())?;
    if let Some(runtimes) = runtimes(&mut doc, tables_of(text)) {
        let binary = ("BinaryName", "/usr/bin/nvidia-container-runtime");
        runtimes.insert("nvidia", Item::Table(runtime("io.containerd.runc.v2", binary)));
    }
    default_runtime(doc, tables_of(text), "nvidia")
}

/// Its removal.
///
/// # Errors
/// If `text` is no TOML.
pub fn nvidia_removed(text: &str) -> Result<String, String> {
    let doc = without_runtime(text, "nvidia").map_err(|error| error.to_string())?;
    default_runtime(doc.parse().map_err(|error: TomlError| error.to_string())?, tables_of(text), "runc")
}

fn default_runtime(mut doc: DocumentMut, tables: Tables, name: &str) -> Result<String, String> {
    let path = ["plugins", tables.plugin(), "containerd"];
    let found = path.iter().try_fold(doc.as_item_mut(), |item, key| item.get_mut(key));
    if let Some(table) = found.and_then(Item::as_table_mut) {
        table.insert("default_runtime_name", value(name));
    }
    reprint(&doc.to_string()).map_err(|error| error.to_string())
}

/// `nvidia-ctk ... --drop-in-config` on containerd 1.x, where an imported file replaces a plugin's tables: the whole of
/// CRI's settings, every runtime with them, and its own.
///
/// # Errors
/// If `text` is no TOML.
pub fn nvidia_copy(text: &str) -> Result<String, String> {
    let copy = nvidia(text)?;
    let mut doc: DocumentMut = copy.parse().map_err(|error: TomlError| error.to_string())?;
    doc.retain(|key, _| matches!(key, "version" | "plugins"));
    if let Some(plugins) = doc.get_mut("plugins").and_then(Item::as_table_mut) {
        plugins.retain(|key, _| key == tables_of(text).plugin());
    }
    Ok(doc.to_string())
}

/// What the shim installers of Spin and KWasm append to the file, and take out again as text.
pub fn spin_block(text: &str) -> String {
    let plugin = tables_of(text).plugin();
    format!(
        "\n# RCM runtime config for spin-v2\n[plugins.\"{plugin}\".containerd.runtimes.spin-v2]\n\
         runtime_type = \"/opt/rcm/bin/containerd-shim-spin-v2\"\n"
    )
}

/// What Kontain's installer adds.
pub fn kontain_block(text: &str) -> String {
    let plugin = tables_of(text).plugin();
    format!(
        "[plugins.\"{plugin}\".containerd.runtimes.krun]\n  runtime_type = \"io.containerd.krun.v2\"\n  \
         privileged_without_host_devices = true\n  pod_annotations = [\"app.kontain.*\"]\n"
    )
}
