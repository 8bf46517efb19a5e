//! Proxies, and certificates of both sides.

use super::fake::Fake;
use super::fake::bench::{Bench, quick, refused, told};
use super::fake::proxy::Proxy;
use super::fake::secure::{Authority, Secure};
use super::{Host, closed, from};
use cofferdam_core::class::Class;
use cofferdam_host::net::Proxies;
use cofferdam_host::package::{Access, ClientCertificate};
use cofferdam_host::registry::HostSettings;

pub(super) fn through(proxy: &str) -> Proxies {
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
    let authority = Authority::new();
    let known = Secure::start(&authority, "localhost", None, bench.registry());
    let known = format!("localhost:{}", known.port);
    let list = format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{}", authority.pem());
    let host = Host::new().with("own.crt", &list);
    assert_eq!(from(&known, host.access()).unwrap().1, bench.digest, "by the machine's own list");
    refused(from(&name, host.access()), Class::Invalid, &["not trusted"]);
    let host = Host::new().with("certs.d/_default/hosts.toml", "skip_verify = true\n");
    assert_eq!(from(&name, host.access()).unwrap().1, bench.digest);
    let text = format!("[[registry]]\nlocation = \"{name}\"\ninsecure = true\n");
    let host = Host::new().with("registries.conf", &text);
    assert_eq!(from(&name, host.access()).unwrap().1, bench.digest);
}
