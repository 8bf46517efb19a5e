//! SELinux, AppArmor, lockdown, cgroups.

use super::{path, sure_text, text};
use crate::root::HostRoot;
use cofferdam_core::doctor::Fact;
use cofferdam_core::doctor::facts::{AppArmor, CgroupVersion, KernelLock, KvmParameters, SeLinux};
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::EngineProcess;

/// The variable that UEFI has for it; four bytes of attributes stand before its value.
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

pub(super) fn cgroups(root: &HostRoot) -> Fact<CgroupVersion> {
    Ok(CgroupVersion::of_mountinfo(&sure_text(root, "/proc/self/mountinfo")?))
}

pub(super) fn selinux(root: &HostRoot, prefix: &HostPath) -> Fact<Option<SeLinux>> {
    let Some(enforce) = text(root, "/sys/fs/selinux/enforce")? else { return Ok(None) };
    Ok(Some(SeLinux { enforcing: enforce.trim() == "1", target_label: label_at(root, prefix) }))
}

/// The SELinux label that what is made at `place` gets: that of the first folder above which is there.
pub(crate) fn label_at(root: &HostRoot, place: &HostPath) -> Option<String> {
    let above = std::iter::successors(Some(place.clone()), HostPath::parent);
    above.into_iter().find_map(|folder| label(root, &folder))
}

fn label(root: &HostRoot, path: &HostPath) -> Option<String> {
    let mut value = vec![0; 256];
    let length = rustix::fs::getxattr(root.outside(path), "security.selinux", value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(String::from_utf8(value).ok()?.trim_end_matches('\0').to_owned())
}

pub(super) fn apparmor(root: &HostRoot, engine: Option<&EngineProcess>) -> Fact<Option<AppArmor>> {
    let enabled = text(root, "/sys/module/apparmor/parameters/enabled")?;
    if enabled.as_deref().and_then(KvmParameters::flag) != Some(true) {
        return Ok(None);
    }
    let Some(process) = engine else { return Ok(Some(AppArmor { engine: None })) };
    // Older kernels have one file for whichever security module is the only one.
    let folder = format!("/proc/{}/attr", process.pid);
    let profile = match text(root, &format!("{folder}/apparmor/current"))? {
        None => text(root, &format!("{folder}/current"))?,
        found => found,
    };
    Ok(Some(AppArmor { engine: profile.map(|profile| profile.trim_end_matches(['\n', '\0']).to_owned()) }))
}

pub(super) fn kernel_lock(root: &HostRoot) -> Fact<KernelLock> {
    let lockdown = text(root, "/sys/kernel/security/lockdown")?;
    let enforced = text(root, "/sys/module/module/parameters/sig_enforce")?;
    // Not every machine lets it be read: then it is not known.
    let secure_boot = root.read(&path(SECURE_BOOT)?).ok().flatten();
    Ok(KernelLock {
        lockdown: lockdown.as_deref().and_then(KernelLock::lockdown_mode),
        secure_boot: secure_boot.and_then(|bytes| bytes.get(4).map(|value| *value == 1)),
        signed_modules_only: enforced.as_deref().and_then(KvmParameters::flag),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    fn prefix() -> HostPath {
        HostPath::new("/opt/cofferdam").unwrap()
    }

    #[test]
    fn security_modules_that_are_off_are_none() {
        let (_folder, root) = tree(&[("/sys/module/apparmor/parameters/enabled", "N\n")]);
        assert_eq!((selinux(&root, &prefix()), apparmor(&root, None)), (Ok(None), Ok(None)));
    }

    #[test]
    fn modes_and_profiles() {
        let (_folder, root) = tree(&[
            ("/sys/fs/selinux/enforce", "1"),
            ("/sys/module/apparmor/parameters/enabled", "Y\n"),
            ("/proc/7/attr/current", "snap.containerd (enforce)\n"),
        ]);
        assert!(selinux(&root, &prefix()).unwrap().unwrap().enforcing);
        let process = EngineProcess {
            pid: 7,
            started: 0,
            binary: HostPath::new("/usr/bin/containerd").unwrap(),
            args: Vec::new(),
        };
        let profile = apparmor(&root, Some(&process)).unwrap().unwrap().engine;
        assert_eq!(profile.as_deref(), Some("snap.containerd (enforce)"));
    }

    #[test]
    fn what_is_made_gets_the_label_of_the_folder_above() {
        let (_folder, root) = tree(&[("/opt/other/file", "")]);
        assert_eq!(label_at(&root, &prefix()), None);
        let name = "security.selinux";
        let set = |path: &str, label: &str| {
            let path = root.outside(&HostPath::new(path).unwrap());
            rustix::fs::setxattr(path, name, label.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
        };
        set("/opt", "system_u:object_r:usr_t:s0\0");
        set("/opt/other", "system_u:object_r:var_t:s0\0");
        assert_eq!(label_at(&root, &prefix()).as_deref(), Some("system_u:object_r:usr_t:s0"));
    }

    #[test]
    fn lockdown_and_secure_boot() {
        let (_folder, root) = tree(&[
            ("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
            ("/sys/module/module/parameters/sig_enforce", "N\n"),
            (SECURE_BOOT, "\u{6}\0\0\0\u{1}"),
        ]);
        let expected = KernelLock {
            lockdown: Some("integrity".to_owned()),
            secure_boot: Some(true),
            signed_modules_only: Some(false),
        };
        assert_eq!(kernel_lock(&root), Ok(expected));
        let (_folder, root) = tree(&[]);
        assert_eq!(kernel_lock(&root), Ok(KernelLock::default()));
    }
}
