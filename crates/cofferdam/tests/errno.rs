//! Each change of a file fails once, with each errno that file systems give: the run fails with an error that says what,
//! why and what to do, and the tree is as before; after the commit, recovery finishes.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::{Bench, Ran, Snapshot, assert_same, differences};

/// Errno, its cause as the C library words it, and the exit code of its class.
const ERRNOS: [(&str, &str, i32); 5] = [
    ("ENOSPC", "No space left on device", 6),
    ("EROFS", "Read-only file system", 3),
    ("EACCES", "Permission denied", 3),
    ("EXDEV", "Invalid cross-device link", 3),
    ("EBUSY", "Device or resource busy", 3),
];

enum Change {
    Install(&'static str),
    Remove(&'static str),
    /// An archive, of which each file is unpacked.
    Pull(&'static str),
}

struct Case {
    config: Option<&'static str>,
    before: &'static [&'static str],
    change: Change,
}

const CASES: [Case; 5] = [
    Case { config: None, before: &[], change: Change::Install("one") },
    Case { config: Some("version = 3\n# theirs\n"), before: &["two"], change: Change::Install("one") },
    Case { config: Some("version = 3\n# theirs\n"), before: &["one"], change: Change::Remove("one") },
    Case { config: None, before: &["one", "two"], change: Change::Remove("one") },
    Case { config: None, before: &[], change: Change::Pull("one") },
];

/// The package as an archive, with a link and a hard link in it.
fn archive(shop: &Bench, name: &str) -> String {
    let file = shop.beside(&format!("{name}.tar"));
    if !file.exists() {
        let package = shop.package(name);
        let mut archive = tar::Builder::new(Vec::new());
        archive.follow_symlinks(false);
        archive.append_dir_all("", package.strip_prefix("dir:").unwrap()).unwrap();
        let mut put = |kind, path: &str, content: &[u8], target: Option<&str>| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            match target {
                Some(target) => archive.append_link(&mut header, path, target).unwrap(),
                None => archive.append_data(&mut header, path, content).unwrap(),
            }
        };
        put(tar::EntryType::Regular, "share/file", &[7; 5000], None);
        put(tar::EntryType::Link, "share/again", &[], Some("share/file"));
        put(tar::EntryType::Symlink, "share/link", &[], Some("file"));
        std::fs::write(&file, archive.into_inner().unwrap()).unwrap();
    }
    format!("tar:{}", file.display())
}

impl Case {
    fn prepared(&self, shop: &Bench) -> Bench {
        let mut bench = Bench::new("containerd@2.4");
        // Every real tree has it. Had we to make it, a failure after the journal is gone would leave it, empty.
        std::fs::create_dir_all(bench.at("/var/lib")).unwrap();
        if let Some(config) = self.config {
            bench = bench.with_config(config);
        }
        for name in self.before {
            bench.run(&["install", &shop.package(name)]).expect(0);
        }
        bench
    }

    fn run(&self, bench: &Bench, shop: &Bench, fault: Option<&str>) -> Ran {
        match self.change {
            Change::Install(name) => bench.run_with(fault, &["install", &shop.package(name)]),
            Change::Remove(name) => bench.run_with(fault, &["remove", name]),
            Change::Pull(name) => bench.run_with(fault, &["pull", &archive(shop, name)]),
        }
    }

    /// What one failing change leads to. False once there is no such change.
    fn fail_at(&self, shop: &Bench, ends: &(Snapshot, Snapshot), errno: (&str, &str, i32), n: usize) -> bool {
        let (before, after) = ends;
        let (name, cause, class_code) = errno;
        let fault = format!("error:{name}:{n}");
        let bench = self.prepared(shop);
        let ran = self.run(&bench, shop, Some(&fault));
        let context = format!("{fault}: {ran}");
        if ran.code == Some(0) {
            // Either there is no n-th change, or it had another way (a temporary file in another folder), or it was
            // the log's: then the change holds.
            assert_same(after, &bench.snapshot(), &context);
            return n < 200 && self.has_change(shop, n);
        }
        assert!(ran.err.contains(cause), "no cause in {context}");
        assert!(ran.err.contains("could not ") && ran.err.contains('/'), "no path in {context}");
        assert!(ran.err.contains("hint: "), "no hint in {context}");
        assert!(ran.code == Some(7) || ran.code == Some(class_code), "{context}");
        let now = bench.snapshot();
        if differences(before, &now).is_empty() {
            return true;
        }
        // After the commit there is only forward.
        assert!(ran.err.contains("cofferdam recover"), "changed, and nothing says so: {context}");
        bench.run(&["recover"]).expect(0);
        assert_same(after, &bench.snapshot(), &context);
        true
    }

    /// Whether a run comes to an n-th change at all.
    fn has_change(&self, shop: &Bench, n: usize) -> bool {
        let bench = self.prepared(shop);
        self.run(&bench, shop, Some(&format!("kill:change:{n}"))).signal.is_some()
    }
}

#[test]
fn each_change_may_fail() {
    let shop = Bench::new("containerd");
    let mut count = 0;
    for case in &CASES {
        let bench = case.prepared(&shop);
        let before = bench.snapshot();
        case.run(&bench, &shop, None).expect(0);
        let ends = (before, bench.snapshot());
        for errno in ERRNOS {
            let mut n = 1;
            while case.fail_at(&shop, &ends, errno, n) {
                n += 1;
            }
            assert!(n > 20, "only {n} changes");
            count += n - 1;
        }
    }
    println!("{count} changes failed, one in each run");
}
