//! The sample configurations and the defaults of real daemons, through install and removal.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use cofferdam_core::engine::containerd::{
    ConfigInput, Effective, Entry, Import, Layout, Placement, Registrations, Traces, cut_root, holds, layout,
    write_root,
};
use cofferdam_core::engine::{EngineVersion, Overwrite, Value};
use cofferdam_core::name::{HandlerName, HostPath, RuntimeName};
use cofferdam_core::splice;
use std::collections::{BTreeMap, BTreeSet};

const SAMPLES: [(&str, &str, &str); 9] = [
    ("flatcar", include_str!("data/containerd/flatcar-config.toml"), "1.7.24"),
    ("eks-v2", include_str!("data/containerd/eks-v2.toml"), "1.7.24"),
    ("eks-v3", include_str!("data/containerd/eks-v3.toml"), "2.1.9"),
    ("microk8s", include_str!("data/containerd/microk8s-containerd-template.toml"), "1.7.24"),
    ("debian", include_str!("data/containerd/debian.toml"), "1.7.24"),
    ("1.6", include_str!("data/containerd/default-1.6.toml"), "1.6.20"),
    ("1.7", include_str!("data/containerd/default-1.7.toml"), "1.7.24"),
    ("2.1", include_str!("data/containerd/default-2.1.toml"), "2.1.9"),
    ("2.4", include_str!("data/containerd/default-2.4.toml"), "2.4.2"),
];

fn root() -> HostPath {
    HostPath::new("/etc/containerd/config.toml").unwrap()
}

fn layout_of(text: &str, engine: Option<&str>) -> Layout {
    let files = BTreeMap::from([(root(), text.to_owned())]);
    let input = ConfigInput {
        engine: engine.and_then(EngineVersion::parse),
        config: &root(),
        root: &root(),
        files: &files,
        effective: None,
        ours: &BTreeSet::new(),
    };
    layout(&input).unwrap()
}

fn registration(names: &[&str]) -> Registrations {
    names
        .iter()
        .map(|name| {
            let entry = Entry {
                handler: HandlerName::new(*name).unwrap(),
                keys: vec![
                    ("runtime_type".into(), Value::Text("io.containerd.runc.v2".into())),
                    ("pod_annotations".into(), Value::List(vec!["io.x.*".into()])),
                ],
                options: vec![("BinaryName".into(), Value::Text("/opt/x/bin/r".into()))],
            };
            (RuntimeName::new(*name).unwrap(), vec![entry])
        })
        .collect()
}

#[test]
fn samples_come_back_byte_for_byte() {
    for (name, text, version) in SAMPLES {
        for engine in [Some(version), None, Some("2.4.2")] {
            let layout = layout_of(text, engine);
            let (new, owned) = write_root(&layout, Some(text), &registration(&["gvisor", "crun"])).unwrap();
            let present = matches!(&layout.placement, Placement::DropIn { import: Import::Present, .. });
            assert_eq!(new.text == text, present, "{name}");
            assert_eq!(owned.pieces.is_empty(), present, "{name}");
            assert!(holds(&new.text, &owned), "{name}");
            let cut = cut_root(&new.text, &owned, &Traces::default(), Overwrite::No).unwrap();
            assert!(cut.absent.is_empty() && cut.kept.is_empty());
            assert_eq!(splice::apply(&new.text, &cut.splices).unwrap(), text, "{name}");
            let in_place = matches!(layout.placement, Placement::InPlace);
            assert_eq!(
                Effective::parse(&new.text).unwrap().handlers().contains_key("gvisor"),
                in_place,
                "{name}"
            );
        }
    }
}
