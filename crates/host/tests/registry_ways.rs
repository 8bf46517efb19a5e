//! The ways to a registry: mirrors by this host's settings, logins by path, proxies, client certificates, helpers.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod fake;

use cofferdam_core::class::Class;
use cofferdam_core::reference::Reference;
use cofferdam_host::net::Proxies;
use cofferdam_host::package::{Access, AccessFiles, ClientCertificate, Place, Remote};
use cofferdam_host::registry::{HelperHost, HostSettings, Keyring};
use fake::bench::{Bench, fetch, fetch_from, is_layer, quick, refused, told};
use fake::proxy::Proxy;
use fake::secure::{Authority, Secure};
use fake::{Answer, Fake, Request};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
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

fn keyring(port: u16, entries: &[(&str, &str)]) -> Keyring {
    let entry = |(path, name): &(&str, &str)| {
        format!("\"127.0.0.1:{port}{path}\": {{\"username\": \"{name}\", \"password\": \"hunter2\"}}")
    };
    let entries: Vec<String> = entries.iter().map(entry).collect();
    Keyring::parse(&format!("{{\"auths\": {{{}}}}}", entries.join(",")), "pull.json").unwrap()
}

#[test]
fn logins_are_found_by_path_and_tried_in_order() {
    let bench = Bench::new();
    for refusal in [401, 403, 404] {
        let inner = bench.registry();
        // Only "ann" may; the others are known, and may not.
        let fake = Fake::start(move |request| match request.header("authorization") {
            Some("Basic YW5uOmh1bnRlcjI=") => inner(request),
            None => Answer::status(401).with("www-authenticate", "Basic realm=\"r\""),
            Some(_) => Answer::status(refusal).with("www-authenticate", "Basic realm=\"r\""),
        });
        let entries = [("", "ann"), ("/team", "bob"), ("/team/toy", "cid"), ("/other", "dan")];
        let access = Access { keyring: keyring(fake.port, &entries), ..quick() };
        assert_eq!(fetch_from(&fake, ":1.0", access).unwrap().1, bench.digest, "{refusal}");
        let mut names: Vec<String> = fake
            .requests()
            .into_iter()
            .filter_map(|r| r.header("authorization").map(str::to_owned))
            .collect();
        names.dedup();
        assert_eq!(names, ["Basic Y2lkOmh1bnRlcjI=", "Basic Ym9iOmh1bnRlcjI=", "Basic YW5uOmh1bnRlcjI="]);
    }
    let fake = Fake::start(|_| Answer::status(401).with("www-authenticate", "Basic realm=\"r\""));
    let access = Access { keyring: keyring(fake.port, &[("/other", "ann")]), ..quick() };
    refused(
        fetch_from(&fake, ":1.0", access),
        Class::Invalid,
        &["401", "pull.json has nothing for 127.0.0.1", "/other"],
    );
    assert!(fake.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_mirror_gets_its_own_login_and_never_the_registrys() {
    let bench = Bench::new();
    let inner = bench.registry();
    let mirror = Fake::start(move |request| match request.header("authorization") {
        Some("Basic YW5uOmh1bnRlcjI=") => inner(request),
        _ => Answer::status(401).with("www-authenticate", "Basic realm=\"r\""),
    });
    let text = format!("[host.\"http://127.0.0.1:{}\"]\n", mirror.port);
    let host = Host::new().with("certs.d/r.invalid/hosts.toml", &text);
    let own = Access { keyring: keyring(mirror.port, &[("", "ann")]), ..host.access() };
    assert_eq!(from("r.invalid", own).unwrap().1, bench.digest);
    let asked = mirror.requests().len();

    let text = r#"{"auths": {"r.invalid": {"username": "ann", "password": "hunter2"}}}"#;
    let other = Access { keyring: Keyring::parse(text, "pull.json").unwrap(), ..host.access() };
    from("r.invalid", other).unwrap_err();
    let seen = mirror.requests().split_off(asked);
    assert!(
        !seen.is_empty() && seen.iter().all(|request| request.header("authorization").is_none()),
        "{seen:?}"
    );
}

fn through(proxy: &str) -> Proxies {
    Proxies { https: Some(proxy.to_owned()), http: Some(proxy.to_owned()), none_for: String::new() }
}

#[test]
fn https_goes_through_a_tunnel_and_http_to_the_proxy_itself() {
    let bench = Bench::new();
    let authority = Authority::new();
    let registry = Secure::start(&authority, "r.invalid", None, bench.registry());
    let proxy = Proxy::start(registry.port, Some("Basic YW5uOmh1bnRlcjI="));
    let ca = Some(authority.pem());
    let proxies = through(&format!("http://ann:hunter2@127.0.0.1:{}", proxy.port));
    // The name is nobody's: only the proxy knows where it is.
    let access = Access { ca, proxies, settings: HostSettings::none(), ..quick() };
    assert_eq!(from("r.invalid", access.clone()).unwrap().1, bench.digest);
    let asked = proxy.requests();
    assert!(!asked.is_empty() && asked.iter().all(|line| line == "CONNECT r.invalid:443"), "{asked:?}");

    // For a host of NO_PROXY the name is looked up here.
    let mut without = access.clone();
    without.proxies.none_for = "10.0.0.0/8,.invalid".to_owned();
    refused(from("r.invalid", without), Class::Unavailable, &["the name r.invalid", "cannot be resolved"]);
    assert_eq!(proxy.requests().len(), asked.len());

    let plain = Fake::start(bench.registry());
    let proxy = Proxy::start(plain.port, Some("Basic YW5uOmh1bnRlcjI="));
    let proxies = through(&format!("ann:hunter2@127.0.0.1:{}", proxy.port));
    let access = Access { plain_http: true, proxies, ..access };
    assert_eq!(from("r.invalid", access).unwrap().1, bench.digest);
    let asked = proxy.requests();
    assert!(asked.iter().all(|line| line.contains(" http://r.invalid/v2/")), "{asked:?}");
    assert!(plain.requests().iter().all(|request| request.header("host") == Some("r.invalid")));
}

#[test]
fn a_proxy_that_does_not_let_us_through_is_named() {
    let proxy = Proxy::start(closed(), Some("Basic other"));
    let with = |proxies: Proxies| Access { proxies, settings: HostSettings::none(), ..quick() };
    let at = format!("the proxy 127.0.0.1:{}", proxy.port);
    let login = through(&format!("http://ann:hunter2@127.0.0.1:{}", proxy.port));
    refused(from("r.invalid", with(login)), Class::Invalid, &[&at, "login", "407", "HTTPS_PROXY"]);
    let down = Proxy::start(closed(), None);
    let at = format!("the proxy 127.0.0.1:{}", down.port);
    let refusing = through(&format!("http://127.0.0.1:{}", down.port));
    refused(from("r.invalid", with(refusing)), Class::Unavailable, &[&at, "502 to CONNECT"]);
    let nobody = through(&format!("http://127.0.0.1:{}", closed()));
    refused(from("r.invalid", with(nobody)), Class::Unavailable, &["the proxy 127.0.0.1", "no connection"]);
    let socks = through("socks5://ann:hunter2@127.0.0.1:1080");
    refused(from("r.invalid", with(socks)), Class::Invalid, &["HTTPS_PROXY", "socks5"]);
}

#[test]
fn a_registry_may_ask_for_our_certificate() {
    let bench = Bench::new();
    let (authority, clients) = (Authority::new(), Authority::new());
    let registry = Secure::start(&authority, "localhost", Some(&clients), bench.registry());
    let (certificate, key) = clients.issue("ann");
    let name = format!("localhost:{}", registry.port);
    let ca = Some(authority.pem());
    let without = Access { ca: ca.clone(), settings: HostSettings::none(), ..quick() };
    let error = from(&name, without.clone()).unwrap_err();
    assert!(told(&error).contains("certificate"), "{}", told(&error));
    let identity = ClientCertificate { certificate: certificate.clone(), key: key.clone() };
    let with = Access { identity: Some(identity), ..without };
    assert!(!format!("{with:?}").contains("PRIVATE KEY"));
    assert_eq!(from(&name, with).unwrap().1, bench.digest);

    // The same by this host's settings: containerd's, then Docker's.
    let text = "ca = \"ca.pem\"\nclient = [[\"c.pem\", \"k.pem\"]]\n";
    let folder = format!("certs.d/localhost_{}_", registry.port);
    let host = Host::new()
        .with(&format!("{folder}/hosts.toml"), text)
        .with(&format!("{folder}/ca.pem"), &authority.pem())
        .with(&format!("{folder}/c.pem"), &certificate)
        .with(&format!("{folder}/k.pem"), &key);
    assert_eq!(from(&name, host.access()).unwrap().1, bench.digest);
    for folder in ["docker", "certs.d"] {
        let host = Host::new()
            .with(&format!("{folder}/{name}/ca.crt"), &authority.pem())
            .with(&format!("{folder}/{name}/client.cert"), &certificate)
            .with(&format!("{folder}/{name}/client.key"), &key);
        assert_eq!(from(&name, host.access()).unwrap().1, bench.digest, "{folder}");
    }
    let lacking = Host::new().with(&format!("{folder}/hosts.toml"), text);
    refused(from(&name, lacking.access()), Class::Invalid, &["ca.pem", "no such file"]);
}

#[test]
fn any_certificate_is_taken_only_where_the_settings_say_so() {
    let bench = Bench::new();
    let registry = Secure::start(&Authority::new(), "other.invalid", None, bench.registry());
    let name = format!("localhost:{}", registry.port);
    let access = Access { settings: HostSettings::none(), ..quick() };
    refused(from(&name, access), Class::Invalid, &["not trusted", "--ca-file"]);
    let host = Host::new().with("certs.d/_default/hosts.toml", "skip_verify = true\n");
    assert_eq!(from(&name, host.access()).unwrap().1, bench.digest);
    let text = format!("[[registry]]\nlocation = \"{name}\"\ninsecure = true\n");
    let host = Host::new().with("registries.conf", &text);
    assert_eq!(from(&name, host.access()).unwrap().1, bench.digest);
}

/// A program that keeps logins, in a folder of the test.
fn helper(folder: &Path, script: &str) {
    let path = folder.join("docker-credential-test");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn credential_helpers_run_where_they_are_asked_for() {
    let bench = Bench::new();
    let inner = bench.registry();
    let fake = Fake::start(move |request| match request.header("authorization") {
        Some("Basic YW5uOmh1bnRlcjI=") => inner(request),
        _ => Answer::status(401).with("www-authenticate", "Basic realm=\"r\""),
    });
    let registry = format!("127.0.0.1:{}", fake.port);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let variables = |name: &str| match name {
        "PATH" => Some(path.clone()),
        "HOME" => Some("/home/ann".to_owned()),
        _ => Some("hidden".to_owned()),
    };
    let host = HelperHost::of_variables(variables);
    let access = |text: &str, helpers: Option<&HelperHost>| {
        fs::write(&file, text).unwrap();
        let reference = Reference::new(format!("{registry}/team/toy:1.0")).unwrap();
        let files = AccessFiles { auth: Some(&file), helpers, ..AccessFiles::default() };
        Access::of(&reference, &files).map(|access| Access { patience: quick().patience, ..access })
    };
    let script = "read server; test \"$1 $server $HOME$AWS_SECRET\" = \"get $WANTED /home/ann\" || exit 9\n\
                  echo '{\"ServerURL\": \"x\", \"Username\": \"ann\", \"Secret\": \"hunter2\"}'";
    helper(folder.path(), &script.replace("$WANTED", &registry));
    for text in [
        format!("{{\"credHelpers\": {{\"{registry}\": \"test\"}}, \"credsStore\": \"other\"}}"),
        format!("{{\"auths\": {{\"{registry}\": {{}}}}, \"credsStore\": \"test\"}}"),
    ] {
        assert_eq!(from(&registry, access(&text, Some(&host)).unwrap()).unwrap().1, bench.digest, "{text}");
        refused(from(&registry, access(&text, None).unwrap()), Class::Invalid, &["401", "has nothing for"]);
    }
    let text = "{\"credsStore\": \"test\"}";
    for (script, said) in [
        ("echo 'credentials not found in native keychain'; exit 1", None),
        ("echo hunter2; exit 1", Some("failed")),
        ("echo hunter2", Some("no login")),
        ("cat; sleep 60", Some("did not end")),
    ] {
        helper(folder.path(), script);
        let short = host.clone().limit(Duration::from_millis(300));
        match (access(text, Some(&short)), said) {
            (Ok(access), None) => assert_eq!(access.keyring.find(&registry, "team/toy"), []),
            (Err(error), Some(said)) => {
                assert!(told(&error).contains(said) && !told(&error).contains("hunter2"), "{}", told(&error));
            }
            (result, _) => panic!("{script}: {result:?}"),
        }
    }
    let odd = access("{\"credsStore\": \"../../bin/sh\"}", Some(&host)).unwrap_err();
    assert!(told(&odd).contains("no plain word"), "{}", told(&odd));
    let missing = access("{\"credsStore\": \"missing\"}", Some(&host)).unwrap_err();
    assert!(told(&missing).contains("docker-credential-missing"), "{}", told(&missing));
}

#[test]
fn what_opens_a_registry_travels_to_the_worker_and_back() {
    let access = Access {
        keyring: keyring(1, &[("/a", "ann")]),
        identity: Some(ClientCertificate { certificate: "c".to_owned(), key: "k".to_owned() }),
        proxies: through("http://p"),
        settings: HostSettings::none(),
        ..quick()
    };
    let text = serde_json::to_string(&access).unwrap();
    assert_eq!(serde_json::from_str::<Access>(&text).unwrap(), access);
    assert!(!format!("{access:?}").contains("hunter2"));
    // Requests of before these fields, and no more in a request than needed.
    let old = "{\"plain_http\":true}";
    let read: Access = serde_json::from_str(old).unwrap();
    assert!(read.plain_http && read.settings == HostSettings::default());
    assert_eq!(serde_json::to_string(&Access { plain_http: true, ..Access::default() }).unwrap(), old);
}
