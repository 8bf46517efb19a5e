//! The core decides and does nothing: no crate beneath it, and no line in it, reaches for a machine.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that do I/O, run tasks or speak to Kubernetes; a trailing `*` stands for any ending.
const FORBIDDEN_CRATES: &[&str] = &[
    "tokio*",
    "async-*",
    "futures*",
    "smol",
    "mio",
    "polling",
    "rustix",
    "nix",
    "libc",
    "cap-std*",
    "kube*",
    "k8s-openapi",
    "hyper*",
    "reqwest",
    "tonic",
    "rustls",
    "socket2",
    "zbus*",
    "clap",
    "anyhow",
    "tempfile",
];

const FORBIDDEN_WORDS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "std::os::",
    "std::io::",
    "SystemTime",
    "Instant",
    "println!",
    "eprintln!",
];

fn forbidden(name: &str) -> bool {
    FORBIDDEN_CRATES.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

#[test]
fn no_crate_beneath_the_core_touches_a_machine() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "cofferdam-core", "--edges", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"toml_edit"), "cargo tree printed something else: {text}");
    let found: Vec<&&str> = names.iter().filter(|name| forbidden(name)).collect();
    assert!(found.is_empty(), "the core depends on {found:?}: move what needs them to cofferdam-host");
}

#[test]
fn no_line_of_the_core_touches_a_machine() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 5, "{files:?}");
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if FORBIDDEN_WORDS.iter().any(|word| names(code, word)) {
                found.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "the core does no I/O and reads no clock:\n{}", found.join("\n"));
}

/// Whether `word` stands in `code` as a word: `Instant` is not in `InstantNoodles`.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let before = code[..at].chars().next_back().is_some_and(part);
        let after = !word.ends_with(':') && code[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}
