//! The table of checks.

use super::checks::{Looked, conflict, engine, file_system, hardware, kernel, records, systemd};
use super::{Answer, Case, Finding, Topic};
use crate::descriptor::Requirement;
use crate::descriptor::Requirement as R;
use crate::descriptor::spelling::nearest;
use serde::{Deserialize, Serialize};

/// To what a check applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// To every installation; files alone answer it, so to an offline tree as well.
    Always,
    /// To every installation on a running machine.
    Running,
    /// To handlers that require one of these.
    If(&'static [Requirement]),
}

/// What its "no" means for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing is installed then.
    Closed,
    /// Nothing is installed then, unless the user says so.
    Skippable,
}

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name: stable, documented.
    pub name: &'static str,
    /// What it is about.
    pub topic: Topic,
    /// To what it applies.
    pub applies: Applies,
    /// What its "no" means.
    pub gate: Gate,
    look: fn(&Case<'_>) -> Looked,
}

const fn check(
    name: &'static str,
    topic: Topic,
    applies: Applies,
    gate: Gate,
    look: fn(&Case<'_>) -> Looked,
) -> Check {
    Check { name, topic, applies, gate, look }
}

use Applies::{Always, If, Running};
use Gate::{Closed, Skippable};
use Topic::{Conflict, Engine, FileSystem, Hardware, Kernel, Records, Systemd};

/// All checks, in the order in which they are shown.
pub const CHECKS: &[Check] = &[
    check("engine-version", Engine, Always, Closed, engine::version),
    check("engine-binary", Engine, Running, Closed, engine::binary),
    check("engine-config", Engine, Running, Closed, engine::config),
    check("engine-imports", Engine, Always, Skippable, engine::imports),
    check("engine-restart", Engine, Running, Closed, engine::restart),
    check("cri", Engine, Running, Skippable, engine::cri),
    check("cni", Engine, Running, Skippable, engine::cni),
    check("pause-image", Engine, Running, Skippable, engine::pause_image),
    check("cgroup-driver", Engine, Running, Skippable, engine::cgroup_driver),
    check("unit", Systemd, Running, Closed, systemd::unit),
    check("kill-mode", Systemd, Running, Skippable, systemd::kill_mode),
    check("host-system", FileSystem, Always, Closed, file_system::host_system),
    check("target-writable", FileSystem, Always, Closed, file_system::target_writable),
    check("target-exec", FileSystem, Running, Closed, file_system::target_exec),
    check("target-space", FileSystem, Always, Skippable, file_system::target_space),
    check("config-writable", FileSystem, Always, Closed, file_system::config_writable),
    check("records-writable", FileSystem, Always, Closed, file_system::records_writable),
    check("records-space", FileSystem, Always, Skippable, file_system::records_space),
    check("lasting", FileSystem, Running, Skippable, file_system::lasting),
    check("selinux", Kernel, Running, Skippable, kernel::selinux),
    check("apparmor", Kernel, Running, Skippable, kernel::apparmor),
    check("cgroups", Kernel, Running, Skippable, kernel::cgroups),
    check("clock", Kernel, Running, Skippable, kernel::clock),
    check("cgroup-v2", Kernel, If(&[R::CgroupV2]), Skippable, kernel::cgroup_v2),
    check("cpu-flags", Hardware, If(&[R::Kvm, R::SevSnp, R::Tdx]), Skippable, hardware::cpu_flags),
    check("kvm-module", Kernel, If(&[R::Kvm, R::SevSnp, R::Tdx]), Skippable, kernel::kvm_module),
    check("kvm", Hardware, If(&[R::Kvm, R::SevSnp, R::Tdx]), Skippable, hardware::kvm),
    check("unrestricted-guest", Hardware, If(&[R::Kvm]), Skippable, hardware::unrestricted_guest),
    check("sev-snp", Hardware, If(&[R::SevSnp]), Skippable, hardware::sev_snp),
    check("tdx", Hardware, If(&[R::Tdx]), Skippable, hardware::tdx),
    check("kvm-or-kkm", Hardware, If(&[R::KvmOrKkm]), Skippable, hardware::kvm_or_kkm),
    check("kernel-lock", Kernel, If(&[R::KvmOrKkm]), Skippable, kernel::lock),
    check("vhost-net", Kernel, If(&[R::VhostNet]), Skippable, kernel::vhost_net),
    check("vhost-vsock", Kernel, If(&[R::VhostVsock]), Skippable, kernel::vhost_vsock),
    check("tun", Kernel, If(&[R::Tun]), Skippable, kernel::tun),
    check("other-installers", Conflict, Always, Skippable, conflict::other_installers),
    check("interrupted", Records, Always, Closed, records::interrupted),
];

impl Check {
    /// Looks, and answers.
    pub fn run(&self, case: &Case<'_>) -> Finding {
        let answer = (self.look)(case).unwrap_or_else(|unseen| Answer::Unknown { why: unseen.0 });
        Finding { check: self.name, topic: self.topic, answer }
    }

    /// Whether it applies to this case. What an offline tree cannot tell about every machine that will run it, is
    /// left to `cofferdam doctor` there.
    pub fn applies_to(&self, case: &Case<'_>) -> bool {
        match self.applies {
            Always => true,
            Running => !case.is_offline(),
            If(requirements) => requirements.iter().any(|requirement| case.requires(*requirement)),
        }
    }
}

/// A check whose "no" the user overrides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Skip(String);

/// Why a check cannot be overridden.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCheck {
    /// There is none of that name.
    #[error("there is no check `{name}`; {hint}")]
    NoSuch {
        /// What was asked for.
        name: String,
        /// What there is.
        hint: String,
    },
    /// Nothing could be installed without it.
    #[error("the check `{0}` cannot be skipped: where it says no, no installation can succeed")]
    Closed(&'static str),
}

impl Skip {
    /// The check of that name.
    ///
    /// # Errors
    /// If there is none, or it cannot be skipped.
    pub fn new(name: &str) -> Result<Self, UnknownCheck> {
        let names = || CHECKS.iter().map(|check| check.name);
        match CHECKS.iter().find(|check| check.name == name) {
            Some(Check { gate: Skippable, name, .. }) => Ok(Self((*name).to_owned())),
            Some(Check { gate: Closed, name, .. }) => Err(UnknownCheck::Closed(name)),
            None => {
                let hint = nearest(name, names()).map_or_else(
                    || "`cofferdam doctor` shows their names".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                Err(UnknownCheck::NoSuch { name: name.to_owned(), hint })
            }
        }
    }

    /// The check's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Skip {
    type Error = UnknownCheck;
    fn try_from(name: String) -> Result<Self, UnknownCheck> {
        Self::new(&name)
    }
}

impl From<Skip> for String {
    fn from(skip: Skip) -> Self {
        skip.0
    }
}
