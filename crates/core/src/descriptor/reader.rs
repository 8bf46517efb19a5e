//! Strict access to a parsed document: whatever is not as expected becomes a finding with its place.

use super::finding::{Finding, FindingKind, Source};
use super::spelling::nearest;
use crate::name::NameError;
use std::ops::Range;
use std::str::FromStr;
use toml_edit::{Item, TableLike, Value};

/// Bytes of the text. None for what has no text of its own (a table that only its children imply).
pub(crate) type Span = Option<Range<usize>>;

/// One table of the document.
#[derive(Clone)]
pub(crate) struct Section<'t> {
    table: &'t dyn TableLike,
    /// How messages call it.
    title: String,
    span: Span,
}

impl<'t> Section<'t> {
    pub(crate) fn new(table: &'t dyn TableLike, title: impl Into<String>, span: Span) -> Self {
        Self { table, title: title.into(), span }
    }

    pub(crate) const fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The keys with their items, in the order of the file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'t str, &'t Item)> {
        self.table.iter()
    }

    /// Where the key itself stands.
    pub(crate) fn key_span(&self, key: &str) -> Span {
        self.table.get_key_value(key).and_then(|(key, _)| key.span()).or_else(|| self.span.clone())
    }

    /// Where the key's value stands; the key itself, if the value has no text of its own.
    pub(crate) fn value_span(&self, key: &str) -> Span {
        let value = self.table.get(key).and_then(Item::span);
        value.or_else(|| self.key_span(key))
    }
}

/// A value and where it stands.
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// Reads values and collects findings.
pub(crate) struct Reader<'a> {
    source: Source<'a>,
    pub(crate) findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(source: Source<'a>) -> Self {
        Self { source, findings: Vec::new() }
    }

    /// Records a finding.
    pub(crate) fn report(&mut self, kind: FindingKind, span: &Span, message: &str, hint: Option<String>) {
        let mut finding = self.source.finding(kind, span.as_ref(), message);
        finding.hint = hint.map(|hint| super::finding::plain(&hint));
        self.findings.push(finding);
    }

    /// Reports every key of `section` that is not in `known`. `elsewhere` tells where else a key has a meaning.
    pub(crate) fn only(
        &mut self,
        section: &Section<'_>,
        known: &[&str],
        elsewhere: impl Fn(&str) -> Option<String>,
    ) {
        for (key, _) in section.entries().filter(|(key, _)| !known.contains(key)) {
            let hint = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => elsewhere(key).unwrap_or_else(|| format!("{} takes {}", section.title, list(known))),
            };
            let message = format!("unknown key `{key}` in {}", section.title);
            self.report(FindingKind::UnknownKey, &section.key_span(key), &message, Some(hint));
        }
    }

    /// Reports that `key` is missing, with an example of it.
    pub(crate) fn missing(&mut self, section: &Section<'_>, key: &str, example: &str) {
        let span = section.span.as_ref().map(|span| span.start..span.end).or(Some(0..0));
        let message = format!("{} has no `{key}`", section.title);
        self.report(FindingKind::MissingKey, &span, &message, Some(format!("add `{example}`")));
    }

    fn wrong_type(&mut self, span: &Span, what: &str, expected: &str, found: &Item, hint: Option<String>) {
        let message = format!("{what} must be {expected}, not {}", type_name(found));
        self.report(FindingKind::WrongType, span, &message, hint);
    }

    /// A string, if the key is there.
    pub(crate) fn text<'t>(&mut self, section: &Section<'t>, key: &str) -> Option<Spanned<&'t str>> {
        let item = section.table.get(key)?;
        let span = section.value_span(key);
        match item.as_str() {
            Some(value) => Some(Spanned { value, span }),
            None => {
                let hint =
                    self.scalar(item).map(|value| format!("write it in quotes: `{key} = \"{value}\"`"));
                self.wrong_type(&span, &format!("`{key}`"), "a string", item, hint);
                None
            }
        }
    }

    /// A number or truth value as it is written: `3.20` must not become `3.2` in a hint.
    fn scalar(&self, item: &Item) -> Option<&'a str> {
        match item.as_value()? {
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => self.source.text.get(item.span()?),
            _ => None,
        }
    }

    /// A name, version or path, if the key is there.
    pub(crate) fn named<T>(&mut self, section: &Section<'_>, key: &str) -> Option<Spanned<T>>
    where
        T: FromStr<Err = NameError>,
    {
        let Spanned { value, span } = self.text(section, key)?;
        match value.parse() {
            Ok(value) => Some(Spanned { value, span }),
            Err(error) => {
                self.bad_name(&span, key, &error);
                None
            }
        }
    }

    /// Reports a name, version or path that does not have its form.
    pub(crate) fn bad_name(&mut self, span: &Span, key: &str, error: &NameError) {
        let (kind, hint) = match error {
            NameError::PackagePath(path) if leaves(path) => {
                let hint = "write it relative to the package's top folder, e.g. `bin/runsc`";
                (FindingKind::LeavesPackage, Some(hint.to_owned()))
            }
            NameError::PackagePath(path) => (FindingKind::BadName, path_hint(path)),
            NameError::Label(name) => (FindingKind::BadName, label_hint(name)),
            NameError::HostPath(_) => (FindingKind::BadName, Some("e.g. `/opt/kata`".to_owned())),
            NameError::Version(_) | NameError::Digest { .. } | NameError::Node(_) => {
                (FindingKind::BadName, None)
            }
        };
        let message = match error {
            NameError::PackagePath(path) if leaves(path) => format!("`{key}`: `{path}` leaves the package"),
            NameError::PackagePath(path) => format!("`{key}`: `{path}` is not a plain relative path"),
            other => format!("`{key}`: {other}"),
        };
        self.report(kind, span, &message, hint);
    }

    /// A boolean; false if the key is not there.
    pub(crate) fn flag(&mut self, section: &Section<'_>, key: &str) -> bool {
        let Some(item) = section.table.get(key) else { return false };
        item.as_bool().unwrap_or_else(|| {
            let hint = item
                .as_str()
                .filter(|s| matches!(*s, "true" | "false"))
                .map(|s| format!("write `{key} = {s}`"));
            self.wrong_type(&section.value_span(key), &format!("`{key}`"), "true or false", item, hint);
            false
        })
    }

    /// A whole number, if the key is there.
    pub(crate) fn integer(&mut self, section: &Section<'_>, key: &str) -> Option<Spanned<i64>> {
        let item = section.table.get(key)?;
        let span = section.value_span(key);
        let Some(value) = item.as_integer() else {
            self.wrong_type(&span, &format!("`{key}`"), "a whole number", item, None);
            return None;
        };
        Some(Spanned { value, span })
    }

    /// A list of strings without empty ones and without repetitions; empty if the key is not there.
    pub(crate) fn texts<'t>(&mut self, section: &Section<'t>, key: &str) -> Vec<Spanned<&'t str>> {
        let Some(item) = section.table.get(key) else { return Vec::new() };
        let Some(array) = item.as_array() else {
            let hint = item.as_str().map(|one| format!("write `{key} = [\"{one}\"]`"));
            self.wrong_type(&section.value_span(key), &format!("`{key}`"), "a list of strings", item, hint);
            return Vec::new();
        };
        let mut found: Vec<Spanned<&str>> = Vec::new();
        for value in array {
            let span = value.span().or_else(|| section.value_span(key));
            match value.as_str() {
                None => {
                    let what = format!("each value in `{key}`");
                    self.wrong_type(&span, &what, "a string", &Item::Value(value.clone()), None);
                }
                Some("") => {
                    self.report(FindingKind::BadValue, &span, &format!("an empty string in `{key}`"), None)
                }
                Some(text) if found.iter().any(|other| other.value == text) => {
                    self.report(
                        FindingKind::Duplicate,
                        &span,
                        &format!("`{text}` stands twice in `{key}`"),
                        None,
                    );
                }
                Some(value) => found.push(Spanned { value, span }),
            }
        }
        found
    }

    /// A table, if the key is there.
    pub(crate) fn section<'t>(
        &mut self,
        parent: &Section<'t>,
        key: &str,
        title: &str,
    ) -> Option<Section<'t>> {
        let item = parent.table.get(key)?;
        let span = parent.value_span(key);
        let Some(table) = item.as_table_like() else {
            let hint = item.is_array_of_tables().then(|| format!("write [{key}] once, in single brackets"));
            self.wrong_type(&span, &format!("`{key}`"), "a table", item, hint);
            return None;
        };
        Some(Section::new(table, title, span))
    }

    /// The tables of an array of tables, in either notation; empty if the key is not there.
    pub(crate) fn sections<'t>(&mut self, parent: &Section<'t>, key: &str, title: &str) -> Vec<Section<'t>> {
        let span = parent.value_span(key);
        match parent.table.get(key) {
            None => Vec::new(),
            Some(Item::ArrayOfTables(tables)) => tables
                .iter()
                .map(|table| Section::new(table, title, table.span().or_else(|| span.clone())))
                .collect(),
            Some(Item::Value(Value::Array(values))) if values.iter().all(Value::is_inline_table) => values
                .iter()
                .filter_map(Value::as_inline_table)
                .map(|table| Section::new(table, title, table.span().or_else(|| span.clone())))
                .collect(),
            Some(other) => {
                let hint = other.is_table().then(|| format!("write `[[{key}]]`, in double brackets"));
                self.wrong_type(&span, &format!("`{key}`"), "an array of tables", other, hint);
                Vec::new()
            }
        }
    }
}

/// Names as a sentence lists them.
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "no keys".to_owned(),
    }
}

fn type_name(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Table(_) | Item::Value(Value::InlineTable(_)) => "a table",
        Item::ArrayOfTables(_) => "an array of tables",
        Item::Value(Value::String(_)) => "a string",
        Item::Value(Value::Integer(_)) => "a whole number",
        Item::Value(Value::Float(_)) => "a fraction",
        Item::Value(Value::Boolean(_)) => "true or false",
        Item::Value(Value::Datetime(_)) => "a date",
        Item::Value(Value::Array(_)) => "a list",
    }
}

fn leaves(path: &str) -> bool {
    path.starts_with('/') || path.split('/').any(|part| part == "..")
}

/// The path without its empty and `.` components, where that helps.
fn path_hint(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let better = parts.join("/");
    (!better.is_empty() && better != path).then(|| format!("write `{better}`"))
}

/// The name with the slips taken out that names mostly have.
fn label_hint(name: &str) -> Option<String> {
    let fold = |c: char| if matches!(c, '_' | '.' | ' ' | '/') { '-' } else { c.to_ascii_lowercase() };
    let better: String = name.trim().chars().map(fold).collect();
    let better = better.trim_matches('-');
    crate::name::HandlerName::new(better).is_ok().then(|| format!("write `{better}`"))
}
