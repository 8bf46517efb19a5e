//! The declarative file: the runtimes that a machine, or a fleet without the API, should have.
//!
//! ```text
//! own           SandboxRuntime objects, as the API takes them
//! kata_manager  k8s-kata-manager's configuration, translated into the same
//! schema        comparison with the CRD's schema
//! tree          YAML in which everything has its place
//! source        to what the worker reads
//! finding       what is wrong, where, what to do
//! ```

mod finding;
mod kata_manager;
mod own;
mod schema;
mod source;
mod tree;

pub use finding::{Finding, Findings, Place};
pub use source::{advice, source};

use crate::api::SandboxRuntimeSpec;
use std::collections::BTreeMap;

/// Whose schema a file follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// SandboxRuntime objects.
    Own,
    /// k8s-kata-manager's.
    KataManager,
}

/// A runtime of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// Its name: the SandboxRuntime's.
    pub name: String,
    /// What it should be.
    pub spec: SandboxRuntimeSpec,
    /// Where it stands in the file.
    pub at: Place,
}

impl Declared {
    /// Whether a machine with these labels should have it.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.spec.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// A file that was read and found valid.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeFile {
    /// Whose schema it follows.
    pub form: Form,
    /// The runtimes, with distinct names, in the order of the file.
    pub runtimes: Vec<Declared>,
    /// What stands in it and means nothing here, each with its place.
    pub notes: Vec<String>,
}

/// Reads a file: `name` is what messages call it.
///
/// # Errors
/// With everything that is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<RuntimeFile, Findings> {
    let documents = tree::parse(text).map_err(|findings| findings.of(name))?;
    let read = match documents.as_slice() {
        [only] if kata_manager::is(only) => {
            kata_manager::read(only).map(|runtimes| (Form::KataManager, runtimes, kata_manager::unused(only)))
        }
        documents => own::read(documents).map(|runtimes| (Form::Own, runtimes, None)),
    };
    let (form, runtimes, unused) = read.map_err(|findings| findings.of(name))?;
    let note = |finding| Findings::one(finding).of(name).to_string();
    Ok(RuntimeFile { form, runtimes, notes: unused.map(note).into_iter().collect() })
}

/// Names that more than one runtime has.
fn twice(runtimes: &[Declared], what: &str) -> Vec<Finding> {
    let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
    let mut findings = Vec::new();
    for runtime in runtimes {
        if let Some(first) = seen.insert(&runtime.name, runtime.at) {
            let text = format!("{what} `{}` stands here and in line {}", runtime.name, first.line);
            findings.push(Finding::new(runtime.at, text).hint("give each a name of its own"));
        }
    }
    findings
}
