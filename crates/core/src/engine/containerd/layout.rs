//! Where and how entries go into a configuration, and what is refused before anything is written.

use super::admit::{cri_enabled, disabled};
use super::effective::Effective;
use super::error::{DialectError, Place};
use super::imports::{self, Loaded};
use super::rendered;
use super::scan::Scan;
use super::tree::Tree;
use super::{ConfigVersion, Entry, RUNC_SHIM, Tables, version};
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
    /// Into the file that holds CRI's tables: versions 1 and 2, which 1.x reads. There an imported file replaces a
    /// plugin's tables whole. It is done on 2.x, too: a distribution may put an older or newer containerd under a
    /// configuration, and the engine must start and serve `runc` on what it then finds.
    InPlace,
    /// One file per runtime in `dir`, which the root file imports: versions 3 and 4, which only 2.x reads. It merges
    /// tables deeply.
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
    /// The file that [`super::write_root`] edits: the root file, or an imported file if the tables are there.
    pub file: HostPath,
    /// The configuration version of root and drop-ins.
    pub version: ConfigVersion,
    /// Whether the file must be given its `version` (it is absent, or has neither a version nor plugin tables).
    pub add_version: bool,
    /// Which plugin's tables hold the runtimes.
    pub tables: Tables,
    /// How entries are added.
    pub placement: Placement,
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
    let (version, add_version) = version::version(input, &files)?;
    if version >= ConfigVersion::V3 {
        let placement = drop_in_placement(input, files.first().map(|file| &file.scan));
        let (file, tables) = (input.root.clone(), Tables::Runtime);
        return Ok(Layout { file, version, add_version, tables, placement, keep: Vec::new() });
    }
    let modern = input.engine.map(|engine| engine.major >= 2);
    let lists = |file: &Loaded<'_>, tables: Tables| file.scan.tree.get(&tables.runtimes()).is_some();
    let newer = modern != Some(false) && files.iter().any(|file| lists(file, Tables::Runtime));
    let tables = match version {
        _ if newer => Tables::Runtime,
        ConfigVersion::V1 => Tables::Cri,
        _ => Tables::Grpc,
    };
    // 1.x applies the last file that has the plugin's block, and no other. 2.x merges: no block may get the only
    // entries but ours, or 1.x would find no `runc` there.
    let block = ["plugins", tables.plugin()];
    let listing = || files.iter().rfind(|file| lists(file, tables));
    let last = || files.iter().rfind(|file| file.scan.tree.get(&block).is_some());
    let found = if modern == Some(true) { listing().or_else(last) } else { last() }.or(files.first());
    let keep = if found.is_some_and(|file| lists(file, tables)) { Vec::new() } else { defaults(input) };
    let file = found.map_or(input.root, |file| file.path).clone();
    let add_version = add_version && &file == input.root;
    Ok(Layout { file, version, add_version, tables, placement: Placement::InPlace, keep })
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

/// What containerd has without a table of runtimes: by 1.x's own word, or `runc`. 2.x does not forget its defaults, and
/// merges them with what this says.
fn defaults(input: &ConfigInput<'_>) -> Vec<Entry> {
    let old = input.effective.filter(|_| input.engine.is_none_or(|engine| engine.major < 2));
    let known = old.map(|effective| effective.handlers()).unwrap_or_default();
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
