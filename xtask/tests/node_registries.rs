//! Real registries: Debian's and distribution 3, with an account or a token server, and as a mirror. No node is booted.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

#[path = "../../crates/host/tests/fake/mod.rs"]
mod fake;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cofferdam_core::class::Class;
use cofferdam_core::reference::Reference;
use cofferdam_host::package::{Access, Place, Remote};
use cofferdam_host::registry::{self as images, HostSettings, Keyring, Layout};
use fake::bench::{Bench, fetch, quick, refused};
use fake::secure::{Authority, Secure};
use fake::{Answer, Request};
use rcgen::{CertificateParams, KeyPair, SigningKey};
use std::time::{SystemTime, UNIX_EPOCH};
use xtask::testbed::command::Command;
use xtask::testbed::registry::{PASSWORD, USER};
use xtask::testbed::trial::binary;
use xtask::testbed::{Program, Registry, RegistrySpec, Tokens};

const ADDRESS: &str = "127.0.0.1";
const PROGRAMS: [Program; 2] = [Program::Debian, Program::Distribution3];

/// A token server and its registry's knowledge of it.
struct TokenServer {
    server: Secure,
    /// Who vouches for its TLS.
    authority: Authority,
    /// Who vouches for its signatures.
    signers: Authority,
}

impl TokenServer {
    fn start() -> Self {
        let (authority, signers) = (Authority::new(), Authority::new());
        let key = KeyPair::generate().unwrap();
        let leaf = signers.certify(CertificateParams::new(vec!["signer".to_owned()]).unwrap(), &key);
        let header = format!("{{\"typ\":\"JWT\",\"alg\":\"ES256\",\"x5c\":[\"{}\"]}}", STANDARD.encode(leaf));
        let login = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let server = Secure::start(&authority, ADDRESS, None, move |request| {
            // Everyone gets a token; what it allows depends on who asks.
            let allowed = request.header("authorization") == Some(&*login);
            let token = token(&header, &key, &scope(request), allowed);
            Answer::ok(format!("{{\"token\": \"{token}\"}}").as_bytes())
        });
        Self { server, authority, signers }
    }

    fn tokens(&self) -> Tokens {
        let realm = format!("https://{ADDRESS}:{}/token", self.server.port);
        Tokens { realm, issuer: "of this test".to_owned(), authority: self.signers.pem() }
    }
}

/// The repository and the actions that a request for a token names.
fn scope(request: &Request) -> (String, Vec<String>) {
    let query = request.path.split_once('?').unwrap().1;
    let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or("repository::pull");
    let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let parts: Vec<&str> = scope.split(':').collect();
    (parts[1].to_owned(), parts[2].split(',').map(str::to_owned).collect())
}

fn token(
    header: &str,
    key: &KeyPair,
    (repository, actions): &(String, Vec<String>),
    allowed: bool,
) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let access = match allowed {
        true => format!("{{\"type\":\"repository\",\"name\":\"{repository}\",\"actions\":{actions:?}}}"),
        false => String::new(),
    };
    let claims = format!(
        "{{\"iss\":\"of this test\",\"sub\":\"{USER}\",\"aud\":\"of this test\",\"exp\":{},\"nbf\":{},\"iat\":{now},\
         \"jti\":\"1\",\"access\":[{access}]}}",
        now + 300,
        now - 60
    );
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(plain(&signature)))
}

/// The two numbers of an ECDSA signature in DER, each with 32 bytes.
fn plain(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut both = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = if length > 32 { &number[length - 32..] } else { number };
        both.extend(vec![0; 32 - number.len()]);
        both.extend(number);
        rest = &rest[2 + length..];
    }
    both
}

fn access(registry: &Registry, more: &str, login: Option<(&str, &str)>) -> Access {
    let keyring = login.map_or_else(Keyring::default, |(name, password)| {
        let auth = STANDARD.encode(format!("{name}:{password}"));
        let text = format!("{{\"auths\": {{\"{}/team\": {{\"auth\": \"{auth}\"}}}}}}", registry.address());
        Keyring::parse(&text, "pull.json").unwrap()
    });
    let ca = Some(format!("{}{more}", registry.ca_pem().unwrap()));
    Access { keyring, ca, settings: HostSettings::none(), ..quick() }
}

fn at(registry: &Registry, target: &str, access: Access) -> Remote {
    Remote { reference: Reference::new(format!("{}/team/toy{target}", registry.address())).unwrap(), access }
}

fn push(bench: &Bench, registry: &Registry, access: Access) {
    let layout = Layout::open(&bench.image()).unwrap();
    let to = images::Registry::to_push(&at(registry, ":1.0", access)).unwrap();
    assert_eq!(images::push(&layout, &to).unwrap(), bench.digest);
}

/// Pushed with the login, it comes back by tag and by digest; without one or with another it does not.
fn comes_back(registry: &Registry, more: &str) {
    let bench = Bench::new();
    let ours = access(registry, more, Some((USER, PASSWORD)));
    push(&bench, registry, ours.clone());
    let pinned = format!("@{}", bench.digest);
    for target in [":1.0", pinned.as_str()] {
        let got = fetch(Place::Oci(at(registry, target, ours.clone()))).unwrap();
        assert_eq!(got.1, bench.digest, "{target}");
        let nobody = fetch(Place::Oci(at(registry, target, access(registry, more, None))));
        refused(nobody, Class::Invalid, &["does not let us read team/toy", "without credentials"]);
        let other = access(registry, more, Some((USER, "hunter2")));
        let other = fetch(Place::Oci(at(registry, target, other)));
        refused(other, Class::Invalid, &["does not let us read team/toy", "with credentials"]);
    }
    let missing = fetch(Place::Oci(at(registry, ":2.0", ours.clone())));
    refused(missing, Class::Invalid, &["has no", "team/toy:2.0"]);
    let untrusted = Access { ca: None, ..ours };
    refused(fetch(Place::Oci(at(registry, ":1.0", untrusted))), Class::Invalid, &["not trusted"]);
}

#[test]
fn an_account_opens_real_registries() {
    for program in PROGRAMS {
        let registry = Registry::start(RegistrySpec::new(ADDRESS).run_by(program)).unwrap();
        comes_back(&registry, "");
    }
}

#[test]
fn a_token_server_opens_real_registries() {
    let server = TokenServer::start();
    for program in PROGRAMS {
        let spec = RegistrySpec::new(ADDRESS).run_by(program).with_tokens(server.tokens());
        let registry = Registry::start(spec).unwrap();
        comes_back(&registry, &server.authority.pem());
    }
}

#[test]
fn a_real_mirror_stands_for_its_registry_and_the_registry_for_the_mirror() {
    let server = TokenServer::start();
    let more = server.authority.pem();
    for program in PROGRAMS {
        let bench = Bench::new();
        let spec = RegistrySpec::new(ADDRESS).run_by(program);
        let spec = match program {
            // As a mirror it has logins for token servers only.
            Program::Debian => spec.with_tokens(server.tokens()),
            // And this one for none whose address is not the registry's.
            Program::Distribution3 => spec,
        };
        let mut origin = Registry::start(spec).unwrap();
        push(&bench, &origin, access(&origin, &more, Some((USER, PASSWORD))));
        let mut spec = RegistrySpec::new(ADDRESS).run_by(program).anonymous().in_front_of(&origin);
        spec.upstream.as_mut().unwrap().1.push_str(&more);
        let mut mirror = Registry::start(spec).unwrap();
        let certs = tempfile::tempdir().unwrap();
        let folder = certs.path().join("_default");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("mirror.pem"), mirror.ca_pem().unwrap()).unwrap();
        let text = format!("[host.\"https://{}\"]\nca = \"mirror.pem\"\n", mirror.address());
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
        let settings = HostSettings { hosts: vec![certs.path().to_owned()], ..HostSettings::none() };

        // Nobody in particular gets it from the mirror, which has the account.
        let nobody = Access { settings: settings.clone(), ..access(&origin, &more, None) };
        let pinned = format!("@{}", bench.digest);
        for target in [":1.0", pinned.as_str()] {
            let got = fetch(Place::Oci(at(&origin, target, nobody.clone()))).unwrap();
            assert_eq!(got.1, bench.digest, "{program:?} {target}");
        }
        assert!(mirror.log().contains("?ns="), "{}", mirror.log());

        // The mirror is down: the registry itself, with the login.
        mirror.stop().unwrap();
        let somebody = Access { settings, ..access(&origin, &more, Some((USER, PASSWORD))) };
        assert_eq!(fetch(Place::Oci(at(&origin, ":1.0", somebody))).unwrap().1, bench.digest);
        refused(
            fetch(Place::Oci(at(&origin, ":1.0", nobody.clone()))),
            Class::Invalid,
            &["without credentials", "before that"],
        );

        // The registry is down: what the mirror keeps.
        mirror.resume().unwrap();
        origin.stop().unwrap();
        assert_eq!(fetch(Place::Oci(at(&origin, &pinned, nobody))).unwrap().1, bench.digest, "{program:?}");
    }
}

/// By the command, with the files as people give them.
#[test]
fn a_client_certificate_opens_a_registry_that_asks_for_one() {
    let bench = Bench::new();
    let (authority, clients) = (Authority::new(), Authority::new());
    let registry = Secure::start(&authority, "localhost", Some(&clients), bench.registry());
    let (certificate, key) = clients.issue("ann");
    let file = |name: &str, text: &str| {
        let path = bench.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = file("ca.pem", &authority.pem());
    let (apart, both) = (file("ann.pem", &certificate), file("both.pem", &format!("{certificate}{key}")));
    let key = file("ann.key", &key);
    let pull = |identity: &[&str]| {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        let source = format!("oci:localhost:{}/team/toy:1.0", registry.port);
        let command =
            Command::new(binary().unwrap()).args(["pull", &source, "--ca-file", &ca, "--tries", "1"]);
        let command = command.args(identity).args(["--engine", "containerd@2.4", "--no-systemd", "--root"]);
        let ran = command.arg(root.path()).run().unwrap();
        (ran.success(), ran.stderr, root.path().join("opt/cofferdam/runtimes/toy").is_dir())
    };
    for identity in [&["--client-cert", &apart, "--client-key", &key][..], &["--client-cert", &both]] {
        let (done, said, is_there) = pull(identity);
        assert!(done && is_there, "{identity:?}: {said}");
    }
    let (done, said, is_there) = pull(&[]);
    assert!(!done && !is_there && said.contains("certificate"), "{said}");
}
