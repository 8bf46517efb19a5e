//! `cofferdam apply`: this machine as a declarative file says, by the same jobs as install and remove.

mod place;
mod result;

use crate::cli::{ApplyArgs, proxies};
use crate::show;
use cofferdam_cluster::file::{self, Declared, Findings, Form, RuntimeFile};
use cofferdam_core::class::Class;
use cofferdam_core::doctor::Skip;
use cofferdam_core::name::RuntimeName;
use cofferdam_core::plan::Expect;
use cofferdam_core::trust::Policy;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::event::{Ending, Outcome};
use cofferdam_host::package::Source;
use cofferdam_host::survey::SurveyOptions;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::Wish;
use place::Place;
use result::{Applied, Results};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn run(args: &ApplyArgs) -> Result<ExitCode> {
    let file = read(&args.file)?;
    args.node.require_root()?;
    for note in &file.notes {
        show::waiting(note, args.node.json);
    }
    let policy = args.trust.policy()?;
    let mut place = Place::of(args)?;
    let mut results = Results::new(args.node.json);
    let mut wanted = BTreeSet::new();
    for declared in selected(&file, args) {
        show_name(&declared.name, args);
        let applied = one(declared, file.form, (args, policy.as_ref()), &mut place, &mut wanted);
        let goes_on = applied.outcome.as_ref().is_none_or(goes_on);
        results.add(applied);
        if !goes_on {
            return results.end("what is left of the file was not tried: finish this one first");
        }
    }
    if args.prune {
        prune(args, &mut place, &wanted, &mut results)?;
    }
    results.end("")
}

/// Reads the file, whole and valid, before anything is done.
pub(crate) fn read(path: &Path) -> Result<RuntimeFile> {
    let mut text = String::new();
    if path == Path::new("-") {
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| HostError::std_io("read", "standard input", error))?;
    } else {
        text = std::fs::read_to_string(path)
            .map_err(|error| HostError::std_io("read", path.display(), error))?;
    }
    file::parse(&path.display().to_string(), &text).map_err(refused)
}

fn refused(findings: Findings) -> HostError {
    let error = HostError::new(Class::Invalid, findings.to_string());
    match findings.hints().join("; ") {
        hints if hints.is_empty() => error,
        hints => error.with_hint(hints),
    }
}

/// The runtimes that this machine should have. Labels are the cluster's: without any, each is taken.
fn selected<'f>(file: &'f RuntimeFile, args: &ApplyArgs) -> Vec<&'f Declared> {
    let labels: BTreeMap<String, String> = args.node_label.iter().cloned().collect();
    let mut selected = Vec::new();
    for declared in &file.runtimes {
        if labels.is_empty() && !declared.spec.node_selector.is_empty() && !args.in_pod {
            let text =
                format!("{}: its node selector is not looked at: no --node-label is given", declared.name);
            show::waiting(&text, args.node.json);
        } else if !labels.is_empty() && !declared.selects(&labels) {
            show::waiting(&format!("{}: its node selector does not match", declared.name), args.node.json);
            continue;
        }
        selected.push(declared);
    }
    selected
}

fn show_name(name: &str, args: &ApplyArgs) {
    if !args.node.json {
        show::say(&format!("{name}:"));
    }
}

/// Whether the next runtime may be dealt with after one that ended so.
const fn goes_on(outcome: &Outcome) -> bool {
    !matches!(outcome.result, Ending::Unfinished | Ending::Conflict)
}

/// Brings one runtime there.
fn one(
    declared: &Declared,
    form: Form,
    args: (&ApplyArgs, Option<&Policy>),
    place: &mut Place<'_>,
    wanted: &mut BTreeSet<RuntimeName>,
) -> Applied {
    let mut runtime = None;
    let mut outcome = install(declared, args, place, wanted, &mut runtime)
        .unwrap_or_else(|error| Some(Outcome::refused(&error, 0)));
    if let Some(outcome) = outcome.as_mut().filter(|outcome| outcome.hint.is_none()) {
        let advice = outcome.class.and_then(|class| file::advice(form, class));
        outcome.hint = advice.map(str::to_owned);
    }
    wanted.extend(runtime.clone());
    Applied { name: declared.name.clone(), runtime, outcome }
}

fn install(
    declared: &Declared,
    (args, policy): (&ApplyArgs, Option<&Policy>),
    place: &mut Place<'_>,
    wanted: &BTreeSet<RuntimeName>,
    runtime: &mut Option<RuntimeName>,
) -> Result<Option<Outcome>> {
    let skip_checks = declared
        .spec
        .skip_checks
        .iter()
        .map(|name| {
            Skip::new(name).map_err(|error| HostError::new(Class::Invalid, format!("skipChecks: {error}")))
        })
        .collect::<Result<Vec<_>>>()?;
    let survey = SurveyOptions { skip_checks, ..args.node.survey() };
    let source = file::source(&declared.spec.package, &args.pull_secrets)?.through(&proxies());
    // Who applies a file asks for more than what the file asks for itself, never for less; only limits are the caller's.
    let limits = args.limits.over(source.limits);
    let source = Source { limits, ..source.and_policy(policy.cloned()) };
    let wish = Wish::Install { source, expect: Expect::Anything };
    place.carry_out(wish, options(args), survey, &mut |name| {
        if wanted.contains(name) {
            let text = format!("the runtime {name} stands in the file twice, with different packages");
            return Err(HostError::new(Class::Invalid, text).with_hint("keep one of them"));
        }
        *runtime = Some(name.clone());
        Ok(())
    })
}

fn options(args: &ApplyArgs) -> Options {
    Options { skip_rehearsal: args.skip_rehearsal, force: false }
}

/// Removes what an earlier apply installed, if the file names it no more.
fn prune(
    args: &ApplyArgs,
    place: &mut Place<'_>,
    wanted: &BTreeSet<RuntimeName>,
    results: &mut Results,
) -> Result<()> {
    if results.is_unsure() {
        let text = "nothing is removed: not every package of the file could be read";
        show::waiting(text, args.node.json);
        return Ok(());
    }
    for name in place.declared()?.into_iter().filter(|name| !wanted.contains(name)) {
        show_name(name.as_str(), args);
        let wish = Wish::Remove { name: name.clone() };
        let outcome = place
            .carry_out(wish, options(args), args.node.survey(), &mut |_| Ok(()))
            .unwrap_or_else(|error| Some(Outcome::refused(&error, 0)));
        results.add(Applied { name: name.to_string(), runtime: Some(name), outcome });
    }
    Ok(())
}
