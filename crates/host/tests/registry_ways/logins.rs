//! Logins: by path, of mirrors, of containerd's configuration, of credential helpers.

use super::fake::bench::{Bench, fetch_from, quick, refused, told};
use super::fake::{Answer, Fake};
use super::proxies::through;
use super::{Host, from, remote};
use cofferdam_core::class::Class;
use cofferdam_core::reference::Reference;
use cofferdam_host::package::{Access, AccessFiles, ClientCertificate};
use cofferdam_host::registry::{HelperHost, HostSettings, Keyring, Layout, Registry, push};
use std::fs;
use std::path::Path;
use std::time::Duration;

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

/// The host whose containerd knows the registry `r.invalid` by the mirror at `port`, and has a login for `host`.
fn with_login(port: u16, host: &str, login: &str) -> Host {
    let configs = "plugins.\"io.containerd.grpc.v1.cri\".registry.configs";
    Host::new()
        .with("config.toml", &format!("[{configs}.\"{host}\".auth]\n{login}\n"))
        .with("certs.d/r.invalid/hosts.toml", &format!("[host.\"http://127.0.0.1:{port}\"]\n"))
}

#[test]
fn containerds_own_login_goes_to_its_host_if_there_is_no_other() {
    const ANN: &str = "username = \"ann\"\npassword = \"hunter2\"";
    let bench = Bench::new();
    let inner = bench.registry();
    let mirror = Fake::start(move |request| match request.header("authorization") {
        Some("Basic YW5uOmh1bnRlcjI=") => inner(request),
        _ => Answer::status(401).with("www-authenticate", "Basic realm=\"r\""),
    });
    let port = mirror.port;
    let own = format!("127.0.0.1:{port}");
    let mut asked = 0;
    let mut logins = || -> Vec<String> {
        let seen = mirror.requests().split_off(asked);
        assert!(!seen.is_empty());
        asked += seen.len();
        seen.iter().filter_map(|request| request.header("authorization").map(str::to_owned)).collect()
    };
    let host = with_login(port, &own, ANN);
    assert_eq!(from("r.invalid", host.access()).unwrap().1, bench.digest);
    assert!(!logins().is_empty());

    // A given one counts alone, and then it does not matter what is wrong with this one.
    for other in ["username = \"bob\"\npassword = \"x\"", "auth = \"!\""] {
        let host = with_login(port, &own, other);
        let given = Access { keyring: keyring(port, &[("", "ann")]), ..host.access() };
        assert_eq!(from("r.invalid", given).unwrap().1, bench.digest);
        assert!(logins().iter().all(|login| login == "Basic YW5uOmh1bnRlcjI="));
    }

    // Refused or broken, it is named.
    let error = from(&own, with_login(port, &own, "username = \"bob\"").access()).unwrap_err();
    assert!(told(&error).contains("config.toml"), "{}", told(&error));
    logins();
    let error = from("r.invalid", with_login(port, &own, "auth = \"!\"").access()).unwrap_err();
    assert!(told(&error).contains("config.toml") && told(&error).contains("base64"), "{}", told(&error));

    // Another host's is not for this one; nor is it for one that only others told how to reach.
    from("r.invalid", with_login(port, "r.invalid", ANN).access()).unwrap_err();
    assert_eq!(logins(), Vec::<String>::new());
    let elsewhere = format!("[[registry]]\nprefix = \"s.invalid\"\nlocation = \"{own}\"\ninsecure = true\n");
    let host = with_login(port, &own, ANN).with("registries.conf", &elsewhere);
    from("s.invalid", host.access()).unwrap_err();
    assert_eq!(logins(), Vec::<String>::new());
    let plain = Access { plain_http: true, ..with_login(port, &own, ANN).access() };
    from(&own, plain).unwrap_err();
    assert_eq!(logins(), Vec::<String>::new());

    // To read, not to write.
    let layout = Layout::open(&bench.image()).unwrap();
    let to = remote(&own, ":2.0", with_login(port, &own, ANN).access());
    push(&layout, &Registry::to_push(&to).unwrap()).unwrap_err();
    assert_eq!(logins(), Vec::<String>::new());
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
    let variables =
        [("PATH", path.as_str()), ("HOME", "/home/ann"), ("AWS_PROFILE", "prod"), ("VAULT_TOKEN", "hidden")];
    let host = HelperHost::of_variables(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let access = |text: &str, helpers: Option<&HelperHost>| {
        fs::write(&file, text).unwrap();
        let reference = Reference::new(format!("{registry}/team/toy:1.0")).unwrap();
        let files = AccessFiles { auth: Some(&file), helpers, ..AccessFiles::default() };
        Access::of(&reference, &files).map(|access| Access { patience: quick().patience, ..access })
    };
    let script = "read server; test \"$1 $server $HOME $AWS_PROFILE$VAULT_TOKEN\" = \"get $WANTED /home/ann prod\" || exit 9\n\
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
