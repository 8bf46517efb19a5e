//! `cofferdam doctor`.

use crate::cli::{DoctorArgs, PlaceArg};
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::{Descriptor, Requirement};
use cofferdam_core::doctor::{self, Answer, Facts, Finding, Readiness};
use cofferdam_core::name::Version;
use cofferdam_core::preset;
use cofferdam_host::doctor::Checkup;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::package::{Source, TemporaryRoom};
use cofferdam_host::root::HostRoot;
use cofferdam_host::survey::SurveyOptions;
use serde::Serialize;
use std::process::ExitCode;

/// What is printed as JSON (docs/doctor.md).
#[derive(Serialize)]
struct Report<'a> {
    /// The checks that apply to every installation.
    checks: Vec<Finding>,
    /// Those asked about, or else each preset.
    runtimes: Vec<Judged>,
    /// What runtimes may require; only of a running machine, and if no runtime was asked about.
    requirements: Vec<Judged>,
    /// What was looked at. Not stable.
    facts: &'a Facts,
}

/// Something with a verdict.
#[derive(Serialize)]
struct Judged {
    name: String,
    #[serde(flatten)]
    readiness: Readiness,
    /// Checks that apply to it beside those that apply to every installation, or answer otherwise for it.
    checks: Vec<Finding>,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let wanted = wanted(args)?;
    let checkup = Checkup::take(&args.node.open_root()?, &args.node.survey())?;
    let report = report(&checkup, &wanted)?;
    let bad = if wanted.is_empty() {
        report.checks.iter().any(Finding::is_no)
    } else {
        report.runtimes.iter().any(|judged| matches!(judged.readiness, Readiness::NotReady { .. }))
    };
    if args.node.json {
        show::json(&report)?;
    } else {
        print(&report, wanted.is_empty());
    }
    Ok(if bad { ExitCode::from(Class::Unsupported.exit_code()) } else { ExitCode::SUCCESS })
}

/// The report on the node alone, as JSON.
pub(crate) fn document(root: &HostRoot, options: &SurveyOptions) -> Result<serde_json::Value> {
    let checkup = Checkup::take(root, options)?;
    serde_json::to_value(report(&checkup, &[])?)
        .map_err(|error| HostError::new(Class::Internal, error.to_string()))
}

/// The descriptors of what is asked about: presets, or packages in `dir:PATH` and other places.
fn wanted(args: &DoctorArgs) -> Result<Vec<(String, Descriptor)>> {
    let policy = args.trust.policy()?;
    let mut wanted = Vec::new();
    for name in &args.runtimes {
        let descriptor = match PlaceArg::find(name)? {
            Some(place) => {
                let source = Source::plain(args.access.place(&place)?);
                let source = Source { policy: policy.clone(), limits: args.limits.limits(), ..source };
                TemporaryRoom::default().look(&source, None, &mut |_| {})?.descriptor
            }
            None => of_preset(name)?,
        };
        wanted.push((name.clone(), descriptor));
    }
    Ok(wanted)
}

fn of_preset(name: &str) -> Result<Descriptor> {
    let internal = |error: String| HostError::new(Class::Internal, error);
    let preset = preset::find(name)?;
    let version = Version::new("0").map_err(|error| internal(error.to_string()))?;
    preset::descriptor(preset, &version).map_err(|error| internal(error.to_string()))
}

fn report<'a>(checkup: &'a Checkup, wanted: &[(String, Descriptor)]) -> Result<Report<'a>> {
    let checks = doctor::run(&checkup.case(None));
    let offline = checkup.case(None).is_offline();
    let judge = |(name, descriptor): &(String, Descriptor)| {
        let findings = doctor::run(&checkup.case(Some(descriptor)));
        let readiness = doctor::readiness(&findings);
        let own = findings.into_iter().filter(|finding| !checks.contains(finding)).collect();
        Judged { name: name.clone(), readiness, checks: own }
    };
    let requirements = Requirement::ALL.into_iter().map(|requirement| {
        let (readiness, checks) = doctor::requirement_readiness(&checkup.case(None), requirement);
        Judged { name: requirement.to_string(), readiness, checks }
    });
    let presets = preset::ALL.iter().map(|preset| Ok((preset.name.to_owned(), of_preset(preset.name)?)));
    let (runtimes, requirements) = if wanted.is_empty() {
        let presets = presets.collect::<Result<Vec<_>>>()?;
        // An offline tree does not tell on which machine it will run.
        let requirements = if offline { Vec::new() } else { requirements.collect() };
        (presets.iter().map(judge).collect(), requirements)
    } else {
        (wanted.iter().map(judge).collect(), Vec::new())
    };
    Ok(Report { checks, runtimes, requirements, facts: checkup.facts() })
}

fn print(report: &Report<'_>, in_short: bool) {
    report.checks.iter().for_each(show_finding);
    show::line("");
    for judged in &report.runtimes {
        if !in_short {
            judged.checks.iter().for_each(show_finding);
        }
        show::line(&format!("{:21} {}", judged.name, verdict(&judged.readiness)));
    }
    if !report.requirements.is_empty() {
        show::line("\nwhat runtimes may require:");
    }
    for judged in &report.requirements {
        let text = match &judged.readiness {
            Readiness::Ready => "yes".to_owned(),
            Readiness::NotReady { .. } => format!("no: {}", reason(&judged.checks)),
            Readiness::CannotTell { .. } => format!("could not look: {}", reason(&judged.checks)),
        };
        show::line(&format!("{:21} {text}", judged.name));
    }
}

fn show_finding(finding: &Finding) {
    // What an engine printed may have several lines.
    let lines = |text: &str| text.lines().collect::<Vec<_>>().join(&format!("\n{:24}", ""));
    match &finding.answer {
        Answer::Yes { seen } => show::line(&format!("yes  {:18} {seen}", finding.check)),
        Answer::No { because, remedy } => {
            show::line(&format!("NO   {:18} {}", finding.check, lines(because)));
            show::line(&format!("     {:18} do this: {remedy}", ""));
        }
        Answer::Unknown { why } => show::line(&format!("?    {:18} could not look: {why}", finding.check)),
    }
}

fn verdict(readiness: &Readiness) -> String {
    match readiness {
        Readiness::Ready => "ready".to_owned(),
        Readiness::NotReady { because } => format!("not ready: {}", because.join(", ")),
        Readiness::CannotTell { because } => format!("cannot tell: {}", because.join(", ")),
    }
}

/// The first thing that stands in the way, else the first that could not be looked at.
fn reason(checks: &[Finding]) -> &str {
    let mut unknown = "";
    for finding in checks {
        match &finding.answer {
            Answer::No { because, .. } => return because,
            Answer::Unknown { why } if unknown.is_empty() => unknown = why,
            Answer::Unknown { .. } | Answer::Yes { .. } => {}
        }
    }
    unknown
}
