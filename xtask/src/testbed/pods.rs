//! Pods on a node, through CRI as the kubelet would.

use super::error::{Error, Result};
use super::node::Node;
use super::oci::{BUSYBOX, WAIT};
use super::trial::wait_for;
use cofferdam_core::observation::Sandbox;
use cofferdam_host::cri::{ContainerRun, ContainerSpec, Cri, CriError, ExecOutput, LogPlace, PodSpec};
use std::time::Duration;

/// A sandbox of gVisor on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The name of a pod's first container.
pub const MAIN: &str = "main";

/// A pod with one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// The sandbox's id.
    pub sandbox: String,
    /// The container's id.
    pub container: String,
}

impl Node {
    /// A connection to its CRI. It does not survive a restart of containerd.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn cri(&self) -> Result<Cri> {
        Ok(Cri::connect(&self.socket())?)
    }

    /// Restarts containerd, and waits until its CRI answers: 1.6 says that it is ready before that.
    ///
    /// # Errors
    /// It does not come back.
    pub fn restart_containerd(&self) -> Result<()> {
        // Tests restart more often than the unit allows.
        self.ok(&["systemctl", "reset-failed", "containerd.service"])?;
        self.ok(&["systemctl", "restart", "containerd.service"])?;
        wait_for("containerd's CRI", LIMIT, || Ok(self.pods().ok().map(drop)))
    }

    /// Starts a pod with `handler` (empty for the default) and a busybox container in it that waits and ends at
    /// SIGTERM.
    ///
    /// # Errors
    /// CRI refuses; what was started of it is removed again.
    pub fn run_pod(&self, name: &str, handler: &str) -> Result<Pod> {
        self.run_pod_with(name, handler, BUSYBOX, &["/bin/sh", "-c", WAIT])
    }

    /// [`Node::run_pod`] with another image and command (empty for the image's own).
    ///
    /// # Errors
    /// CRI refuses; what was started of it is removed again.
    pub fn run_pod_with(&self, name: &str, handler: &str, image: &str, command: &[&str]) -> Result<Pod> {
        let cri = self.cri()?;
        let spec = pod_spec(name);
        let sandbox = cri.run_pod_sandbox(&spec, handler, LIMIT)?;
        let container = ContainerSpec {
            name: MAIN.into(),
            image: image.into(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            ..ContainerSpec::default()
        };
        match start(&cri, &sandbox, &spec, &container) {
            Ok(container) => Ok(Pod { name: name.into(), sandbox, container }),
            Err(e) => {
                // The first failure is the one to report.
                let _ = cri.remove_pod_sandbox(&sandbox, LIMIT);
                Err(e.into())
            }
        }
    }

    /// Starts another container in a pod's sandbox: a second one, or the main one's next attempt.
    ///
    /// # Errors
    /// CRI refuses.
    pub fn run_container(&self, pod: &Pod, name: &str, attempt: u32) -> Result<Pod> {
        let container = ContainerSpec {
            name: name.into(),
            attempt,
            image: BUSYBOX.into(),
            command: ["/bin/sh", "-c", WAIT].map(str::to_owned).into(),
            ..ContainerSpec::default()
        };
        let container = start(&self.cri()?, &pod.sandbox, &pod_spec(&pod.name), &container)?;
        Ok(Pod { container, ..pod.clone() })
    }

    /// Runs a command in a pod's container.
    ///
    /// # Errors
    /// CRI refuses, or the command does not end in time.
    pub fn exec(&self, pod: &Pod, command: &[&str]) -> Result<ExecOutput> {
        Ok(self.cri()?.exec(&pod.container, command, LIMIT)?)
    }

    /// [`Node::exec`] of a command that has to succeed: its standard output, without white space around it.
    ///
    /// # Errors
    /// Those of [`Node::exec`], or another exit code than 0.
    pub fn exec_ok(&self, pod: &Pod, command: &[&str]) -> Result<String> {
        let output = self.exec(pod, command)?;
        if output.code == 0 {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(Error::Failed {
            command: format!("{} (in pod {})", command.join(" "), pod.name),
            status: output.code,
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Where a pod's container is in its life.
    ///
    /// # Errors
    /// CRI does not know it.
    pub fn pod_state(&self, pod: &Pod) -> Result<ContainerRun> {
        Ok(self.cri()?.container_run(&pod.container)?)
    }

    /// Stops and removes a pod.
    ///
    /// # Errors
    /// CRI refuses.
    pub fn remove_pod(&self, pod: &Pod) -> Result<()> {
        Ok(self.cri()?.remove_pod_sandbox(&pod.sandbox, LIMIT)?)
    }

    /// Every sandbox of the node with its containers, in the order of their ids: equal as long as nothing is started,
    /// ended or restarted.
    ///
    /// # Errors
    /// CRI does not answer.
    pub fn pods(&self) -> Result<Vec<Sandbox>> {
        let mut pods = self.cri()?.sandboxes()?;
        pods.iter_mut().for_each(|pod| pod.containers.sort_by(|a, b| a.id.cmp(&b.id)));
        pods.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(pods)
    }
}

fn pod_spec(name: &str) -> PodSpec {
    PodSpec {
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-of-{name}"),
        cgroup_parent: String::new(),
        log: LogPlace { folder: "/run".into(), prefix: format!("log-of-{name}") },
    }
}

fn start(cri: &Cri, sandbox: &str, pod: &PodSpec, spec: &ContainerSpec) -> Result<String, CriError> {
    let container = cri.create_container(sandbox, pod, spec, LIMIT)?;
    cri.start_container(&container, LIMIT)?;
    Ok(container)
}
