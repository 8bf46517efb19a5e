//! Puts back what drifted: damaged trees one by one, then what the engine and systemd hold of ours.

use super::{Host, Options, fetch, generation, run, run_with, settle};
use crate::archive::Limits;
use crate::error::{HostError, Result};
use crate::event::{Ending, Event, Outcome};
use crate::net::Proxies;
use crate::package::{PackageDir, Place, Source};
use crate::store::Store;
use crate::survey::Survey;
use cofferdam_core::class::Class;
use cofferdam_core::name::{HostPath, RuntimeName};
use cofferdam_core::plan::{self, Drift, Overwrite};
use cofferdam_core::record::Installed;
use cofferdam_core::trust::Policy;
use serde::{Deserialize, Serialize};

/// What is to be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mend {
    /// Whose files; none: everyone's.
    pub name: Option<RuntimeName>,
    /// Where the package is to take files from; none: where they came from.
    pub from: Option<Place>,
    /// What describes the package if neither it nor a preset does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<String>,
    /// What stands between us and the registry that it came from.
    #[serde(default)]
    pub proxies: Proxies,
    /// Whether edits of ours that someone made are replaced.
    pub overwrite: Overwrite,
    /// What is asked of the package before it is unpacked, beside that it is the one which was installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// How much of it is unpacked.
    #[serde(default)]
    pub limits: Limits,
}

/// A tree whose files are not as they were installed.
struct Damaged {
    name: RuntimeName,
    installed: Installed,
    /// Whether it is an earlier version's.
    retired: bool,
}

/// Puts back what drifted.
pub fn repair(mut host: Host<'_>, mend: &Mend, options: Options) -> Outcome {
    match repair_all(&mut host, mend, options) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::refused(&error, Store::new(host.root).map_or(0, |store| generation(&store))),
    }
}

fn repair_all(host: &mut Host<'_>, mend: &Mend, options: Options) -> Result<Outcome> {
    let store = Store::new(host.root)?;
    if let Some(outcome) = settle(host, &store, None)? {
        return Ok(outcome);
    }
    let mut mended: Option<Outcome> = None;
    for damaged in damaged(host, mend.name.as_ref())? {
        let open = |host: &mut Host<'_>, store: &Store<'_>| {
            package_of(&damaged, mend, |source| fetch(host, store, source))
        };
        let outcome = run_with(host, open, |survey, package| {
            survey.plan(|world| plan::repair_tree(world, &package.package))
        });
        // An earlier version is not worth more than a word: nothing new starts from it.
        if damaged.retired && outcome.result == Ending::Refused {
            let text = format!("{}: stays as it is: {}", damaged.installed.tree, outcome.message);
            host.sink.take(Event::Note { text });
            continue;
        }
        if outcome.class.is_some() {
            return Ok(outcome);
        }
        mended = Some(joined(mended, outcome));
    }
    let rest = run(host, None, |survey| {
        survey.plan(|world| plan::repair(world, mend.overwrite, !options.skip_rehearsal))
    });
    Ok(joined(mended, rest))
}

/// Two outcomes in a row, told as one.
fn joined(before: Option<Outcome>, outcome: Outcome) -> Outcome {
    match before {
        None => outcome,
        Some(before) if outcome.result == Ending::Unchanged => before,
        Some(before) => Outcome { message: format!("{}; {}", before.message, outcome.message), ..outcome },
    }
}

fn damaged(host: &Host<'_>, name: Option<&RuntimeName>) -> Result<Vec<Damaged>> {
    let mut survey = Survey::take(host.root, host.survey)?;
    let drifts = survey.plan(plan::drift)?;
    let bad: Vec<HostPath> = drifts
        .into_iter()
        .filter_map(|drift| match drift {
            Drift::TreeMissing { tree, .. } | Drift::TreeDamaged { tree, .. } => Some(tree),
            _ => None,
        })
        .collect();
    let Some(ledger) = &survey.ledger else { return Ok(Vec::new()) };
    let of_name = |owner: &RuntimeName| name.is_none_or(|name| name == owner);
    let trees = ledger.trees().filter(|(owner, installed)| of_name(owner) && bad.contains(&installed.tree));
    Ok(trees
        .map(|(owner, installed)| Damaged {
            retired: ledger.runtimes.get(owner).is_none_or(|present| present.tree != installed.tree),
            name: owner.clone(),
            installed: installed.clone(),
        })
        .collect())
}

/// `place`; if it is the repository that `installed` came from, the very image: its tag may stand for another one by now.
fn same_image(place: Place, installed: &Installed) -> Place {
    let before = Place::parse(&installed.source);
    let (Place::Oci(asked), Some(Place::Oci(known))) = (&place, &before) else { return place };
    let (asked, known) = (&asked.reference, &known.reference);
    let is_same = (asked.registry(), asked.repository()) == (known.registry(), known.repository());
    if is_same && asked.digest().is_none() { place.pinned(installed.image) } else { place }
}

/// The package that a damaged tree was made of.
fn package_of(
    damaged: &Damaged,
    mend: &Mend,
    fetch: impl FnOnce(&Source) -> Result<PackageDir>,
) -> Result<PackageDir> {
    let Damaged { name, installed, .. } = damaged;
    let Installed { version, digest, .. } = installed;
    let described = match installed.preset.is_none() && mend.descriptor.is_none() {
        true => "; if it was installed with --descriptor, give that as well",
        false => "",
    };
    let hint = || match installed.source.starts_with("oci:") {
        // What opened the registry is not written down.
        true => {
            format!("say what opens it: cofferdam repair {name} --auth-file FILE --ca-file FILE{described}")
        }
        false => {
            format!("name the package of {version}: cofferdam repair {name} --from dir:FOLDER{described}")
        }
    };
    let source = match &mend.from {
        Some(place) => Some(Source::like(same_image(place.clone(), installed), installed)),
        None => Source::of(installed).map(|source| source.through(&mend.proxies)),
    };
    let Some(source) = source else {
        let text = format!("where {name} {version} came from is not known");
        return Err(HostError::new(Class::Invalid, text).with_hint(hint()));
    };
    let descriptor = mend.descriptor.clone().filter(|_| source.preset.is_none());
    let source = Source { policy: mend.policy.clone(), limits: mend.limits, descriptor, ..source };
    let package = fetch(&source).map_err(|error| {
        HostError::new(
            error.class(),
            format!("the package of {name} {version} cannot be read again: {}", error.chain()),
        )
        .with_hint(hint())
    })?;
    if package.package.digest == *digest {
        return Ok(package);
    }
    let message = format!(
        "{} is not the package that {name} {version} was installed from ({}, not {})",
        source.place,
        package.package.digest.short(),
        digest.short()
    );
    Err(HostError::new(Class::Conflict, message).with_hint(hint()))
}
