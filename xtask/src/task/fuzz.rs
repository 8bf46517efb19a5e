//! `cargo xtask fuzz`: looks for bytes that crash what reads untrusted ones. Not in CI: it is never done.

use super::build::{cargo, workspace};
use super::screen::Screen;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// What there is to fuzz, in `fuzz/targets`, each with seeds in `fuzz/seeds`.
const TARGETS: [&str; 4] = ["tar", "manifest", "dockerconfigjson", "reference"];

/// Feeds what reads untrusted bytes with what a fuzzer thinks of: layers, manifests, files with logins, references.
///
/// Needs cargo-fuzz and a C++ compiler; it installs neither. A nightly compiler is not needed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to feed: tar, manifest, dockerconfigjson or reference [default: each in turn]
    #[arg(value_name = "TARGET", value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// For how long, each.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many processes at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
}

/// Runs the task.
///
/// # Errors
/// Something is missing, or a target crashed: then its input is in `fuzz/artifacts`.
pub fn run(args: &Args) -> Result<()> {
    let screen = Screen::new();
    prerequisites()?;
    let folder = workspace().join("fuzz");
    let chosen = |target: &&str| args.target.as_deref().is_none_or(|wanted| wanted == *target);
    let mut crashed = Vec::new();
    for target in TARGETS.into_iter().filter(chosen) {
        screen.typed("$", &format!("cargo fuzz run {target}, for {} s", args.seconds));
        if !fuzz(&folder, target, args)? {
            crashed.push(target);
        }
    }
    ensure!(
        crashed.is_empty(),
        "crashed: {}; the inputs are in fuzz/artifacts; next: mend what reads them, with a test for each, and add the input \
         to fuzz/seeds",
        crashed.join(", ")
    );
    screen.good("no crash, no leak, nothing outside of its folder");
    Ok(())
}

/// Says what is missing, and how to get it.
fn prerequisites() -> Result<()> {
    let found = cargo().args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("cargo-fuzz is missing; next: cargo install cargo-fuzz");
    }
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let found = Command::new(&compiler).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        bail!(
            "the C++ compiler `{compiler}` is missing, with which libFuzzer is built; next: apt-get install g++"
        );
    }
    Ok(())
}

/// Whether the target lived through it.
fn fuzz(folder: &Path, target: &str, args: &Args) -> Result<bool> {
    // What the fuzzer finds worth keeping goes to the first folder, which is not in the repository.
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let scratch = tempfile::tempdir_in(fast_folder()).context("cannot make a temporary folder")?;
    let status = cargo()
        .current_dir(folder)
        // The sanitizer is an unstable flag of the compiler; the compiler itself may be a stable one.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("TMPDIR", scratch.path())
        .args(["fuzz", "run", target])
        .arg(&corpus)
        .arg(folder.join("seeds").join(target))
        .arg("--")
        .arg(format!("-max_total_time={}", args.seconds))
        .args(["-timeout=20", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1"])
        .args((args.jobs > 1).then(|| format!("-fork={}", args.jobs)))
        .status()
        .context("cannot start cargo")?;
    Ok(status.success())
}

/// Where files are made soonest.
fn fast_folder() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_a_program_and_seeds() {
        let folder = workspace().join("fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
        for target in TARGETS {
            assert!(
                manifest.contains(&format!("name = \"{target}\"\npath = \"targets/{target}.rs\"")),
                "{target}"
            );
            assert!(folder.join(format!("targets/{target}.rs")).is_file(), "{target}");
            assert!(std::fs::read_dir(folder.join("seeds").join(target)).unwrap().count() > 4, "{target}");
        }
    }
}
