//! `cargo xtask demo`: the whole of it on one disposable node, or on a disposable cluster, for a person to read.

pub mod fleet;
mod shop;

use super::build::Release;
use super::screen::{Screen, time};
use crate::testbed::cache::Cache;
use crate::testbed::command::Output;
use crate::testbed::image::{self, Image};
use crate::testbed::{Containerd, Node, NodeSpec, Pod, Tree, packages};
use anyhow::{Context, Result, bail, ensure};
use cofferdam_host::cri::ContainerRun;
use shop::{ACCESS, Shop};
use std::time::Duration;

/// Boots a disposable node, installs gVisor on it from a registry, by tag, by digest and only if it is signed, runs a
/// container in a sandbox, and takes everything away again.
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
    screen.line(
        "Cofferdam on a disposable node: Debian 13, systemd, containerd 1.7; and a registry beside it.",
    );
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

        let shop = Shop::open(&mut self)?;
        self.plan(&shop, &before)?;
        self.by_tag(&shop, &old)?;
        self.by_digest(&shop, &before, &old)?;

        let sandboxed = self.two_kernels(&old)?;
        self.screen.heading("Who uses what, and who signed it?");
        let status = self.types("cofferdam status", 0)?;
        self.says(&status, "used by pod default/sandboxed")?;
        self.says(&status, "signed with the key ")?;
        self.again(&shop)?;
        self.remove(&sandboxed)?;

        self.screen.heading("Is anything left?");
        let entries = self.is_as(&before)?;
        self.screen.good(&format!(
            "{} identical: {entries} entries (content, type, mode, owner, attributes)",
            WATCHED.join(" "),
        ));
        self.runs(&old, "the first pod still runs")?;
        Ok(())
    }

    /// A plan asks for what describes the image, and for no layer.
    fn plan(&mut self, shop: &Shop, before: &Tree) -> Result<()> {
        self.screen.heading("What would an installation change?");
        let given = shop.registry.given();
        let plan = self.types(&format!("cofferdam plan {} {ACCESS}", shop.tag), 0)?;
        self.says(&plan, "+++ b/etc/containerd/config.toml")?;
        self.is_as(before)?;
        let given = shop.registry.given() - given;
        ensure!(given < 64 << 10, "the plan made the registry give {given} bytes");
        self.screen.good(&format!("the plan wrote nothing, and fetched {given} bytes: the descriptor"));
        Ok(())
    }

    /// By tag, with the account; and away again.
    fn by_tag(&mut self, shop: &Shop, old: &Pod) -> Result<()> {
        self.screen.heading("Install it by its tag, and prove it");
        let refused = self.types(&format!("cofferdam install {} --ca-file ca.pem", shop.tag), 2)?;
        self.says(&refused, "without credentials")?;
        let install = self.types(&format!("cofferdam install {} {ACCESS}", shop.tag), 0)?;
        self.says(&install, "proven: ")?;
        self.runs(old, "the pod from before runs on, through containerd's restart")?;
        self.types("cofferdam remove gvisor-oci --quiet", 0)?;
        Ok(())
    }

    /// By digest, and only if the policy accepts who signed it: first nobody, then somebody.
    fn by_digest(&mut self, shop: &Shop, before: &Tree, old: &Pod) -> Result<()> {
        self.screen.heading("What is not signed is refused");
        self.types("cat policy.toml", 0)?;
        let install = format!("cofferdam install {} --policy policy.toml {ACCESS}", shop.pinned);
        let given = shop.registry.given();
        let refused = self.types(&install, 2)?;
        self.says(&refused, "is not signed")?;
        self.is_as(before)?;
        ensure!(shop.registry.given() == given, "the registry gave something before the refusal");
        self.screen.good("nothing was written, and the registry gave no byte of a layer");

        self.screen.heading("Signed, it is installed by its digest");
        let signature = shop.sign()?;
        self.screen.good(&format!(
            "signed as `cosign sign --key` does it, with the key of acme.pub: {}:{}...",
            shop::REPOSITORY,
            signature.get(..20).unwrap_or_default()
        ));
        let install = self.types(&install, 0)?;
        self.says(&install, "proven: ")?;
        self.runs(old, "the pod from before runs on")?;
        Ok(())
    }

    /// Nothing that is watched is other than it was; how much that is.
    fn is_as(&self, before: &Tree) -> Result<usize> {
        let now = self.node.snapshot(WATCHED)?;
        let differences = before.diff(&now);
        self.screen.output(&differences.join("\n"));
        ensure!(differences.is_empty(), "the node is not as it was: {} differences", differences.len());
        Ok(now.entries.len())
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
    fn again(&mut self, shop: &Shop) -> Result<()> {
        self.screen.heading("The same again does nothing");
        let pid = ["systemctl", "show", "--property=MainPID", "containerd"];
        let before = self.node.ok(&pid)?;
        let install = format!("cofferdam install {} --policy policy.toml {ACCESS}", shop.pinned);
        let given = shop.registry.given();
        let again = self.types(&install, 0)?;
        self.says(&again, "nothing to do")?;
        ensure!(self.node.ok(&pid)? == before, "containerd was restarted");
        ensure!(shop.registry.given() == given, "something was fetched again");
        self.screen.good("containerd was not restarted, and nothing was fetched");
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
