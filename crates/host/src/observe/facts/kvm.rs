//! The processor and /dev/kvm.

use super::{path, sure_text, text};
use crate::root::HostRoot;
use cofferdam_core::doctor::facts::{Cpu, Kvm, KvmParameters};
use cofferdam_core::doctor::{Fact, Unseen};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub(super) fn cpu(root: &HostRoot) -> Fact<Cpu> {
    let text = sure_text(root, "/proc/cpuinfo")?;
    Cpu::parse(&text).ok_or_else(|| Unseen::new("/proc/cpuinfo lists no flags"))
}

pub(super) fn device(root: &HostRoot) -> Fact<Kvm> {
    let refused = |errno: Errno| Kvm::Refused { reason: std::io::Error::from(errno).to_string() };
    Ok(match root.open_at(&path("/dev/kvm")?, OFlags::RDWR, Mode::empty()) {
        Err(Errno::NOENT) => Kvm::Absent,
        Err(errno) => refused(errno),
        Ok(fd) => ioctl::api_version(&fd).map_or_else(refused, |api_version| Kvm::Open { api_version }),
    })
}

pub(super) fn parameters(root: &HostRoot) -> Fact<KvmParameters> {
    let flag = |module: &str, name: &str| -> Fact<Option<bool>> {
        let found = text(root, &format!("/sys/module/{module}/parameters/{name}"))?;
        Ok(found.as_deref().and_then(KvmParameters::flag))
    };
    Ok(KvmParameters {
        nested: match flag("kvm_intel", "nested")? {
            None => flag("kvm_amd", "nested")?,
            found => found,
        },
        unrestricted_guest: flag("kvm_intel", "unrestricted_guest")?,
        sev_snp: flag("kvm_amd", "sev_snp")?,
        tdx: flag("kvm_intel", "tdx")?,
    })
}

/// `KVM_GET_API_VERSION`, which rustix has no function for. A crate for it would bring three others.
#[allow(unsafe_code)]
mod ioctl {
    use rustix::fd::OwnedFd;
    use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

    struct GetApiVersion;

    // SAFETY: linux/kvm.h defines it as _IO(0xAE, 0): it takes no argument (null is passed), touches no memory of
    // ours, and its result is the number that it returns.
    unsafe impl Ioctl for GetApiVersion {
        type Output = i32;
        const IS_MUTATING: bool = false;

        fn opcode(&self) -> Opcode {
            opcode::none(0xAE, 0)
        }

        fn as_ptr(&mut self) -> *mut std::ffi::c_void {
            std::ptr::null_mut()
        }

        unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<i32> {
            Ok(out)
        }
    }

    pub(super) fn api_version(kvm: &OwnedFd) -> rustix::io::Result<i32> {
        // SAFETY: see above; on a file that is no KVM device, the kernel answers ENOTTY.
        unsafe { ioctl(kvm, GetApiVersion) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn what_is_no_kvm_is_not_taken_for_it() {
        let (_folder, root) = tree(&[("/dev/kvm", "")]);
        assert!(matches!(device(&root), Ok(Kvm::Refused { reason }) if reason.contains("ioctl")));
        let (_folder, root) = tree(&[]);
        assert_eq!(device(&root), Ok(Kvm::Absent));
    }

    #[test]
    fn this_machines_kvm_tells_its_version_if_there_is_one() {
        let root = HostRoot::open(std::path::Path::new("/")).unwrap();
        match device(&root).unwrap() {
            Kvm::Open { api_version } => assert_eq!(api_version, 12),
            Kvm::Absent => assert!(!std::path::Path::new("/dev/kvm").exists()),
            Kvm::Refused { reason } => assert!(!reason.is_empty()),
        }
    }

    #[test]
    fn parameters_of_either_vendor() {
        let (_folder, root) = tree(&[
            ("/sys/module/kvm_amd/parameters/nested", "1\n"),
            ("/sys/module/kvm_amd/parameters/sev_snp", "N\n"),
        ]);
        let expected = KvmParameters { nested: Some(true), sev_snp: Some(false), ..Default::default() };
        assert_eq!(parameters(&root), Ok(expected));
    }

    #[test]
    fn flags_of_a_recorded_processor() {
        let (_folder, root) = tree(&[(
            "/proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu lm vmx avx\n",
        )]);
        let cpu = cpu(&root).unwrap();
        assert_eq!(cpu.vendor, "GenuineIntel");
        assert!(cpu.has("vmx") && cpu.has("lm") && !cpu.has("sse4_1"));
        let (_folder, root) = tree(&[("/proc/cpuinfo", "processor : 0\nFeatures : fp asimd\n")]);
        assert!(super::cpu(&root).is_err());
    }
}
