//! `cofferdam support-bundle`: what somebody needs who is to find out what went wrong here, without secrets.

mod archive;
mod contents;

use crate::cli::BundleArgs;
use crate::show;
use cofferdam_core::history::timestamp;
use cofferdam_host::error::Result;
use contents::Contents;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a bundle holds.
#[derive(Serialize)]
struct Listing<'a> {
    file: String,
    bytes: u64,
    holds: Vec<Held<'a>>,
}

#[derive(Serialize)]
struct Held<'a> {
    name: &'a str,
    bytes: usize,
    about: &'a str,
}

pub(crate) fn run(args: &BundleArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let contents = Contents::gather(&args.node, &timestamp(now))?;
    let file = args.file.clone().unwrap_or_else(|| default_name(now));
    let bytes = archive::write(&file, &contents, now)?;
    let holds: Vec<Held<'_>> = contents
        .files()
        .map(|part| Held { name: &part.name, bytes: part.bytes.len(), about: part.about })
        .collect();
    if args.node.json {
        return show::json(&Listing { file: file.display().to_string(), bytes, holds });
    }
    let width = holds.iter().map(|held| held.name.len()).max().unwrap_or(0);
    for held in &holds {
        show::line(&format!("{:>9}  {:width$}  {}", held.bytes, held.name, held.about));
    }
    let size = indicatif::HumanBytes(bytes);
    show::line(&format!("\n{}: {size}, readable for its owner only", file.display()));
    show::line(
        "Secrets were withheld. Names of pods, hosts and registries are in it: look before you pass it on.",
    );
    Ok(ExitCode::SUCCESS)
}

/// In the working directory; the time makes it a new name.
fn default_name(now: u64) -> PathBuf {
    PathBuf::from(format!("cofferdam-support-{}.tar.gz", timestamp(now).replace(':', "")))
}
