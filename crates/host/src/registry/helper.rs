//! Credential helpers: programs that keep logins (`docker-credential-NAME`).
//!
//! Only where a user asks for it, as that user, on that user's machine: neither the worker nor the agent runs one. A helper
//! gets a time limit and of the environment only what it cannot do without.

use super::RegistryError;
use super::login::Login;
use crate::error::{HostError, Result};
use crate::process::Command;
use cofferdam_core::class::Class;
use cofferdam_core::reference::DEFAULT_REGISTRY;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What helpers know Docker's registry by.
const DOCKER_SERVER: &str = "https://index.docker.io/v1/";

/// What a helper says as its name if the secret is a token.
const TOKEN_NAME: &str = "<token>";

/// Which variables a helper gets: where the user's files and keys are, and how it gets out.
const VARIABLES: [&str; 19] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "DOCKER_CONFIG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "KUBECONFIG",
];

/// What the names of variables begin with that tell the clouds' helpers who asks.
const CLOUDS: [&str; 5] = ["AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_", "ACR_"];

/// Where credential helpers run.
#[derive(Clone, Debug)]
pub struct HelperHost {
    variables: Vec<(String, String)>,
    limit: Duration,
}

/// A helper's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl HelperHost {
    /// With those of the environment `all` that helpers get.
    pub fn of_variables(all: impl IntoIterator<Item = (String, String)>) -> Self {
        let is_given =
            |name: &str| VARIABLES.contains(&name) || CLOUDS.iter().any(|prefix| name.starts_with(prefix));
        let variables = all.into_iter().filter(|(name, _)| is_given(name)).collect();
        Self { variables, limit: Duration::from_secs(30) }
    }

    /// The same with another time limit.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The login for `registry` from the helper that `text` (Docker's `config.json`, which is in `file` for people) names
    /// for it. None if it names none, or if that one has nothing.
    ///
    /// # Errors
    /// If the helper cannot be run, fails or says what is no login.
    pub fn ask(&self, text: &str, file: &str, registry: &str) -> Result<Option<Login>> {
        let Some(name) = named(text, file, registry)? else { return Ok(None) };
        let server = if registry == DEFAULT_REGISTRY { DOCKER_SERVER } else { registry };
        let program = format!("docker-credential-{name}");
        let mut command = Command::new(&program).args(["get"]).limit(self.limit).output_limit(1 << 20);
        for (name, value) in &self.variables {
            command = command.env(name, value);
        }
        let output = command.input(server.as_bytes().to_vec()).run().map_err(|error| {
            HostError::new(error.class(), error.to_string())
                .with_hint(format!("{file} names it for {registry}: is it there?"))
        })?;
        // Not its whole output: that may be a secret.
        let said = crate::process::tail(&output.stdout, 200);
        let failed =
            |reason: &str| HostError::new(Class::Invalid, format!("{program} for {registry}: {reason}"));
        if !output.status.success() {
            // What the protocol has for "nothing of that name".
            if said.contains("credentials not found") {
                return Ok(None);
            }
            return Err(failed(&format!("it failed ({})", output.status))
                .with_hint("try it by hand, with the name of the registry on its standard input"));
        }
        let answer: Answer =
            serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer is no login"))?;
        Ok(Some(match answer.username.as_str() {
            TOKEN_NAME => Login::Identity { token: answer.secret },
            _ => Login::Basic { username: answer.username, password: answer.secret },
        }))
    }
}

/// The helper for `registry`: its own, else the one for all.
fn named(text: &str, file: &str, registry: &str) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct File {
        creds_store: Option<String>,
        #[serde(default)]
        cred_helpers: BTreeMap<String, String>,
    }
    let refuse = |reason: String| RegistryError::AuthFile { file: file.to_owned(), reason };
    let parsed: File = serde_json::from_str(text).map_err(|error| {
        refuse(format!("its `credHelpers` cannot be read (line {}, column {})", error.line(), error.column()))
    })?;
    let own = parsed.cred_helpers.iter().find(|(key, _)| super::login::names(key, registry));
    let name = own.map(|(_, name)| name.clone()).or(parsed.creds_store).filter(|name| !name.is_empty());
    let is_plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    match name {
        // It becomes the name of a program: no path of somebody's choice.
        Some(name) if !is_plain(&name) => {
            Err(refuse("the name of a credential helper is no plain word".to_owned()).into())
        }
        name => Ok(name),
    }
}
