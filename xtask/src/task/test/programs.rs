//! The workspace's test programs, built once, with one set of features for all suites and for clippy.

use super::super::build::{TARGET, cargo};
use super::passed_in;
use crate::testbed::host;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One set, so that nothing is compiled twice. `.ci/run` gives clippy the same.
pub(super) const FEATURES: &str = "cofferdam/failpoints,cofferdam-core/testing,xtask/node";

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The package's folder: where cargo runs it, too.
    pub(super) dir: PathBuf,
    /// The target's name.
    pub(super) name: String,
    executable: PathBuf,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Programs {
    tests: Vec<Program>,
    /// The command itself, with failpoints and without debug information: each node gets several copies of it.
    cofferdam: Option<PathBuf>,
}

/// The part of cargo's messages that names a program.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Programs {
    /// Builds them.
    pub(super) fn build() -> Result<Self> {
        let mut cargo = cargo();
        cargo.args(["test", "--workspace", "--no-run", "--target", TARGET, "--features", FEATURES]);
        let child = cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped()).spawn();
        let output =
            child.context("cannot start cargo")?.wait_with_output().context("cannot wait for cargo")?;
        if !output.status.success() {
            bail!("the tests do not build (see above)");
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = || text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let mut tests: Vec<Program> = messages().filter_map(program).collect();
        tests.sort_by(|a, b| (&a.dir, &a.name).cmp(&(&b.dir, &b.name)));
        let cofferdam = messages().find_map(command).map(|path| stripped(&path)).transpose()?;
        Ok(Self { tests, cofferdam })
    }

    pub(super) const fn len(&self) -> usize {
        self.tests.len()
    }

    /// The command with failpoints, if a test needed it built.
    pub(super) fn cofferdam(&self) -> Option<&Path> {
        self.cofferdam.as_deref()
    }

    /// Those whose name fits.
    pub(super) fn with(&self, fits: impl Fn(&str) -> bool) -> Vec<&Program> {
        self.tests.iter().filter(|program| fits(&program.name)).collect()
    }
}

fn program(message: Message) -> Option<Program> {
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let dir = message.manifest_path?.parent()?.to_owned();
    Some(Program { dir, name: message.target?.name, executable: message.executable? })
}

fn command(message: Message) -> Option<PathBuf> {
    (message.target?.name == "cofferdam" && !message.profile?.test).then_some(message.executable?)
}

/// A copy of a program without debug information.
fn stripped(program: &Path) -> Result<PathBuf> {
    let out = program.with_extension("stripped");
    host::strip(program, &out)?;
    Ok(out)
}

impl Program {
    /// Its name with its package's folder.
    pub(super) fn title(&self) -> String {
        let package = self.dir.file_name().unwrap_or_default().to_string_lossy();
        format!("{package} {}", self.name)
    }

    /// The names of its tests.
    ///
    /// # Errors
    /// It does not say.
    pub(super) fn tests(&self) -> Result<Vec<String>> {
        let mut command = Command::new(&self.executable);
        command.args(["--list", "--format", "terse"]).current_dir(&self.dir);
        let output = command.output().with_context(|| format!("cannot start {}", self.title()))?;
        if !output.status.success() {
            bail!("{} does not list its tests: {}", self.title(), output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Runs it, so much nicer than others, passes on what it prints, and returns how many tests passed.
    ///
    /// # Errors
    /// A test failed, or the limit came first.
    pub(super) fn run(
        &self,
        args: &[&str],
        nicer: u8,
        env: &[(&str, &Path)],
        print: &mut dyn FnMut(&str),
    ) -> Result<usize> {
        let mut command = Command::new("nice");
        command.arg(format!("--adjustment={nicer}"));
        // --foreground: Ctrl-C reaches the tests as well, and they tear down what they built.
        command.args(["timeout", "--foreground", "--kill-after=60", "3000"]).arg(&self.executable).args(args);
        command.current_dir(&self.dir).env("CARGO_MANIFEST_DIR", &self.dir).stdin(Stdio::null());
        command.envs(env.iter().copied());
        // What panics print belongs to the test's output.
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        command.stderr(writer.try_clone().context("cannot share a pipe")?).stdout(writer);
        let mut child = command.spawn().context("cannot start nice")?;
        drop(command);
        let mut passed = None;
        for line in BufReader::new(reader).split(b'\n') {
            let line = line.context("cannot read what the tests print")?;
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Ok(number) = passed_in(&line) {
                passed = Some(passed.unwrap_or(0) + number);
            }
            print(&line);
        }
        let status = child.wait().context("cannot wait for the tests")?;
        match status.code() {
            // A program without libtest counts as one test.
            Some(0) => Ok(passed.unwrap_or(1)),
            Some(124 | 137) => bail!("{}: did not end within 50 minutes", self.title()),
            _ => bail!("{}: {status}", self.title()),
        }
    }
}
