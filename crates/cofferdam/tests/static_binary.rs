//! The program is one static file: it names no interpreter, resolves no names through the C library, and works where
//! nothing else is.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, elf};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release in `COFFERDAM_RELEASE`, or the build under test.
fn program() -> PathBuf {
    std::env::var_os("COFFERDAM_RELEASE").map_or_else(|| support::BINARY.into(), PathBuf::from)
}

/// What keeps `program` from running on any Linux of its architecture. Without symbols, names cannot be looked for.
fn obstacles(program: &Path) -> Vec<String> {
    let bytes = std::fs::read(program).unwrap();
    let header = elf::FileHeader64::<Endianness>::parse(bytes.as_slice()).unwrap();
    let endian = header.endian().unwrap();
    let mut found = Vec::new();
    for part in header.program_headers(endian, bytes.as_slice()).unwrap() {
        if part.p_type(endian) == elf::PT_INTERP {
            found.push("it needs an interpreter (PT_INTERP)".to_owned());
        }
    }
    let file = object::File::parse(bytes.as_slice()).unwrap();
    for symbol in file.symbols().filter(|symbol| symbol.is_definition()) {
        if let Ok(name @ ("getaddrinfo" | "gethostbyname" | "getpwnam")) = symbol.name() {
            found.push(format!("it contains {name}, which loads libraries of the host's C library"));
        }
    }
    found
}

#[test]
fn it_needs_no_file_of_the_host() {
    assert_eq!(obstacles(&program()), Vec::<String>::new());
}

#[test]
fn a_dynamic_program_is_told_apart() {
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    assert!(obstacles(&shell).iter().any(|text| text.contains("PT_INTERP")));
}

/// `cofferdam ARGS` as the only program in the world.
fn alone(root: &Path, args: &[&str]) -> support::Ran {
    let mut command = Command::new("chroot");
    command.arg(root).arg("/cofferdam").args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    support::finish(command)
}

#[test]
fn it_runs_where_nothing_else_is() {
    if !rustix::process::geteuid().is_root() {
        println!("left out: chroot needs root");
        return;
    }
    let folder = support::scratch();
    let root = folder.path();
    std::fs::copy(program(), root.join("cofferdam")).unwrap();
    alone(root, &["--version"]).expect(0).says(env!("CARGO_PKG_VERSION"));

    let text = "schema = 1\nname = \"toy\"\nversion = \"1\"\n[[handler]]\nname = \"toy\"\n\
                shim = \"bin/containerd-shim-toy-v1\"\n";
    support::make_package(&root.join("package"), text, "toy");
    std::fs::create_dir_all(root.join("tree/etc")).unwrap();
    let tree = ["--root", "/tree", "--engine", "containerd@2.4", "--no-systemd"];
    let before = support::snapshot(&root.join("tree"));
    alone(root, &[&["install", "dir:/package"][..], &tree].concat()).expect(0);
    assert!(root.join("tree/etc/containerd/config.toml").exists());
    alone(root, &[&["remove", "toy"][..], &tree].concat()).expect(0);
    support::assert_same(&before, &support::snapshot(&root.join("tree")), "alone in a chroot");
}
