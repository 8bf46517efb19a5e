//! Named checks: what stands in the way of a runtime on this node. A check is one line in [`CHECKS`].

mod checks;

use crate::survey::Survey;
use serde::Serialize;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// The engine and its configuration.
    Engine,
    /// Where files go.
    FileSystem,
    /// systemd and its units.
    Systemd,
    /// Cofferdam's own records.
    Records,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// Fine.
    Yes {
        /// What was seen.
        seen: String,
    },
    /// Something stands in the way.
    No {
        /// What was seen.
        because: String,
        /// What to do.
        remedy: String,
    },
    /// It could not be found out: neither good nor bad.
    Unknown {
        /// Why.
        why: String,
    },
}

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name: stable, documented.
    pub name: &'static str,
    /// What it is about.
    pub topic: Topic,
    run: fn(&Survey<'_>) -> Answer,
}

/// A check's name and answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// Its topic.
    pub topic: Topic,
    /// What it found.
    #[serde(flatten)]
    pub answer: Answer,
}

const fn check(name: &'static str, topic: Topic, run: fn(&Survey<'_>) -> Answer) -> Check {
    Check { name, topic, run }
}

/// All checks, in the order in which they are shown.
pub const CHECKS: &[Check] = &[
    check("engine-version", Topic::Engine, checks::engine_version),
    check("engine-binary", Topic::Engine, checks::engine_binary),
    check("engine-config", Topic::Engine, checks::engine_config),
    check("cri", Topic::Engine, checks::cri),
    check("cni", Topic::Engine, checks::cni),
    check("pause-image", Topic::Engine, checks::pause_image),
    check("unit", Topic::Systemd, checks::unit),
    check("kill-mode", Topic::Systemd, checks::kill_mode),
    check("target-writable", Topic::FileSystem, checks::target_writable),
    check("target-exec", Topic::FileSystem, checks::target_exec),
    check("target-space", Topic::FileSystem, checks::target_space),
    check("interrupted", Topic::Records, checks::interrupted),
];

/// Runs all checks.
pub fn run(survey: &Survey<'_>) -> Vec<Finding> {
    CHECKS.iter().map(|c| Finding { check: c.name, topic: c.topic, answer: (c.run)(survey) }).collect()
}
