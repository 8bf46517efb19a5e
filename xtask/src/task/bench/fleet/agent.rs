//! The real agent at rest.

use super::{mib, row};
use crate::testbed::cluster::{Member, Usage};
use crate::testbed::fleet::{Fleet, Kind};
use crate::testbed::package::Release;
use crate::testbed::{ClusterSpec, Containerd, Node};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// A runtime is installed, on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// After an installation, until nothing moves any more.
const SETTLE: Duration = Duration::from_secs(15);

/// VmRSS of kata-deploy 4.1, waiting after its installation: as the project itself reports it.
const PEER_REPORTED: &str = "9.7 MiB";

/// The same of its 4.1.0, measured on a node of this test bed (containerd 2.4.2, one shim).
const PEER_MEASURED: &str = "7.1 MB";

/// What an idle agent needs.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    seconds: u64,
    rss_bytes: u64,
    peak_rss_bytes: u64,
    threads: u64,
    cpu_milliseconds_per_minute: f64,
}

pub(super) fn measure(binary: &Path, containerd: Containerd, idle: Duration) -> Result<Row> {
    let spec = ClusterSpec::without_nodes().member(Member::new("n1", containerd));
    let fleet = Fleet::boot(spec, binary, &["agent.heartbeatSeconds=300"])?;
    let package = fleet.publish(Kind::Works(Release::Old), "gvisor", "old")?;
    fleet.cluster.apply(&fleet.runtime("gvisor", &package, ""))?;
    fleet.cluster.wait_condition(&["sandboxruntime", "gvisor"], "Ready", "True", LIMIT)?;
    let node = fleet.cluster.node("n1")?;
    sleep(SETTLE);
    let before = usage(node)?;
    sleep(idle);
    let after = usage(node)?;
    Ok(Row {
        seconds: idle.as_secs(),
        rss_bytes: after.rss,
        peak_rss_bytes: after.peak,
        threads: after.threads,
        cpu_milliseconds_per_minute: (after.cpu - before.cpu) * 1e3 * 60.0 / idle.as_secs_f64(),
    })
}

fn usage(node: &Node) -> Result<Usage> {
    let find = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q '^[^ ]*cofferdam agent ' && echo ${p#/proc/}; done; true";
    let pid = node.ok(&["sh", "-c", find])?;
    let pid = pid.split_whitespace().next().context("no agent runs on the node")?.to_owned();
    let read = |name: &str| node.ok(&["cat", &format!("/proc/{pid}/{name}")]);
    Ok(Usage::of(&read("status")?, &read("stat")?))
}

impl Row {
    pub(super) fn show(&self, text: &mut String) -> Result<()> {
        writeln!(
            text,
            "\nthe agent, idle for {} s on a node with one runtime (heartbeat 300 s)",
            self.seconds
        )?;
        row(text, "VmRSS", &format!("{:.1} MiB", mib(self.rss_bytes)))?;
        row(text, "VmHWM", &format!("{:.1} MiB", mib(self.peak_rss_bytes)))?;
        row(text, "threads", &self.threads.to_string())?;
        row(text, "CPU", &format!("{:.0} ms a minute", self.cpu_milliseconds_per_minute))?;
        row(text, "kata-deploy 4.1, waiting (VmRSS, its project's figure)", PEER_REPORTED)?;
        row(text, "kata-deploy 4.1.0, waiting (VmRSS, on this test bed)", PEER_MEASURED)
    }
}
