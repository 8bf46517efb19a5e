//! The kubelet's settings.

use super::text;
use crate::root::HostRoot;
use cofferdam_core::doctor::Fact;
use cofferdam_core::doctor::facts::Kubelet;
use cofferdam_core::name::HostPath;

/// Where kubeadm and EKS put its configuration.
const CONFIGS: [&str; 2] = ["/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet/config.json"];

pub(super) fn kubelet(root: &HostRoot) -> Fact<Option<Kubelet>> {
    let args = arguments(root);
    if let Some(driver) = args.as_deref().and_then(Kubelet::driver_of_args) {
        let source = "the kubelet's arguments".to_owned();
        return Ok(Some(Kubelet { source, cgroup_driver: Some(driver) }));
    }
    let named = args.as_deref().and_then(Kubelet::config_of_args);
    for config in named.into_iter().chain(CONFIGS) {
        if let Some(text) = text(root, config)? {
            let cgroup_driver = Kubelet::driver_of_config(&text);
            return Ok(Some(Kubelet { source: config.to_owned(), cgroup_driver }));
        }
    }
    let source = "the kubelet's arguments".to_owned();
    Ok(args.map(|_| Kubelet { source, cgroup_driver: None }))
}

/// Whether a kubelet runs.
pub fn has_kubelet(root: &HostRoot) -> bool {
    arguments(root).is_some()
}

/// The arguments of the process that is a kubelet; none if there is none.
fn arguments(root: &HostRoot) -> Option<Vec<String>> {
    let processes = root.list(&HostPath::new("/proc").ok()?).ok()?;
    let mut pids = processes.into_iter().map(|entry| entry.name).filter(|name| name.parse::<u32>().is_ok());
    let kubelet = |pid: &String| {
        let comm = text(root, &format!("/proc/{pid}/comm")).ok().flatten();
        comm.is_some_and(|comm| comm.trim() == "kubelet")
    };
    let pid = pids.find(kubelet)?;
    let cmdline = text(root, &format!("/proc/{pid}/cmdline")).ok().flatten()?;
    Some(cmdline.trim_end_matches('\0').split('\0').skip(1).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use cofferdam_core::doctor::facts::CgroupDriver;

    #[test]
    fn arguments_come_before_files() {
        assert_eq!(kubelet(&tree(&[]).1), Ok(None));
        let config = ("/var/lib/kubelet/config.yaml", "cgroupDriver: systemd\n");
        let found = |files: &[(&str, &str)]| kubelet(&tree(files).1).unwrap().unwrap();
        assert_eq!(found(&[config]).cgroup_driver, Some(CgroupDriver::Systemd));
        let process =
            [("/proc/12/comm", "kubelet\n"), ("/proc/12/cmdline", "/usr/bin/kubelet\0--config=/k\0")];
        let seen = found(&[config, process[0], process[1], ("/k", "cgroupDriver: cgroupfs")]);
        assert_eq!((seen.source.as_str(), seen.cgroup_driver), ("/k", Some(CgroupDriver::Cgroupfs)));
        let bare =
            [("/proc/12/comm", "kubelet\n"), ("/proc/12/cmdline", "kubelet\0--cgroup-driver\0systemd\0")];
        assert_eq!(found(&[bare[0], bare[1], config]).source, "the kubelet's arguments");
    }
}
