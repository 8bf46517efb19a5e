//! `cargo xtask demo`: the whole of it on one disposable node, or on a disposable cluster, for a person to read.

pub mod fleet;

use super::build::Release;
use super::screen::{Screen, time};
use crate::testbed::cache::Cache;
use crate::testbed::command::Output;
use crate::testbed::image::{self, Image};
use crate::testbed::{Containerd, Node, NodeSpec, Pod, packages};
use anyhow::{Context, Result, bail, ensure};
use cofferdam_host::cri::ContainerRun;
use std::time::Duration;

/// Boots a disposable node, installs gVisor on it, runs a container in a sandbox, and takes everything away again.
///
/// Needs root, Rust and Debian 12 or later; missing Debian packages are named and installed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// On a cluster instead: two nodes with a kubelet each, Cofferdam from its chart, a rollout, a release that fails.
    #[arg(long)]
    cluster: bool,
}

/// What a removal has to leave as it was. containerd's own state and logs are not in it.
const WATCHED: &[&str] = &["/etc", "/opt", "/usr", "/var/lib/cofferdam"];

/// A change on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs the task.
///
/// # Errors
/// A step does not end as it should.
pub fn run(args: &Args) -> Result<()> {
    let mut screen = Screen::new();
    let result = if args.cluster { show_fleet(&mut screen) } else { show(&mut screen) };
    let took = time(screen.elapsed());
    match &result {
        Ok(()) => screen.line(&format!(
            "\nThe demo is over; its nodes are gone, what was built stays in the cache. It took {took}."
        )),
        Err(_) => screen.bad(&format!("\nThe demo failed after {took}.")),
    }
    result
}

/// The cluster's part, with the release binary.
fn show_fleet(screen: &mut Screen) -> Result<()> {
    packages::need_root()?;
    packages::need_go("the cluster's control plane is built with it")?;
    screen.line(
        "Cofferdam on a disposable cluster: Kubernetes 1.34, a node with containerd 1.7 and one with 2.4.",
    );
    screen.heading("A binary");
    screen.typed("$", "cargo build --release --package cofferdam");
    let binary = Release::start()?.finish()?;
    fleet::tell(screen, &binary)
}

fn show(screen: &mut Screen) -> Result<()> {
    screen.line("Cofferdam on a disposable node: Debian 13, systemd, containerd 1.7.");
    let stage = Stage { node: node(screen)?, screen };
    stage.tell()
}

/// The node, with the release binary in it. The first time this takes minutes.
fn node(screen: &mut Screen) -> Result<Node> {
    packages::need_root()?;
    screen.heading("A node and a binary");
    screen.typed("$", "cargo build --release --package cofferdam");
    let release = Release::start()?;
    let cache = Cache::open()?;
    image::tree(&cache, Image::Trixie)?;
    let binary = release.finish()?;
    let node = Node::boot_in(&cache, NodeSpec::new(Containerd::Debian17))?;
    let bytes = std::fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let size = bytes.len();
    node.put("/usr/local/bin/cofferdam", bytes, 0o755)?;
    screen.good(&format!("one static binary, {:.1} MB", size as f64 / 1e6));
    screen.good(&format!("a node is up, {} after the demo's start", time(screen.elapsed())));
    Ok(node)
}

struct Stage<'a> {
    node: Node,
    screen: &'a mut Screen,
}

impl Stage<'_> {
    fn tell(mut self) -> Result<()> {
        self.screen.heading("A package: a folder with Debian's runsc");
        let pack = "mkdir -p gvisor/bin && cp /usr/bin/runsc gvisor/bin/ && echo 20240729.0 >gvisor/VERSION";
        self.types(pack, 0)?;
        let before = self.node.snapshot(WATCHED)?;
        let old = self.old_pod()?;

        self.screen.heading("What does the node have, and what stands in the way?");
        self.types("cofferdam doctor", 0)?;
        self.screen.heading("Which descriptors come with Cofferdam?");
        let catalog = self.types("cofferdam catalog", 0)?;
        self.says(&catalog, "gvisor-oci")?;

        self.screen.heading("What would an installation change?");
        let plan = self.types("cofferdam plan dir:gvisor --preset gvisor-oci", 0)?;
        self.says(&plan, "+++ b/etc/containerd/config.toml")?;
        let written = before.diff(&self.node.snapshot(WATCHED)?);
        ensure!(written.is_empty(), "the plan changed the node: {written:#?}");
        self.screen.good("the plan wrote nothing");

        self.screen.heading("Install it, and prove it");
        let install = self.types("cofferdam install dir:gvisor --preset gvisor-oci", 0)?;
        self.says(&install, "proven: ")?;
        self.runs(&old, "the pod from before runs on, through containerd's restart")?;

        let sandboxed = self.two_kernels(&old)?;
        self.screen.heading("Who uses what?");
        let status = self.types("cofferdam status", 0)?;
        self.says(&status, "used by pod default/sandboxed")?;
        self.again()?;
        self.remove(&sandboxed)?;

        self.screen.heading("Is anything left?");
        let after = self.node.snapshot(WATCHED)?;
        let differences = before.diff(&after);
        self.screen.output(&differences.join("\n"));
        ensure!(differences.is_empty(), "the removal left {} differences", differences.len());
        self.screen.good(&format!(
            "{} identical: {} entries (content, type, mode, owner, attributes)",
            WATCHED.join(" "),
            after.entries.len()
        ));
        self.runs(&old, "the first pod still runs")?;
        Ok(())
    }

    /// A pod that is there before anything happens.
    fn old_pod(&self) -> Result<Pod> {
        let pod = self.node.run_pod("plain", "")?;
        self.screen.good("a pod `plain` runs under runc, started through CRI as the kubelet does it");
        Ok(pod)
    }

    /// The kernel of a sandbox beside the machine's.
    fn two_kernels(&mut self, old: &Pod) -> Result<Pod> {
        self.screen.heading("A container in a sandbox has another kernel");
        let host = self.types("uname -r", 0)?.stdout.trim().to_owned();
        let sandboxed = self.node.run_pod("sandboxed", "runsc-oci")?;
        self.screen
            .good("a pod `sandboxed` was started with runtimeClassName's handler runsc-oci, through CRI");
        for (name, pod) in [("plain", old), ("sandboxed", &sandboxed)] {
            self.screen.typed(&format!("{name}#"), "uname -r");
            let kernel = self.node.exec_ok(pod, &["uname", "-r"])?;
            self.screen.output(&kernel);
            let same = kernel == host;
            ensure!(same == (name == "plain"), "the kernel in pod {name} is {kernel}, the host's is {host}");
        }
        self.screen.typed("sandboxed#", "dmesg");
        let log = self.node.exec_ok(&sandboxed, &["dmesg"])?;
        self.screen.output(&log.lines().take(3).collect::<Vec<_>>().join("\n"));
        ensure!(log.contains("gVisor"), "the sandbox's kernel does not call itself gVisor");
        Ok(sandboxed)
    }

    /// The same installation plans nothing and restarts nothing.
    fn again(&mut self) -> Result<()> {
        self.screen.heading("The same again does nothing");
        let pid = ["systemctl", "show", "--property=MainPID", "containerd"];
        let before = self.node.ok(&pid)?;
        let again = self.types("cofferdam install dir:gvisor --preset gvisor-oci", 0)?;
        self.says(&again, "nothing to do")?;
        ensure!(self.node.ok(&pid)? == before, "containerd was restarted");
        self.screen.good("containerd was not restarted");
        Ok(())
    }

    fn remove(&mut self, sandboxed: &Pod) -> Result<()> {
        self.screen.heading("It is not taken away from under a pod");
        let refused = self.types("cofferdam remove gvisor-oci", 5)?;
        self.says(&refused, "sandboxed")?;
        self.runs(sandboxed, "the pod runs on")?;
        self.node.remove_pod(sandboxed)?;
        self.screen.good("the pod is deleted now");
        self.screen.heading("Take it away");
        self.types("cofferdam remove gvisor-oci", 0)?;
        Ok(())
    }

    /// Runs a command line in the node's /root and shows it with its output, both streams in their order.
    fn types(&self, command: &str, status: i32) -> Result<Output> {
        self.screen.typed("node#", command);
        let script = format!("exec 2>&1; cd /root; {command}");
        let output = self.node.run_for(LIMIT, &["sh", "-c", &script])?;
        self.screen.output(&output.stdout);
        if output.status != 0 {
            self.screen.line(&format!("    (exit code {})", output.status));
        }
        ensure!(output.status == status, "`{command}` ended with {}, not with {status}", output.status);
        Ok(output)
    }

    fn says(&self, output: &Output, text: &str) -> Result<()> {
        if !output.stdout.contains(text) {
            bail!("the output has no `{text}`");
        }
        Ok(())
    }

    fn runs(&self, pod: &Pod, what: &str) -> Result<()> {
        let state = self.node.pod_state(pod)?;
        ensure!(state == ContainerRun::Running, "the container of pod {} is {state:?}", pod.name);
        self.screen.good(what);
        Ok(())
    }
}
