//! Traces of other installers.

use super::{exists, text};
use crate::root::HostRoot;
use cofferdam_core::doctor::Fact;
use cofferdam_core::doctor::facts::{TRACES, Trace};

pub(super) fn traces(root: &HostRoot) -> Fact<Vec<Trace>> {
    let mut found = Vec::new();
    for at in TRACES {
        let there = match at.holding {
            None => exists(root, at.path)?,
            Some(needle) => text(root, at.path)?.is_some_and(|text| text.contains(needle)),
        };
        if there {
            found.push(Trace { installer: at.installer, path: at.path.to_owned() });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use cofferdam_core::doctor::facts::Installer;

    #[test]
    fn files_count_and_some_only_with_their_content() {
        let docker = "/etc/docker/daemon.json";
        let toolkit = ("/etc/nvidia-container-runtime/config.toml", "");
        let found = |files: &[(&str, &str)]| -> Vec<Installer> {
            traces(&tree(files).1).unwrap().iter().map(|trace| trace.installer).collect()
        };
        assert_eq!(found(&[toolkit, (docker, "{}")]), [Installer::NvidiaContainerToolkit]);
        assert_eq!(found(&[(docker, "{\"runtimes\": {\"runsc\": {}}}")]), [Installer::RunscInstall]);
    }
}
