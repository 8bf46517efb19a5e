//! The processor, and what virtualizes on it.

use super::{Looked, no, unseen, yes};
use crate::doctor::facts::{Cpu, Kvm};
use crate::doctor::{Case, Unseen};

/// The only version of the API since Linux 2.6.22; the kernel's documentation tells programs to refuse any other.
const KVM_API: i32 = 12;

/// Before it, encrypted virtual machines cannot be started by Kata's VMMs.
const CONFIDENTIAL_KERNEL: (u32, u32) = (6, 11);

/// The processor virtualizes, and has what guests' kernels need.
pub(in crate::doctor) fn cpu_flags(case: &Case<'_>) -> Looked {
    let cpu = case.facts.cpu.as_ref()?;
    let missing: Vec<&str> = ["lm", "sse4_1"].into_iter().filter(|flag| !cpu.has(flag)).collect();
    if !missing.is_empty() {
        return no(
            format!("the processor has no {}", missing.join(" and ")),
            "choose a node with a newer processor; for a virtual machine, another CPU model",
        );
    }
    match ["vmx", "svm"].into_iter().find(|flag| cpu.has(flag)) {
        Some(flag) => yes(format!("{flag}, lm, sse4_1 ({})", cpu.vendor)),
        // A hypervisor that gives /dev/kvm by other means (PVM).
        None if matches!(case.facts.kvm, Ok(Kvm::Open { .. })) => {
            yes("lm, sse4_1; neither vmx nor svm, and /dev/kvm works all the same")
        }
        None => no("the processor shows neither vmx nor svm", no_virtualization(cpu)),
    }
}

fn no_virtualization(cpu: &Cpu) -> &'static str {
    if cpu.has("hypervisor") {
        "this is a virtual machine: enable nested virtualization where it runs, or choose a bare-metal node"
    } else {
        "enable virtualization (VT-x, AMD-V) in the firmware's settings"
    }
}

/// /dev/kvm opens, and speaks the one version of the API.
pub(in crate::doctor) fn kvm(case: &Case<'_>) -> Looked {
    match case.facts.kvm.as_ref()? {
        Kvm::Open { api_version: KVM_API } => {
            let nested = case.facts.kvm_parameters.as_ref().ok().and_then(|parameters| parameters.nested);
            let nested = match nested {
                Some(true) => "on",
                Some(false) => "off",
                None => "not known",
            };
            yes(format!("/dev/kvm opens, API version {KVM_API}, nested virtualization {nested}"))
        }
        Kvm::Open { api_version } => no(
            format!("/dev/kvm speaks API version {api_version} instead of {KVM_API}"),
            "whatever gives /dev/kvm here is no KVM: choose another node",
        ),
        Kvm::Refused { reason } => no(
            format!("/dev/kvm cannot be opened: {reason}"),
            "another hypervisor may hold the processor's virtualization: end it; else see dmesg for what kvm says",
        ),
        Kvm::Absent => no(
            "there is no /dev/kvm",
            "load kvm_intel or kvm_amd; see the checks cpu-flags and kvm-module for why there is none",
        ),
    }
}

/// Intel's processors of before 2010 cannot start a guest's firmware.
pub(in crate::doctor) fn unrestricted_guest(case: &Case<'_>) -> Looked {
    let cpu = case.facts.cpu.as_ref()?;
    if cpu.vendor != "GenuineIntel" {
        return yes("only Intel's processors have this setting");
    }
    match case.facts.kvm_parameters.as_ref()?.unrestricted_guest {
        Some(true) => yes("kvm_intel has unrestricted_guest=Y"),
        Some(false) if cpu.has("hypervisor") => yes("unrestricted_guest=N, inside a virtual machine"),
        Some(false) => no(
            "kvm_intel has unrestricted_guest=N",
            "modprobe -r kvm_intel && modprobe kvm_intel unrestricted_guest=1; a processor that refuses is too old",
        ),
        None => unseen("kvm_intel is not loaded"),
    }
}

/// /dev/kvm, or Kontain's module.
pub(in crate::doctor) fn kvm_or_kkm(case: &Case<'_>) -> Looked {
    if case.facts.devices.as_ref().is_ok_and(|devices| devices.get("/dev/kkm") == Some(&true)) {
        return yes("/dev/kkm is there");
    }
    match case.facts.kvm.as_ref()? {
        Kvm::Open { .. } => yes("/dev/kvm opens"),
        Kvm::Absent | Kvm::Refused { .. } => {
            case.facts.devices.as_ref()?;
            no(
                "neither /dev/kvm nor /dev/kkm can be used",
                "load KVM, or build and load Kontain's module kkm",
            )
        }
    }
}

/// AMD's encrypted virtual machines.
pub(in crate::doctor) fn sev_snp(case: &Case<'_>) -> Looked {
    confidential(case, "kvm_amd", "sev_snp", case.facts.kvm_parameters.as_ref()?.sev_snp)
}

/// Intel's encrypted virtual machines.
pub(in crate::doctor) fn tdx(case: &Case<'_>) -> Looked {
    confidential(case, "kvm_intel", "tdx", case.facts.kvm_parameters.as_ref()?.tdx)
}

fn confidential(case: &Case<'_>, module: &str, parameter: &str, on: Option<bool>) -> Looked {
    let release = &case.facts.modules.as_ref()?.release;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return Err(Unseen::new(format!("the kernel's release is {release}")));
    };
    // Distributions bring it to older kernels, too.
    if on == Some(true) {
        return yes(format!("{module} has {parameter}=Y, Linux {release}"));
    }
    if (major, minor) < CONFIDENTIAL_KERNEL {
        let (a, b) = CONFIDENTIAL_KERNEL;
        return no(format!("the kernel is {release}"), format!("boot Linux {a}.{b} or later"));
    }
    no(
        format!("{module} does not have {parameter}=Y"),
        format!("enable it in the firmware's settings, and load {module} with {parameter}=1"),
    )
}
