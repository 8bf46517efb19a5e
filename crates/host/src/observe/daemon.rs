//! The daemon's process: which one it is, and how it was started.

use super::{DEFAULT_CONFIG, ObserveError};
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{ConfigOrigin, EngineProcess, UnitObservation};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The arguments of containerd that decide where it finds and keeps things (`containerd --help`). They overrule the
/// configuration, and `config dump` does not show them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonArgs {
    /// `--config`, `-c`.
    pub config: Option<String>,
    /// `--root`.
    pub root: Option<String>,
    /// `--state`.
    pub state: Option<String>,
    /// `--address`, `-a`.
    pub address: Option<String>,
}

impl DaemonArgs {
    /// Reads arguments (without the program's name): one or two dashes, `--name value` and `--name=value`.
    pub fn parse(args: &[String]) -> Self {
        let mut found = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else { continue };
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let slot = match name {
                "config" | "c" => &mut found.config,
                "root" => &mut found.root,
                "state" => &mut found.state,
                "address" | "a" => &mut found.address,
                _ => continue,
            };
            if let Some(value) = inline.or_else(|| args.next().cloned()) {
                *slot = Some(value);
            }
        }
        found
    }
}

/// A daemon's process.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) process: EngineProcess,
    folder: PathBuf,
}

impl Daemon {
    /// The configuration file in use.
    pub(super) fn config(&self, args: &DaemonArgs) -> Result<(HostPath, ConfigOrigin), ObserveError> {
        let path = |text: &str| {
            let top = HostPath::new("/").and_then(|top| top.resolve(text));
            top.map_err(|source| ObserveError::Path { what: "the engine's configuration file", source })
        };
        let Some(given) = &args.config else { return Ok((path(DEFAULT_CONFIG)?, ConfigOrigin::Default)) };
        // containerd does not read the variable itself: a unit passes it on (`--config ${CONTAINERD_CONFIG}`).
        let environ = std::fs::read(self.folder.join("environ")).unwrap_or_default();
        let variable = format!("CONTAINERD_CONFIG={given}");
        let origin = match environ.split(|b| *b == 0).any(|entry| entry == variable.as_bytes()) {
            true => ConfigOrigin::Environment,
            false => ConfigOrigin::Argument,
        };
        if given.starts_with('/') {
            return Ok((path(given)?, origin));
        }
        let cwd = read_link(&self.folder.join("cwd"))?;
        Ok((path(&format!("{}/{given}", cwd.to_string_lossy()))?, origin))
    }
}

/// Finds the daemon: the unit's main process, else the only process of this host that is a containerd.
pub(super) fn find(proc: &Path, unit: &str, state: Option<&UnitObservation>) -> Result<Daemon, ObserveError> {
    let of_unit = state.map(|state| state.main_pid).filter(|pid| *pid != 0);
    if let Some(pid) = of_unit.filter(|pid| is_containerd(&proc.join(pid.to_string()))) {
        return read(proc, pid);
    }
    let ours = namespaces(&proc.join("self"));
    let found: Vec<u32> = std::fs::read_dir(proc)
        .map_err(|source| ObserveError::Read { path: proc.to_owned(), source })?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let folder = proc.join(pid.to_string());
            // A containerd in a container is not this host's, and dockerd's own serves no CRI.
            is_containerd(&folder) && namespaces(&folder) == ours && !is_dockers(&folder)
        })
        .collect();
    match found.as_slice() {
        [] => Err(ObserveError::NotRunning { unit: unit.to_owned() }),
        [pid] => read(proc, *pid),
        _ => Err(ObserveError::Ambiguous { unit: unit.to_owned(), pids: found }),
    }
}

fn read(proc: &Path, pid: u32) -> Result<Daemon, ObserveError> {
    let folder = proc.join(pid.to_string());
    let exe = read_link(&folder.join("exe"))?.to_string_lossy().into_owned();
    if let Some(binary) = exe.strip_suffix(" (deleted)") {
        return Err(ObserveError::BinaryReplaced { binary: binary.to_owned(), pid });
    }
    let binary =
        HostPath::new(exe).map_err(|source| ObserveError::Path { what: "the engine's binary", source })?;
    let gone = || ObserveError::Read {
        path: folder.join("stat"),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    };
    let started = started(&folder).ok_or_else(gone)?;
    let process = EngineProcess { pid, started, binary, args: arguments(&folder) };
    Ok(Daemon { process, folder })
}

/// The arguments, without the program's name.
fn arguments(folder: &Path) -> Vec<String> {
    let bytes = std::fs::read(folder.join("cmdline")).unwrap_or_default();
    let whole = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    whole.split(|b| *b == 0).skip(1).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

/// Field 22 of /proc/PID/stat (proc(5)): the start in clock ticks since boot. None if the process is gone.
pub(super) fn started(folder: &Path) -> Option<u64> {
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The second field is the name in parentheses, which may itself hold spaces and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

fn is_containerd(folder: &Path) -> bool {
    let Ok(exe) = read_link(&folder.join("exe")) else { return false };
    let text = exe.to_string_lossy();
    text.strip_suffix(" (deleted)").unwrap_or(&text).rsplit('/').next() == Some("containerd")
}

fn is_dockers(folder: &Path) -> bool {
    let config = DaemonArgs::parse(&arguments(folder)).config;
    config.is_some_and(|path| path.contains("/docker/containerd/"))
}

fn namespaces(folder: &Path) -> [Option<OsString>; 2] {
    ["ns/mnt", "ns/pid"].map(|name| Some(std::fs::read_link(folder.join(name)).ok()?.into_os_string()))
}

fn read_link(path: &Path) -> Result<PathBuf, ObserveError> {
    std::fs::read_link(path).map_err(|source| ObserveError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn args(words: &str) -> DaemonArgs {
        DaemonArgs::parse(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_spelling_of_an_argument() {
        for words in ["--config /x", "--config=/x", "-c /x", "-c=/x", "-config=/x", "-l debug --config /x"] {
            assert_eq!(args(words).config.as_deref(), Some("/x"), "{words}");
        }
        let k3s = args("-c /k/config.toml -a /run/k3s/c.sock --state /run/k3s --root /var/lib/r");
        assert_eq!(k3s.address.as_deref(), Some("/run/k3s/c.sock"));
        assert_eq!((k3s.state.as_deref(), k3s.root.as_deref()), (Some("/run/k3s"), Some("/var/lib/r")));
        assert_eq!(args("--log-level=debug"), DaemonArgs::default());
    }

    /// A /proc with one process.
    fn process(proc: &Path, pid: &str, exe: &str, cmdline: &str, namespace: &str) {
        let folder = proc.join(pid);
        std::fs::create_dir_all(folder.join("ns")).unwrap();
        symlink(exe, folder.join("exe")).unwrap();
        symlink("/srv/dir", folder.join("cwd")).unwrap();
        for name in ["mnt", "pid"] {
            symlink(namespace, folder.join("ns").join(name)).unwrap();
        }
        std::fs::write(folder.join("cmdline"), cmdline.replace(' ', "\0") + "\0").unwrap();
        std::fs::write(folder.join("environ"), "CONTAINERD_CONFIG=/env.toml\0").unwrap();
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        std::fs::write(folder.join("stat"), format!("{pid} (a ) b) {}\n", fields.join(" "))).unwrap();
    }

    #[test]
    fn the_daemon_is_found_and_others_are_not_taken_for_it() {
        let proc = tempfile::tempdir().unwrap();
        let proc = proc.path();
        process(proc, "self", "/bin/me", "me", "host");
        process(proc, "10", "/usr/bin/containerd", "containerd", "container");
        process(proc, "11", "/usr/bin/containerd-shim", "containerd-shim", "host");
        process(
            proc,
            "12",
            "/usr/bin/containerd",
            "containerd --config /run/docker/containerd/c.toml",
            "host",
        );
        assert!(matches!(find(proc, "u", None), Err(ObserveError::NotRunning { .. })));

        process(proc, "13", "/opt/bin/containerd", "containerd -c etc/../c.toml", "host");
        let daemon = find(proc, "u", None).unwrap();
        assert_eq!((daemon.process.pid, daemon.process.started), (13, 22));
        assert_eq!(daemon.process.args, ["-c", "etc/../c.toml"]);
        let (config, origin) = daemon.config(&DaemonArgs::parse(&daemon.process.args)).unwrap();
        assert_eq!((config.as_str(), origin), ("/srv/dir/c.toml", ConfigOrigin::Argument));
        assert_eq!(daemon.config(&args("--config /env.toml")).unwrap().1, ConfigOrigin::Environment);
        assert_eq!(daemon.config(&args("")).unwrap().1, ConfigOrigin::Default);

        process(proc, "14", "/usr/bin/containerd (deleted)", "containerd", "host");
        assert!(matches!(find(proc, "u", None), Err(ObserveError::Ambiguous { .. })));
        let unit = |main_pid| UnitObservation {
            name: "u".to_owned(),
            active_state: "active".to_owned(),
            kill_mode: "process".to_owned(),
            main_pid,
        };
        assert_eq!(find(proc, "u", Some(&unit(13))).unwrap().process.pid, 13);
        assert!(matches!(
            find(proc, "u", Some(&unit(14))),
            Err(ObserveError::BinaryReplaced { pid: 14, .. })
        ));
    }
}
