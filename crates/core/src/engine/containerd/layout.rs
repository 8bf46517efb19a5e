//! Where and how entries go into a configuration, and what is refused before anything is written.

use super::effective::{CRI_PLUGINS, Effective};
use super::error::{DialectError, Place};
use super::imports::{self, Loaded};
use super::rendered;
use super::scan::Scan;
use super::tree::Tree;
use super::{ConfigVersion, Entry, RUNC_SHIM, Registrations, Tables};
use crate::engine::{EngineVersion, Value};
use crate::name::{HandlerName, HostPath, RuntimeName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A configuration as it was found.
#[derive(Clone, Copy, Debug)]
pub struct ConfigInput<'a> {
    /// The engine's release. None: an offline tree.
    pub engine: Option<EngineVersion>,
    /// The root file as the engine names it: relative imports and the folder of drop-ins follow it.
    pub config: &'a HostPath,
    /// The root file with links followed: its key in `files`.
    pub root: &'a HostPath,
    /// The texts of the root file and of each file that it imports, *without anything of ours*: the caller has cut
    /// our parts out of the root and left our drop-ins away. No key, no file.
    pub files: &'a BTreeMap<HostPath, String>,
    /// The effective configuration, if there is one (it may hold our handlers).
    pub effective: Option<&'a Effective>,
    /// The handlers that are ours at present.
    pub ours: &'a BTreeSet<HandlerName>,
}

/// How entries are added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Into the file that holds CRI's tables. On 1.x an imported file replaces a plugin's tables whole.
    InPlace,
    /// One file per runtime in `dir`, which the root file imports. From 2.0 on tables merge deeply.
    DropIn {
        /// The folder.
        dir: HostPath,
        /// What the root file says of it.
        import: Import,
    },
}

/// Whether the root file imports the folder of drop-ins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Import {
    /// It does: the root file stays as it is.
    Present,
    /// This pattern must be among its imports.
    Ensure(String),
}

/// Where and how entries go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The file that [`super::write_root`] edits: the root file, or on 1.x the imported file whose tables count.
    pub file: HostPath,
    /// The configuration version of root and drop-ins.
    pub version: ConfigVersion,
    /// Whether the file must be given its `version` (it is absent, or has neither a version nor plugin tables).
    pub add_version: bool,
    /// Which plugin's tables hold the runtimes.
    pub tables: Tables,
    /// How entries are added.
    pub placement: Placement,
    /// 2.0 to 2.2: a handler's snapshotter must be said once more beside the image settings (also in version 2,
    /// whose migration does not do it). Later ones take it without harm.
    pub platforms: bool,
    /// Handlers that containerd defaults to while the file has no table of runtimes, and forgets once it has one.
    pub keep: Vec<Entry>,
}

/// The folder for drop-ins beside the root file, where no folder is imported yet.
const OWN_DIR: &str = "cofferdam.d";

impl Layout {
    /// The drop-in of `runtime`; none if entries are added in place.
    pub fn drop_in_path(&self, runtime: &RuntimeName) -> Option<HostPath> {
        let Placement::DropIn { dir, .. } = &self.placement else { return None };
        let name = if dir.file_name() == OWN_DIR {
            format!("{runtime}.toml")
        } else {
            format!("cofferdam-{runtime}.toml")
        };
        dir.join(&name).ok()
    }
}

/// Decides where and how entries go.
///
/// # Errors
/// If a file is not TOML, is of a version that is not supported, is rendered by its distribution, or if CRI is disabled.
pub fn layout(input: &ConfigInput<'_>) -> Result<Layout, DialectError> {
    rendered::refuse(input)?;
    let files = imports::load(input)?;
    for file in &files {
        cri_enabled(file.path, &file.scan)?;
    }
    if input.effective.is_some_and(|effective| !effective.cri_enabled()) {
        return Err(disabled(Place::default(), "disabled_plugins"));
    }
    let modern = input.engine.map(|engine| engine.major >= 2);
    let root = files.first().filter(|file| file.path == input.root);
    let (version, add_version) = version(input, &files, modern)?;
    let has = |scan: &Scan<'_>, tables: Tables| scan.tree.get(&["plugins", tables.plugin()]).is_some();
    let newer_tables = modern != Some(false) && files.iter().any(|file| has(&file.scan, Tables::Runtime));
    let tables = if version >= ConfigVersion::V3 || newer_tables { Tables::Runtime } else { Tables::Grpc };
    let drop_in = modern.unwrap_or(tables == Tables::Runtime);
    let platforms = input.engine.is_none_or(|engine| (engine.major, engine.minor) < (2, 3));
    if drop_in {
        let placement = drop_in_placement(input, root.map(|file| &file.scan));
        let file = input.root.clone();
        return Ok(Layout { file, version, add_version, tables, placement, platforms, keep: Vec::new() });
    }
    let last = files.iter().rev().find(|file| has(&file.scan, tables)).or(root);
    let keep = match last {
        Some(file) if file.scan.tree.get(&tables.runtimes()).is_some() => Vec::new(),
        _ => defaults(input),
    };
    let file = last.map_or(input.root, |file| file.path).clone();
    let add_version = add_version && &file == input.root;
    Ok(Layout { file, version, add_version, tables, placement: Placement::InPlace, platforms: false, keep })
}

/// Refuses entries that cannot be added: handlers that exist (see [`foreign_handlers`]) and keys that the engine does
/// not know yet and would ignore.
///
/// # Errors
/// A conflict, or an unsupported key.
pub fn admit(input: &ConfigInput<'_>, wanted: &Registrations) -> Result<(), DialectError> {
    foreign_handlers(input, wanted)?;
    let Some(engine) = input.engine.filter(|engine| (engine.major, engine.minor) < (1, 7)) else {
        return Ok(());
    };
    match wanted.values().flatten().find(|entry| entry.snapshotter().is_some()) {
        None => Ok(()),
        Some(entry) => Err(DialectError::Unsupported {
            place: Place::file(input.root),
            what: format!(
                "the handler `{}` needs a snapshotter of its own, which containerd {engine} ignores",
                entry.handler
            ),
            hint: "containerd 1.7 or later is needed for this handler".to_owned(),
        }),
    }
}

/// Refuses handlers that someone else has already defined. Defaults of containerd (`runc`) count.
///
/// # Errors
/// A conflict that names file and line.
pub fn foreign_handlers(input: &ConfigInput<'_>, wanted: &Registrations) -> Result<(), DialectError> {
    let files = imports::load(input)?;
    let mut owners: BTreeMap<&HandlerName, &RuntimeName> = BTreeMap::new();
    for (runtime, entry) in
        wanted.iter().flat_map(|(runtime, list)| list.iter().map(move |entry| (runtime, entry)))
    {
        let name = &entry.handler;
        if let Some(other) = owners.insert(name, runtime) {
            return Err(DialectError::Conflict {
                place: Place::default(),
                what: format!("the runtimes `{other}` and `{runtime}` both define the handler `{name}`"),
                hint: "rename the handler in one of them".to_owned(),
            });
        }
        let taken = |place| DialectError::Conflict {
            place,
            what: format!("the handler `{name}` already exists and is not ours"),
            hint: "rename the handler in the package's descriptor, or remove that table first".to_owned(),
        };
        for file in &files {
            for tables in [Tables::Grpc, Tables::Runtime] {
                let [a, b, c, d] = tables.runtimes();
                let path = [a, b, c, d, name.as_str()];
                if file.scan.tree.get(&path).is_some() {
                    let offset = file.scan.offset(&path);
                    let place = offset.map_or_else(
                        || Place::file(file.path),
                        |at| Place::at(file.path, file.scan.text, at),
                    );
                    return Err(taken(place));
                }
            }
        }
        let known = input.effective.is_some_and(|effective| effective.handlers().contains_key(name.as_str()));
        if known && !input.ours.contains(name) {
            return Err(taken(Place::default()));
        }
    }
    Ok(())
}

/// Refuses to take handlers away that the configuration names as the default (CRI would not start without it), or that
/// another tool copied: the copy would name files that are gone.
///
/// # Errors
/// A conflict that names file and line.
pub fn dismiss(input: &ConfigInput<'_>, going: &BTreeSet<HandlerName>) -> Result<(), DialectError> {
    let goes = |name: &str| going.iter().any(|handler| handler.as_str() == name);
    let conflict = |place, name: &str| DialectError::Conflict {
        place,
        what: format!("`default_runtime_name` is `{name}`, which would go"),
        hint: "name another default runtime and restart containerd first".to_owned(),
    };
    for file in imports::load(input)? {
        for tables in [Tables::Grpc, Tables::Runtime] {
            let path = ["plugins", tables.plugin(), "containerd", "default_runtime_name"];
            if let Some(name) = file.scan.tree.get(&path).and_then(Tree::text).filter(|name| goes(name)) {
                let place = Place::at(file.path, file.scan.text, file.scan.offset(&path).unwrap_or_default());
                return Err(conflict(place, name));
            }
            let mut runtimes = file.scan.tree.get(&tables.runtimes()).into_iter().flat_map(Tree::entries);
            if let Some((name, _)) = runtimes.find(|(name, _)| goes(name)) {
                let [a, b, c, d] = tables.runtimes();
                let at = file.scan.offset(&[a, b, c, d, name]).unwrap_or_default();
                return Err(copied(Place::at(file.path, file.scan.text, at), name));
            }
        }
    }
    match input.effective.and_then(Effective::default_runtime_name).filter(|name| goes(name)) {
        Some(name) => Err(conflict(Place::default(), name)),
        None => Ok(()),
    }
}

fn copied(place: Place, name: &str) -> DialectError {
    DialectError::Conflict {
        place,
        what: format!("the handler `{name}` stands here, too, where we did not put it, and would outlive its files"),
        hint: "remove that table first (a tool that copies runtimes may have made it); then run the same command again"
            .to_owned(),
    }
}

fn disabled(place: Place, name: &str) -> DialectError {
    DialectError::Unsupported {
        place,
        what: format!(
            "containerd's CRI is disabled (`{name}`), so no handler can work and a restart would leave the node without CRI"
        ),
        hint: "remove it from `disabled_plugins` and restart containerd first".to_owned(),
    }
}

fn cri_enabled(path: &HostPath, scan: &Scan<'_>) -> Result<(), DialectError> {
    let names = scan.tree.get(&["disabled_plugins"]).map(Tree::texts).unwrap_or_default();
    let Some(at) = names.iter().position(|name| CRI_PLUGINS.contains(name)) else { return Ok(()) };
    let span =
        scan.array("disabled_plugins").and_then(|(whole, items)| items.get(at).cloned().or(Some(whole)));
    let place = span.map_or_else(|| Place::file(path), |span| Place::at(path, scan.text, span.start));
    Err(disabled(place, names.get(at).copied().unwrap_or_default()))
}

const MIGRATE: &str = "`containerd config migrate` prints it in a newer version: check that, put it in place and restart \
                       containerd first";

/// The version to write, and whether the root file lacks it.
fn version(
    input: &ConfigInput<'_>,
    files: &[Loaded<'_>],
    modern: Option<bool>,
) -> Result<(ConfigVersion, bool), DialectError> {
    let newest = if modern == Some(true) { ConfigVersion::V3 } else { ConfigVersion::V2 };
    let Some((root, imported)) = files.split_first() else { return Ok((newest, true)) };
    if let Some(version) = stated(input, root)? {
        return Ok((version, false));
    }
    // Without plugins every version means the same, though the engine takes such a file for version 1.
    unplugged(root)?;
    let mut version = newest;
    for file in imported {
        match stated(input, file)?.filter(|_| modern == Some(true)) {
            Some(stated) => version = version.max(stated),
            None => unplugged(file)?,
        }
    }
    Ok((version, true))
}

fn unsupported(file: &Loaded<'_>, keys: &[&str], what: String, hint: &str) -> DialectError {
    let offset = keys.iter().find_map(|key| file.scan.offset(&[key]));
    let place = offset.map_or_else(|| Place::file(file.path), |at| Place::at(file.path, file.scan.text, at));
    DialectError::Unsupported { place, what, hint: hint.to_owned() }
}

/// Refuses plugin settings in a file that says no version: they are version 1's.
fn unplugged(file: &Loaded<'_>) -> Result<(), DialectError> {
    let says = ["plugins", "required_plugins", "disabled_plugins"];
    match says.iter().find(|key| file.scan.tree.get(&[key]).is_some_and(|tree| !tree.is_empty())) {
        None => Ok(()),
        Some(key) => Err(unsupported(
            file,
            &[key],
            format!("a configuration of version 1 (no `version`, but `{key}`)"),
            MIGRATE,
        )),
    }
}

/// The file's version, if it states one that the engine can load and we can write.
fn stated(input: &ConfigInput<'_>, file: &Loaded<'_>) -> Result<Option<ConfigVersion>, DialectError> {
    let found = match file.scan.tree.get(&["version"]) {
        None => return Ok(None),
        Some(Tree::Integer(number)) => *number,
        Some(other) => {
            let place =
                Place::at(file.path, file.scan.text, file.scan.offset(&["version"]).unwrap_or_default());
            return Err(DialectError::Parse {
                place,
                message: format!("`version` is {other}, not a number"),
            });
        }
    };
    if found < 2 {
        return Err(unsupported(file, &["version"], format!("a configuration of version {found}"), MIGRATE));
    }
    let newer = "this Cofferdam does not know it: use a newer one";
    let version =
        ConfigVersion::try_from(found).map_err(|what| unsupported(file, &["version"], what, newer))?;
    let since = match version {
        ConfigVersion::V2 => (1, 3),
        ConfigVersion::V3 => (2, 0),
        ConfigVersion::V4 => (2, 3),
    };
    match input.engine {
        Some(engine) if (engine.major, engine.minor) < since => Err(unsupported(
            file,
            &["version"],
            format!("a configuration of version {found}, which containerd {engine} cannot load"),
            "the running containerd would not start again with this file: mend it first",
        )),
        _ => Ok(Some(version)),
    }
}

fn drop_in_placement(input: &ConfigInput<'_>, root: Option<&Scan<'_>>) -> Placement {
    let beside = input.config.parent().unwrap_or_else(|| input.config.clone());
    let own = beside.join(OWN_DIR).unwrap_or_else(|_| beside.clone());
    let listed = root.and_then(|scan| scan.tree.get(&["imports"])).map(Tree::texts).unwrap_or_default();
    match listed.iter().find_map(|import| imports::folder_of_glob(import, &beside)) {
        Some(dir) => Placement::DropIn { dir, import: Import::Present },
        None => Placement::DropIn { import: Import::Ensure(format!("{own}/*.toml")), dir: own },
    }
}

/// What containerd has without a table of runtimes: by its own word, or `runc`.
fn defaults(input: &ConfigInput<'_>) -> Vec<Entry> {
    let known = input.effective.map(|effective| effective.handlers()).unwrap_or_default();
    let entries: Vec<Entry> = known
        .iter()
        .filter_map(|(name, view)| Some((HandlerName::new(*name).ok()?, view)))
        .filter(|(name, _)| !input.ours.contains(name))
        .map(|(handler, view)| Entry {
            handler,
            keys: pairs(view.table),
            options: view.table.get(&["options"]).map(pairs).unwrap_or_default(),
        })
        .collect();
    if !entries.is_empty() {
        return entries;
    }
    HandlerName::new("runc")
        .map(|handler| {
            let keys = vec![("runtime_type".to_owned(), Value::Text(RUNC_SHIM.to_owned()))];
            Entry { handler, keys, options: Vec::new() }
        })
        .into_iter()
        .collect()
}

fn pairs(table: &Tree) -> Vec<(String, Value)> {
    let value = |tree: &Tree| match tree {
        Tree::Bool(value) => Some(Value::Bool(*value)),
        Tree::Integer(number) => Some(Value::Integer(*number)),
        Tree::Text(text) => Some(Value::Text(text.clone())),
        Tree::Array(_) => Some(Value::List(tree.texts().into_iter().map(str::to_owned).collect())),
        Tree::Table(_) | Tree::Other(_) => None,
    };
    let mut list: Vec<_> = table
        .entries()
        .filter(|(_, tree)| !tree.is_empty())
        .filter_map(|(key, tree)| Some((key.clone(), value(tree)?)))
        .collect();
    list.sort_by_key(|(key, _)| key != "runtime_type");
    list
}
