//! The ways to a registry: mirrors by this host's settings, logins by path, proxies, client certificates, helpers.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

#[path = "../fake/mod.rs"]
mod fake;
mod logins;
mod proxies;

use cofferdam_core::class::Class;
use cofferdam_core::reference::Reference;
use cofferdam_host::package::{Access, Place, Remote};
use cofferdam_host::registry::HostSettings;
use fake::bench::{Bench, fetch, is_layer, quick, refused, told};
use fake::{Answer, Fake, Request};
use std::fs;
use std::net::TcpListener;
use tempfile::TempDir;

/// This host's settings, in a folder of the test.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(self, file: &str, text: &str) -> Self {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn access(&self) -> Access {
        let at = |name: &str| vec![self.0.path().join(name)];
        let settings = HostSettings {
            engines: at("config.toml"),
            hosts: at("certs.d"),
            registries: [at("registries.conf"), at("registries.conf.d")].concat(),
            certificates: at("docker"),
            authorities: ["missing.crt", "own.crt"].map(|name| self.0.path().join(name)).to_vec(),
        };
        Access { settings, ..quick() }
    }
}

fn remote(registry: &str, target: &str, access: Access) -> Remote {
    Remote { reference: Reference::new(format!("{registry}/team/toy{target}")).unwrap(), access }
}

fn from(
    registry: &str,
    access: Access,
) -> Result<(cofferdam_core::name::Digest, cofferdam_core::name::Digest), cofferdam_host::error::HostError> {
    fetch(Place::Oci(remote(registry, ":1.0", access)))
}

/// A port on which nobody listens.
fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn paths(fake: &Fake) -> Vec<String> {
    fake.requests().into_iter().map(|request| request.path).collect()
}

#[test]
fn a_mirror_is_asked_first_and_told_whom_it_stands_for() {
    let bench = Bench::new();
    let inner = bench.registry();
    let mirror = Fake::start(move |request| {
        inner(&Request { path: request.path.replacen("/cache/v2", "/v2", 1), ..request.clone() })
    });
    let text = format!("[host.\"http://127.0.0.1:{}/cache\"]\n", mirror.port);
    let host = Host::new().with("certs.d/r.invalid_5000_/hosts.toml", &text);
    assert_eq!(from("r.invalid:5000", host.access()).unwrap().1, bench.digest);
    let asked = paths(&mirror);
    assert!(
        asked
            .iter()
            .all(|path| path.starts_with("/cache/v2/team/toy/") && path.ends_with("?ns=r.invalid:5000")),
        "{asked:?}"
    );
}

#[test]
fn what_containerd_is_told_in_its_own_configuration_counts() {
    let bench = Bench::new();
    let plugin = "plugins.\"io.containerd.grpc.v1.cri\".registry";
    // A folder of its own, in a file that the configuration imports.
    let mirror = Fake::start(bench.registry());
    let host = Host::new();
    let elsewhere = host.0.path().join("elsewhere");
    let imported = format!("[{plugin}]\nconfig_path = \"/nowhere:{}\"\n", elsewhere.display());
    let host = host
        .with("config.toml", "version = 2\nimports = [\"more/*.toml\"]\n")
        .with("more/registry.toml", &imported)
        .with("elsewhere/r.invalid/hosts.toml", &format!("[host.\"http://127.0.0.1:{}\"]\n", mirror.port));
    assert_eq!(from("r.invalid", host.access()).unwrap().1, bench.digest);
    assert!(!mirror.requests().is_empty());

    // Mirrors in the file itself.
    let mirror = Fake::start(bench.registry());
    let listed =
        format!("[{plugin}.mirrors.\"r.invalid\"]\nendpoint = [\"http://127.0.0.1:{}\"]\n", mirror.port);
    let host = Host::new().with("config.toml", &listed);
    assert_eq!(from("r.invalid", host.access()).unwrap().1, bench.digest);
    assert!(paths(&mirror).iter().all(|path| path.ends_with("?ns=r.invalid")));

    let host = Host::new().with("config.toml", "version = \n");
    let error = from("r.invalid", host.access()).unwrap_err().chain();
    assert!(error.contains("config.toml") && error.contains("no TOML"), "{error}");
}

#[test]
fn if_the_mirror_is_down_the_registry_itself_is_asked() {
    let bench = Bench::new();
    let origin = Fake::start(bench.registry());
    let registry = format!("127.0.0.1:{}", origin.port);
    for mirror in [format!("http://127.0.0.1:{}", closed()), "https://no-such-name.invalid".to_owned()] {
        let text = format!("[host.\"{mirror}\"]\n");
        let host = Host::new().with("certs.d/_default/hosts.toml", &text);
        assert_eq!(from(&registry, host.access()).unwrap().1, bench.digest, "{mirror}");
    }
    for status in [404, 401, 403, 500, 429] {
        let mirror = Fake::start(move |_| Answer::status(status));
        let text = format!("[host.\"http://127.0.0.1:{}\"]\n", mirror.port);
        let host = Host::new().with("certs.d/_default/hosts.toml", &text);
        assert_eq!(from(&registry, host.access()).unwrap().1, bench.digest, "{status}");
        assert!(!mirror.requests().is_empty(), "{status}");
    }
}

#[test]
fn what_a_mirror_breaks_off_or_forges_comes_from_elsewhere() {
    let bench = Bench::new();
    let origin = Fake::start(bench.registry());
    let registry = format!("127.0.0.1:{}", origin.port);
    let of = |mirror: &Fake| {
        Host::new()
            .with("certs.d/_default/hosts.toml", &format!("[host.\"http://127.0.0.1:{}\"]\n", mirror.port))
    };
    let inner = bench.registry();
    let dying = Fake::start(move |request| {
        let answer = inner(request);
        match is_layer(request, &answer) {
            true if request.header("range").is_none() => Answer { cut_at: Some(50), ..answer },
            true => Answer::status(503),
            false => answer,
        }
    });
    assert_eq!(from(&registry, of(&dying).access()).unwrap().1, bench.digest);
    let rest: Vec<Request> = origin.requests().into_iter().filter(|r| r.header("range").is_some()).collect();
    assert_eq!(rest.len(), 1, "the rest of the layer: {rest:?}");

    // One that goes on breaking what it sends is not asked until all patience is gone.
    let inner = bench.registry();
    let breaking = Fake::start(move |request| {
        let answer = inner(request);
        if is_layer(request, &answer) { Answer { cut_at: Some(0), ..answer } } else { answer }
    });
    assert_eq!(from(&registry, of(&breaking).access()).unwrap().1, bench.digest);
    let asked = breaking.requests().into_iter().filter(|request| request.path.contains("/blobs/")).count();
    assert_eq!(asked, 2, "the configuration, and the layer once");

    let inner = bench.registry();
    let forging = Fake::start(move |request| {
        let answer = inner(request);
        let forge = request.path.contains("/manifests/") && request.method == "GET";
        if forge { Answer { body: b"{}".to_vec(), ..answer } } else { answer }
    });
    assert_eq!(from(&registry, of(&forging).access()).unwrap().1, bench.digest);
}

#[test]
fn when_nobody_has_it_each_one_is_named() {
    let mirror = Fake::start(|_| Answer::status(403));
    let origin = Fake::start(|_| Answer::status(404));
    let text = format!("[host.\"http://127.0.0.1:{}\"]\n", mirror.port);
    let host = Host::new().with("certs.d/_default/hosts.toml", &text);
    let registry = format!("127.0.0.1:{}", origin.port);
    let words =
        [format!("{registry} has no"), format!("before that: 127.0.0.1:{} does not let us", mirror.port)];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    refused(from(&registry, host.access()), Class::Invalid, &words);
}

#[test]
fn a_mirror_that_does_not_resolve_is_asked_for_content_only() {
    let bench = Bench::new();
    let origin = Fake::start(bench.registry());
    let inner = bench.registry();
    let mirror = Fake::start(move |request| inner(request));
    let text = format!("[host.\"http://127.0.0.1:{}\"]\ncapabilities = [\"pull\"]\n", mirror.port);
    let host = Host::new().with("certs.d/_default/hosts.toml", &text);
    assert_eq!(from(&format!("127.0.0.1:{}", origin.port), host.access()).unwrap().1, bench.digest);
    assert_eq!(paths(&origin), ["/v2/team/toy/manifests/1.0"], "the tag");
    assert_eq!(mirror.requests().len(), 3, "manifest, configuration, layer");
}

#[test]
fn headers_of_the_settings_go_to_that_place_alone() {
    let bench = Bench::new();
    let storage = Fake::start(bench.registry());
    let elsewhere = storage.port;
    let inner = bench.registry();
    let mirror = Fake::start(move |request| match request.header("x-key") {
        Some("hunter2") if request.path.contains("/blobs/") => {
            let path = request.path.split('?').next().unwrap();
            Answer::status(307).with("location", &format!("http://127.0.0.1:{elsewhere}{path}"))
        }
        Some("hunter2") => inner(request),
        _ => Answer::status(403),
    });
    let at = format!("host.\"http://127.0.0.1:{}\"", mirror.port);
    let text = format!("[{at}]\n[{at}.header]\nx-key = \"hunter2\"\n");
    let host = Host::new().with("certs.d/r.invalid/hosts.toml", &text);
    assert_eq!(from("r.invalid", host.access()).unwrap().1, bench.digest);
    let seen = storage.requests();
    assert!(!seen.is_empty() && seen.iter().all(|request| request.header("x-key").is_none()), "{seen:?}");

    let text = format!("[{at}]\n[{at}.header]\nx-key = \"hunter2\\n\"\n");
    let host = Host::new().with("certs.d/r.invalid/hosts.toml", &text);
    refused(from("r.invalid", host.access()), Class::Invalid, &["header", "x-key"]);
}

#[test]
fn registries_conf_says_where_things_are_and_what_is_forbidden() {
    let bench = Bench::new();
    let inner = bench.registry();
    let store = Fake::start(move |request| {
        inner(&Request { path: request.path.replacen("/v2/inner/", "/v2/team/", 1), ..request.clone() })
    });
    let main = format!(
        "[[registry]]\nprefix = \"r.invalid/team\"\nlocation = \"127.0.0.1:{}/inner\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{}/x\"\ninsecure = true\n",
        store.port,
        closed()
    );
    let host = Host::new().with("registries.conf", &main);
    // The location is on this machine, but the reference is not: TLS, unless the file says otherwise.
    let error = from("r.invalid", host.access()).unwrap_err();
    assert!(told(&error).contains("TLS"), "{}", told(&error));
    let more = main.replace("/inner\"\n", "/inner\"\ninsecure = true\n");
    let host =
        host.with("registries.conf.d/10-inner.conf", &more).with("registries.conf.d/README", "no TOML");
    assert_eq!(from("r.invalid", host.access()).unwrap().1, bench.digest);
    assert!(paths(&store).iter().all(|path| path.starts_with("/v2/inner/toy/")), "{:?}", paths(&store));

    let host = host.with(
        "registries.conf.d/99-no.conf",
        "[[registry]]\nlocation = \"r.invalid\"\nprefix = \"r.invalid/team/toy\"\nblocked = true\n",
    );
    refused(from("r.invalid", host.access()), Class::Invalid, &["may not be pulled", "r.invalid/team/toy"]);
    let broken = Host::new().with("registries.conf", "[[registry]");
    refused(from("r.invalid", broken.access()), Class::Invalid, &["registries.conf", "no TOML"]);
    let broken = Host::new().with("certs.d/r.invalid/hosts.toml", "skip_verify = 1");
    refused(from("r.invalid", broken.access()), Class::Invalid, &["hosts.toml", "skip_verify"]);
}
