//! Puts our structure into a text that has nothing of ours.

use super::compare::first_difference;
use super::cut::holds_in;
use super::error::{DialectError, Place};
use super::imports;
use super::layout::{Import, Layout, Placement};
use super::render::Style;
use super::scan::{Home, Kind, Scan, content_start};
use super::{Entry, PLATFORMS, Registrations, Tables};
use crate::name::{HostPath, RuntimeName};
use crate::splice::{Splice, apply};
use serde::{Deserialize, Serialize};

/// A file's new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootText {
    /// The edits of the text of before (of the empty text, if there was no file). Empty: nothing to do.
    pub splices: Vec<Splice>,
    /// The text after them.
    pub text: String,
}

/// What we put into a file: enough to find and cut it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootOwned {
    /// The file.
    pub file: HostPath,
    /// Whether there was no such file.
    pub created: bool,
    /// Which plugin's tables hold our entries.
    pub tables: Tables,
    /// The parts, in the order of the text. Empty: nothing in this file is ours.
    pub pieces: Vec<Piece>,
}

/// One part of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// The bytes as we wrote them, with the line end or comma that belongs to them.
    pub text: String,
    /// Where in `text` the structure begins that finds it again.
    pub anchor: usize,
}

/// What a part of ours is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PieceKind {
    /// `version = N`.
    Version(i64),
    /// A pattern among `imports`.
    Import {
        /// The pattern.
        pattern: String,
        /// Whether the whole key is ours.
        list: bool,
    },
    /// A runtime's table.
    Entry {
        /// Whose it is. None: a default of containerd that we had to write down.
        runtime: Option<RuntimeName>,
        /// What it says.
        entry: Entry,
    },
    /// A handler's snapshotter, said once more beside the image settings: 2.0 to 2.2 need it (also in version 2, whose
    /// migration leaves it out), later ones take it without harm, and 1.x does not look there.
    Platform {
        /// Whose it is.
        runtime: RuntimeName,
        /// What it says.
        entry: Entry,
    },
}

/// A piece and where it goes.
pub(super) struct Insertion {
    pub(super) offset: usize,
    pub(super) piece: Piece,
}

/// Puts everything that `want` needs into `base`, the text of `layout.file` without anything of ours (None: no such
/// file). With drop-ins that is the import alone, and nothing if the import is there.
///
/// # Errors
/// If `base` cannot be read, or would not mean what is intended.
pub fn write_root(
    layout: &Layout,
    base: Option<&str>,
    want: &Registrations,
) -> Result<(RootText, RootOwned), DialectError> {
    let text = base.unwrap_or_default();
    let scan = Scan::new(&layout.file, text)?;
    let style = Style::of(&scan, layout.tables);
    let mut insertions = Vec::new();
    if want.values().any(|entries| !entries.is_empty()) {
        let import = match &layout.placement {
            Placement::DropIn { import: Import::Ensure(pattern), .. } => {
                Some(imports::ensure(&layout.file, &scan, &style, pattern)?)
            }
            Placement::DropIn { import: Import::Present, .. } | Placement::InPlace => None,
        };
        if layout.add_version && (import.is_some() || layout.placement == Placement::InPlace) {
            insertions.push(version(&scan, &style, layout.version.into()));
        }
        insertions.extend(import);
        if layout.placement == Placement::InPlace {
            entries(layout, &scan, &style, want, &mut insertions)?;
        }
    }
    insertions.sort_by_key(|insertion| insertion.offset);
    let splices =
        insertions.iter().map(|i| Splice::insert(i.offset, i.piece.text.clone())).collect::<Vec<_>>();
    let new = apply(text, &splices).map_err(|error| unsound(&layout.file, error.to_string()))?;
    let owned = RootOwned {
        file: layout.file.clone(),
        created: base.is_none(),
        tables: layout.tables,
        pieces: insertions.into_iter().map(|insertion| insertion.piece).collect(),
    };
    verify(&scan, &new, &owned)?;
    Ok((RootText { splices, text: new }, owned))
}

pub(super) fn unsound(file: &HostPath, what: String) -> DialectError {
    DialectError::Unsound { place: Place::file(file), what }
}

/// The new text must parse, hold everything of ours, and mean nothing else new.
fn verify(before: &Scan<'_>, new: &str, owned: &RootOwned) -> Result<(), DialectError> {
    let after = Scan::new(&owned.file, new).map_err(|error| unsound(&owned.file, error.to_string()))?;
    if let Some(missing) = owned.pieces.iter().find(|piece| !holds_in(&after, owned.tables, piece)) {
        return Err(unsound(&owned.file, format!("`{}` is not found in it", missing.text.trim())));
    }
    let mut rest = after.tree;
    for piece in &owned.pieces {
        piece.kind.remove_from(&mut rest, owned.tables);
    }
    match first_difference(&before.tree, &rest) {
        Some(difference) => Err(unsound(&owned.file, difference.to_string())),
        None => Ok(()),
    }
}

impl PieceKind {
    /// Takes the part out of a file's meaning.
    pub(super) fn remove_from(&self, tree: &mut super::Tree, tables: Tables) {
        match self {
            Self::Version(_) => drop(tree.remove(&["version"], false)),
            Self::Import { pattern, .. } => {
                if let Some(super::Tree::Array(mut items)) = tree.remove(&["imports"], false) {
                    if let Some(at) = items.iter().position(|item| item.text() == Some(pattern)) {
                        items.remove(at);
                    }
                    if let super::Tree::Table(table) = tree {
                        table.insert("imports".to_owned(), super::Tree::Array(items));
                    }
                }
            }
            Self::Entry { .. } | Self::Platform { .. } => {
                if let Some(path) = self.path(tables) {
                    tree.remove(&path, false);
                }
            }
        }
    }

    /// The path of its table, if it is one.
    pub(super) fn path(&self, tables: Tables) -> Option<Vec<&str>> {
        match self {
            Self::Version(_) | Self::Import { .. } => None,
            Self::Entry { entry, .. } => Some([&tables.runtimes()[..], &[entry.handler.as_str()]].concat()),
            Self::Platform { entry, .. } => Some([&PLATFORMS[..], &[entry.handler.as_str()]].concat()),
        }
    }

    /// What its table says, if it is one.
    pub(super) const fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Version(_) | Self::Import { .. } => None,
            Self::Entry { entry, .. } | Self::Platform { entry, .. } => Some(entry),
        }
    }
}

fn version(scan: &Scan<'_>, style: &Style, number: i64) -> Insertion {
    let offset = content_start(scan.text);
    let (text, anchor) = style.lines(scan.text, offset, false, &[], &[format!("version = {number}")]);
    Insertion { offset, piece: Piece { kind: PieceKind::Version(number), text, anchor } }
}

fn entries(
    layout: &Layout,
    scan: &Scan<'_>,
    style: &Style,
    want: &Registrations,
    out: &mut Vec<Insertion>,
) -> Result<(), DialectError> {
    let runtimes = layout.tables.runtimes();
    let kept = layout.keep.iter().map(|entry| (None, entry));
    let wanted = || want.iter().flat_map(|(runtime, list)| list.iter().map(move |entry| (runtime, entry)));
    let mut writer = Writer::new(&layout.file, scan, style, &runtimes)?;
    for (runtime, entry) in kept.chain(wanted().map(|(runtime, entry)| (Some(runtime), entry))) {
        let kind = PieceKind::Entry { runtime: runtime.cloned(), entry: entry.clone() };
        out.push(writer.entry(runtime, entry, kind));
    }
    if layout.tables == Tables::Cri {
        return Ok(());
    }
    let mut writer = Writer::new(&layout.file, scan, style, &PLATFORMS)?;
    for (runtime, entry) in wanted() {
        if let Some(platform) = entry.platform() {
            let kind = PieceKind::Platform { runtime: runtime.clone(), entry: platform.clone() };
            out.push(writer.entry(Some(runtime), &platform, kind));
        }
    }
    Ok(())
}

/// Writes entries one behind the other at one place.
struct Writer<'a> {
    scan: &'a Scan<'a>,
    style: &'a Style,
    parent: &'a [&'a str],
    home: Home,
    offset: usize,
    first: bool,
}

impl<'a> Writer<'a> {
    /// A writer of tables in the table `parent`.
    fn new(
        file: &HostPath,
        scan: &'a Scan<'a>,
        style: &'a Style,
        parent: &'a [&'a str],
    ) -> Result<Self, DialectError> {
        let home = scan.home(parent).ok_or_else(|| {
            let at = scan.offset(&["plugins"]);
            let place = at.map_or_else(|| Place::file(file), |at| Place::at(file, scan.text, at));
            DialectError::Parse { place, message: format!("`{}` is no table", style.path(parent)) }
        })?;
        let offset = match &home {
            Home::Headers => scan.last_in_block(parent).map(|last| scan.behind(last)),
            Home::Dotted { parent: at } => {
                scan.last_dotted(parent, *at).map(|last| scan.line_end(last.span.end))
            }
            Home::Inline { span, .. } => {
                let inside = scan.text.get(..span.end.saturating_sub(1)).unwrap_or_default();
                Some(inside.trim_end().len())
            }
        };
        Ok(Self { scan, style, parent, home, offset: offset.unwrap_or(scan.text.len()), first: true })
    }

    fn entry(&mut self, runtime: Option<&RuntimeName>, entry: &Entry, kind: PieceKind) -> Insertion {
        let first = std::mem::replace(&mut self.first, false);
        let text = self.scan.text;
        let before = text.get(..self.offset).unwrap_or_default();
        let (text, anchor) = match &self.home {
            Home::Headers => {
                // A blank line in front, unless one is there or the file is empty.
                let trimmed = before.trim_end_matches([' ', '\t', '\r']);
                let open =
                    before.len() > content_start(text) && !trimmed.ends_with("\n\n") && !ends_blank(before);
                let body = self.style.tables(self.parent, entry);
                let indent = body.first().map_or(0, |line| line.len() - line.trim_start().len());
                let lead = [self.style.marker(runtime)];
                let (piece, anchor) = self.style.lines(text, self.offset, open || !first, &lead, &body);
                (piece, anchor + indent)
            }
            Home::Dotted { parent: at } => {
                let last = self.scan.last_dotted(self.parent, *at);
                let indent = last.map_or("", |last| self.scan.indent(last));
                let prefix = self.parent.get(*at..).unwrap_or_default();
                let body = self.style.dotted(indent, prefix, entry);
                let (piece, anchor) = self.style.lines(text, self.offset, false, &[], &body);
                (piece, anchor + indent.len())
            }
            Home::Inline { depth, .. } => {
                let path: Vec<&str> = self.parent.iter().skip(*depth).copied().collect();
                let prefix =
                    if path.is_empty() { String::new() } else { format!("{}.", self.style.path(&path)) };
                let empty = before.ends_with('{') && first;
                let lead = if empty { " " } else { ", " };
                let anchor = lead.len() + prefix.len();
                (format!("{lead}{prefix}{} = {}", entry.handler, self.style.inline(entry)), anchor)
            }
        };
        Insertion { offset: self.offset, piece: Piece { kind, text, anchor } }
    }
}

/// Whether the last whole line of `text` is blank.
fn ends_blank(text: &str) -> bool {
    let Some(rest) = text.strip_suffix('\n') else { return false };
    rest.rsplit('\n').next().is_some_and(|line| line.trim().is_empty())
}

impl Scan<'_> {
    /// The last statement in the block of the last header at or beneath `path`.
    fn last_in_block(&self, path: &[&str]) -> Option<&super::scan::Statement> {
        let header = self
            .statements
            .iter()
            .rposition(|s| s.kind == Kind::Header && super::scan::starts_with(&s.path, path))?;
        let block = self.statements.get(header..)?;
        let length = block.iter().skip(1).take_while(|s| s.kind == Kind::Pair).count();
        block.get(length)
    }

    /// The last pair that defines the dotted table at `path[..=parent]` in the block of `path[..parent]`.
    fn last_dotted(&self, path: &[&str], parent: usize) -> Option<&super::scan::Statement> {
        let prefix = path.get(..=parent)?;
        let mut depth = 0;
        let mut found = None;
        for statement in &self.statements {
            match statement.kind {
                Kind::Header => depth = statement.path.len(),
                Kind::Pair if depth == parent && super::scan::starts_with(&statement.path, prefix) => {
                    found = Some(statement);
                }
                Kind::Pair => {}
            }
        }
        found
    }
}
