//! Who uses an installed tree.
//!
//! Neither processes nor bundles are enough: a runc-like runtime leaves no process of its own behind, while the engine
//! calls it by the bundle's path for every exec, kill and delete; and a process may live without a bundle.

use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{TreeUse, TreeUses};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files of a bundle that name a runtime: its options (`binary_name`, `config_path`), the OCI runtime, the shim, the
/// shim's start parameters (2.x), and the OCI configuration, whose annotations may name a configuration file.
/// Seen on containerd 1.7.24 and 2.4.2.
const BUNDLE_FILES: [&str; 5] =
    ["options.json", "runtime", "shim-binary-path", "bootstrap.json", "config.json"];

/// No bundle file and no process's map list is larger.
const READ_LIMIT: u64 = 16 << 20;

/// Who uses which of `trees`: processes of this machine and bundles under the engines' state folders. A tree that
/// nobody uses has no entry. What vanishes while it is read is skipped.
pub fn uses(states: &[HostPath], trees: &[HostPath]) -> TreeUses {
    let mut found = TreeUses::new();
    if trees.is_empty() {
        return found;
    }
    of_processes(Path::new("/proc"), std::process::id(), trees, &mut found);
    for state in states {
        of_bundles(Path::new(state.as_str()), trees, &mut found);
    }
    for users in found.values_mut() {
        users.sort();
        users.dedup();
    }
    found
}

fn of_processes(proc: &Path, own: u32, trees: &[HostPath], found: &mut TreeUses) {
    for (name, folder) in entries(proc) {
        let Ok(pid) = name.parse::<u32>() else { continue };
        // This process names trees since it was told to; that is no use.
        if pid == own {
            continue;
        }
        let exe = std::fs::read_link(folder.join("exe")).map(|p| p.to_string_lossy().into_owned());
        let mut texts = vec![exe.unwrap_or_default().into_bytes()];
        texts.extend(["maps", "cmdline"].iter().filter_map(|file| read(&folder.join(file))));
        for tree in named_in(&texts, trees) {
            let comm = read(&folder.join("comm")).unwrap_or_default();
            let comm = String::from_utf8_lossy(&comm).trim().to_owned();
            found.entry(tree.clone()).or_default().push(TreeUse::Process { pid, comm });
        }
    }
}

/// Bundles lie in `<state>/io.containerd.runtime.v2.task/<namespace>/<container id>/`.
fn of_bundles(state: &Path, trees: &[HostPath], found: &mut TreeUses) {
    for (namespace, folder) in entries(&state.join("io.containerd.runtime.v2.task")) {
        for (id, bundle) in entries(&folder) {
            let texts: Vec<Vec<u8>> =
                BUNDLE_FILES.iter().filter_map(|file| read(&bundle.join(file))).collect();
            for tree in named_in(&texts, trees) {
                let user = TreeUse::Bundle { id: id.clone(), namespace: namespace.clone() };
                found.entry(tree.clone()).or_default().push(user);
            }
        }
    }
}

fn named_in<'t>(texts: &[Vec<u8>], trees: &'t [HostPath]) -> impl Iterator<Item = &'t HostPath> {
    trees
        .iter()
        .filter(move |tree| texts.iter().any(|text| names(text, tree.as_str())))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Whether `text` names `tree` or a path beneath it. What comes before and after must not be part of a longer name:
/// `/opt/x/1` is not named by `/opt/x/10` or `/host/opt/x/1`.
fn names(text: &[u8], tree: &str) -> bool {
    let part_of_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+');
    let tree = tree.as_bytes();
    text.windows(tree.len()).enumerate().filter(|(_, window)| *window == tree).any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        let after = text.get(at + window.len());
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|e| e.ok()).map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    // A bundle holds pipes as well, but none by these names; a process's files end by themselves.
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(READ_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str) -> HostPath {
        HostPath::new(format!("/opt/cofferdam/runtimes/gvisor/{name}")).unwrap()
    }

    #[test]
    fn only_whole_names_count() {
        let one = tree("1-abc");
        let text = |text: &str| names(text.as_bytes(), one.as_str());
        assert!(text("{\"binary_name\":\"/opt/cofferdam/runtimes/gvisor/1-abc/bin/runsc\"}"));
        assert!(text("x\0--config=/opt/cofferdam/runtimes/gvisor/1-abc\0y"));
        assert!(text("/opt/cofferdam/runtimes/gvisor/1-abc (deleted)"));
        assert!(!text("/opt/cofferdam/runtimes/gvisor/1-abcd/bin/runsc"));
        assert!(!text("/host/opt/cofferdam/runtimes/gvisor/1-abc/bin/runsc"));
        assert!(!text(""));
    }

    #[test]
    fn bundles_and_processes_are_united() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("io.containerd.runtime.v2.task/k8s.io/c1");
        std::fs::create_dir_all(&bundle).unwrap();
        // As containerd 1.7.24 wrote it for an OCI runtime.
        std::fs::write(
            bundle.join("options.json"),
            format!("{{\"binary_name\":\"{}/bin/runsc\"}}", tree("1-a")),
        )
        .unwrap();
        std::fs::write(bundle.join("runtime"), format!("{}/bin/runsc", tree("1-a"))).unwrap();
        let proc = folder.path().join("proc");
        for (pid, exe) in [("7", "1-a/bin/shim (deleted)"), ("8", "2-b/bin/shim"), ("9", "3-c/bin/shim")] {
            std::fs::create_dir_all(proc.join(pid)).unwrap();
            std::os::unix::fs::symlink(
                tree("x").parent().unwrap().to_string() + "/" + exe,
                proc.join(pid).join("exe"),
            )
            .unwrap();
            std::fs::write(proc.join(pid).join("comm"), "shim\n").unwrap();
        }
        let mut found = TreeUses::new();
        let trees = [tree("1-a"), tree("2-b")];
        of_processes(&proc, 8, &trees, &mut found);
        of_bundles(folder.path(), &trees, &mut found);
        let process = TreeUse::Process { pid: 7, comm: "shim".to_owned() };
        let bundle = TreeUse::Bundle { id: "c1".to_owned(), namespace: "k8s.io".to_owned() };
        assert_eq!(found, TreeUses::from([(tree("1-a"), vec![process, bundle])]));
    }

    #[test]
    fn a_living_process_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let binary = root.join("sleeper");
        std::fs::copy("/bin/sleep", &binary).unwrap();
        let mut child = std::process::Command::new(&binary).arg("60").spawn().unwrap();
        let tree = HostPath::new(root.to_str().unwrap()).unwrap();
        let found = uses(&[], std::slice::from_ref(&tree));
        child.kill().unwrap();
        child.wait().unwrap();
        let users = found.get(&tree).cloned().unwrap_or_default();
        assert!(
            users.iter().any(|user| matches!(user, TreeUse::Process { pid, .. } if *pid == child.id())),
            "{found:?}"
        );
    }
}
