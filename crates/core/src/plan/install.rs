//! The plan of an installation, of an upgrade too: another version beside the present one.

use super::register::{Placing, Wanted, ledger, register};
use super::{Package, Plan, PlanError, World};
use crate::descriptor::Descriptor;
use crate::doctor::Gate;
use crate::engine::containerd;
use crate::name::{HostPath, RuntimeName};
use crate::observation::TreeState;
use crate::record::{Change, Installed, Ledger, RUNTIME_ROOT, Verdict};

/// What the caller takes for granted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Nothing: it may be installed already, in this version or in another one.
    Anything,
    /// Some version is installed (`upgrade`).
    Installed,
    /// The package is this runtime, and no other one: it takes the place of what is installed.
    Runtime(RuntimeName),
}

/// Plans the installation of `package`. Without steps, it is there already. If another version is there, it stays for
/// the sandboxes that run from it, and for a rollback.
///
/// # Errors
/// If the host, the engine's configuration or what is installed does not allow it, or the doctor says no.
pub fn install(
    world: &World<'_>,
    package: &Package,
    expect: &Expect,
    rehearse: bool,
) -> Result<Plan, PlanError> {
    let draft = draft(world, package, expect, rehearse);
    // What is there already needs nothing.
    if matches!(&draft, Err(PlanError::Unobserved(_) | PlanError::Unchecked { .. }))
        || draft.as_ref().is_ok_and(Plan::is_empty)
    {
        return draft;
    }
    match world.fitness.unfit(world.engine, world.target, &package.descriptor) {
        // What can be overridden comes after what cannot.
        Some(unfit) if draft.is_ok() || unfit.gate == Gate::Closed => {
            Err(PlanError::Unfit { name: package.descriptor.name.clone(), unfit })
        }
        _ => draft,
    }
}

fn draft(world: &World<'_>, package: &Package, expect: &Expect, rehearse: bool) -> Result<Plan, PlanError> {
    let descriptor = &package.descriptor;
    let name = &descriptor.name;
    let before = ledger(world);
    let present = before.runtimes.get(name);
    match expect {
        Expect::Installed if present.is_none() => return Err(PlanError::NotInstalled(name.clone())),
        Expect::Runtime(wanted) if wanted != name => {
            return Err(PlanError::OtherRuntime { name: name.clone(), wanted: wanted.clone() });
        }
        _ => {}
    }
    let installed = installed(&before, package)?;
    refuse_missing_base(&before, package, &installed.tree)?;
    let change = match present {
        Some(old) if old.tree != installed.tree => {
            Change::Upgrade { name: name.clone(), from: old.version.clone(), to: installed.version.clone() }
        }
        _ => Change::Install { name: name.clone(), version: installed.version.clone() },
    };
    let placing = placing(world, package, &installed)?;
    register(world, before.clone(), Wanted { name, installed, change, placing, rehearse })
}

/// How the tree of `package` comes to its place.
pub(super) fn placing<'p>(
    world: &World<'_>,
    package: &'p Package,
    installed: &Installed,
) -> Result<Placing<'p>, PlanError> {
    Ok(match world.tree(&installed.tree, installed.manifest)? {
        TreeState::Sound => Placing::There,
        TreeState::Absent => Placing::New(package),
        TreeState::Damaged { .. } => Placing::Instead(package),
    })
}

/// The base's files are in a tree that is there, so that it needs the base no more.
pub(super) fn refuse_missing_base(
    before: &Ledger,
    package: &Package,
    tree: &HostPath,
) -> Result<(), PlanError> {
    let Descriptor { name, base, .. } = &package.descriptor;
    let is_there = before.trees().any(|(_, known)| known.tree == *tree);
    match base {
        Some(base) if !is_there && !before.runtimes.contains_key(base) => {
            Err(PlanError::BaseMissing { name: name.clone(), base: base.clone() })
        }
        _ => Ok(()),
    }
}

/// What the ledger would say of `package`.
pub(super) fn installed(before: &Ledger, package: &Package) -> Result<Installed, PlanError> {
    let Package { descriptor, digest, .. } = package;
    let tree = tree_path(&before.prefix, package)?;
    let runtime_root = HostPath::new(RUNTIME_ROOT).map_err(|error| PlanError::Internal(error.to_string()))?;
    let entries =
        descriptor.handlers.iter().map(|handler| containerd::entry(handler, &tree, &runtime_root)).collect();
    let known = before.trees().find(|(_, known)| known.tree == tree).map(|(_, known)| known);
    Ok(Installed {
        version: descriptor.version.clone(),
        digest: *digest,
        entries,
        source: package.source.clone(),
        preset: package.preset.clone(),
        image: package.image,
        verified: package.verified.clone(),
        manifest: known.and_then(|known| known.manifest),
        verdict: known.map_or(Verdict::Offline, |known| known.verdict.clone()),
        declared: known.is_some_and(|known| known.declared),
        tree,
    })
}

fn tree_path(prefix: &HostPath, package: &Package) -> Result<HostPath, PlanError> {
    let Package { descriptor, digest, .. } = package;
    prefix
        .join(&format!("runtimes/{}/{}-{}", descriptor.name, descriptor.version, digest.short()))
        .map_err(|error| PlanError::Internal(error.to_string()))
}
