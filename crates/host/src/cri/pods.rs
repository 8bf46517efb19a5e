//! Pods and containers through CRI: what the probe and tests start and remove.

use super::{Cri, CriError, api};
use std::collections::HashMap;
use std::time::Duration;

/// A pod sandbox to start. It gets the pod's network, a process namespace for each container and no logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: together with name, namespace and attempt 0 unique on the node.
    pub uid: String,
    /// The cgroup that holds it. Empty for the engine's own; a slice where runc's `SystemdCgroup` is on, since runc
    /// then refuses a plain path.
    pub cgroup_parent: String,
    /// Where its containers' output goes: an existing folder, and the beginning of the files' names in it. There is no
    /// "nowhere": a kubelet that clears a container away deletes all files whose names begin with its log's path, and
    /// with none that is whatever lies in `/`, the link `/bin` first (seen with 1.34's `containerLogManager.Clean`).
    pub log: LogPlace,
}

/// A place for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// The folder.
    pub folder: String,
    /// What the files' names begin with; nothing of anybody else's may.
    pub prefix: String,
}

impl LogPlace {
    /// The name of a container's file.
    fn file(&self, container: &str) -> String {
        format!("{}-{container}.log", self.prefix)
    }
}

/// A container to create in a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// How often it was started before in this sandbox.
    pub attempt: u32,
    /// Its image: one that the engine has.
    pub image: String,
    /// Replaces the image's entrypoint, if not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments, if not empty.
    pub args: Vec<String>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerRun {
    /// Created, not started.
    Created,
    /// It runs.
    Running,
    /// It ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// The engine's reason and message.
        reason: String,
    },
    /// The engine does not know.
    Unknown,
}

impl ContainerRun {
    /// Whether it ended, and the engine saw how. One that went with its shim is `Unknown` in containerd's words
    /// (`unknownExitReason` in its CRI plugin), with code 255.
    pub fn end_is_known(&self) -> bool {
        matches!(self, Self::Exited { reason, .. } if !reason.starts_with("Unknown"))
    }
}

/// What a command in a container printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub code: i32,
}

impl PodSpec {
    fn config(&self) -> api::PodSandboxConfig {
        let labels = [
            ("io.kubernetes.pod.name", &self.name),
            ("io.kubernetes.pod.namespace", &self.namespace),
            ("io.kubernetes.pod.uid", &self.uid),
        ];
        api::PodSandboxConfig {
            metadata: Some(api::PodSandboxMetadata {
                name: self.name.clone(),
                uid: self.uid.clone(),
                namespace: self.namespace.clone(),
                attempt: 0,
            }),
            hostname: self.name.chars().take(63).collect(),
            log_directory: self.log.folder.clone(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.clone()))
                .into_iter()
                .collect::<HashMap<_, _>>(),
            linux: Some(api::LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent.clone(),
                security_context: Some(api::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces()),
                }),
            }),
        }
    }
}

/// The kubelet's default: network and IPC shared in the pod, processes not.
const fn namespaces() -> api::NamespaceOption {
    api::NamespaceOption {
        network: api::NamespaceMode::Pod as i32,
        pid: api::NamespaceMode::Container as i32,
        ipc: api::NamespaceMode::Pod as i32,
    }
}

impl Cri {
    /// `RunPodSandbox` with `handler` (empty for the default). Returns its id.
    ///
    /// # Errors
    /// If the engine refuses, or does not answer within `limit`.
    pub fn run_pod_sandbox(&self, pod: &PodSpec, handler: &str, limit: Duration) -> Result<String, CriError> {
        let request =
            api::RunPodSandboxRequest { config: Some(pod.config()), runtime_handler: handler.to_owned() };
        let reply: api::RunPodSandboxResponse = self.call("RunPodSandbox", request, limit)?;
        Ok(reply.pod_sandbox_id)
    }

    /// `CreateContainer` in the sandbox `id`, which was started from `pod`. Returns the container's id.
    ///
    /// # Errors
    /// If the engine refuses, or does not answer within `limit`.
    pub fn create_container(
        &self,
        id: &str,
        pod: &PodSpec,
        container: &ContainerSpec,
        limit: Duration,
    ) -> Result<String, CriError> {
        let config = api::ContainerConfig {
            metadata: Some(api::ContainerMetadata {
                name: container.name.clone(),
                attempt: container.attempt,
            }),
            image: Some(api::ImageSpec { image: container.image.clone() }),
            command: container.command.clone(),
            args: container.args.clone(),
            log_path: pod.log.file(&container.name),
            linux: Some(api::LinuxContainerConfig {
                security_context: Some(api::LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces()),
                }),
            }),
        };
        let request = api::CreateContainerRequest {
            pod_sandbox_id: id.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod.config()),
        };
        let reply: api::CreateContainerResponse = self.call("CreateContainer", request, limit)?;
        Ok(reply.container_id)
    }

    /// `StartContainer`.
    ///
    /// # Errors
    /// If the engine refuses, or does not answer within `limit`.
    pub fn start_container(&self, id: &str, limit: Duration) -> Result<(), CriError> {
        self.call_on::<api::Empty>("StartContainer", id, limit).map(drop)
    }

    /// `ContainerStatus`.
    ///
    /// # Errors
    /// If the engine does not know it, or does not answer.
    pub fn container_run(&self, id: &str) -> Result<ContainerRun, CriError> {
        let reply: api::ContainerStatusResponse = self.call_on("ContainerStatus", id, self.limit)?;
        let status =
            reply.status.ok_or(CriError::Incomplete { call: "ContainerStatus", missing: "a status" })?;
        Ok(match status.state() {
            api::ContainerState::Created => ContainerRun::Created,
            api::ContainerState::Running => ContainerRun::Running,
            api::ContainerState::Exited => ContainerRun::Exited {
                code: status.exit_code,
                reason: format!("{} {}", status.reason, status.message).trim().to_owned(),
            },
            api::ContainerState::Unknown => ContainerRun::Unknown,
        })
    }

    /// `ExecSync`: runs `command` in a running container.
    ///
    /// # Errors
    /// If the engine refuses, or the command does not end within `limit`.
    pub fn exec(&self, id: &str, command: &[&str], limit: Duration) -> Result<ExecOutput, CriError> {
        let request = api::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX).max(1),
        };
        let reply: api::ExecSyncResponse = self.call("ExecSync", request, limit)?;
        Ok(ExecOutput { stdout: reply.stdout, stderr: reply.stderr, code: reply.exit_code })
    }

    /// `StopContainer` without grace.
    ///
    /// # Errors
    /// If the engine refuses, or does not answer within `limit`.
    pub fn stop_container(&self, id: &str, limit: Duration) -> Result<(), CriError> {
        let stop = api::StopContainerRequest { container_id: id.to_owned(), timeout: 0 };
        self.call::<_, api::Empty>("StopContainer", stop, limit).map(drop)
    }

    /// [`Cri::stop_container`], then `RemoveContainer`. One that is gone already is fine.
    ///
    /// # Errors
    /// If the engine refuses, or does not answer within `limit` for each call.
    pub fn remove_container(&self, id: &str, limit: Duration) -> Result<(), CriError> {
        let stopped = self.stop_container(id, limit);
        let removed = self.call_on::<api::Empty>("RemoveContainer", id, limit).map(drop);
        gone(stopped).and(gone(removed))
    }

    /// `StopPodSandbox`, then `RemovePodSandbox`, which also removes its containers. One that is gone already is fine.
    ///
    /// # Errors
    /// If the engine refuses, or does not answer within `limit` for each call.
    pub fn remove_pod_sandbox(&self, id: &str, limit: Duration) -> Result<(), CriError> {
        let stopped = self.call_on::<api::Empty>("StopPodSandbox", id, limit).map(drop);
        let removed = self.call_on::<api::Empty>("RemovePodSandbox", id, limit).map(drop);
        gone(stopped).and(gone(removed))
    }

    fn call_on<R>(&self, call: &'static str, id: &str, limit: Duration) -> Result<R, CriError>
    where
        R: prost::Message + Default + Send + Sync + 'static,
    {
        self.call(call, api::IdRequest { id: id.to_owned() }, limit)
    }
}

fn gone(result: Result<(), CriError>) -> Result<(), CriError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
