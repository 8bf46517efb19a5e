//! Drift: differences between the ledger and the host that we did not make.

use super::register::is_served;
use super::{PlanError, World};
use crate::engine::containerd::{self, Effective, Entry};
use crate::name::{HandlerName, HostPath, RuntimeName, Version};
use crate::observation::{PathState, TreeDamage, TreeState};
use crate::record::{Ledger, OwnedFile, Part};
use serde::Serialize;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "drift")]
pub enum Drift {
    /// A version's folder is gone.
    TreeMissing {
        /// The runtime.
        name: RuntimeName,
        /// The version.
        version: Version,
        /// The folder.
        tree: HostPath,
    },
    /// Files of a version are not as they were installed.
    TreeDamaged {
        /// The runtime.
        name: RuntimeName,
        /// The version.
        version: Version,
        /// The folder.
        tree: HostPath,
        /// Which.
        damage: Vec<TreeDamage>,
    },
    /// The engine's configuration does not have a handler as we wrote it.
    Handler {
        /// The runtime.
        name: RuntimeName,
        /// The handler.
        handler: HandlerName,
        /// What about it.
        what: String,
    },
    /// The running engine does not list a handler that its configuration has.
    NotServed {
        /// The runtime.
        name: RuntimeName,
        /// The handler.
        handler: HandlerName,
    },
    /// A file that we made, or our part of a file, is not as we left it.
    File {
        /// The file.
        path: HostPath,
        /// What about it.
        what: FileDrift,
    },
}

/// What is wrong with a file or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileDrift {
    /// It is gone.
    Missing,
    /// It is another one.
    Changed,
    /// It is there, but what we wrote into it is not, or not as we wrote it.
    PartChanged,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TreeMissing { name, version, tree } => {
                write!(f, "{name} {version}: all files are gone: {tree}")
            }
            Self::TreeDamaged { name, version, tree, damage } => {
                write!(f, "{name} {version}: files in {tree} are not as they were installed")?;
                damage.iter().try_for_each(|damage| write!(f, "\n  {damage}"))
            }
            Self::Handler { name, handler, what } => write!(f, "{name}: the handler {handler} {what}"),
            Self::NotServed { name, handler } => {
                write!(f, "{name}: the running engine does not list the handler {handler}")
            }
            Self::File { path, what: FileDrift::Missing } => write!(f, "{path} is missing"),
            Self::File { path, what: FileDrift::Changed } => write!(f, "{path} was changed"),
            Self::File { path, what: FileDrift::PartChanged } => {
                write!(f, "{path}: what Cofferdam wrote into it is gone or was changed")
            }
        }
    }
}

/// Compares the host with its ledger. Nothing found: all is as it was left.
///
/// # Errors
/// If more has to be looked at, or the engine's configuration cannot be read.
pub fn drift(world: &World<'_>) -> Result<Vec<Drift>, PlanError> {
    let Some(ledger) = world.ledger else { return Ok(Vec::new()) };
    let mut found = trees(world, ledger)?;
    found.extend(handlers(world, ledger)?);
    for (path, owned) in &ledger.files {
        let what = file(world, path, owned)?;
        found.extend(what.map(|what| Drift::File { path: path.clone(), what }));
    }
    for (path, target) in &ledger.links {
        let what = match world.state(path)? {
            PathState::Link { target: present } if present == target => continue,
            PathState::Absent => FileDrift::Missing,
            _ => FileDrift::Changed,
        };
        found.push(Drift::File { path: path.clone(), what });
    }
    Ok(found)
}

fn trees(world: &World<'_>, ledger: &Ledger) -> Result<Vec<Drift>, PlanError> {
    let mut found = Vec::new();
    for (name, installed) in ledger.trees() {
        let (name, version, tree) = (name.clone(), installed.version.clone(), installed.tree.clone());
        match world.tree(&tree, installed.manifest)? {
            TreeState::Sound => {}
            TreeState::Absent => found.push(Drift::TreeMissing { name, version, tree }),
            TreeState::Damaged { damage } => {
                found.push(Drift::TreeDamaged { name, version, tree, damage: damage.clone() });
            }
        }
    }
    Ok(found)
}

/// What the engine makes of its files, and what the running one serves.
fn handlers(world: &World<'_>, ledger: &Ledger) -> Result<Vec<Drift>, PlanError> {
    let effective = world.engine.dump.as_deref().map(Effective::parse).transpose()?;
    let mut found = Vec::new();
    for (name, installed) in &ledger.runtimes {
        for entry in &installed.entries {
            let (name, handler) = (name.clone(), entry.handler.clone());
            match effective.as_ref().and_then(|effective| configured(effective, entry)) {
                Some(what) => found.push(Drift::Handler { name, handler, what }),
                None if !is_served(world, std::slice::from_ref(&handler)) => {
                    found.push(Drift::NotServed { name, handler });
                }
                None => {}
            }
        }
    }
    Ok(found)
}

/// What is wrong with a handler in the configuration.
fn configured(effective: &Effective, entry: &Entry) -> Option<String> {
    let handlers = effective.handlers();
    let Some(view) = handlers.get(entry.handler.as_str()) else {
        return Some("is not in the engine's configuration".to_owned());
    };
    let lost = entry.lost_in(view.table);
    (!lost.is_empty()).then(|| format!("was changed in the engine's configuration: {}", lost.join(", ")))
}

fn file(world: &World<'_>, path: &HostPath, owned: &OwnedFile) -> Result<Option<FileDrift>, PlanError> {
    let present = match world.state(path)? {
        PathState::File { digest, .. } if *digest == owned.after => return Ok(None),
        PathState::Absent => return Ok(Some(FileDrift::Missing)),
        PathState::File { .. } => world.engine.files.get(path),
        PathState::Link { .. } | PathState::Folder | PathState::Other => None,
    };
    Ok(match (&owned.part, present) {
        (Part::Containerd(part), Some(text)) if containerd::holds(text, part) => None,
        (Part::Containerd(_), _) => Some(FileDrift::PartChanged),
        (Part::Whole | Part::DropIn, _) => Some(FileDrift::Changed),
    })
}
