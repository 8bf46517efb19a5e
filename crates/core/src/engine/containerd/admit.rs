//! What is refused before anything is written.

use super::effective::{CRI_PLUGINS, Effective};
use super::error::{DialectError, Place};
use super::imports;
use super::layout::ConfigInput;
use super::scan::Scan;
use super::tree::Tree;
use super::{Registrations, Tables};
use crate::engine::EngineVersion;
use crate::name::{HandlerName, HostPath, RuntimeName};
use std::collections::{BTreeMap, BTreeSet};

/// The oldest release whose configuration we change.
pub const FLOOR: EngineVersion = EngineVersion { major: 1, minor: 6, patch: 0 };

/// Whether the release recreates running pods when it is restarted: 1.6.9 to 1.6.13 do (1.6.14's release notes).
pub fn recreates_pods(engine: EngineVersion) -> bool {
    engine.major == 1 && engine.minor == 6 && (9..=13).contains(&engine.patch)
}

/// Refuses releases below [`FLOOR`], and those that do not leave pods alone when they are restarted.
///
/// # Errors
/// Unsupported, with the release to upgrade to.
pub fn supported(engine: Option<EngineVersion>) -> Result<(), DialectError> {
    let Some(engine) = engine else { return Ok(()) };
    let (what, hint) = if engine < FLOOR {
        ("is too old: Cofferdam supports 1.6 and later", "upgrade containerd first")
    } else if recreates_pods(engine) {
        (
            "recreates running pods when it is restarted (1.6.9 to 1.6.13 do)",
            "upgrade containerd to 1.6.14 or later first",
        )
    } else {
        return Ok(());
    };
    Err(DialectError::Engine { engine, what: what.to_owned(), hint: hint.to_owned() })
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
            for tables in Tables::ALL {
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
        for tables in Tables::ALL {
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

pub(super) fn disabled(place: Place, name: &str) -> DialectError {
    DialectError::Unsupported {
        place,
        what: format!(
            "containerd's CRI is disabled (`{name}`), so no handler can work and a restart would leave the node without CRI"
        ),
        hint: "remove it from `disabled_plugins` and restart containerd first".to_owned(),
    }
}

pub(super) fn cri_enabled(path: &HostPath, scan: &Scan<'_>) -> Result<(), DialectError> {
    let names = scan.tree.get(&["disabled_plugins"]).map(Tree::texts).unwrap_or_default();
    let Some(at) = names.iter().position(|name| CRI_PLUGINS.contains(name)) else { return Ok(()) };
    let span =
        scan.array("disabled_plugins").and_then(|(whole, items)| items.get(at).cloned().or(Some(whole)));
    let place = span.map_or_else(|| Place::file(path), |span| Place::at(path, scan.text, span.start));
    Err(disabled(place, names.get(at).copied().unwrap_or_default()))
}
