//! etcd and the control plane: child processes that can be stopped and started.

use super::super::daemon::{self, Daemon};
use super::super::error::{Error, Result};
use super::super::host;
use super::super::pki::{Authority, token_key};
use super::super::site::Site;
use super::super::trial::wait_for;
use super::config;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A busy machine takes its time.
const START_LIMIT: Duration = Duration::from_secs(240);

/// The address of the `kubernetes` Service.
const SERVICE_ADDRESS: &str = "10.96.0.1";

/// Where clients reach the API server.
const PORT: u16 = 6443;

/// Whose requests the API server makes to kubelets.
const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The database.
    Etcd,
    /// The API.
    ApiServer,
    /// The controllers of Kubernetes itself.
    ControllerManager,
    /// The scheduler.
    Scheduler,
}

impl Component {
    /// In the order in which they start.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler];

    /// Its program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

/// The control plane. Its daemons end with it.
#[derive(Debug)]
pub(super) struct Plane {
    daemons: Vec<(Component, Daemon)>,
    authority: Authority,
    bin: PathBuf,
    api_args: Vec<String>,
    // After the daemons: it removes their files.
    site: Site,
}

impl Plane {
    /// Starts everything, and waits until the API answers.
    pub(super) fn start(site: Site, bin: &Path, api_args: &[String]) -> Result<Self> {
        let authority = Authority::new("cofferdam test cluster")?;
        let (daemons, bin, api_args) = (Vec::new(), bin.to_owned(), api_args.to_vec());
        let mut plane = Self { daemons, authority, bin, api_args, site };
        plane.prepare()?;
        plane.launch(Component::Etcd)?;
        plane.launch(Component::ApiServer)?;
        plane.wait_ready()?;
        // These two give up on an API that is too long in coming.
        plane.launch(Component::ControllerManager)?;
        plane.launch(Component::Scheduler)?;
        Ok(plane)
    }

    /// The API server's address, for clients everywhere.
    pub(super) fn url(&self) -> String {
        format!("https://{}:{PORT}", self.site.address())
    }

    pub(super) const fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) const fn site(&self) -> &Site {
        &self.site
    }

    pub(super) const fn site_mut(&mut self) -> &mut Site {
        &mut self.site
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The administrator's kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.site.dir().join("admin.conf")
    }

    /// For those who bring a token.
    pub(super) fn tokens_kubeconfig(&self) -> PathBuf {
        self.site.dir().join("nobody.conf")
    }

    /// What the API server wrote about its requests.
    pub(super) fn audit_log(&self) -> PathBuf {
        self.site.dir().join("audit.log")
    }

    pub(super) fn set_api_args(&mut self, args: Vec<String>) {
        self.api_args = args;
    }

    /// Starts a component that does not run, and waits until it works.
    pub(super) fn launch_and_wait(&mut self, component: Component) -> Result<()> {
        self.launch(component)?;
        let runs = |wanted: Component| self.daemons.iter().any(|(c, _)| *c == wanted);
        if runs(Component::Etcd) && runs(Component::ApiServer) {
            self.wait_ready()?;
        }
        Ok(())
    }

    /// Stops a component.
    pub(super) fn stop(&mut self, component: Component) -> Result<()> {
        let Some(place) = self.daemons.iter().position(|(c, _)| *c == component) else {
            return Err(self.failed(component, "stop it", "it does not run"));
        };
        let (_, daemon) = self.daemons.swap_remove(place);
        daemon.stop()
    }

    /// The end of a component's log.
    pub(super) fn log(&self, component: Component) -> String {
        daemon::tail(&self.site.log(component.name()))
    }

    fn launch(&mut self, component: Component) -> Result<()> {
        if self.daemons.iter().any(|(c, _)| *c == component) {
            return Err(self.failed(component, "start it", "it runs already"));
        }
        let command = match component {
            Component::Etcd => self.etcd(),
            Component::ApiServer => self.api_server(),
            Component::ControllerManager => self.controller_manager(),
            Component::Scheduler => self.scheduler(),
        };
        let daemon = self.site.start(component.name(), command)?;
        self.daemons.push((component, daemon));
        Ok(())
    }

    /// Asks etcd by its HTTP gateway.
    pub(super) fn etcd_request(&self, path: &str, body: &str) -> Result<String> {
        let address = format!("{}:2379", self.inner_address());
        let unreachable = |source: std::io::Error| Error::Cluster {
            what: format!("ask etcd at {address}{path}"),
            why: source.to_string(),
        };
        let mut stream = TcpStream::connect(&address).map_err(unreachable)?;
        let length = body.len();
        write!(stream, "POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n{body}")
            .map_err(unreachable)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(unreachable)?;
        Ok(answer)
    }

    /// Waits until the API server says that it is ready.
    fn wait_ready(&mut self) -> Result<()> {
        let (kubectl, kubeconfig) = (self.program("kubectl"), self.kubeconfig());
        let ready = wait_for("the API server", START_LIMIT, || {
            for (_, daemon) in &mut self.daemons {
                daemon.check()?;
            }
            let ask = super::super::command::Command::new(&kubectl)
                .args(["get", "--raw", "/readyz", "--request-timeout=5s"])
                .env("KUBECONFIG", &kubeconfig);
            Ok(ask.run()?.success().then_some(()))
        });
        match ready {
            Err(Error::TimedOut { command, limit, .. }) => {
                Err(Error::TimedOut { command, limit, output: self.log(Component::ApiServer) })
            }
            other => other,
        }
    }

    /// Keys, certificates, kubeconfigs.
    fn prepare(&self) -> Result<()> {
        let dir = self.site.dir();
        let authority = &self.authority;
        host::write(&dir.join("ca.crt"), authority.pem(), 0o644)?;
        let address = self.site.address();
        let names = [
            address,
            "127.0.0.1",
            SERVICE_ADDRESS,
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        authority.server("kube-apiserver", &names)?.write(dir, "apiserver")?;
        authority.client(KUBELET_CLIENT, Some("system:masters"))?.write(dir, KUBELET_CLIENT)?;
        let (private, public) = token_key()?;
        host::write(&dir.join("tokens.key"), private, 0o600)?;
        host::write(&dir.join("tokens.pub"), public, 0o644)?;
        host::write(
            &dir.join("audit-policy.yaml"),
            include_str!("../../../assets/cluster/audit-policy.yaml"),
            0o644,
        )?;
        let users = [
            ("admin", "kubernetes-admin", Some("system:masters")),
            ("controller-manager", "system:kube-controller-manager", None),
            ("scheduler", "system:kube-scheduler", None),
        ];
        for (file, user, group) in users {
            let (certificate, key) = authority.client(user, group)?.write(dir, file)?;
            let text = config::kubeconfig(&self.url(), &dir.join("ca.crt"), &certificate, &key);
            host::write(&dir.join(format!("{file}.conf")), text, 0o600)?;
        }
        host::write(&self.tokens_kubeconfig(), config::nobody(&self.url(), &dir.join("ca.crt")), 0o644)
    }

    /// Where only this machine reaches what should be out of the nodes' reach. All of 127/8 is loopback.
    fn inner_address(&self) -> String {
        format!("127.98.{}.1", self.site.number())
    }

    fn etcd(&self) -> Command {
        let (client, peer) = (
            format!("http://{}:2379", self.inner_address()),
            format!("http://{}:2380", self.inner_address()),
        );
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(self.site.dir().join("etcd"))
            .args(["--name=default", "--logger=zap", "--log-level=warn"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg(format!("--initial-cluster=default={peer}"));
        command
    }

    fn api_server(&self) -> Command {
        let dir = self.site.dir();
        let file = |flag: &str, name: &str| format!("--{flag}={}", dir.join(name).display());
        let mut command = Command::new(self.program("kube-apiserver"));
        command
            .arg(format!("--etcd-servers=http://{}:2379", self.inner_address()))
            .arg(format!("--bind-address={}", self.site.address()))
            .arg(format!("--advertise-address={}", self.site.address()))
            .arg(format!("--secure-port={PORT}"))
            .arg(file("cert-dir", "apiserver-certificates"))
            .arg(file("tls-cert-file", "apiserver.crt"))
            .arg(file("tls-private-key-file", "apiserver.key"))
            .arg(file("client-ca-file", "ca.crt"))
            .arg(file("kubelet-certificate-authority", "ca.crt"))
            .arg(file("kubelet-client-certificate", &format!("{KUBELET_CLIENT}.crt")))
            .arg(file("kubelet-client-key", &format!("{KUBELET_CLIENT}.key")))
            // The nodes' names cannot be resolved here.
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(file("service-account-key-file", "tokens.pub"))
            .arg(file("service-account-signing-key-file", "tokens.key"))
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            .arg("--authorization-mode=Node,RBAC")
            .arg("--enable-admission-plugins=NodeRestriction")
            .arg("--allow-privileged=true")
            .arg(file("audit-policy-file", "audit-policy.yaml"))
            .arg(format!("--audit-log-path={}", self.audit_log().display()))
            // One file for all of a test.
            .arg("--audit-log-maxsize=4096")
            .args(&self.api_args);
        command
    }

    fn controller_manager(&self) -> Command {
        let dir = self.site.dir();
        let mut command = Command::new(self.program("kube-controller-manager"));
        command
            .arg(format!("--kubeconfig={}", dir.join("controller-manager.conf").display()))
            .arg(format!("--root-ca-file={}", dir.join("ca.crt").display()))
            .arg(format!("--service-account-private-key-file={}", dir.join("tokens.key").display()))
            .arg(format!("--bind-address={}", self.inner_address()))
            .arg(format!("--cert-dir={}", dir.join("controller-manager-certificates").display()))
            .args(["--use-service-account-credentials=true", "--leader-elect=false"])
            // A dead node is noticed within a test's patience, and one that could not be heard since the API server was away
            // is none.
            .args(["--node-monitor-grace-period=60s", "--node-monitor-period=2s"])
            .args(["--kube-api-qps=200", "--kube-api-burst=400"]);
        command
    }

    fn scheduler(&self) -> Command {
        let dir = self.site.dir();
        let mut command = Command::new(self.program("kube-scheduler"));
        command
            .arg(format!("--kubeconfig={}", dir.join("scheduler.conf").display()))
            .arg(format!("--bind-address={}", self.inner_address()))
            .arg(format!("--cert-dir={}", dir.join("scheduler-certificates").display()))
            .arg("--leader-elect=false");
        command
    }

    fn failed(&self, component: Component, what: &str, why: &str) -> Error {
        Error::Cluster { what: format!("{what}: {}", component.name()), why: why.into() }
    }
}
