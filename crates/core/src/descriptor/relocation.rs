//! Relocation: absolute paths in a runtime's TOML files follow its installation.
//!
//! The file is parsed, and only values are looked at: comments name what upstream recommends, and are no paths of this
//! host. A value moves if its key is known to name a file of the package. What another key means by such a path nobody
//! here knows (it may be a path in the guest): it stays, and is reported.

use super::finding::{Finding, FindingKind, Findings, Source};
use super::parse::syntax;
use super::pattern::component;
use super::{PackageFiles, Relocate};
use crate::name::{HostPath, PackagePath};
use crate::splice::{self, Splice};
use std::ops::Range;
use toml_edit::{Document, Item, Table, TableLike, Value};

/// Keys that name files of the package on the host: Kata's, and gVisor's shim's.
const HOST: &[&str] = &[
    "hypervisor.*.path",
    "hypervisor.*.jailer_path",
    "hypervisor.*.ctlpath",
    "hypervisor.*.kernel",
    "hypervisor.*.image",
    "hypervisor.*.initrd",
    "hypervisor.*.firmware",
    "hypervisor.*.firmware_volume",
    "hypervisor.*.pflashes",
    "hypervisor.*.igvm",
    "hypervisor.*.virtio_fs_daemon",
    "hypervisor.*.vhost_user_store_path",
    "hypervisor.*.file_mem_backend",
    "hypervisor.*.valid_*_paths",
    "hypervisor.*.valid_ctlpaths",
    "hypervisor.*.valid_file_mem_backends",
    "runtime.sandbox_bind_mounts",
    "proxy.*.path",
    "shim.*.path",
    "netmon.path",
    "binary_name",
];

/// Keys whose paths are the guest's: they stay.
const GUEST: &[&str] =
    &["hypervisor.*.guest_hook_path", "hypervisor.*.kernel_params", "agent.*.kernel_modules"];

/// A file whose paths follow the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocated {
    /// Its new text.
    pub text: String,
    /// Values that hold the old place and stay, since nobody knows what they mean. Not errors.
    pub findings: Vec<Finding>,
}

impl Relocate {
    /// `text`, the content of a package's file, as it is in the tree `to`: the values of known keys (and of [`Self::keys`])
    /// that are [`Self::from`] or lie beneath it begin with `to` instead. Every other byte stays. `files` are the
    /// package's, `name` is what messages call the file.
    ///
    /// # Errors
    /// If it is not TOML.
    pub fn apply(
        &self,
        name: &str,
        text: &str,
        to: &HostPath,
        files: &PackageFiles,
    ) -> Result<Relocated, Findings> {
        let source = Source { name, text };
        let document = Document::parse(text).map_err(|error| {
            let mut finding = syntax(&source, &error);
            finding.hint.get_or_insert_with(|| {
                "paths can follow the installation in TOML files alone: correct it, or take it out of `files` in \
                 `[relocate]`"
                    .to_owned()
            });
            Findings::new(vec![finding])
        })?;
        let (splices, findings) = Default::default();
        let mut walk = Walk { relocate: self, source, to, files, splices, findings };
        walk.table(document.as_table(), &mut Vec::new());
        walk.splices.sort_by_key(|splice: &Splice| splice.range.start);
        walk.findings.sort_by_key(|f: &Finding| f.place.as_ref().map(|place| (place.line, place.column)));
        let text = splice::apply(text, &walk.splices).map_err(|error| {
            Findings::new(vec![source.finding(FindingKind::Syntax, None, &error.to_string())])
        })?;
        Ok(Relocated { text, findings: walk.findings })
    }
}

struct Walk<'a> {
    relocate: &'a Relocate,
    source: Source<'a>,
    to: &'a HostPath,
    files: &'a PackageFiles,
    splices: Vec<Splice>,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn table<'t>(&mut self, table: &'t dyn TableLike, keys: &mut Vec<&'t str>) {
        for (key, item) in table.iter() {
            keys.push(key);
            match item {
                Item::None => {}
                Item::Value(value) => self.value(value, keys),
                Item::Table(table) => self.table(table, keys),
                Item::ArrayOfTables(tables) => {
                    tables.iter().for_each(|table: &Table| self.table(table, keys))
                }
            }
            keys.pop();
        }
    }

    fn value<'t>(&mut self, value: &'t Value, keys: &mut Vec<&'t str>) {
        match value {
            Value::String(text) => {
                if let Some(span) = value.span() {
                    self.text(text.value(), &span, keys);
                }
            }
            Value::Array(array) => array.iter().for_each(|value| self.value(value, keys)),
            Value::InlineTable(table) => self.table(table, keys),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }

    fn text(&mut self, value: &str, span: &Range<usize>, keys: &[&str]) {
        let among = |patterns: &[String]| patterns.iter().any(|pattern| names(pattern, keys));
        let from = &self.relocate.from;
        let rest = beneath(value, from).map(|rest| rest.trim_start_matches('/'));
        if among(&self.relocate.by_name) && !rest.is_some_and(|rest| self.has(rest)) {
            return self.by_name(value, span, keys);
        }
        // What moved before stays where it is, also where the new place lies beneath the old one.
        let moved = self.to != from && beneath(value, self.to).is_some();
        if moved || !holds(value, from) {
            return;
        }
        if among(&self.relocate.keep) || GUEST.iter().any(|pattern| names(pattern, keys)) {
            return;
        }
        let known = [&self.relocate.keys, &self.relocate.by_name].into_iter().any(|keys| among(keys))
            || HOST.iter().any(|pattern| names(pattern, keys));
        match beneath(value, from) {
            Some(rest) if known => {
                let new = format!("{}{rest}", self.to.as_str().trim_end_matches('/'));
                self.replace(span, from.as_str().trim_end_matches('/'), &new, rest);
            }
            Some(_) => self.report(
                span,
                keys,
                &format!(
                    "`{value}` names the place that the package was built for, and the key is not known"
                ),
                "if it names a file of the package, add the key to `keys` in `[relocate]`, else to `keep`",
            ),
            None => self.report(
                span,
                keys,
                &format!("`{from}` stands within a longer text, or in a path that leaves it"),
                "write paths of the package as values of their own; `keep` in `[relocate]` accepts this one",
            ),
        }
    }

    fn has(&self, path: &str) -> bool {
        PackagePath::new(path).is_ok_and(|path| self.files.contains_key(&path))
    }

    /// The file of that name at the package's top, wherever the value said that it is.
    fn by_name(&mut self, value: &str, span: &Range<usize>, keys: &[&str]) {
        if value.is_empty() {
            return;
        }
        let name = value.rsplit('/').next().unwrap_or_default();
        let file = PackagePath::new(name).ok().filter(|_| self.has(name));
        match file {
            Some(path) => {
                let new = self.to.with(&path);
                self.replace(span, value, new.as_str(), "");
            }
            None => self.report(
                span,
                keys,
                &format!("no file `{name}` lies at the package's top"),
                "`by-name` in `[relocate]` finds files by their paths or by their names: add the file, or take the key out",
            ),
        }
    }

    /// Writes `new` as the value at `span`, which is `old` and `rest` now; the bytes of `rest` stay.
    fn replace(&mut self, span: &Range<usize>, old: &str, new: &str, rest: &str) {
        let Some(raw) = self.source.text.get(span.clone()) else { return };
        let head = new.strip_suffix(rest).unwrap_or(new);
        let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| raw.starts_with(quotes));
        let fits = quotes.filter(|quotes| quotes.starts_with('"') || !head.contains('\''));
        let as_written =
            fits.filter(|quotes| raw.get(quotes.len()..).is_some_and(|raw| raw.starts_with(old)));
        self.splices.push(match as_written {
            Some(quotes) => {
                let start = span.start + quotes.len();
                let new = if quotes.starts_with('"') { escaped(head) } else { head.to_owned() };
                Splice { range: start..start + old.len(), expect: old.to_owned(), new }
            }
            // It is spelt with escapes, or cannot be: then it is written anew.
            None => {
                Splice { range: span.clone(), expect: raw.to_owned(), new: format!("\"{}\"", escaped(new)) }
            }
        });
    }

    fn report(&mut self, span: &Range<usize>, keys: &[&str], what: &str, hint: &str) {
        let message = format!("`{}`: {what}: it stays as it is", keys.join("."));
        let mut finding = self.source.finding(FindingKind::UnknownPath, Some(span), &message);
        finding.hint = Some(hint.to_owned());
        self.findings.push(finding);
    }
}

/// Whether a pattern of keys with dots between them names the key `keys`.
fn names(pattern: &str, keys: &[&str]) -> bool {
    let mut parts = pattern.split('.');
    keys.iter().all(|key| parts.next().is_some_and(|part| component(part, key))) && parts.next().is_none()
}

/// What follows `folder` in `path`, which is the folder or lies beneath it, and does not leave it again.
fn beneath<'p>(path: &'p str, folder: &HostPath) -> Option<&'p str> {
    // `/` would make every path of the file one of the package's; the parser refuses it.
    let folder = folder.as_str().trim_end_matches('/');
    let rest = path.strip_prefix(folder).filter(|_| !folder.is_empty())?;
    let inside = rest.is_empty() || rest.starts_with('/');
    let plain = rest.split('/').all(|part| part != "..") && !rest.chars().any(char::is_control);
    (inside && plain && !rest.contains(folder)).then_some(rest)
}

/// Whether `value` has the folder in it somewhere, as a path or as the beginning of one.
fn holds(value: &str, folder: &HostPath) -> bool {
    let text = folder.as_str().trim_end_matches('/');
    if text.is_empty() {
        return false;
    }
    let found = value.match_indices(text).any(|(at, _)| {
        let before = value.get(..at).and_then(|text| text.chars().next_back());
        let after = value.get(at + text.len()..).and_then(|text| text.chars().next());
        before.is_none_or(|c| !in_name(c) && c != '/') && after.is_none_or(|c| !in_name(c))
    });
    // A path that is spelt otherwise, e.g. with a doubled `/`.
    let root = HostPath::new("/").and_then(|root| root.resolve(value));
    found || value.starts_with('/') && root.is_ok_and(|path| path.is_within(folder))
}

/// Whether a component of a path goes on with `c`.
fn in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '+' | '@' | '%')
}

/// As a basic string has it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}
