//! The fault matrix: what is tried on a real node, by release of containerd.
//!
//! A static table says of each cell that it is real, or why it is not. The node suite records which cells ran; a cell
//! that is listed as real and did not run fails the suite, and so does a `docs/matrix.md` that says something else.

use crate::testbed::{Containerd, Error, Result};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// The variable that names the folder for records.
pub const RECORDS: &str = "COFFERDAM_MATRIX";

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A first installation.
    Install,
    /// The same again, and everything else that finds nothing to do.
    NoOp,
    /// Another version.
    Upgrade,
    /// Back to the version of before.
    Rollback,
    /// A removal.
    Remove,
    /// Drift that is put back.
    Repair,
    /// A change that does not end well.
    ForcedFailure,
    /// A worker that is killed.
    Kill,
    /// A node that loses its power.
    Reboot,
}

/// Whether a cell is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// On a real node.
    Real,
    /// Not, for this reason.
    Not(&'static str),
}

impl Row {
    /// All, in the order in which they run.
    pub const ALL: [Self; 9] = [
        Self::Install,
        Self::NoOp,
        Self::Upgrade,
        Self::Rollback,
        Self::Remove,
        Self::Repair,
        Self::ForcedFailure,
        Self::Kill,
        Self::Reboot,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::NoOp => "no-op",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Remove => "remove",
            Self::Repair => "repair",
            Self::ForcedFailure => "forced failure",
            Self::Kill => "kill",
            Self::Reboot => "reboot",
        }
    }

    /// What is done and seen, for the documentation.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Install => {
                "gVisor is installed: proven, one restart, nothing but our handlers differs in the engine's dump."
            }
            Self::NoOp => {
                "Installing the same, `repair`, `recover` and `gc` write nothing and restart nothing."
            }
            Self::Upgrade => {
                "Another gVisor: new pods run it, pods of before keep theirs, by the programs' own version output."
            }
            Self::Rollback => "New pods run the old version again; `gc --all` deletes the other.",
            Self::Remove => {
                "Another runtime comes and goes beside it, and no byte is left; the one in use is refused."
            }
            Self::Repair => {
                "A spoilt tree and a lost registration: `verify` names them, `repair` brings back every byte."
            }
            Self::ForcedFailure => {
                "A proof that fails, and a handler with which the engine serves no CRI: taken back, every byte."
            }
            Self::Kill => {
                "The worker is killed before and after writing, restart and commit of an upgrade: old or new."
            }
            Self::Reboot => {
                "The power fails in the middle of an upgrade: mended before the engine starts, and new pods run."
            }
        }
    }
}

/// The static table.
pub const fn cell(row: Row, containerd: Containerd) -> Cell {
    match (row, containerd) {
        // A cell that cannot be real is named here with its reason.
        (
            _,
            Containerd::Debian16 | Containerd::Debian17 | Containerd::Upstream21 | Containerd::Upstream24,
        ) => Cell::Real,
    }
}

/// Writes down that a cell ran and passed, if anyone wants to know.
///
/// # Errors
/// The record cannot be written.
pub fn record(row: Row, containerd: Containerd) -> Result<()> {
    let Some(folder) = std::env::var_os(RECORDS) else { return Ok(()) };
    let path = Path::new(&folder).join(key(row, containerd));
    std::fs::write(&path, "").map_err(Error::io("write", &path))
}

fn key(row: Row, containerd: Containerd) -> String {
    format!("{} {}", containerd.version(), row.name())
}

/// The cells that ran.
#[derive(Debug)]
pub struct Ran(BTreeSet<String>);

impl Ran {
    /// Those recorded in `folder`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
        let names = entries.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()));
        names.collect::<std::io::Result<_>>().map(Self).map_err(Error::io("list", folder))
    }

    /// The cells that the table lists as real and that did not run.
    pub fn missing(&self) -> Vec<String> {
        let cells = Row::ALL.into_iter().flat_map(|row| Containerd::ALL.map(|containerd| (row, containerd)));
        let real = cells.filter(|(row, containerd)| cell(*row, *containerd) == Cell::Real);
        real.map(|(row, containerd)| key(row, containerd)).filter(|key| !self.0.contains(key)).collect()
    }

    /// The table of what ran, aligned.
    pub fn table(&self) -> String {
        let mut text = format!("{:16}", "containerd");
        for containerd in Containerd::ALL {
            let _ = write!(text, "{:>9}", containerd.version());
        }
        for row in Row::ALL {
            let _ = write!(text, "\n{:16}", row.name());
            for containerd in Containerd::ALL {
                let ran = self.0.contains(&key(row, containerd));
                let word = match cell(row, containerd) {
                    _ if ran => "passed",
                    Cell::Real => "MISSING",
                    Cell::Not(_) => "-",
                };
                let _ = write!(text, "{word:>9}");
            }
        }
        text.push('\n');
        text
    }

    /// `docs/matrix.md`.
    pub fn document(&self) -> String {
        let mut text = format!("{HEAD}```text\n{}```\n\n", self.table());
        for row in Row::ALL {
            let _ = writeln!(text, "- **{}**: {}", row.name(), row.meaning());
        }
        let cells = Row::ALL.into_iter().flat_map(|row| Containerd::ALL.map(|containerd| (row, containerd)));
        for (row, containerd) in cells {
            if let Cell::Not(reason) = cell(row, containerd) {
                let _ = writeln!(text, "\nNot tried: {} on {}: {reason}", row.name(), containerd.version());
            }
        }
        text
    }
}

const HEAD: &str = "\
# The fault matrix

What CI tries on booted nodes with systemd and a real containerd, for each release. On every node a pod of runc and
a pod of gVisor run throughout: after each row but the last their containers are the same, with the same restart
counts. `cargo xtask test --matrix` runs it and prints this table; `--write` writes this file. A cell that did not run
fails CI.

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_did_not_run_are_missed() {
        let folder = tempfile::tempdir().unwrap();
        let all = |without: &str| {
            for row in Row::ALL {
                for containerd in Containerd::ALL {
                    let path = folder.path().join(key(row, containerd));
                    std::fs::write(&path, "").unwrap();
                    if key(row, containerd) == without {
                        std::fs::remove_file(&path).unwrap();
                    }
                }
            }
            Ran::read(folder.path()).unwrap()
        };
        assert_eq!(all("").missing(), Vec::<String>::new());
        let ran = all("2.1 forced failure");
        assert_eq!(ran.missing(), ["2.1 forced failure"]);
        assert_eq!(ran.table().matches("MISSING").count(), 1);
        assert_ne!(ran.document(), all("").document());
    }
}
