//! The connector, against servers of its own: names, trust, and what is said when it fails.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::class::Class;
use cofferdam_host::net::{HttpClient, NetError, Patience, Proxies, Roots, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// An authority, and a server's settings with a certificate by it for `localhost` and 127.0.0.1.
fn authority() -> (String, Arc<rustls::ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
    (issuer.pem(), Arc::new(config))
}

/// Answers each request with `answer`, and then says nothing for as long as the peer waits. Returns the port.
fn serve(tls: Option<Arc<rustls::ServerConfig>>, answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let tls = tls.clone();
            std::thread::spawn(move || match tls {
                None => talk(&mut stream, answer),
                Some(tls) => {
                    let mut connection = rustls::ServerConnection::new(tls).unwrap();
                    talk(&mut rustls::Stream::new(&mut connection, &mut stream), answer);
                }
            });
        }
    });
    port
}

fn talk(stream: &mut (impl Read + Write), answer: &str) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
        // As web servers do when somebody speaks TLS to them.
        if seen.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            return;
        }
    }
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.flush();
    let _ = stream.read(&mut buffer);
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn get(client: &HttpClient, uri: &str) -> Result<Vec<u8>, NetError> {
    let mut reply = client.send(http::Request::get(uri).body(HttpClient::empty()).unwrap())?;
    assert_eq!(reply.status, 200);
    Ok(reply.body.all(1000)?.unwrap())
}

fn public() -> Tls {
    Tls::trusting(Roots::public())
}

#[test]
fn names_and_addresses_are_reached() {
    let port = serve(None, OK);
    let client = HttpClient::new(&public()).unwrap();
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(get(&client, &format!("http://{host}:{port}/")).unwrap(), b"hello", "{host}");
    }
}

#[test]
fn a_private_authority_is_trusted_once_it_is_given() {
    let (pem, config) = authority();
    let port = serve(Some(config), OK);
    let uri = format!("https://localhost:{port}/");

    let error = get(&HttpClient::new(&public()).unwrap(), &uri).unwrap_err();
    assert!(matches!(error, NetError::Untrusted { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Invalid);
    assert!(error.hint().unwrap().contains("--ca-file"), "{error}");

    let roots = Roots::public().and_pem(pem.as_bytes(), "ca.pem").unwrap();
    assert_eq!(get(&HttpClient::new(&Tls::trusting(roots)).unwrap(), &uri).unwrap(), b"hello");

    let other = Roots::none().and_pem(authority().0.as_bytes(), "ca.pem").unwrap();
    let error = get(&HttpClient::new(&Tls::trusting(other)).unwrap(), &uri).unwrap_err();
    assert!(matches!(error, NetError::Untrusted { .. }), "another authority: {error:?}");
}

#[test]
fn a_certificate_for_another_name_is_not_trusted() {
    let (pem, config) = authority();
    let port = serve(Some(config), OK);
    let roots = Roots::none().and_pem(pem.as_bytes(), "ca.pem").unwrap();
    let error = get(&HttpClient::new(&Tls::trusting(roots)).unwrap(), &format!("https://127.0.0.2:{port}/"));
    // Another loopback address: the server listens on one only, so either nobody is there or the name is wrong.
    assert!(matches!(error, Err(NetError::Connect { .. } | NetError::Untrusted { .. })), "{error:?}");
}

#[test]
fn failures_say_what_failed_on_what() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let plain = serve(None, OK);
    let client = HttpClient::new(&public()).unwrap();
    let error = get(&client, &format!("http://127.0.0.1:{closed}/")).unwrap_err();
    assert!(matches!(error, NetError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{closed}")), "{error}");

    let error = get(&client, &format!("https://127.0.0.1:{plain}/")).unwrap_err();
    assert!(matches!(error, NetError::Tls { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("Plain http"), "{error}");

    let error = get(&client, "http://no-such-name.invalid/").unwrap_err();
    assert!(matches!(error, NetError::Resolve { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Unavailable);
    assert!(error.to_string().contains("no-such-name.invalid"), "{error}");
}

#[test]
fn silence_in_the_middle_of_an_answer_has_a_limit() {
    let port = serve(None, "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello");
    let patience = Patience { silence: Duration::from_millis(200), ..Patience::default() };
    let client = HttpClient::with(&public(), patience, Proxies::default()).unwrap();
    let error = get(&client, &format!("http://127.0.0.1:{port}/")).unwrap_err();
    assert!(matches!(error, NetError::Timeout { .. }), "{error:?}");
}

#[test]
fn what_is_no_certificate_is_refused() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    for bad in ["", "no PEM", key.as_str(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        let error = Roots::none().and_pem(bad.as_bytes(), "ca.pem").unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{error}");
        assert_eq!(error.class(), Class::Invalid);
    }
}
