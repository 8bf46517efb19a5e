//! Where our registrations do not fit the configuration that the engine reads: what `cofferdam verify` shows, and
//! `cofferdam repair` mends.

use super::compare::Difference;
use super::cut::cut_root;
use super::error::{DialectError, Place};
use super::imports;
use super::layout::{ConfigInput, Import, Layout, Placement, layout};
use super::scan::Scan;
use super::traces::only_ours;
use super::tree::Tree;
use super::write::{PieceKind, RootOwned};
use super::{Entry, Overwrite, Tables, Traces};
use crate::name::{HandlerName, HostPath, RuntimeName};
use crate::splice;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A registration that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misfit {
    /// Whose handler.
    pub runtime: RuntimeName,
    /// Which handler.
    pub handler: HandlerName,
    /// Where it stands; if it is missing, where it belongs.
    pub place: Place,
    /// What is wrong.
    #[serde(flatten)]
    pub flaw: Flaw,
}

/// What is wrong with a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "flaw")]
pub enum Flaw {
    /// It is nowhere.
    Missing,
    /// It says something else than what we wrote.
    Changed {
        /// Each key with our value and the one that was found.
        keys: Vec<Difference>,
    },
    /// The file is there, but the root file imports it no more.
    NotImported {
        /// The pattern that belongs among the root file's imports.
        pattern: String,
    },
    /// It stands in a file that the engine does not read (any more).
    Unread,
    /// It stands in tables that the engine does not apply in this configuration.
    Tables {
        /// The plugin whose tables hold it.
        found: &'static str,
        /// The plugin whose tables count.
        needed: &'static str,
    },
    /// Our drop-in states another version than the root file: some releases refuse the one or lose the other.
    Version {
        /// The drop-in's; 1 if it states none.
        found: i64,
        /// The root file's.
        needed: i64,
    },
    /// It works, but stands elsewhere than where we keep it.
    Misplaced {
        /// The file in which it belongs.
        belongs: HostPath,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handler {} of {}: ", self.handler, self.runtime)?;
        match &self.flaw {
            Flaw::Missing => write!(f, "missing from {}", self.place),
            Flaw::Changed { keys } => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                write!(f, "changed in {} ({})", self.place, keys.join("; "))
            }
            Flaw::NotImported { pattern } => {
                write!(f, "{} is there, but `{pattern}` is not imported", self.place)
            }
            Flaw::Unread => write!(f, "stands in {}, which containerd does not read", self.place),
            Flaw::Tables { found, needed } => {
                write!(f, "{}: stands in the tables of `{found}`, those of `{needed}` count", self.place)
            }
            Flaw::Version { found, needed } => {
                write!(f, "{} is of version {found}, the root file of version {needed}", self.place)
            }
            Flaw::Misplaced { belongs } => write!(f, "stands in {}, belongs in {belongs}", self.place),
        }
    }
}

/// Every registration in `traces` that does not fit. None: all stand where and as they should.
///
/// Unlike elsewhere, `input.files` are the files as they are, *with* what is ours. `apart` are files that we wrote and
/// that the engine does not read.
///
/// # Errors
/// If the configuration cannot hold registrations at all: the reason, as an installation would give it.
pub fn registered(
    input: &ConfigInput<'_>,
    apart: &BTreeMap<HostPath, String>,
    traces: &Traces,
) -> Result<Vec<Misfit>, DialectError> {
    let bare = bare(input, traces)?;
    let layout = layout(&ConfigInput { files: &bare, ..*input })?;
    let files = imports::load(input)?;
    let read: Vec<(&HostPath, &Scan<'_>)> = files.iter().map(|file| (file.path, &file.scan)).collect();
    let unread: Vec<(&HostPath, Scan<'_>)> =
        apart.iter().filter_map(|(path, text)| Some((path, Scan::new(path, text).ok()?))).collect();
    let unread: Vec<(&HostPath, &Scan<'_>)> = unread.iter().map(|(path, scan)| (*path, scan)).collect();
    let mut found = Vec::new();
    for (runtime, entry) in traces.entries.iter().flat_map(|(r, list)| list.iter().map(move |e| (r, e))) {
        let seen = spots(&read, entry);
        let flaws = if seen.is_empty() {
            absent(&layout, runtime, entry, &unread)
        } else {
            present(&layout, runtime, entry, &seen)
        };
        let of =
            |(place, flaw)| Misfit { runtime: runtime.clone(), handler: entry.handler.clone(), place, flaw };
        found.extend(flaws.into_iter().map(of));
    }
    Ok(found)
}

/// The configuration's files without anything of ours.
fn bare(input: &ConfigInput<'_>, traces: &Traces) -> Result<BTreeMap<HostPath, String>, DialectError> {
    let mut bare = BTreeMap::new();
    let others = |path: &HostPath, text: &str| path == input.root || !only_ours(path, text, traces);
    for (path, text) in input.files.iter().filter(|(path, text)| others(path, text)) {
        let none = RootOwned { file: path.clone(), created: false, tables: Tables::Grpc, pieces: Vec::new() };
        let cut = cut_root(text, &none, traces, Overwrite::Yes)?;
        let rest = splice::apply(text, &cut.splices)
            .map_err(|error| super::write::unsound(path, error.to_string()))?;
        bare.insert(path.clone(), rest);
    }
    Ok(bare)
}

/// A table of an entry's handler.
struct Seen<'a> {
    file: &'a HostPath,
    scan: &'a Scan<'a>,
    tables: Tables,
    table: &'a Tree,
    place: Place,
}

fn spots<'a>(files: &[(&'a HostPath, &'a Scan<'a>)], entry: &Entry) -> Vec<Seen<'a>> {
    let kind = PieceKind::Entry { runtime: None, entry: entry.clone() };
    let mut seen = Vec::new();
    for (file, scan) in files {
        for tables in Tables::ALL {
            let Some(path) = kind.path(tables) else { continue };
            let Some(table) = scan.tree.get(&path) else { continue };
            let at = scan.offset(&path);
            let place = at.map_or_else(|| Place::file(file), |at| Place::at(file, scan.text, at));
            seen.push(Seen { file, scan, tables, table, place });
        }
    }
    seen
}

/// Where the entry belongs.
fn home(layout: &Layout, runtime: &RuntimeName) -> HostPath {
    layout.drop_in_path(runtime).unwrap_or_else(|| layout.file.clone())
}

fn absent(
    layout: &Layout,
    runtime: &RuntimeName,
    entry: &Entry,
    unread: &[(&HostPath, &Scan<'_>)],
) -> Vec<(Place, Flaw)> {
    let home = home(layout, runtime);
    let elsewhere = spots(unread, entry);
    let import = match &layout.placement {
        Placement::DropIn { import: Import::Ensure(pattern), .. } => Some(pattern),
        _ => None,
    };
    let flaw = match (elsewhere.iter().find(|seen| *seen.file == home), import, elsewhere.first()) {
        (Some(seen), Some(pattern), _) => {
            (seen.place.clone(), Flaw::NotImported { pattern: pattern.clone() })
        }
        (_, _, Some(seen)) => (seen.place.clone(), Flaw::Unread),
        (_, _, None) => (Place::file(&home), Flaw::Missing),
    };
    Vec::from([flaw])
}

fn present(layout: &Layout, runtime: &RuntimeName, entry: &Entry, seen: &[Seen<'_>]) -> Vec<(Place, Flaw)> {
    let home = home(layout, runtime);
    let mut flaws = Vec::new();
    for spot in seen {
        let keys = entry.differences(spot.table);
        if !keys.is_empty() {
            flaws.push((spot.place.clone(), Flaw::Changed { keys }));
        }
        let version = match spot.scan.tree.get(&["version"]) {
            Some(Tree::Integer(number)) => *number,
            _ => 1,
        };
        if spot.tables != layout.tables {
            let (found, needed) = (spot.tables.plugin(), layout.tables.plugin());
            flaws.push((spot.place.clone(), Flaw::Tables { found, needed }));
        } else if *spot.file != home {
            flaws.push((spot.place.clone(), Flaw::Misplaced { belongs: home.clone() }));
        } else if layout.placement != Placement::InPlace && version != i64::from(layout.version) {
            let flaw = Flaw::Version { found: version, needed: layout.version.into() };
            flaws.push((spot.place.clone(), flaw));
        } else if let Some(key) = platform(spot.scan, entry).filter(|_| layout.tables != Tables::Cri) {
            flaws.push((spot.place.clone(), Flaw::Changed { keys: Vec::from([key]) }));
        }
    }
    flaws
}

/// What differs in the table that says an entry's snapshotter once more.
fn platform(scan: &Scan<'_>, entry: &Entry) -> Option<Difference> {
    let platform = entry.platform()?;
    let [plugins, images, platforms] = super::PLATFORMS;
    let path = [plugins, images, platforms, entry.handler.as_str()];
    match scan.tree.get(&path) {
        Some(found) => platform.difference(found),
        None => Some(Difference {
            path: path.join("."),
            before: entry.snapshotter().map(str::to_owned),
            after: None,
        }),
    }
}
