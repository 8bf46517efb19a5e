//! `cofferdam repair`.

use super::{carry_out, preview_or_carry_out};
use crate::cli::{RepairArgs, descriptor_text, proxies};
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::plan::{self, Drift, Overwrite};
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::package::{Place, Source};
use cofferdam_host::store::Store;
use cofferdam_host::survey::Survey;
use cofferdam_host::transact::{Mend, Options};
use cofferdam_host::worker::Wish;
use std::process::ExitCode;

pub(crate) fn run(args: &RepairArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let overwrite = if args.overwrite { Overwrite::Yes } else { Overwrite::No };
    let wish = Wish::Repair(Mend {
        name: args.name.clone(),
        from: from(args)?,
        descriptor: args.descriptor.as_deref().map(descriptor_text).transpose()?,
        proxies: proxies(),
        overwrite,
        policy: args.trust.policy()?,
        limits: args.limits.limits(),
    });
    let options = Options { skip_rehearsal: args.skip_rehearsal, force: false };
    if args.dry_run {
        show_damaged_trees(args)?;
        return preview_or_carry_out(&args.node, args.node.survey(), true, (wish, options), |survey| {
            Ok((survey.plan(|world| plan::repair(world, overwrite, !args.skip_rehearsal))?, Vec::new()))
        });
    }
    carry_out(wish, options, args.node.survey(), &args.node)
}

/// Where files are taken from, if that is said. What opens the registry that they came from is not written down: it is said
/// anew.
fn from(args: &RepairArgs) -> Result<Option<Place>> {
    if let Some(place) = &args.from {
        return args.access.place(place).map(Some);
    }
    if !args.access.is_given() {
        return Ok(None);
    }
    let Some(name) = &args.name else {
        let text = "a login or a certificate is for the registry of one runtime";
        return Err(HostError::new(Class::Invalid, text).with_hint("name it: cofferdam repair RUNTIME"));
    };
    let root = args.node.open_root()?;
    let ledger = Store::new(&root)?.ledger()?;
    let installed = ledger.as_ref().and_then(|ledger| ledger.runtimes.get(name));
    match installed.and_then(Source::of).map(|source| source.place) {
        Some(Place::Oci(remote)) => Ok(Some(Place::Oci(args.access.remote(remote.reference)?))),
        _ => Ok(None),
    }
}

/// A tree is replaced by a transaction of its own, before registrations and units are looked at.
fn show_damaged_trees(args: &RepairArgs) -> Result<()> {
    if args.node.json {
        return Ok(());
    }
    let root = args.node.open_root()?;
    for drift in Survey::take(&root, &args.node.survey())?.plan(plan::drift)? {
        if let Drift::TreeDamaged { tree, .. } | Drift::TreeMissing { tree, .. } = drift {
            show::line(&format!("replace {tree} by a new copy"));
        }
    }
    Ok(())
}
