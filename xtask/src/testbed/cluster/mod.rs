//! A real Kubernetes cluster on this machine: etcd and a control plane as child processes, booted nodes with a kubelet.
//!
//! ```text
//! config   what clients, kubelets and proxies read
//! plane    etcd, API server, controller manager, scheduler: stop and start each
//! join     a booted node becomes a member
//! client   kubectl
//! outside  a program with an account's token, but without a pod
//! audit    who asked the API server for what
//! report   what is known when a test has failed
//! ```
//!
//! Everyone reaches the API server at 10.98.*number*.1, an address of this machine, and pods at 10.96.0.1, as
//! everywhere. Pods have addresses that this machine reaches, but not those of other nodes. There is no DNS.

mod audit;
mod client;
mod config;
mod join;
mod outside;
mod plane;
mod report;

use super::cache::{Cache, Entry};
use super::engine::Containerd;
use super::error::{Error, Result};
use super::node::{Node, NodeSpec};
use super::site::{self, Kind, Site};
use super::{gotools, packages};
pub use audit::{Mark, Request};
pub use client::condition;
pub use outside::{Outside, OutsideSpec, Usage};
pub use plane::Component;
use plane::Plane;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Needed on this machine to run a cluster.
const HOST_PACKAGES: &[&str] = &["etcd-server", "iproute2"];

/// From a kubelet's start to a node that is ready.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// Clears up after clusters and registries whose owners died.
///
/// # Errors
/// Something cannot be removed.
pub fn clear_leftovers() -> Result<()> {
    site::clear_leftovers()
}

/// A node of a cluster.
#[derive(Clone, Debug)]
pub struct Member {
    /// The machine; its name is the node's.
    pub node: NodeSpec,
    /// Labels that the kubelet sets when it registers.
    pub labels: Vec<(String, String)>,
    /// Taints (key, value, effect) with which it registers.
    pub taints: Vec<(String, String, String)>,
}

impl Member {
    /// A node with this name.
    pub fn new(name: &str, containerd: Containerd) -> Self {
        Self::of(NodeSpec::new(containerd).name(name))
    }

    /// A node on this machine.
    pub const fn of(node: NodeSpec) -> Self {
        Self { node, labels: Vec::new(), taints: Vec::new() }
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds a taint.
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        self.taints.push((key.to_owned(), value.to_owned(), effect.to_owned()));
        self
    }
}

/// What a cluster should be.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Its nodes.
    pub members: Vec<Member>,
    /// More arguments for the API server; they win over ours.
    pub api_args: Vec<String>,
}

impl Default for ClusterSpec {
    /// Two nodes, one for each major release of containerd.
    fn default() -> Self {
        let members = Containerd::MAJORS.iter().zip(["n1", "n2"]).map(|(c, name)| Member::new(name, *c));
        Self { members: members.collect(), api_args: Vec::new() }
    }
}

impl ClusterSpec {
    /// A control plane alone.
    pub const fn without_nodes() -> Self {
        Self { members: Vec::new(), api_args: Vec::new() }
    }

    /// Adds a node.
    pub fn member(mut self, member: Member) -> Self {
        self.members.push(member);
        self
    }

    /// Adds an argument for the API server.
    pub fn api_arg(mut self, arg: &str) -> Self {
        self.api_args.push(arg.to_owned());
        self
    }
}

/// A running cluster. Dropping it ends every process of it and removes every trace of it from this machine.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: nodes, then the control plane.
    nodes: Vec<Node>,
    plane: Plane,
    cache: Cache,
    tools: Entry,
}

impl Cluster {
    /// Boots a cluster, and waits until its nodes are ready.
    ///
    /// # Errors
    /// Something is missing on this machine, cannot be built, or the cluster does not come up.
    pub fn boot(spec: ClusterSpec) -> Result<Self> {
        packages::need_root()?;
        packages::ensure(HOST_PACKAGES)?;
        let cache = Cache::open()?;
        let tools = gotools::control_plane(&cache)?;
        let bin = tools.path().join("bin");
        let site = Site::take(&cache, Kind::Cluster)?;
        let ClusterSpec { members, api_args } = spec;
        let (plane, nodes) = std::thread::scope(|scope| {
            let boots: Vec<_> = members
                .iter()
                .map(|member| scope.spawn(|| Node::boot_in(&cache, member.node.clone())))
                .collect();
            let plane = Plane::start(site, &bin, &api_args);
            let nodes: Vec<_> =
                boots.into_iter().map(|boot| boot.join().unwrap_or_else(|_| Err(panicked()))).collect();
            (plane, nodes)
        });
        // Every one has ended by now, and what came up of them is dropped if another did not.
        let (plane, nodes) = (plane?, nodes.into_iter().collect::<Result<Vec<_>>>()?);
        let cluster = Self { nodes, plane, cache, tools };
        for (member, node) in members.iter().zip(&cluster.nodes) {
            join::join(&cluster.plane, node, &member.labels, &member.taints)?;
        }
        // Without it the API server takes no pods.
        cluster.wait_until(&["serviceaccount", "default"], READY_LIMIT, |_| true)?;
        for node in &cluster.nodes {
            cluster.wait_ready(&node.spec().name)?;
        }
        Ok(cluster)
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.spec().name == name);
        found.ok_or_else(|| no_node(name))
    }

    /// The node with this name, to reboot it or to cut its power.
    ///
    /// # Errors
    /// There is none.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.spec().name == name);
        found.ok_or_else(|| no_node(name))
    }

    /// Loads the image of an OCI layout on every node (see [`Node::load_image`]).
    ///
    /// # Errors
    /// A node does not take it.
    pub fn load_image(&self, layout: &Path, name: &str) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.load_image(layout, name))
    }

    /// Boots another node, lets it join, and waits until it is ready.
    ///
    /// # Errors
    /// It does not come up.
    pub fn add_node(&mut self, member: &Member) -> Result<()> {
        let node = Node::boot_in(&self.cache, member.node.clone())?;
        join::join(&self.plane, &node, &member.labels, &member.taints)?;
        self.nodes.push(node);
        self.wait_ready(&member.node.name)
    }

    /// Kills a node's machine with its disk; the Node object stays, as after a real loss. With `kubectl delete node`
    /// and [`Cluster::add_node`] it is replaced under its name.
    ///
    /// # Errors
    /// There is no such node.
    pub fn destroy_node(&mut self, name: &str) -> Result<()> {
        let place = self.nodes.iter().position(|node| node.spec().name == name);
        let place = place.ok_or_else(|| no_node(name))?;
        drop(self.nodes.swap_remove(place));
        Ok(())
    }

    /// Waits until a node is ready.
    ///
    /// # Errors
    /// It does not become ready; the message has the end of its kubelet's journal.
    pub fn wait_ready(&self, name: &str) -> Result<()> {
        let waited = self.wait_condition(&["node", name], "Ready", "True", READY_LIMIT);
        let Err(error) = waited else { return Ok(()) };
        let journal =
            self.node(name).and_then(|node| node.ok(&["journalctl", "-n", "30", "-u", "kubelet.service"]));
        let why = format!("{error}\nits kubelet's journal:\n{}", journal.unwrap_or_default());
        Err(Error::Cluster { what: format!("wait until node {name} is ready"), why })
    }

    /// Stops a component of the control plane.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn stop(&mut self, component: Component) -> Result<()> {
        self.plane.stop(component)
    }

    /// Starts a component that was stopped, and waits until the API answers.
    ///
    /// # Errors
    /// It runs already, or does not come up.
    pub fn start(&mut self, component: Component) -> Result<()> {
        self.plane.launch_and_wait(component)
    }

    /// Takes the API away.
    ///
    /// # Errors
    /// It is away already.
    pub fn stop_api_server(&mut self) -> Result<()> {
        self.stop(Component::ApiServer)
    }

    /// Brings the API back, and waits until it answers.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_api_server(&mut self) -> Result<()> {
        self.start(Component::ApiServer)
    }

    /// Makes etcd forget all that is not the present state: a watch from before cannot go on (410).
    ///
    /// # Errors
    /// etcd does not answer as expected.
    pub fn compact(&self) -> Result<()> {
        let unexpected = |answer: String| Error::Cluster { what: "compact etcd".into(), why: answer };
        let range = self.plane.etcd_request("/v3/kv/range", r#"{"key":"AA=="}"#)?;
        let revision = range.split("\"revision\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let Some(revision) = revision.map(str::to_owned) else { return Err(unexpected(range)) };
        let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        let answer = self.plane.etcd_request("/v3/kv/compaction", &body)?;
        if answer.contains("200 OK") { Ok(()) } else { Err(unexpected(answer)) }
    }

    /// Other arguments for the API server, from its next start on.
    pub fn set_api_args(&mut self, args: &[&str]) {
        self.plane.set_api_args(args.iter().map(|&arg| arg.to_owned()).collect());
    }

    /// An address of this machine that everyone in the cluster reaches, pods as well.
    pub fn address(&self) -> &str {
        self.plane.site().address()
    }

    /// The API server's URL, for this machine and for nodes.
    pub fn url(&self) -> String {
        self.plane.url()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig()
    }

    /// The certificate of who signs the API server's, as PEM.
    pub fn authority(&self) -> &str {
        self.plane.authority().pem()
    }

    /// The folder with kubectl in it.
    pub fn bin(&self) -> PathBuf {
        self.tools.path().join("bin")
    }

    /// The folder with helm in it, built if need be.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn helm_directory(&self) -> Result<PathBuf> {
        // The cache is not cleaned while a test runs: nothing has to hold on to the entry.
        Ok(gotools::helm(&self.cache)?.path().join("bin"))
    }

    /// The folder of logs, keys and kubeconfigs.
    pub fn dir(&self) -> &Path {
        self.plane.site().dir()
    }

    /// The end of a component's log.
    pub fn log(&self, component: Component) -> String {
        self.plane.log(component)
    }

    /// What kubectl and helm need to know: nothing of theirs is written elsewhere.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let dir = self.dir();
        let of = |name: &str| dir.join(name).into_os_string();
        [
            ("KUBECONFIG", self.kubeconfig().into_os_string()),
            ("KUBECACHEDIR", of("kube-cache")),
            ("HELM_CACHE_HOME", of("helm-cache")),
            ("HELM_CONFIG_HOME", of("helm-config")),
            ("HELM_DATA_HOME", of("helm-data")),
        ]
        .into_iter()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // With the cluster goes what would tell why a test failed.
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
    }
}

fn no_node(name: &str) -> Error {
    Error::Cluster { what: format!("find node {name}"), why: "the cluster has no node of this name".into() }
}

fn panicked() -> Error {
    Error::Unexpected {
        what: "the boot of a node".into(),
        why: "it panicked".into(),
        next: "see above".into(),
    }
}
