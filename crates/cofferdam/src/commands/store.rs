//! `cofferdam store`.

use crate::cli::{NodeArgs, StoreArgs, StoreCommand};
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::observation::TreeState;
use cofferdam_core::plan;
use cofferdam_core::record::Ledger;
use cofferdam_host::error::Result;
use cofferdam_host::holdings::{Holding, Holdings};
use cofferdam_host::root::HostRoot;
use cofferdam_host::store::Store;
use cofferdam_host::survey::Look;
use indicatif::HumanBytes;
use serde::Serialize;
use std::process::ExitCode;

pub(crate) fn run(args: &StoreArgs) -> Result<ExitCode> {
    match &args.command {
        StoreCommand::Ls(node) => list(node),
        StoreCommand::Du(node) => usage(node),
        StoreCommand::Gc(args) => super::gc::run(args),
        StoreCommand::Verify(node) => verify(node),
    }
}

fn holdings(root: &HostRoot) -> Result<(Holdings, Option<Ledger>)> {
    let ledger = Store::new(root)?.ledger()?;
    let holdings = ledger.as_ref().map(|ledger| Holdings::of(root, ledger)).transpose()?;
    Ok((holdings.unwrap_or_default(), ledger))
}

fn open(node: &NodeArgs) -> Result<HostRoot> {
    node.require_root()?;
    node.open_root()
}

/// Why a tree is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kept {
    /// The engine starts sandboxes from it.
    Registered,
    /// Sandboxes of before run from it.
    InUse,
    /// A rollback would bring it back.
    Rollback,
    /// It waits to be installed.
    Pulled,
    /// Nothing needs it: it goes with the next change, or with gc.
    Spare,
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    holding: &'a Holding,
    kept: Kept,
    /// Who runs from it.
    users: Vec<String>,
}

fn list(node: &NodeArgs) -> Result<ExitCode> {
    let root = open(node)?;
    let (holdings, ledger) = holdings(&root)?;
    let look = Look::take(&root, &node.survey())?;
    let listed: Vec<_> =
        holdings.trees.iter().map(|holding| listed(holding, ledger.as_ref(), &look)).collect();
    if node.json {
        return show::json(&listed);
    }
    for Listed { holding, kept, users } in &listed {
        let kept = match kept {
            Kept::Registered => "registered",
            Kept::InUse => "in use",
            Kept::Rollback => "rollback brings it back",
            Kept::Pulled => "pulled",
            Kept::Spare => "spare",
        };
        show::line(&format!("{} {}  {kept}", holding.name, holding.version));
        show::line(&format!("  {}", holding.tree));
        if let Some(image) = &holding.image {
            show::line(&format!("  image {image}"));
        }
        for user in users {
            show::line(&format!("  used by {user}"));
        }
    }
    empty(&holdings);
    Ok(ExitCode::SUCCESS)
}

fn listed<'a>(holding: &'a Holding, ledger: Option<&Ledger>, look: &Look) -> Listed<'a> {
    let users = plan::tree_users(&look.cri(), &look.uses, &holding.tree);
    let target = ledger.and_then(|ledger| ledger.rollback_target(&holding.name));
    let mut pulled = ledger.into_iter().flat_map(|ledger| &ledger.pulled);
    let kept = match holding {
        Holding { registered: true, .. } => Kept::Registered,
        _ if !users.is_empty() => Kept::InUse,
        _ if target.is_some_and(|target| target.tree == holding.tree) => Kept::Rollback,
        _ if pulled.any(|pulled| pulled.installed.tree == holding.tree) => Kept::Pulled,
        _ => Kept::Spare,
    };
    Listed { holding, kept, users }
}

fn usage(node: &NodeArgs) -> Result<ExitCode> {
    let root = open(node)?;
    let (holdings, _) = holdings(&root)?;
    if node.json {
        return show::json(&holdings);
    }
    for Holding { name, version, size, .. } in &holdings.trees {
        show::line(&format!(
            "{name} {version}: {} in {} files; alone {}, shared {}",
            HumanBytes(size.bytes),
            size.files,
            HumanBytes(size.alone),
            HumanBytes(size.shared)
        ));
    }
    if !holdings.trees.is_empty() {
        show::line(&format!("on disk: {}", HumanBytes(holdings.disk)));
    }
    empty(&holdings);
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    holding: &'a Holding,
    #[serde(flatten)]
    state: TreeState,
}

fn verify(node: &NodeArgs) -> Result<ExitCode> {
    let root = open(node)?;
    let (holdings, _) = holdings(&root)?;
    let check = |holding| Ok(Checked { holding, state: Holding::check(holding, &root)? });
    let checked = holdings.trees.iter().map(check).collect::<Result<Vec<_>>>()?;
    let sound = checked.iter().all(|checked| checked.state == TreeState::Sound);
    let code = ExitCode::from(if sound { 0 } else { Class::Conflict.exit_code() });
    if node.json {
        show::json(&checked)?;
        return Ok(code);
    }
    for Checked { holding, state } in &checked {
        show::line(&format!("{} {}: {}", holding.name, holding.version, word(state)));
        if let TreeState::Damaged { damage } = state {
            for damage in damage {
                show::line(&format!("  {damage}"));
            }
        }
    }
    if !sound {
        show::hint("cofferdam repair puts it back; with --dry-run it shows what it would change");
    }
    empty(&holdings);
    Ok(code)
}

const fn word(state: &TreeState) -> &'static str {
    match state {
        TreeState::Sound => "as it was installed",
        TreeState::Absent => "gone",
        TreeState::Damaged { .. } => "not as it was installed",
    }
}

fn empty(holdings: &Holdings) {
    if holdings.trees.is_empty() {
        show::note("nothing is installed");
    }
}
