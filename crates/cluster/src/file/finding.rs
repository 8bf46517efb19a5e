//! What is wrong with a file, where, and what to do.

use std::fmt;

/// A place in a text, from 1; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Place,
    /// What.
    pub what: String,
    /// What to do, if there is more to say.
    pub hint: Option<String>,
}

impl Finding {
    pub(super) fn new(at: Place, what: impl Into<String>) -> Self {
        Self { at, what: what.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Findings {
    file: String,
    findings: Vec<Finding>,
}

impl Findings {
    pub(super) fn one(finding: Finding) -> Self {
        Self { file: String::new(), findings: vec![finding] }
    }

    /// Fails unless there are none.
    ///
    /// # Errors
    /// With what there is.
    pub(super) fn check(mut findings: Vec<Finding>) -> Result<(), Self> {
        findings.sort_by_key(|finding| finding.at);
        if findings.is_empty() { Ok(()) } else { Err(Self { file: String::new(), findings }) }
    }

    pub(super) fn of(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
        self
    }

    /// Each.
    pub fn as_slice(&self) -> &[Finding] {
        &self.findings
    }

    /// What to do next, each once.
    pub fn hints(&self) -> Vec<&str> {
        let mut hints = Vec::new();
        for hint in self.findings.iter().filter_map(|finding| finding.hint.as_deref()) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        hints
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let Place { line, column } = finding.at;
            if line > 0 {
                write!(f, "{}:{line}:{column}: {}", self.file, finding.what)?;
            } else {
                write!(f, "{}: {}", self.file, finding.what)?;
            }
        }
        Ok(())
    }
}
