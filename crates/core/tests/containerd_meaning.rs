//! Entries derived from handlers, and what an effective configuration means.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use cofferdam_core::descriptor::{Call, ContainerdOverrides, Handler};
use cofferdam_core::engine::Value;
use cofferdam_core::engine::containerd::{Effective, Entry, compare, entry};
use cofferdam_core::name::{HandlerName, HostPath, PackagePath};
use std::collections::{BTreeMap, BTreeSet};

fn handler(call: Call) -> Handler {
    Handler {
        name: HandlerName::new("h").unwrap(),
        call,
        config: None,
        pod_annotations: Vec::new(),
        container_annotations: Vec::new(),
        privileged_without_host_devices: false,
        snapshotter: None,
        overhead: None,
        requires: Vec::new(),
        containerd: ContainerdOverrides::default(),
    }
}

fn derive(handler: &Handler) -> Entry {
    entry(
        handler,
        &HostPath::new("/opt/c/runtimes/r/1-ab").unwrap(),
        &HostPath::new("/run/cofferdam/oci").unwrap(),
    )
}

fn text(key: &str, value: &str) -> (String, Value) {
    (key.to_owned(), Value::Text(value.to_owned()))
}

#[test]
fn a_shim_is_named_by_its_absolute_path() {
    let mut handler = handler(Call::Shim(PackagePath::new("bin/containerd-shim-runsc-v1").unwrap()));
    handler.config = Some(PackagePath::new("etc/runsc.toml").unwrap());
    handler.containerd.config_type_url = Some("io.containerd.runsc.v1.options".to_owned());
    handler.pod_annotations = vec!["dev.gvisor.*".to_owned()];
    handler.snapshotter = Some("devmapper".to_owned());
    let entry = derive(&handler);
    let annotations = ("pod_annotations".to_owned(), Value::List(vec!["dev.gvisor.*".to_owned()]));
    let shim = text("runtime_type", "/opt/c/runtimes/r/1-ab/bin/containerd-shim-runsc-v1");
    assert_eq!(entry.keys, [shim, annotations, text("snapshotter", "devmapper")]);
    let config = text("ConfigPath", "/opt/c/runtimes/r/1-ab/etc/runsc.toml");
    assert_eq!(entry.options, [text("TypeUrl", "io.containerd.runsc.v1.options"), config]);
}

#[test]
fn an_oci_runtime_gets_a_root_of_its_own_and_overrides_win() {
    let mut handler = handler(Call::OciRuntime(PackagePath::new("bin/crun").unwrap()));
    handler.privileged_without_host_devices = true;
    handler.containerd.runtime_type = Some("io.containerd.other.v2".to_owned());
    handler.containerd.entry =
        BTreeMap::from([("sandboxer".to_owned(), Value::Text("podsandbox".to_owned()))]);
    handler.containerd.options = BTreeMap::from([
        ("Root".to_owned(), Value::Text("/run/mine".to_owned())),
        ("SystemdCgroup".to_owned(), Value::Bool(true)),
    ]);
    let entry = derive(&handler);
    let privileged = ("privileged_without_host_devices".to_owned(), Value::Bool(true));
    assert_eq!(
        entry.keys,
        [text("runtime_type", "io.containerd.other.v2"), privileged, text("sandboxer", "podsandbox")]
    );
    let cgroup = ("SystemdCgroup".to_owned(), Value::Bool(true));
    assert_eq!(
        entry.options,
        [text("BinaryName", "/opt/c/runtimes/r/1-ab/bin/crun"), text("Root", "/run/mine"), cgroup]
    );
}

#[test]
fn the_defaults_of_real_daemons_are_understood() {
    for (dump, version, image, address) in [
        (
            include_str!("data/containerd/default-1.6.toml"),
            2,
            "registry.k8s.io/pause:3.6",
            "/run/containerd/containerd.sock",
        ),
        (
            include_str!("data/containerd/default-1.7.toml"),
            2,
            "registry.k8s.io/pause:3.8",
            "/run/containerd/containerd.sock",
        ),
        (
            include_str!("data/containerd/default-2.1.toml"),
            3,
            "registry.k8s.io/pause:3.10",
            "/run/containerd/containerd.sock",
        ),
        (
            include_str!("data/containerd/default-2.4.toml"),
            4,
            "registry.k8s.io/pause:3.10.2",
            "/run/containerd/containerd.sock",
        ),
    ] {
        let effective = Effective::parse(dump).unwrap();
        assert_eq!(effective.version(), version);
        assert!(effective.cri_enabled());
        assert_eq!(effective.sandbox_image(), Some(image));
        assert_eq!(effective.address(), Some(address), "{version}");
        assert_eq!(effective.default_runtime_name(), Some("runc"));
        assert_eq!(effective.snapshotter(), Some("overlayfs"));
        assert_eq!(effective.handlers()["runc"].runtime_type, "io.containerd.runc.v2");
        assert_eq!(
            (effective.root(), effective.state()),
            (Some("/var/lib/containerd"), Some("/run/containerd"))
        );
        assert_eq!(effective.cni_conf_dir(), Some("/etc/cni/net.d"));
        assert!(!effective.cni_bin_dirs().is_empty());
        let all = compare(&effective, &Effective::parse("").unwrap(), &BTreeSet::new());
        let paths: Vec<&str> = all.iter().map(|difference| difference.path.as_str()).collect();
        assert!(
            paths.contains(&"root") && paths.iter().any(|path| path.ends_with("runtimes.runc.runtime_type")),
            "{paths:?}"
        );
    }
}

#[test]
fn every_difference_but_ours_is_found() {
    let of = |text: &str| Effective::parse(text).unwrap();
    let before = of(
        "version = 2\nimports = ['a']\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'p'\nlist = ['a']\non = true\n",
    );
    let ours = BTreeSet::from([HandlerName::new("crun").unwrap()]);
    let same = of(
        "version = 3\nimports = []\nempty = ''\nzero = 0\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'p'\nlist = ['a']\non = true\noff = false\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.crun]\nruntime_type = 'x'\n[plugins.'io.containerd.cri.v1.images'.runtime_platforms.crun]\nsnapshotter = 'x'\n",
    );
    assert_eq!(compare(&before, &same, &ours), []);
    let after = of(
        "[plugins.'io.containerd.grpc.v1.cri']\nlist = ['b']\non = false\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.kata]\nruntime_type = 'x'\n",
    );
    let found: Vec<String> = compare(&before, &after, &ours).iter().map(ToString::to_string).collect();
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    assert_eq!(
        found,
        [
            format!("{cri}.containerd.runtimes.kata.runtime_type: (absent) -> \"x\""),
            format!("{cri}.list: [\"a\"] -> [\"b\"]"),
            format!("{cri}.on: true -> (absent)"),
            format!("{cri}.sandbox_image: \"p\" -> (absent)"),
        ]
    );
}
