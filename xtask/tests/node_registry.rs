//! A runtime from a registry with an account and an authority of its own, on a real node.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::record::Verdict;
use cofferdam_host::event::{Ending, Outcome};
use serde_json::Value;
use xtask::testbed::registry::PASSWORD;
use xtask::testbed::{Containerd, Node, NodeSpec, Registry, RegistrySpec, Runtime};

const RUNTIME: Runtime = Runtime::GvisorOci;
const ACCESS: [&str; 4] = ["--auth-file", "/root/auth.json", "--ca-file", "/root/ca.pem"];

fn run(node: &Node, args: &[&str], access: &[&str]) -> (i32, Outcome) {
    let run = node.cofferdam(&[args, access].concat()).unwrap();
    (run.code(), run.outcome().unwrap_or_else(|error| panic!("{error}")))
}

/// How often a blob was read.
fn blobs(registry: &Registry) -> usize {
    registry
        .log()
        .lines()
        .filter(|line| line.contains("\"GET /v2/") && line.contains("/blobs/sha256:"))
        .count()
}

#[test]
fn a_runtime_is_pushed_installed_and_removed() {
    let node = Node::boot(NodeSpec::new(Containerd::Upstream24)).unwrap();
    node.put_cofferdam().unwrap();
    node.put_package(RUNTIME).unwrap();
    let mut registry = Registry::start(RegistrySpec::new(&node.host_address())).unwrap();
    node.put("/root/auth.json", registry.docker_config(), 0o600).unwrap();
    node.put("/root/ca.pem", registry.ca_pem().unwrap(), 0o644).unwrap();
    let before = node.trees().unwrap();
    let tag = format!("oci:{}/team/gvisor:1", registry.address());

    // Neither the authority nor the account is known by itself.
    let source = RUNTIME.source();
    let folder = source.strip_prefix("dir:").unwrap();
    let (code, outcome) = run(&node, &["pack", folder, "--push", "--tag", &tag], &[]);
    assert_eq!(code, 2, "{outcome:#?}");
    assert!(outcome.message.contains("not trusted"), "{outcome:#?}");
    let pushed = node.cofferdam(&[&["pack", folder, "--push", "--tag", &tag][..], &ACCESS].concat()).unwrap();
    assert_eq!(pushed.code(), 0, "{:#?}", pushed.output);
    let pushed: Value = pushed.parse().unwrap();
    let pinned = pushed["source"].as_str().unwrap().to_owned();
    let (code, outcome) = run(&node, &["install", &tag], &ACCESS[2..]);
    assert_eq!((code, outcome.result), (2, Ending::Refused), "{outcome:#?}");
    assert!(outcome.message.contains("without credentials"), "{outcome:#?}");
    assert_eq!(before.diff(&node.trees().unwrap()), Vec::<String>::new(), "nothing was begun");

    let (code, outcome) = run(&node, &["install", &tag], &ACCESS);
    assert_eq!((code, outcome.result), (0, Ending::Committed), "{outcome:#?}");
    assert_eq!(outcome.verdict, Some(Verdict::Proven), "{outcome:#?}");
    let ledger = String::from_utf8(node.read("/var/lib/cofferdam/ledger.json").unwrap()).unwrap();
    assert!(ledger.contains(&tag) && ledger.contains(pushed["digest"].as_str().unwrap()), "{ledger}");
    assert_eq!(node.ok(&["ls", "/var/lib/cofferdam/tmp"]).unwrap(), "", "what was fetched is gone");

    // The password is nowhere: neither in our records nor in what systemd keeps of the worker.
    let secret = format!(
        "grep -rIl -e {PASSWORD} -e cHVsbGVyOmNyb3NzLXRoZS1iYXI /var/lib/cofferdam /opt/cofferdam /etc /run/cofferdam \
         /run/systemd 2>/dev/null; journalctl --no-pager | grep -c {PASSWORD}"
    );
    assert_eq!(node.sh(&secret).unwrap().stdout.trim(), "0");

    // The same again costs no download; pinned, it does not even ask.
    let fetched = blobs(&registry);
    assert!(fetched > 0, "{}", registry.log());
    let (code, outcome) = run(&node, &["install", &tag], &ACCESS);
    assert_eq!((code, outcome.result), (0, Ending::Unchanged), "{outcome:#?}");
    assert_eq!(blobs(&registry), fetched);
    registry.stop().unwrap();
    let (code, outcome) = run(&node, &["install", &pinned], &[]);
    assert_eq!((code, outcome.result), (0, Ending::Unchanged), "{outcome:#?}");
    let (code, outcome) = run(&node, &["install", &tag], &ACCESS);
    assert_eq!((code, outcome.result), (6, Ending::Refused), "{outcome:#?}");
    registry.resume().unwrap();

    // A damaged tree is fetched again.
    let tree = ledger.lines().find_map(|line| line.trim().strip_prefix("\"tree\": \"")).unwrap();
    let runsc = format!("{}/bin/runsc", tree.trim_end_matches("\","));
    node.put(&runsc, "not it", 0o755).unwrap();
    let (code, outcome) = run(&node, &["repair", RUNTIME.name(), "--from", &tag], &ACCESS);
    assert_eq!((code, outcome.result), (0, Ending::Committed), "{outcome:#?}");
    assert_eq!(node.cofferdam(&["verify"]).unwrap().code(), 0);

    let (code, outcome) = run(&node, &["remove", RUNTIME.name()], &[]);
    assert_eq!((code, outcome.result), (0, Ending::Committed), "{outcome:#?}");
    assert_eq!(before.diff(&node.trees().unwrap()), Vec::<String>::new(), "as it was");
}
