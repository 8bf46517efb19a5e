//! A cluster with Cofferdam on it, from the chart, and a registry with packages.

#![allow(clippy::indexing_slicing)] // reading what a JSON object has not gives null

use super::cache::Cache;
use super::cluster::{Cluster, ClusterSpec, Member};
use super::error::{Error, Result};
use super::host;
use super::package::{self, Release, Runtime};
pub use super::registry::Published;
use super::registry::{Registry, RegistrySpec};
use crate::task::build::workspace;
use crate::task::image;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Where Cofferdam runs.
pub const NAMESPACE: &str = "cofferdam-system";

/// The label of a node on which gVisor, as it is published here, is proven.
pub const LABEL: &str = "cofferdam.node-restriction.kubernetes.io/runsc-oci";

/// Its image, as the nodes know it.
const IMAGE: &str = "cofferdam.test/cofferdam";

/// The image's tag.
const TAG: &str = "demo";

/// The pull secret, and the file with the same account for a push.
const SECRET: &str = "registry";

/// How often agents say that they live, in seconds.
pub const HEARTBEAT: u32 = 5;

/// Pods start, and a rollout comes to its end, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(300);

/// What a published package should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// gVisor's release that works.
    Works(Release),
    /// One whose program ends at once: it can be installed, and starts no sandbox.
    Broken,
    /// Another runtime, crun.
    Crun,
}

/// A cluster with Cofferdam on it.
#[derive(Debug)]
pub struct Fleet {
    /// The cluster.
    pub cluster: Cluster,
    /// The registry: TLS with an authority of its own, and an account.
    pub registry: Registry,
    binary: PathBuf,
    files: TempDir,
}

impl Fleet {
    /// Boots a cluster and installs the chart, with an image of `binary`.
    ///
    /// # Errors
    /// Something does not come up.
    pub fn boot(spec: ClusterSpec, binary: &Path, values: &[&str]) -> Result<Self> {
        let files = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let cluster = Cluster::boot(spec)?;
        let registry = Registry::start(RegistrySpec::new(cluster.address()))?;
        let fleet = Self { cluster, registry, binary: binary.to_owned(), files };
        // As initramfs-tools mounts it: stock Debian and Ubuntu are so. A half of the nodes, to have both.
        for node in fleet.cluster.nodes().iter().step_by(2) {
            node.ok(&["mount", "-o", "remount,noexec", "/run"])?;
        }
        fleet.build_image()?;
        fleet.load_image(TAG)?;
        fleet.make_namespace()?;
        fleet.install_chart(values)?;
        Ok(fleet)
    }

    /// A file of this fleet.
    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn build_image(&self) -> Result<()> {
        let program = self.file("cofferdam");
        host::strip(&self.binary, &program)?;
        let layout = self.file("image");
        image::build(&program, &layout).map_err(|error| Error::Unexpected {
            what: "the image".to_owned(),
            why: format!("{error:#}"),
            next: "cargo xtask image".to_owned(),
        })?;
        Ok(())
    }

    /// Gives the nodes Cofferdam's image under this tag.
    ///
    /// # Errors
    /// A node does not take it.
    pub fn load_image(&self, tag: &str) -> Result<()> {
        self.cluster.load_image(&self.file("image"), &format!("{IMAGE}:{tag}"))
    }

    /// Boots another node, lets it join, and gives it Cofferdam's image.
    ///
    /// # Errors
    /// It does not come up.
    pub fn add_node(&mut self, member: &Member) -> Result<()> {
        self.cluster.add_node(member)?;
        let node = self.cluster.node(&member.node.name)?;
        node.load_image(&self.file("image"), &format!("{IMAGE}:{TAG}"))
    }

    fn make_namespace(&self) -> Result<()> {
        let level = "pod-security.kubernetes.io/enforce=privileged";
        self.cluster.kubectl_ok(&["create", "namespace", NAMESPACE])?;
        self.cluster.kubectl_ok(&["label", "namespace", NAMESPACE, level])?;
        let login = self.file("login.json");
        host::write(&login, self.registry.docker_config(), 0o600)?;
        let from = format!("--from-file=.dockerconfigjson={}", login.display());
        let kind = "--type=kubernetes.io/dockerconfigjson";
        self.cluster.kubectl_ok(&["create", "secret", "generic", SECRET, "-n", NAMESPACE, kind, &from])?;
        Ok(())
    }

    fn install_chart(&self, values: &[&str]) -> Result<()> {
        let chart = chart();
        let image = format!("image.repository={IMAGE}");
        let tag = format!("image.tag={TAG}");
        let secrets = format!("agent.pullSecrets={{{SECRET}}}");
        let heartbeat = format!("agent.heartbeatSeconds={HEARTBEAT}");
        let mut args = vec!["install", "cofferdam", &chart, "-n", NAMESPACE, "--wait", "--timeout", "300s"];
        for value in
            [&image, &tag, &secrets, &heartbeat].into_iter().map(String::as_str).chain(values.iter().copied())
        {
            args.extend(["--set", value]);
        }
        self.cluster.helm_command(&args)?.limit(START_LIMIT * 2).ok()?;
        // Every node has an agent that has reported.
        let nodes = self.cluster.nodes().len();
        self.cluster.wait_until(&["sandboxnodes"], START_LIMIT, |list| {
            let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            items.len() == nodes && items.iter().all(|node| node["status"]["heartbeat"].is_string())
        })?;
        Ok(())
    }

    /// Waits until a SandboxRuntime, as it is now, is done on so many nodes. Returns it.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn wait_complete(&self, runtime: &str, nodes: u64) -> Result<Value> {
        self.cluster.wait_until(&["sandboxruntime", runtime], START_LIMIT, |object| {
            let status = &object["status"];
            status["phase"] == "Complete"
                && status["observedGeneration"] == object["metadata"]["generation"]
                && status["nodes"]["ready"] == nodes
        })
    }

    /// Waits until a node has a label, or has it no more.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn wait_label(&self, node: &str, label: &str, present: bool) -> Result<()> {
        let fits = |object: &Value| object["metadata"]["labels"].get(label).is_some() == present;
        self.cluster.wait_until(&["node", node], START_LIMIT, fits).map(drop)
    }

    /// Deletes the pods of a component at once, as a crash would: on all nodes, or on one.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn kill(&self, component: &str, node: Option<&str>) -> Result<()> {
        let selector = selector(component);
        let mut args = vec!["delete", "pods", "-n", NAMESPACE, "--force", "--grace-period=0", &selector];
        let field = node.map(|node| format!("--field-selector=spec.nodeName={node}"));
        args.extend(field.as_deref());
        self.cluster.kubectl_ok(&args)?;
        Ok(())
    }

    /// What the pods of a component answer to `GET path`, asked on their nodes.
    ///
    /// # Errors
    /// A pod does not answer.
    pub fn scrape(&self, component: &str, port: u16, path: &str) -> Result<Vec<String>> {
        let selector = selector(component);
        let list = self.cluster.get_json(&["pods", "-n", NAMESPACE, &selector])?.unwrap_or_default();
        let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let answer = |pod: &Value| {
            let node = self.cluster.node(pod["spec"]["nodeName"].as_str().unwrap_or_default())?;
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            // A node has no program for it.
            let script = format!(
                "exec 3<>/dev/tcp/{address}/{port} && printf 'GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3 && cat <&3"
            );
            node.ok(&["/bin/bash", "-c", &script])
        };
        pods.map(answer).collect()
    }

    /// Packs a package and pushes it as `name:tag`.
    ///
    /// # Errors
    /// It cannot be packed or pushed.
    pub fn publish(&self, kind: Kind, name: &str, tag: &str) -> Result<Published> {
        let dir = tempfile::tempdir_in(self.files.path())
            .map_err(Error::io("make a directory in", self.files.path()))?;
        let (runtime, release) = match kind {
            Kind::Works(release) => (Runtime::GvisorOci, release),
            Kind::Broken => (Runtime::GvisorOci, Release::New),
            Kind::Crun => (Runtime::Crun, Release::Old),
        };
        package::pack(&Cache::open()?, runtime, release, dir.path())?;
        if kind == Kind::Broken {
            break_it(dir.path())?;
        }
        self.registry.publish(&self.binary, dir.path(), &format!("{name}:{tag}"))
    }

    /// A SandboxRuntime of this name for a published package, as YAML; `more` is added to its spec.
    pub fn runtime(&self, name: &str, package: &Published, more: &str) -> String {
        let ca: String = self
            .registry
            .ca_pem()
            .unwrap_or_default()
            .lines()
            .map(|line| format!("          {line}\n"))
            .collect();
        let reference = format!("{}@{}", package.reference, package.digest);
        format!(
            "apiVersion: cofferdam.dev/v1alpha1\nkind: SandboxRuntime\nmetadata:\n  name: {name}\nspec:\n  package:\n    \
             source:\n      oci:\n        reference: {reference}\n        pullSecret: {SECRET}\n        caBundle: |\n{ca}{more}"
        )
    }
}

/// Which pods are of a component.
fn selector(component: &str) -> String {
    format!("--selector=app.kubernetes.io/component={component}")
}

/// The chart.
pub fn chart() -> String {
    workspace().join("deploy/chart/cofferdam").display().to_string()
}

/// Makes the runtime's program one that ends at once, in a version of its own.
fn break_it(package: &Path) -> Result<()> {
    host::write(&package.join("bin/runsc"), "#!/bin/sh\nexit 1\n", 0o755)?;
    let path = package.join("runtime.toml");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let lines =
        text.lines().map(|line| if line.starts_with("version") { "version = \"99.0\"" } else { line });
    host::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n", 0o644)
}
