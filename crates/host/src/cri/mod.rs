//! CRI (`runtime.v1`) over a unix socket: the calls that observation and proof need, synchronous, each under a
//! time limit.
//!
//! The HTTP/2 connection is hyper's own over an already connected socket: tonic's channel would link a DNS resolver.
//! Call nothing here from inside an async runtime (it has one of its own and blocks on it).

mod api;
mod pods;
mod probe;
mod status;

pub use pods::{ContainerRun, ContainerSpec, ExecOutput, LogPlace, PodSpec};
pub use probe::{PROBE_NAMESPACE, ProbeOutcome, ProbeStep, ProbeTimes, probe, sweep};
pub use status::{CriStatus, HandlerSettings};

use cofferdam_core::class::Class;
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{Container, CriReady, Sandbox};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;

/// How long an ordinary call may take. CRI answers within milliseconds; a daemon that is still loading its
/// containers takes seconds.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The kubelet's own limit for one message: lists on a full node are larger than gRPC's default of 4 MiB.
const MESSAGE_LIMIT: usize = 16 << 20;

/// Why CRI gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// Nobody accepts connections there.
    #[error("no connection to the CRI socket {socket}: {source}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The connection is there but does not speak HTTP/2.
    #[error("{socket} does not speak gRPC: {reason}")]
    Handshake {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        reason: String,
    },
    /// No answer in time.
    #[error("CRI {call} on {socket} did not answer within {limit:?}")]
    Timeout {
        /// The call.
        call: &'static str,
        /// The socket.
        socket: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// The engine runs, but its CRI plugin does not serve.
    #[error("{socket} serves no CRI ({call}: {message})")]
    NotServed {
        /// The call.
        call: &'static str,
        /// The socket.
        socket: PathBuf,
        /// The engine's words.
        message: String,
    },
    /// The engine refused the call.
    #[error("CRI {call}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// gRPC's code.
        code: tonic::Code,
        /// The engine's words.
        message: String,
    },
    /// The answer lacks what the call promises.
    #[error("CRI {call} answered without {missing}")]
    Incomplete {
        /// The call.
        call: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// This process could not start its event loop.
    #[error("no event loop for CRI calls: {0}")]
    Runtime(std::io::Error),
}

impl CriError {
    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } => Class::Unavailable,
            Self::Handshake { .. } | Self::NotServed { .. } => Class::Unsupported,
            Self::Refused { code, .. } => match code {
                tonic::Code::InvalidArgument => Class::Invalid,
                tonic::Code::Unimplemented => Class::Unsupported,
                _ => Class::Unavailable,
            },
            Self::Incomplete { .. } | Self::Runtime(_) => Class::Internal,
        }
    }

    /// What to do next, if there is more to say than the message does.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Connect { .. } => "is the engine running? systemctl status containerd says",
            Self::Handshake { .. } => "is this the engine's CRI socket?",
            Self::NotServed { .. } => {
                "the CRI plugin is disabled or failed to load: look at disabled_plugins and the engine's log"
            }
            Self::Timeout { .. } | Self::Refused { .. } | Self::Incomplete { .. } | Self::Runtime(_) => {
                return None;
            }
        };
        Some(text.to_owned())
    }

    /// Whether the engine says that the object does not exist.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: tonic::Code::NotFound, .. })
    }
}

/// What `Version` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriVersion {
    /// `containerd`, `cri-o`.
    pub runtime_name: String,
    /// Its release, e.g. `1.7.24~ds1`, `v2.4.2`.
    pub runtime_version: String,
}

/// A connection to one engine's CRI. It does not survive the engine's restart: connect again then.
pub struct Cri {
    socket: PathBuf,
    limit: Duration,
    runtime: tokio::runtime::Runtime,
    connection: Connection,
}

impl std::fmt::Debug for Cri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cri").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Cri {
    /// Connects to `socket`, each later call limited to [`CALL_LIMIT`].
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(socket: &Path) -> Result<Self, CriError> {
        Self::connect_with(socket, CALL_LIMIT)
    }

    /// Connects to `socket`, each later call limited to `limit`.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect_with(socket: &Path, limit: Duration) -> Result<Self, CriError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CriError::Runtime)?;
        let connection = runtime.block_on(async {
            let timeout = || CriError::Timeout { call: "connect", socket: socket.to_owned(), limit };
            tokio::time::timeout(limit, Connection::open(socket)).await.map_err(|_| timeout())?
        })?;
        Ok(Self { socket: socket.to_owned(), limit, runtime, connection })
    }

    /// The socket's path, as given.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `Version`.
    ///
    /// # Errors
    /// If CRI is not served.
    pub fn version(&self) -> Result<CriVersion, CriError> {
        let request = api::VersionRequest { version: "v1".to_owned() };
        let reply: api::VersionResponse = self.call("Version", request, self.limit)?;
        Ok(CriVersion { runtime_name: reply.runtime_name, runtime_version: reply.runtime_version })
    }

    /// `Status`, verbose.
    ///
    /// # Errors
    /// If CRI is not served.
    pub fn status(&self) -> Result<CriStatus, CriError> {
        let reply = self.call("Status", api::StatusRequest { verbose: true }, self.limit)?;
        Ok(CriStatus::from_response(reply))
    }

    /// All pod sandboxes with their containers, in the order of their ids.
    ///
    /// # Errors
    /// If CRI does not answer.
    pub fn sandboxes(&self) -> Result<Vec<Sandbox>, CriError> {
        let pods: api::ListPodSandboxResponse =
            self.call("ListPodSandbox", api::ListRequest {}, self.limit)?;
        let containers: api::ListContainersResponse =
            self.call("ListContainers", api::ListRequest {}, self.limit)?;
        Ok(join(pods.items, containers.containers))
    }

    /// Status and sandboxes as one observation. `socket` is its name on the host, `sandbox_image` what the engine's
    /// dump says: from 2.0 on CRI does not tell it.
    ///
    /// # Errors
    /// If CRI does not answer.
    pub fn ready(&self, socket: HostPath, sandbox_image: Option<&str>) -> Result<CriReady, CriError> {
        let status = self.status()?;
        let sandboxes = self.sandboxes()?;
        Ok(CriReady {
            socket,
            runtime_ready: status.runtime_ready,
            network_ready: status.network_ready,
            network_message: status.network_message,
            handlers: status.handlers,
            default_handler: status.default_handler,
            sandbox_image: sandbox_image.map(str::to_owned).or(status.sandbox_image).unwrap_or_default(),
            sandboxes,
        })
    }

    /// Whether the engine has `image`.
    ///
    /// # Errors
    /// If CRI does not answer.
    pub fn has_image(&self, image: &str) -> Result<bool, CriError> {
        let request = api::ImageStatusRequest { image: Some(api::ImageSpec { image: image.to_owned() }) };
        let reply: api::ImageStatusResponse = self.call("ImageStatus", request, self.limit)?;
        Ok(reply.image.is_some())
    }

    /// One unary call. `call` is the method's name.
    fn call<Q, R>(&self, call: &'static str, request: Q, limit: Duration) -> Result<R, CriError>
    where
        Q: prost::Message + Send + Sync + 'static,
        R: prost::Message + Default + Send + Sync + 'static,
    {
        let service = if call == "ImageStatus" { "ImageService" } else { "RuntimeService" };
        let path = http::uri::PathAndQuery::try_from(format!("/runtime.v1.{service}/{call}"))
            .map_err(|_| CriError::Incomplete { call, missing: "a method name" })?;
        let origin = http::Uri::from_static("http://localhost");
        let mut grpc = tonic::client::Grpc::with_origin(self.connection.clone(), origin)
            .max_decoding_message_size(MESSAGE_LIMIT);
        let mut request = tonic::Request::new(request);
        // The engine gives up as well, also if this process is no longer there to cancel.
        request.set_timeout(limit);
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(limit + Duration::from_millis(200), async {
                grpc.ready().await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
                grpc.unary(request, path, tonic_prost::ProstCodec::<Q, R>::default()).await
            })
            .await
        });
        match answer {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(self.refusal(call, &status, limit)),
            Err(_) => Err(CriError::Timeout { call, socket: self.socket.clone(), limit }),
        }
    }

    fn refusal(&self, call: &'static str, status: &tonic::Status, limit: Duration) -> CriError {
        let socket = self.socket.clone();
        let message = status.message().to_owned();
        match status.code() {
            tonic::Code::DeadlineExceeded => CriError::Timeout { call, socket, limit },
            tonic::Code::Unimplemented if message.contains("unknown service") => {
                CriError::NotServed { call, socket, message }
            }
            code => CriError::Refused { call, code, message },
        }
    }
}

fn join(pods: Vec<api::PodSandbox>, containers: Vec<api::Container>) -> Vec<Sandbox> {
    let mut by_pod: BTreeMap<String, Vec<Container>> = BTreeMap::new();
    for container in containers {
        let running = container.state() == api::ContainerState::Running;
        let metadata = container.metadata.unwrap_or_default();
        by_pod.entry(container.pod_sandbox_id).or_default().push(Container {
            id: container.id,
            name: metadata.name,
            attempt: metadata.attempt,
            running,
        });
    }
    let mut sandboxes: Vec<Sandbox> = pods
        .into_iter()
        .map(|pod| {
            let ready = pod.state() == api::PodSandboxState::Ready;
            let metadata = pod.metadata.unwrap_or_default();
            let mut containers = by_pod.remove(&pod.id).unwrap_or_default();
            containers.sort_by(|a, b| a.id.cmp(&b.id));
            Sandbox {
                id: pod.id,
                namespace: metadata.namespace,
                name: metadata.name,
                uid: metadata.uid,
                handler: pod.runtime_handler,
                ready,
                containers,
            }
        })
        .collect();
    sandboxes.sort_by(|a, b| a.id.cmp(&b.id));
    sandboxes
}

/// One HTTP/2 connection as a tower service, which is what tonic's client calls.
#[derive(Clone)]
struct Connection(hyper::client::conn::http2::SendRequest<Body>);

impl Connection {
    async fn open(socket: &Path) -> Result<Self, CriError> {
        let stream = tokio::net::UnixStream::connect(socket)
            .await
            .map_err(|source| CriError::Connect { socket: socket.to_owned(), source })?;
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .map_err(|e| CriError::Handshake { socket: socket.to_owned(), reason: e.to_string() })?;
        // Its end shows in the calls that use it.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self(sender))
    }
}

impl tower_service::Service<http::Request<Body>> for Connection {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_join_their_sandboxes() {
        let pod = |id: &str| api::PodSandbox {
            id: id.to_owned(),
            metadata: Some(api::PodSandboxMetadata {
                name: format!("pod-{id}"),
                uid: "u".to_owned(),
                namespace: "ns".to_owned(),
                attempt: 0,
            }),
            state: 0,
            runtime_handler: "kata".to_owned(),
        };
        let container = |id: &str, of: &str, state| api::Container {
            id: id.to_owned(),
            pod_sandbox_id: of.to_owned(),
            metadata: Some(api::ContainerMetadata { name: "c".to_owned(), attempt: 3 }),
            state,
        };
        let found = join(vec![pod("b"), pod("a")], vec![container("2", "b", 2), container("1", "b", 1)]);
        assert_eq!(found.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(found[0].containers.is_empty());
        let of_b = &found[1].containers;
        assert_eq!((of_b[0].id.as_str(), of_b[0].running, of_b[0].attempt), ("1", true, 3));
        assert_eq!((of_b[1].id.as_str(), of_b[1].running), ("2", false));
    }

    #[test]
    fn a_missing_socket_is_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        let error = Cri::connect(&folder.path().join("none.sock")).unwrap_err();
        assert_eq!(error.class(), Class::Unavailable);
        assert!(error.to_string().contains("none.sock"));
    }

    #[test]
    fn a_silent_peer_meets_the_time_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silent.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let cri = Cri::connect_with(&path, Duration::from_millis(100)).unwrap();
        let started = std::time::Instant::now();
        assert!(matches!(cri.version(), Err(CriError::Timeout { call: "Version", .. })));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
