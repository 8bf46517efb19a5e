//! A container registry as a child process: Debian's docker-registry or distribution 3, with an account, a token server,
//! TLS of its own, or nothing of that; with a store of its own, or in front of another one.

use super::cache::Cache;
use super::daemon::{self, Daemon};
use super::error::{Error, Result};
use super::pki::Authority;
use super::site::{Kind, Site};
use super::trial::wait_for;
use super::{gotools, host, packages};
use serde_json::{Value, json};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The account of every registry that asks for one.
pub const USER: &str = "puller";

/// Its password.
pub const PASSWORD: &str = "cross-the-bar";

/// The account as htpasswd writes it, with the least costly of bcrypt.
const HTPASSWD: &str = "puller:$2b$05$CofferdamTestRegistry.P9w2XF6yo62mSgrvNXHkbmKFqIPXkOa\n";

/// A busy machine takes its time.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A runtime is packed and pushed within this.
const PUSH_LIMIT: Duration = Duration::from_secs(120);

/// What a registry should be.
#[derive(Clone, Debug)]
pub struct RegistrySpec {
    /// The address of this machine on which it listens.
    pub address: String,
    /// Whether it speaks TLS, with a certificate that only its own authority vouches for.
    pub tls: bool,
    /// Whether it asks for an account.
    pub account: bool,
    /// Who gives the tokens that it asks for, instead.
    pub tokens: Option<Tokens>,
    /// What it is.
    pub program: Program,
    /// The registry that it stands for, by its address; and its authority, as PEM.
    pub upstream: Option<(String, String)>,
}

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Debian's: distribution 2.
    Debian,
    /// Distribution 3, built from source.
    Distribution3,
}

/// A token server, as a registry knows it.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Its address.
    pub realm: String,
    /// What it calls itself, and the registry, in tokens.
    pub issuer: String,
    /// The authority that vouches for who signs them, as PEM.
    pub authority: String,
}

impl RegistrySpec {
    /// With TLS and an account, for those who reach `address`: 127.0.0.1, [`super::Node::host_address`],
    /// [`super::Cluster::address`].
    pub fn new(address: &str) -> Self {
        let (tokens, upstream) = (None, None);
        let (address, program) = (address.to_owned(), Program::Debian);
        Self { address, tls: true, account: true, tokens, program, upstream }
    }

    /// Speaks plain HTTP.
    pub const fn plain_http(mut self) -> Self {
        self.tls = false;
        self
    }

    /// Another program.
    pub const fn run_by(mut self, program: Program) -> Self {
        self.program = program;
        self
    }

    /// Asks for a token of that server instead of an account.
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.account = false;
        self.tokens = Some(tokens);
        self
    }

    /// Fetches what it is asked for from `upstream`, with its account if that asks for one.
    pub fn in_front_of(mut self, upstream: &Registry) -> Self {
        self.upstream = Some((upstream.address(), upstream.ca_pem().unwrap_or_default().to_owned()));
        self
    }

    /// Lets everyone read and write.
    pub const fn anonymous(mut self) -> Self {
        self.account = false;
        self
    }
}

/// A package in a registry.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its reference, with a tag.
    pub reference: String,
    /// Its digest, as the push said it.
    pub digest: String,
}

/// A running registry. Dropping it ends it and removes what it stored.
#[derive(Debug)]
pub struct Registry {
    // Before the site, which removes its files.
    daemon: Option<Daemon>,
    spec: RegistrySpec,
    program: PathBuf,
    port: u16,
    authority: Option<Authority>,
    site: Site,
}

impl Registry {
    /// Starts an empty registry.
    ///
    /// # Errors
    /// The package is not to be had, or it does not start.
    pub fn start(spec: RegistrySpec) -> Result<Self> {
        packages::need_root()?;
        let cache = Cache::open()?;
        let program = match spec.program {
            Program::Debian => {
                packages::ensure(&["docker-registry"])?;
                PathBuf::from("docker-registry")
            }
            Program::Distribution3 => gotools::distribution(&cache)?.path().join("bin/registry"),
        };
        let site = Site::take(&cache, Kind::Registry)?;
        let authority = if spec.tls { Some(Authority::new("cofferdam test registry")?) } else { None };
        let port = free_port(&spec.address)?;
        let mut registry = Self { daemon: None, spec, program, port, authority, site };
        registry.prepare()?;
        registry.resume()?;
        Ok(registry)
    }

    /// `HOST:PORT`, as references name it.
    pub fn address(&self) -> String {
        format!("{}:{}", self.spec.address, self.port)
    }

    /// The certificate of who signs its own, as PEM; nothing without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::pem)
    }

    /// A `dockerconfigjson` with its account.
    pub fn docker_config(&self) -> String {
        // base64 of USER:PASSWORD.
        let auth = json!({"username": USER, "password": PASSWORD, "auth": "cHVsbGVyOmNyb3NzLXRoZS1iYXI="});
        json!({"auths": {self.address(): auth}}).to_string()
    }

    /// Has `binary` pack a folder, and push it as `name`: `[TEAM/]NAME:TAG`.
    ///
    /// # Errors
    /// It cannot be packed or pushed.
    pub fn publish(&self, binary: &Path, folder: &Path, name: &str) -> Result<Published> {
        let (login, authority) = (self.site.dir().join("login.json"), self.site.dir().join("authority.pem"));
        host::write(&login, self.docker_config(), 0o600)?;
        host::write(&authority, self.ca_pem().unwrap_or_default(), 0o644)?;
        let reference = format!("{}/{name}", self.address());
        let output = super::command::Command::new(binary)
            .args(["pack", "--tag", &reference, "--push", "--json"])
            .arg("--auth-file")
            .arg(&login)
            .arg("--ca-file")
            .arg(&authority)
            .arg(folder)
            .limit(PUSH_LIMIT)
            .ok()?;
        let pushed: Value =
            serde_json::from_str(output.stdout.trim()).map_err(|error| Error::Unexpected {
                what: "what cofferdam pack printed".to_owned(),
                why: format!("{error}: {}", output.stdout),
                next: "run it by hand".to_owned(),
            })?;
        let digest = pushed.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Published { reference, digest })
    }

    /// What it printed, requests among it.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.site.log("registry")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many bytes of blobs it gave since it was made, as its log tells.
    pub fn given(&self) -> u64 {
        self.log().lines().filter_map(given).sum()
    }

    /// Stops it; what it stores stays.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), Daemon::stop)
    }

    /// Starts it after [`Registry::stop`], at the same address.
    ///
    /// # Errors
    /// It does not start.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        if self.spec.upstream.is_some() {
            command.env("SSL_CERT_FILE", self.site.dir().join("upstream.pem"));
        }
        command.arg("serve").arg(self.site.dir().join("config.json"));
        let mut daemon = self.site.start("registry", command)?;
        let log = self.site.log("registry");
        let answers = wait_for("the registry", START_LIMIT, || {
            daemon.check()?;
            Ok(TcpStream::connect(self.address()).ok().map(drop))
        });
        self.daemon = Some(daemon);
        match answers {
            Err(Error::TimedOut { command, limit, .. }) => {
                Err(Error::TimedOut { command, limit, output: daemon::tail(&log) })
            }
            other => other,
        }
    }

    fn prepare(&self) -> Result<()> {
        let dir = self.site.dir();
        let mut http = json!({"addr": self.address(), "secret": "of this test"});
        if let Some(authority) = &self.authority {
            let names = [self.spec.address.as_str(), "localhost"];
            let (certificate, key) = authority.server("registry", &names)?.write(dir, "registry")?;
            set(&mut http, "tls", json!({"certificate": certificate, "key": key}));
        }
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": false}},
            "storage": {"filesystem": {"rootdirectory": dir.join("storage")}, "delete": {"enabled": true}},
            "http": http,
        });
        if self.spec.account {
            let path = dir.join("htpasswd");
            host::write(&path, HTPASSWD, 0o600)?;
            set(&mut config, "auth", json!({"htpasswd": {"realm": "test", "path": path}}));
        }
        if let Some(tokens) = &self.spec.tokens {
            let path = dir.join("tokens.pem");
            host::write(&path, &tokens.authority, 0o600)?;
            let Tokens { realm, issuer, .. } = tokens;
            let token = json!({"realm": realm, "service": issuer, "issuer": issuer, "rootcertbundle": path});
            set(&mut config, "auth", json!({"token": token}));
        }
        if let Some((address, authority)) = &self.spec.upstream {
            host::write(&dir.join("upstream.pem"), authority, 0o600)?;
            let url = format!("https://{address}");
            set(&mut config, "proxy", json!({"remoteurl": url, "username": USER, "password": PASSWORD}));
        }
        host::write(&dir.join("config.json"), config.to_string(), 0o600)
    }
}

/// The bytes of a blob that an access log's line tells of: `"GET /v2/NAME/blobs/DIGEST HTTP/1.1" 200 BYTES`.
fn given(line: &str) -> Option<u64> {
    let (_, request) = line.split_once("\"GET /v2/")?;
    let (path, answer) = request.split_once(" HTTP/")?;
    let mut words = answer.split_whitespace().skip(1);
    let (status, bytes) = (words.next()?, words.next()?);
    let is_blob = path.contains("/blobs/") && status.starts_with('2');
    is_blob.then(|| bytes.parse().ok()).flatten()
}

fn set(object: &mut serde_json::Value, key: &str, value: serde_json::Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

/// A port that nobody listens on. Somebody else may take it before the registry does: then it says so and ends.
fn free_port(address: &str) -> Result<u16> {
    let taken = TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr());
    let taken = taken.map_err(|e| Error::Unexpected {
        what: format!("the address {address}"),
        why: e.to_string(),
        next: "give an address of this machine".into(),
    })?;
    Ok(taken.port())
}

#[cfg(test)]
mod tests {
    use super::given;

    #[test]
    fn what_was_given_is_read_from_the_log() {
        let line = |request: &str, rest: &str| {
            format!(
                "10.99.1.2 - - [21/Nov/2026:20:00:00 +0000] \"{request} HTTP/1.1\" {rest} \"\" \"cofferdam/0.1\""
            )
        };
        assert_eq!(given(&line("GET /v2/team/x/blobs/sha256:00", "200 1234")), Some(1234));
        assert_eq!(given(&line("GET /v2/team/x/blobs/sha256:00", "206 4")), Some(4));
        assert_eq!(given(&line("GET /v2/team/x/blobs/sha256:00", "404 157")), None);
        assert_eq!(given(&line("HEAD /v2/team/x/blobs/sha256:00", "200 1234")), None);
        assert_eq!(given(&line("GET /v2/team/x/manifests/1", "200 600")), None);
        assert_eq!(given("time=\"2026-11-21\" level=info msg=\"listening\""), None);
    }
}
