//! Offline trees, fake packages and runs of the real binary, for tests that need no node.

// Each test binary uses a part of this; helpers fail their test by panicking.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod snapshot;

#[allow(unused_imports)]
pub use snapshot::{Snapshot, assert_same, differences, mark, snapshot, stamps};

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_cofferdam");

/// Where containerd's configuration is.
pub const CONFIG: &str = "/etc/containerd/config.toml";

/// What recovery at boot needs.
pub const UNIT: &str = "/etc/systemd/system/cofferdam-recover.service";

/// containerd's default configurations and those of distributions, with a release that reads them.
pub const SAMPLES: &[(&str, &str, &str)] = &[
    ("debian", "containerd@1.7", include_str!("../../../core/tests/data/containerd/debian.toml")),
    ("default-1.6", "containerd@1.7", include_str!("../../../core/tests/data/containerd/default-1.6.toml")),
    ("default-1.7", "containerd@1.7", include_str!("../../../core/tests/data/containerd/default-1.7.toml")),
    ("default-2.1", "containerd@2.4", include_str!("../../../core/tests/data/containerd/default-2.1.toml")),
    ("default-2.4", "containerd@2.4", include_str!("../../../core/tests/data/containerd/default-2.4.toml")),
    ("eks-v2", "containerd@1.7", include_str!("../../../core/tests/data/containerd/eks-v2.toml")),
    ("eks-v3", "containerd@2.4", include_str!("../../../core/tests/data/containerd/eks-v3.toml")),
    ("flatcar", "containerd@2.4", include_str!("../../../core/tests/data/containerd/flatcar-config.toml")),
];

/// A folder for one test: in memory where programs can run from there, since many runs sync what they write.
pub fn scratch() -> TempDir {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let shm = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some("/dev/shm"));
    let usable = shm.is_some_and(|line| !line.contains("noexec") && !line.contains(" ro,"));
    let folder = if usable { tempfile::tempdir_in("/dev/shm").ok() } else { None };
    folder.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// An offline tree and packages beside it.
#[derive(Debug)]
pub struct Bench {
    folder: TempDir,
    engine: String,
    systemd: bool,
    program: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub args: String,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Fails the test unless it exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Fails the test unless it exited with one of `codes`.
    #[track_caller]
    pub fn expect_one_of(self, codes: &[i32]) -> Self {
        assert!(self.code.is_some_and(|code| codes.contains(&code)), "{self}");
        self
    }

    /// Fails the test unless it was killed.
    #[track_caller]
    pub fn expect_killed(self) -> Self {
        assert_eq!(self.signal, Some(9), "{self}");
        self
    }

    /// Fails the test unless standard error (or output) holds `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text) || self.out.contains(text), "no {text:?} in: {self}");
        self
    }

    /// Standard output as JSON: a document, or the last event of a change, its outcome.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        self.events().pop().unwrap_or_else(|| panic!("no JSON: {self}"))
    }

    /// Standard output as JSON values.
    #[track_caller]
    pub fn events(&self) -> Vec<serde_json::Value> {
        let values = serde_json::Deserializer::from_str(&self.out).into_iter();
        values.map(|value| value.unwrap_or_else(|error| panic!("{error}: {self}"))).collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { args, code, signal, out, err } = self;
        write!(f, "cofferdam {args}: code {code:?}, signal {signal:?}\n--- output\n{out}--- errors\n{err}")
    }
}

impl Bench {
    /// A tree with nothing in it but `/etc`, without systemd.
    pub fn new(engine: &str) -> Self {
        let folder = scratch();
        std::fs::create_dir_all(folder.path().join("root/etc")).unwrap();
        std::fs::create_dir_all(folder.path().join("root/usr/bin")).unwrap();
        Self { folder, engine: engine.to_owned(), systemd: false, program: BINARY.into() }
    }

    /// The same with systemd: then `program` becomes the worker's copy in the tree.
    pub fn with_systemd(mut self, program: &Path) -> Self {
        self.systemd = true;
        self.program = program.to_owned();
        std::fs::create_dir_all(self.at("/etc/systemd/system")).unwrap();
        self
    }

    /// The same with a configuration.
    pub fn with_config(self, text: &str) -> Self {
        self.write(CONFIG, text);
        self
    }

    /// Another bench with the same tree; what lies beside it stays here.
    pub fn copy(&self) -> Self {
        let folder = scratch();
        let copied = Command::new("cp").arg("-a").arg(self.at("/")).arg(folder.path().join("root")).status();
        assert!(copied.unwrap().success());
        Self { folder, engine: self.engine.clone(), systemd: self.systemd, program: self.program.clone() }
    }

    /// Where `path` of the tree is.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    /// Where packages are.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn snapshot(&self) -> Snapshot {
        snapshot(&self.at("/"))
    }

    /// The package `name` with one handler of the same name.
    pub fn package(&self, name: &str) -> String {
        self.package_with(name, "1.0", &[name])
    }

    /// A package with these handlers.
    pub fn package_with(&self, name: &str, version: &str, handlers: &[&str]) -> String {
        let mut text = format!("schema = 1\nname = \"{name}\"\nversion = \"{version}\"\n");
        for handler in handlers {
            text.push_str(&format!(
                "\n[[handler]]\nname = \"{handler}\"\nshim = \"bin/containerd-shim-{name}-v1\"\n\
                 config = \"etc/{name}.toml\"\n"
            ));
        }
        let folder = self.beside(&format!("packages/{name}-{version}"));
        make_package(&folder, &text, name);
        format!("dir:{}", folder.display())
    }

    /// The command, without arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("COFFERDAM_FAULT").stdin(Stdio::null());
        command
    }

    /// Runs `cofferdam ARGS` on the tree.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(None, args)
    }

    /// Runs it with a failpoint.
    pub fn run_with(&self, fault: Option<&str>, args: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(args).arg("--root").arg(self.at("/")).args(["--engine", &self.engine]);
        if !self.systemd {
            command.arg("--no-systemd");
        }
        if let Some(fault) = fault {
            command.env("COFFERDAM_FAULT", fault);
        }
        finish(command)
    }
}

/// A package in `folder`: this descriptor, a shim and its configuration.
pub fn make_package(folder: &Path, descriptor: &str, name: &str) {
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    std::fs::write(folder.join("runtime.toml"), descriptor).unwrap();
    let shim = folder.join(format!("bin/containerd-shim-{name}-v1"));
    std::fs::write(&shim, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.join(format!("etc/{name}.toml")), "debug = false\n").unwrap();
}

/// Runs a command to its end.
pub fn finish(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    Ran {
        args: args.join(" "),
        code: output.status.code(),
        signal: output.status.signal(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The program under test without what only debuggers read, so that copying it takes less time; as it is if there is
/// no `strip` here.
pub fn small_program(folder: &Path) -> PathBuf {
    let small = folder.join("cofferdam");
    let stripped = Command::new("strip").args(["-o".as_ref(), small.as_os_str(), BINARY.as_ref()]).status();
    match stripped {
        Ok(status) if status.success() => small,
        _ => BINARY.into(),
    }
}

/// Writes a file, and the folders above it.
pub fn put(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The archive of a folder's content, with `./` before each path.
pub fn tar_of(folder: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", folder).unwrap();
    builder.into_inner().unwrap()
}

/// The installed tree of a runtime, in the offline tree and as it is called there.
pub fn tree(bench: &Bench, runtime: &str) -> (PathBuf, String) {
    let folder = format!("/opt/cofferdam/runtimes/{runtime}");
    let mut found: Vec<_> = fs::read_dir(bench.at(&folder)).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let name = found.remove(0).file_name().into_string().unwrap();
    (bench.at(&format!("{folder}/{name}")), format!("{folder}/{name}"))
}

/// Bytes that no compression makes much smaller.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(size)
    .collect()
}
