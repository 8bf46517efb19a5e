//! A descriptor against the files of its package.

use super::finding::{Finding, FindingKind, Source};
use super::pattern;
use super::reader::{Reader, Section, Span};
use super::spelling::nearest;
use super::{Call, Descriptor};
use crate::name::PackagePath;
use std::collections::BTreeMap;
use toml_edit::Document;

/// What a path in a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link. Where it leads is judged when the package is staged.
    Link,
    /// A folder. Those that only their content implies need no entry.
    Folder,
}

/// The paths of a package.
pub type PackageFiles = BTreeMap<PackagePath, FileKind>;

/// Whether the files that `descriptor` names are in the package, and are what they must be. `text` is the text from
/// which the descriptor was read: places point into it.
pub fn check_files(
    descriptor: &Descriptor,
    source_name: &str,
    text: &str,
    files: &PackageFiles,
) -> Vec<Finding> {
    let document = Document::parse(text).ok();
    let top = document.as_ref().map(|document| Section::new(document.as_table(), "the descriptor", None));
    let mut check = Check { reader: Reader::new(Source { name: source_name, text }), files };
    let handlers = match &top {
        Some(top) => {
            Reader::new(Source { name: source_name, text }).sections(top, "handler", "`[[handler]]`")
        }
        None => Vec::new(),
    };
    for (index, handler) in descriptor.handlers.iter().enumerate() {
        let span = |key: &str| handlers.get(index).and_then(|section| section.value_span(key));
        match &handler.call {
            Call::Shim(path) => check.file("shim", path, &span("shim"), true),
            Call::OciRuntime(path) => check.file("oci-runtime", path, &span("oci-runtime"), true),
        }
        if let Some(path) = &handler.config {
            check.file("config", path, &span("config"), false);
        }
    }
    for path in &descriptor.setuid {
        let span = top.as_ref().and_then(|top| top.value_span("setuid"));
        check.file("setuid", path, &span, true);
        if files.get(path) == Some(&FileKind::Link) {
            let message = format!("`setuid`: `{path}` is a link");
            check.reader.report(
                FindingKind::NotAFile,
                &span,
                &message,
                Some("name the file that it leads to".to_owned()),
            );
        }
    }
    if let Some(relocate) = &descriptor.relocate {
        let spans = top.as_ref().map(pattern_spans).unwrap_or_default();
        for (index, pattern) in relocate.files.iter().enumerate() {
            check.pattern(pattern, spans.get(index).unwrap_or(&None));
        }
    }
    check.reader.findings
}

/// Where the patterns of `[relocate]` stand, in their order.
fn pattern_spans(top: &Section<'_>) -> Vec<Span> {
    let mut reader = Reader::new(Source { name: "", text: "" });
    let Some(table) = reader.section(top, "relocate", "`[relocate]`") else { return Vec::new() };
    reader.texts(&table, "files").into_iter().map(|text| text.span).collect()
}

struct Check<'a> {
    reader: Reader<'a>,
    files: &'a PackageFiles,
}

impl Check<'_> {
    fn file(&mut self, key: &str, path: &PackagePath, span: &Span, execute: bool) {
        match self.files.get(path) {
            Some(FileKind::Link | FileKind::File { executable: true }) => {}
            Some(FileKind::File { executable: false }) if !execute => {}
            Some(FileKind::File { .. }) => {
                let message = format!("`{key}`: `{path}` is not executable");
                let hint = format!("run `chmod +x {path}` in the package");
                self.reader.report(FindingKind::NotExecutable, span, &message, Some(hint));
            }
            Some(FileKind::Folder) => self.folder(key, path, span),
            None if self.beneath(path).next().is_some() => self.folder(key, path, span),
            None => self.missing(key, path, span),
        }
    }

    fn folder(&mut self, key: &str, path: &PackagePath, span: &Span) {
        let message = format!("`{key}`: `{path}` is a folder");
        let hint = match self.beneath(path).next() {
            Some(inside) => format!("name a file in it, e.g. `{inside}`"),
            None => "name a file".to_owned(),
        };
        self.reader.report(FindingKind::NotAFile, span, &message, Some(hint));
    }

    fn beneath<'p>(&'p self, folder: &'p PackagePath) -> impl Iterator<Item = &'p PackagePath> {
        let inside = move |path: &&PackagePath| {
            path.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        self.files.keys().filter(inside)
    }

    fn missing(&mut self, key: &str, path: &PackagePath, span: &Span) {
        let message = format!("`{key}`: the package has no file `{path}`");
        let names = || {
            self.files.iter().filter(|(_, kind)| **kind != FileKind::Folder).map(|(path, _)| path.as_str())
        };
        let last = |path: &'_ str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let same_name = || names().find(|other| last(other) == last(path.as_str()));
        let hint = match same_name().or_else(|| nearest(path.as_str(), names())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                "paths are relative to the package's top folder; add the file, or correct the path".to_owned()
            }
        };
        self.reader.report(FindingKind::MissingFile, span, &message, Some(hint));
    }

    fn pattern(&mut self, pattern: &str, span: &Span) {
        let selects = |(path, kind): (&PackagePath, &FileKind)| {
            matches!(kind, FileKind::File { .. }) && pattern::matches(pattern, path.as_str())
        };
        if self.files.iter().any(selects) {
            return;
        }
        let message = format!("`files`: no file of the package matches `{pattern}`");
        let names = self.files.keys().map(PackagePath::as_str);
        let hint = match nearest(pattern, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`*` stands for any run of characters but `/`; links do not count".to_owned(),
        };
        self.reader.report(FindingKind::NoMatch, span, &message, Some(hint));
    }
}
