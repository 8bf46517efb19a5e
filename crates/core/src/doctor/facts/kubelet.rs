//! The kubelet, as far as it must agree with the engine.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who makes pods' cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupDriver {
    /// systemd.
    Systemd,
    /// The program itself.
    Cgroupfs,
}

impl CgroupDriver {
    fn find(text: &str) -> Option<Self> {
        match text {
            "systemd" => Some(Self::Systemd),
            "cgroupfs" => Some(Self::Cgroupfs),
            _ => None,
        }
    }
}

impl fmt::Display for CgroupDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd => "systemd",
            Self::Cgroupfs => "cgroupfs",
        })
    }
}

/// The kubelet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubelet {
    /// Where its setting was read.
    pub source: String,
    /// The driver that it is told to use. None: it decides by itself.
    pub cgroup_driver: Option<CgroupDriver>,
}

impl Kubelet {
    /// The driver that its arguments name.
    pub fn driver_of_args(args: &[String]) -> Option<CgroupDriver> {
        CgroupDriver::find(argument(args, "--cgroup-driver")?)
    }

    /// The configuration file that its arguments name.
    pub fn config_of_args(args: &[String]) -> Option<&str> {
        argument(args, "--config")
    }

    /// The driver that its configuration names: the key `cgroupDriver` at the top, in YAML or JSON. Other things of
    /// the file are not looked at, so that it need not be understood.
    pub fn driver_of_config(text: &str) -> Option<CgroupDriver> {
        let json = text.trim_start().starts_with('{');
        text.split(['\n', ','])
            .find_map(|part| {
                let part = if json { part.trim_matches([' ', '\t', '\r', '{', '}']) } else { part };
                let (key, value) = part.split_once(':')?;
                let value = value.split(" #").next().unwrap_or_default();
                (key.trim_matches('"') == "cgroupDriver").then(|| value.trim().trim_matches(['"', '\'']))
            })
            .and_then(CgroupDriver::find)
    }
}

/// `--name value` or `--name=value`.
fn argument<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args
        .iter()
        .position(|arg| arg.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with('=')))?;
    let arg = args.get(at)?;
    arg.split_once('=').map(|(_, value)| value).or_else(|| args.get(at + 1).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_found_in_yaml_json_and_arguments() {
        let yaml = "apiVersion: kubelet.config.k8s.io/v1beta1\nauthentication:\n  cgroupDriver: cgroupfs\ncgroupDriver: systemd # ours\n";
        assert_eq!(Kubelet::driver_of_config(yaml), Some(CgroupDriver::Systemd));
        let json = "{\n \"kind\": \"KubeletConfiguration\",\n  \"cgroupDriver\": \"cgroupfs\", \"x\": 1}";
        assert_eq!(Kubelet::driver_of_config(json), Some(CgroupDriver::Cgroupfs));
        assert_eq!(Kubelet::driver_of_config("failSwapOn: false\n"), None);
        let args = ["--config", "/k.yaml", "--cgroup-driver=systemd"].map(str::to_owned);
        assert_eq!(Kubelet::driver_of_args(&args), Some(CgroupDriver::Systemd));
        assert_eq!(Kubelet::config_of_args(&args), Some("/k.yaml"));
        assert_eq!(Kubelet::config_of_args(&["--config-dir=/d".to_owned()]), None);
    }
}
