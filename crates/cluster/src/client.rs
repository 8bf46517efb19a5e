//! A client of the API server over our own connector: names by hickory, TLS by rustls with ring.

use crate::patience::{Paced, Patience};
use base64::Engine;
use cofferdam_host::net::{self, Identity, NetError, Roots, Tls};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use secrecy::ExposeSecret;
use std::path::Path;
use std::time::Duration;
use tower::ServiceBuilder;
use tower::retry::RetryLayer;

/// Where a pod finds the certificates of the cluster's authority.
const IN_CLUSTER_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not in a pod, or in one without a token.
    #[error("this is no pod with a service account's token: {0}")]
    NotInCluster(#[source] kube::config::InClusterError),
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// Certificates or keys cannot be read.
    #[error("cannot read {what}: {source}")]
    Read {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates or keys cannot be used.
    #[error("TLS to the API server: {0}")]
    Tls(#[from] NetError),
    /// The kubeconfig asks for something that we don't do.
    #[error("the kubeconfig asks for {0}, which is not supported; next: use another context")]
    Unsupported(&'static str),
    /// Anything else.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

/// A client for the cluster in which this pod runs.
///
/// # Errors
/// If this is no pod with a token.
pub fn in_cluster() -> Result<Client, ClientError> {
    let config = Config::incluster().map_err(ClientError::NotInCluster)?;
    let pem = std::fs::read(IN_CLUSTER_CA)
        .map_err(|source| ClientError::Read { what: IN_CLUSTER_CA.to_owned(), source })?;
    build(config, Tls::trusting(Roots::none().and_pem(&pem, IN_CLUSTER_CA)?))
}

/// A client for a context of a kubeconfig: the file, or what `KUBECONFIG` and the default name.
///
/// # Errors
/// If there is no such context, or it cannot be used.
pub async fn from_kubeconfig(file: Option<&Path>, context: Option<String>) -> Result<Client, ClientError> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let config = match file {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file).map_err(ClientError::Kubeconfig)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await
        }
        None => Config::from_kubeconfig(&options).await,
    }
    .map_err(ClientError::Kubeconfig)?;
    if config.accept_invalid_certs {
        return Err(ClientError::Unsupported("insecure-skip-tls-verify"));
    }
    if config.proxy_url.is_some() {
        return Err(ClientError::Unsupported("a proxy-url"));
    }
    let roots = match &config.root_cert {
        None => Roots::public(),
        Some(certificates) => {
            Roots::none().and_der(certificates, "the kubeconfig's certificate-authority")?
        }
    };
    let identity = identity(&config.auth_info)?;
    build(config, Tls { identity, ..Tls::trusting(roots) })
}

/// The client certificate of a kubeconfig's user, if there is one.
fn identity(user: &AuthInfo) -> Result<Option<Identity>, ClientError> {
    let chain = pem(user.client_certificate.as_deref(), user.client_certificate_data.as_deref())?;
    let key_data = user.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    let key = pem(user.client_key.as_deref(), key_data)?;
    match (chain, key) {
        (Some(chain), Some(key)) => {
            Ok(Some(Identity::of_pem(&chain, &key, "the kubeconfig's client certificate")?))
        }
        _ => Ok(None),
    }
}

/// A PEM text that stands in the kubeconfig, in base64, or in a file that it names.
fn pem(file: Option<&str>, data: Option<&str>) -> Result<Option<Vec<u8>>, ClientError> {
    if let Some(data) = data {
        let decoded = base64::engine::general_purpose::STANDARD.decode(data);
        return decoded.map(Some).map_err(|error| ClientError::Read {
            what: "the client certificate in the kubeconfig".to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        });
    }
    file.map(|file| std::fs::read(file).map_err(|source| ClientError::Read { what: file.to_owned(), source }))
        .transpose()
}

fn build(config: Config, tls: Tls) -> Result<Client, ClientError> {
    let http: HttpClient<net::Connector, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(Duration::from_secs(30))
        .build(net::connector(&tls)?);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer_fn(Paced::new)
        .layer(RetryLayer::new(Patience::new()?))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
