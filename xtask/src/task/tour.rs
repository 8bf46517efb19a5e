//! `cargo xtask tour`: writes docs/tour.md by doing what it tells, on a node.

use crate::testbed::{Containerd, Node, NodeSpec, Pod, Release, Runtime, packages};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// Writes docs/tour.md by doing on a disposable node what it tells. Needs root, Rust and Go.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// A change on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

const GVISOR: Runtime = Runtime::GvisorOci;

/// Runs the task.
///
/// # Errors
/// A command on the node does not end as the tour says.
pub fn run(_: &Args) -> Result<()> {
    packages::need_root()?;
    let node = Node::boot(NodeSpec::new(Containerd::Debian17))?;
    node.put_cofferdam()?;
    for (runtime, release) in [(GVISOR, Release::Old), (GVISOR, Release::New), (Runtime::Crun, Release::Old)]
    {
        node.put_release(runtime, release)?;
    }
    let mut tour = Tour { node, text: INTRODUCTION.to_owned() };
    tour.tell()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tour.md");
    std::fs::write(&path, tour.text).with_context(|| format!("cannot write {}", path.display()))
}

const INTRODUCTION: &str = "# A tour of one node

Written by `cargo xtask tour`, which does on a disposable node what it tells and puts down what was printed: Debian 13 with
containerd 1.7, gVisor in two releases, pods started through CRI as the kubelet does it. Paths, process ids and digests are
those of that node.
";

struct Tour {
    node: Node,
    text: String,
}

impl Tour {
    fn tell(&mut self) -> Result<()> {
        let (old, new) = (GVISOR.source_of(Release::Old), GVISOR.source_of(Release::New));
        self.look()?;
        let plain = self.node.run_pod("plain", "")?;
        self.install(&old)?;
        let before = self.pod("before", "It is in use from now on.")?;
        self.upgrade(&new, &before)?;
        self.go_back()?;
        self.drift()?;
        self.fail()?;
        self.swap()?;
        self.account()?;
        self.remove(&before)?;
        ensure!(
            self.node.attempt(&plain)? == Some((0, true)),
            "the pod `plain` did not live through the tour"
        );
        self.says("The pod `plain`, which was there before, still runs in its first container.");
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        self.heading("Look before you change anything");
        self.says(
            "The doctor says what the node has, and what stands in the way of a runtime. It changes nothing.",
        );
        self.types("cofferdam doctor gvisor-oci", 0)
    }

    fn install(&mut self, source: &str) -> Result<()> {
        self.heading("Install, and prove it");
        self.says(
            "A pod `plain` runs on the node already. `cofferdam plan` would show the same change as a diff and write \
             nothing; the installation itself rehearses, writes, restarts containerd once, and starts a sandbox.",
        );
        self.types(&format!("cofferdam install {source}"), 0)?;
        self.says("The same again finds nothing to do, and restarts nothing:");
        self.types(&format!("cofferdam install {source}"), 0)
    }

    fn upgrade(&mut self, source: &str, before: &Pod) -> Result<()> {
        self.heading("Upgrade under a running sandbox");
        self.says("The new version gets a folder of its own. The pod from before keeps the old one.");
        self.types(&format!("cofferdam upgrade {source}"), 0)?;
        ensure!(self.node.attempt(before)? == Some((0, true)), "the upgrade cost the pod from before");
        let after = self.pod("after", "Each pod runs from the version with which it was started:")?;
        self.types("cofferdam status", 0)?;
        self.types("cofferdam gc --all", 0)?;
        self.node.remove_pod(&after)?;
        self.says("The pod `after` is deleted again.");
        Ok(())
    }

    fn go_back(&mut self) -> Result<()> {
        self.heading("Go back");
        self.says("The version of before is registered again, from its own folder: no package is needed.");
        self.types("cofferdam rollback gvisor-oci", 0)
    }

    fn drift(&mut self) -> Result<()> {
        self.heading("Someone changes what is ours");
        self.types("rm /opt/cofferdam/runtimes/gvisor-oci/20240729*/bin/runsc", 0)?;
        self.types("sed -i '/runtimes.runsc-oci/,/Root =/d' /etc/containerd/config.toml", 0)?;
        self.types("systemctl disable cofferdam-recover.service", 0)?;
        self.types("cofferdam verify", 4)?;
        self.types("cofferdam repair", 0)?;
        self.types("cofferdam verify", 0)
    }

    fn fail(&mut self) -> Result<()> {
        self.heading("A runtime that cannot work");
        self.says(
            "This package's runtime fails at every call. The engine would not notice before the first pod.",
        );
        let crun = Runtime::Crun.source_of(Release::Old);
        let crun = crun.trim_start_matches("dir:");
        self.types(&format!("cp -r {crun} broken && printf '#!/bin/sh\\nexit 1\\n' >broken/bin/crun"), 0)?;
        self.types("cofferdam install dir:broken", 7)?;
        self.types("cofferdam verify", 0)
    }

    fn swap(&mut self) -> Result<()> {
        self.heading("The distribution replaces containerd");
        self.says("The node's containerd 1.7 becomes 2.4 while pods run, as a package upgrade does it.");
        self.node.swap_containerd(Containerd::Upstream24)?;
        self.types("containerd --version", 0)?;
        self.types("cofferdam verify", 0)
    }

    fn account(&mut self) -> Result<()> {
        self.heading("What was done here?");
        self.types("cofferdam log", 0)?;
        self.types("cofferdam support-bundle bundle.tar.gz", 0)
    }

    fn remove(&mut self, before: &Pod) -> Result<()> {
        self.heading("Take it away");
        self.types("cofferdam remove gvisor-oci", 5)?;
        self.node.remove_pod(before)?;
        self.says("The pod `before` is deleted now.");
        self.types("cofferdam remove gvisor-oci", 0)?;
        self.types("ls -d /opt/cofferdam /var/lib/cofferdam /etc/systemd/system/cofferdam*", 2)
    }

    /// Starts a pod under gVisor, and says so.
    fn pod(&mut self, name: &str, then: &str) -> Result<Pod> {
        let pod = self.node.run_pod(name, GVISOR.handler())?;
        self.says(&format!("A pod `{name}` is started under the handler {}. {then}", GVISOR.handler()));
        Ok(pod)
    }

    fn heading(&mut self, text: &str) {
        let _ = write!(self.text, "\n## {text}\n");
    }

    fn says(&mut self, text: &str) {
        let _ = write!(self.text, "\n{text}\n");
    }

    /// Runs a command line in the node's /root and puts it down with its output, both streams in their order.
    fn types(&mut self, command: &str, status: i32) -> Result<()> {
        let script = format!("exec 2>&1; cd /root; {command}");
        let output = self.node.run_for(LIMIT, &["sh", "-c", &script])?;
        let shown = output.stdout.trim_end();
        let code = if status == 0 { String::new() } else { format!("(exit code {status})\n") };
        let newline = if shown.is_empty() { "" } else { "\n" };
        let _ = write!(self.text, "\n```console\n# {command}\n{shown}{newline}{code}```\n");
        ensure!(
            output.status == status,
            "`{command}` ended with {}, not with {status}:\n{shown}",
            output.status
        );
        Ok(())
    }
}
