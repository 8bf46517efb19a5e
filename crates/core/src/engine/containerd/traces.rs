//! What is ours, wherever it stands and however it was edited.

use super::compare::{Difference, all_differences};
use super::render::Style;
use super::scan::{Scan, Statement};
use super::tree::Tree;
use super::write::{Piece, PieceKind};
use super::{Entry, Registrations, Tables};
use crate::engine::Value;
use crate::name::HostPath;

/// What of ours may stand in a file beside what we wrote into it: others move files, and `containerd config migrate`
/// puts drop-ins into the root file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Entries.
    pub entries: Registrations,
    /// Patterns among `imports`.
    pub imports: Vec<String>,
}

impl Traces {
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let imports = self.imports.iter().map(|pattern| {
            let kind = PieceKind::Import { pattern: pattern.clone(), list: false };
            Piece { kind, text: String::new(), anchor: 0 }
        });
        let entries = self.entries.iter().flat_map(|(runtime, entries)| {
            entries.iter().flat_map(move |entry| {
                let text = format!("{}\n", Style::plain().marker(Some(runtime)));
                let own = PieceKind::Entry { runtime: Some(runtime.clone()), entry: entry.clone() };
                let platform =
                    entry.platform().map(|entry| PieceKind::Platform { runtime: runtime.clone(), entry });
                std::iter::once(own).chain(platform).map(move |kind| Piece {
                    kind,
                    text: text.clone(),
                    anchor: 0,
                })
            })
        });
        imports.chain(entries).collect()
    }
}

impl Entry {
    /// How a table differs from what we wrote. What `config migrate` adds is no difference: empty values, and the name
    /// of the default sandbox controller.
    pub(super) fn differences(&self, found: &Tree) -> Vec<Difference> {
        let mut found = found.clone();
        for key in ["sandbox_mode", "sandboxer"] {
            let default = found.get(&[key]).and_then(Tree::text) == Some("podsandbox");
            if default && self.keys.iter().all(|(known, _)| known != key) {
                found.remove(&[key], false);
            }
        }
        all_differences(&self.tree(), &found)
    }

    /// The first of them.
    pub(super) fn difference(&self, found: &Tree) -> Option<Difference> {
        self.differences(found).into_iter().next()
    }

    /// Whether a table names one of our paths: then it is ours, however it was edited.
    pub(super) fn resembles(&self, found: &Tree) -> bool {
        let ours = self.keys.iter().chain(&self.options).filter_map(|(_, value)| match value {
            Value::Text(text) if text.starts_with('/') => Some(text.as_str()),
            _ => None,
        });
        ours.into_iter().any(|path| found.names(path))
    }
}

/// Whether the text of `file`, a drop-in, says nothing but what `traces` knows: then it is ours, even if a formatter
/// rewrote it or it was moved. A comment of others counts: it is theirs.
pub fn only_ours(file: &HostPath, text: &str, traces: &Traces) -> bool {
    let Ok(scan) = Scan::new(file, text) else { return false };
    let pieces = traces.pieces();
    let ours = |line: &str| pieces.iter().any(|piece| piece.text.trim() == line);
    let own_line = |line: &str| line.starts_with('#') && !ours(line);
    let behind =
        |s: &Statement| text.get(s.span.end..scan.line_end(s.span.end)).is_some_and(|t| t.contains('#'));
    if text.lines().any(|line| own_line(line.trim())) || scan.statements.iter().any(behind) {
        return false;
    }
    let mut rest = scan.tree;
    let mut found = false;
    for piece in pieces {
        let Some(entry) = piece.kind.entry() else { continue };
        for tables in Tables::ALL {
            let Some(path) = piece.kind.path(tables) else { continue };
            if rest.get(&path).is_some_and(|table| entry.difference(table).is_none()) {
                rest.remove(&path, true);
                found = true;
            }
        }
    }
    rest.remove(&["version"], false);
    found && rest.is_empty()
}
