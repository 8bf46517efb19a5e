//! Drift: differences between the ledger and the host that we did not make.

use super::register::is_served;
use super::{PlanError, World, engine};
use crate::engine::containerd::{self, Effective, Entry, Misfit};
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
    /// A registration does not fit the configuration that the engine reads.
    Registration(Misfit),
    /// No registration fits it: why an installation would be refused there.
    Configuration {
        /// Why.
        because: String,
    },
    /// A registration stands where it belongs, but another file overrides it.
    Overridden {
        /// The runtime.
        name: RuntimeName,
        /// The handler.
        handler: HandlerName,
        /// The keys that mean something else, or nothing, in the effective configuration.
        keys: Vec<String>,
    },
    /// The running engine does not list a handler that its configuration has.
    NotServed {
        /// The runtime.
        name: RuntimeName,
        /// The handler.
        handler: HandlerName,
    },
    /// A file or link that is wholly ours is not as we left it.
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
}

impl Drift {
    /// The runtime that it concerns; none: all of them.
    pub const fn runtime(&self) -> Option<&RuntimeName> {
        match self {
            Self::TreeMissing { name, .. }
            | Self::TreeDamaged { name, .. }
            | Self::Overridden { name, .. }
            | Self::NotServed { name, .. } => Some(name),
            Self::Registration(misfit) => Some(&misfit.runtime),
            Self::Configuration { .. } | Self::File { .. } => None,
        }
    }
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
            Self::Registration(misfit) => misfit.fmt(f),
            Self::Configuration { because } => {
                write!(f, "the engine's configuration has no place for registrations: {because}")
            }
            Self::Overridden { name, handler, keys } => {
                write!(f, "handler {handler} of {name}: overridden by another file: {}", keys.join(", "))
            }
            Self::NotServed { name, handler } => {
                write!(f, "handler {handler} of {name}: not listed by the running engine")
            }
            Self::File { path, what: FileDrift::Missing } => write!(f, "{path} is missing"),
            Self::File { path, what: FileDrift::Changed } => write!(f, "{path} was changed"),
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

/// What the engine's files say, what it makes of them, and what the running one serves.
fn handlers(world: &World<'_>, ledger: &Ledger) -> Result<Vec<Drift>, PlanError> {
    let misfits = match engine::registered(world.engine, ledger) {
        Ok(misfits) => misfits,
        Err(error) => return Ok(vec![Drift::Configuration { because: error.to_string() }]),
    };
    let effective = world.engine.dump.as_deref().map(Effective::parse).transpose()?;
    let mut found = Vec::new();
    for (name, installed) in &ledger.runtimes {
        for entry in installed.entries.iter().filter(|e| misfits.iter().all(|m| m.handler != e.handler)) {
            let (name, handler) = (name.clone(), entry.handler.clone());
            let keys = effective.as_ref().map(|effective| overridden(effective, entry)).unwrap_or_default();
            if !keys.is_empty() {
                found.push(Drift::Overridden { name, handler, keys });
            } else if !is_served(world, std::slice::from_ref(&handler)) {
                found.push(Drift::NotServed { name, handler });
            }
        }
    }
    Ok(misfits.into_iter().map(Drift::Registration).chain(found).collect())
}

/// The keys of an entry that the effective configuration does not have as we wrote them.
fn overridden(effective: &Effective, entry: &Entry) -> Vec<String> {
    match effective.handlers().get(entry.handler.as_str()) {
        Some(view) => entry.lost_in(view.table),
        None => vec![entry.handler.to_string()],
    }
}

/// What is wrong with a file that is wholly ours. Registrations are judged by what they mean, wherever they stand: of a
/// drop-in, only what others wrote into it is said here.
fn file(world: &World<'_>, path: &HostPath, owned: &OwnedFile) -> Result<Option<FileDrift>, PlanError> {
    let text = match owned.part {
        Part::Containerd(_) => return Ok(None),
        Part::DropIn => world.config_text(path),
        Part::Whole => None,
    };
    let traces = world.ledger.map(Ledger::traces).unwrap_or_default();
    Ok(match world.state(path)? {
        PathState::File { digest, .. } if *digest == owned.after => None,
        _ if text.is_some_and(|text| containerd::only_ours(path, text, &traces)) => None,
        PathState::Absent if owned.part == Part::DropIn => None,
        PathState::Absent => Some(FileDrift::Missing),
        _ => Some(FileDrift::Changed),
    })
}
