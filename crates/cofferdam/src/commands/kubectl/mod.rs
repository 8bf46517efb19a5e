//! `kubectl cofferdam`: the API's objects for people, and the few things that one does to them by hand.

mod change;
mod list;
mod render;

use crate::cli::{ConnectArgs, KubectlCommand};
use cofferdam_cluster::client::{self, ClientError};
use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use kube::Client;
use std::future::Future;
use std::process::ExitCode;

pub(crate) fn run(command: &KubectlCommand) -> Result<ExitCode> {
    match command {
        KubectlCommand::Render(args) => render::run(args),
        KubectlCommand::Status(args) => wait(list::status(args)),
        KubectlCommand::Nodes(args) => wait(list::nodes(args)),
        KubectlCommand::Explain(args) => wait(list::explain(args)),
        KubectlCommand::Doctor(args) => wait(list::doctor(args)),
        KubectlCommand::Plan(args) => wait(list::plan(args)),
        KubectlCommand::Pause(args) => wait(change::pause(args, true)),
        KubectlCommand::Resume(args) => wait(change::pause(args, false)),
        KubectlCommand::Retry(args) => wait(change::retry(args)),
    }
}

fn wait(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| HostError::std_io("start", "the async runtime", error))?.block_on(work)
}

/// In a pod without a kubeconfig, its own cluster; else what the kubeconfig says.
async fn connect(args: &ConnectArgs) -> Result<Client> {
    let asked = args.kubeconfig.is_some() || args.context.is_some();
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let client = if !asked && in_pod && std::env::var_os("KUBECONFIG").is_none() {
        client::in_cluster()
    } else {
        client::from_kubeconfig(args.kubeconfig.as_deref(), args.context.clone()).await
    };
    client.map_err(|error| match error {
        ClientError::Kube(error) => failed("connect to the cluster", &error),
        other => HostError::new(Class::Invalid, other.to_string())
            .with_hint("name another file or context: --kubeconfig FILE, --context NAME"),
    })
}

/// A failed call as an error of ours.
fn failed(what: &str, error: &kube::Error) -> HostError {
    let told = |class, why: &str| HostError::new(class, format!("could not {what}: {why}"));
    match error {
        kube::Error::Api(status) => match status.code {
            401 => told(Class::Unsupported, &status.message).with_hint("log in to the cluster again"),
            403 => told(Class::Unsupported, &status.message)
                .with_hint("docs/kubectl.md lists the rights that each command needs"),
            404 if status.message.contains("the server could not find")
                || status.message.contains("page not found") =>
            {
                told(Class::Unsupported, "this cluster does not know SandboxRuntimes")
                    .with_hint("install Cofferdam's chart or manifests first, or choose another --context")
            }
            404 => told(Class::Invalid, &status.message)
                .with_hint("kubectl cofferdam status and kubectl cofferdam nodes list what there is"),
            409 => told(Class::Conflict, &status.message).with_hint("try again"),
            400 | 422 => told(Class::Invalid, &status.message),
            _ => told(Class::Unavailable, &status.message),
        },
        other => {
            let mut why = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let text = cause.to_string();
                if !why.contains(&text) {
                    why.push_str(&format!(": {text}"));
                }
                source = cause.source();
            }
            told(Class::Unavailable, &why)
                .with_hint("kubectl get --raw /readyz tells whether the API server answers")
        }
    }
}
