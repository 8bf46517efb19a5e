//! `imports`: which files are loaded, in which order, and how a pattern is put among them.

use super::effective::Effective;
use super::error::{DialectError, Place};
use super::layout::ConfigInput;
use super::render::Style;
use super::scan::Scan;
use super::tree::Tree;
use super::write::{Insertion, Piece, PieceKind};
use crate::name::HostPath;
use std::collections::BTreeMap;

/// A file of a configuration.
pub(super) struct Loaded<'a> {
    pub(super) path: &'a HostPath,
    pub(super) scan: Scan<'a>,
}

/// The files that exist, in the order in which containerd merges them: the root first, then its imports.
pub(super) fn load<'a>(input: &ConfigInput<'a>) -> Result<Vec<Loaded<'a>>, DialectError> {
    let mut loaded: Vec<Loaded<'a>> = Vec::new();
    let Some((path, text)) = input.files.get_key_value(input.root) else { return Ok(loaded) };
    loaded.push(Loaded { path, scan: Scan::new(path, text)? });
    let mut next = 0;
    while let Some(file) = loaded.get(next) {
        let named = if next == 0 { input.config } else { file.path };
        let patterns = import_patterns(named, file.scan.text);
        for pattern in &patterns {
            let named = |path: &HostPath| glob(pattern, path.as_str()) && is_read(input, path);
            for (path, text) in input.files.iter().filter(|(path, _)| named(path)) {
                if loaded.iter().all(|known| known.path != path) {
                    loaded.push(Loaded { path, scan: Scan::new(path, text)? });
                }
            }
        }
        next += 1;
    }
    Ok(loaded)
}

/// Whether the engine reads an imported file, if it says so: the dump of 1.x lists what it loaded, which early ones do
/// not do with relative globs.
fn is_read(input: &ConfigInput<'_>, path: &HostPath) -> bool {
    let old = input.engine.is_some_and(|engine| engine.major == 1);
    let loaded = input.effective.filter(|_| old).map(Effective::imports).unwrap_or_default();
    !loaded.contains(&input.config.as_str()) || loaded.contains(&path.as_str())
}

/// The absolute patterns that `text`, the configuration file `named`, imports. Only `*` is special in them. A text that
/// is no configuration imports nothing.
pub fn import_patterns(named: &HostPath, text: &str) -> Vec<String> {
    let Ok(scan) = Scan::new(named, text) else { return Vec::new() };
    let listed = scan.tree.get(&["imports"]).map(Tree::texts).unwrap_or_default();
    listed.into_iter().map(|import| resolve(named, import)).collect()
}

/// The file of a configuration that imports `path` by its name, not by a glob. `config` is the root file as the engine
/// names it, `root` its key in `files`.
pub fn imported_by_name<'a>(
    config: &HostPath,
    root: &HostPath,
    files: &'a BTreeMap<HostPath, String>,
    path: &HostPath,
) -> Option<&'a HostPath> {
    let names = |(file, text): &(&HostPath, &String)| {
        let named = if *file == root { config } else { *file };
        import_patterns(named, text).iter().any(|pattern| pattern == path.as_str())
    };
    files.iter().find(names).map(|(file, _)| file)
}

/// Whether `name`, one component of a path, is meant by one component of a pattern.
pub fn import_matches(pattern: &str, name: &str) -> bool {
    glob(pattern, name)
}

/// The folder whose `.toml` files `import` loads, among them any name that we might choose.
pub(super) fn folder_of_glob(import: &str, beside: &HostPath) -> Option<HostPath> {
    let (folder, pattern) = import.rsplit_once('/').unwrap_or((".", import));
    // Not `*`: it would load a temporary file, too, where none can be written elsewhere.
    if folder.contains('*') || pattern != "*.toml" {
        return None;
    }
    let folder = if folder.is_empty() { "/" } else { folder };
    beside.resolve(folder).ok()
}

/// The pattern that `file` means by `import`; empty, which matches nothing, if it is no path.
fn resolve(file: &HostPath, import: &str) -> String {
    let folder = file.parent().unwrap_or_else(|| file.clone());
    folder.resolve(import).map(String::from).unwrap_or_default()
}

/// Whether `path` is meant by `pattern`, in which `*` stands for any run of characters but `/`.
fn glob(pattern: &str, path: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(tail) = path.strip_prefix(head) else { return false };
    let run = tail.find('/').unwrap_or(tail.len());
    (0..=run).filter_map(|at| tail.get(at..)).any(|tail| glob(rest, tail))
}

/// Puts `pattern` among the root file's imports.
pub(super) fn ensure(
    file: &HostPath,
    scan: &Scan<'_>,
    style: &Style,
    pattern: &str,
) -> Result<Insertion, DialectError> {
    let shown = style.text(pattern);
    let Some(tree) = scan.tree.get(&["imports"]) else {
        return Ok(new_list(scan, style, pattern, &shown));
    };
    let strings = matches!(tree, Tree::Array(items) if items.iter().all(|item| item.text().is_some()));
    let Some((whole, items)) = scan.array("imports").filter(|_| strings) else {
        let place =
            scan.offset(&["imports"]).map_or_else(|| Place::file(file), |at| Place::at(file, scan.text, at));
        return Err(DialectError::Parse {
            place,
            message: format!("`imports` is {tree}, not a list of texts"),
        });
    };
    // In front of the others: comments and commas behind them stay where they are.
    let (offset, text) = match items.first() {
        None => (whole.start + 1, shown),
        Some(first) => {
            let start = scan.line_start(first.start);
            let indent = scan.text.get(start..first.start).unwrap_or_default();
            let own_line = indent.chars().all(|c| c == ' ' || c == '\t');
            let gap = if own_line { format!("{}{indent}", style.eol) } else { " ".to_owned() };
            (first.start, format!("{shown},{gap}"))
        }
    };
    let kind = PieceKind::Import { pattern: pattern.to_owned(), list: false };
    Ok(Insertion { offset, piece: Piece { kind, text, anchor: 0 } })
}

fn new_list(scan: &Scan<'_>, style: &Style, pattern: &str, shown: &str) -> Insertion {
    let version = scan.statements.iter().find(|statement| statement.path == ["version"]);
    let offset = version.map_or_else(|| super::scan::content_start(scan.text), |v| scan.line_end(v.span.end));
    let indent = version.map_or("", |v| scan.indent(v));
    let (text, anchor) =
        style.lines(scan.text, offset, false, &[], &[format!("{indent}imports = [{shown}]")]);
    let kind = PieceKind::Import { pattern: pattern.to_owned(), list: true };
    Insertion { offset, piece: Piece { kind, text, anchor: anchor + indent.len() } }
}
