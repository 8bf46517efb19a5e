//! A package and its image, and what it takes to fetch it.

use super::{Answer, Fake, Request};
use cofferdam_core::class::Class;
use cofferdam_core::name::Digest;
use cofferdam_core::reference::Reference;
use cofferdam_host::error::HostError;
use cofferdam_host::net::Patience;
use cofferdam_host::package::{Access, Place, Remote, Source, TemporaryRoom};
use cofferdam_host::registry::{Layout, Login};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const DESCRIPTOR: &str = "schema = 1\nname = \"toy\"\nversion = \"1.0\"\n[[handler]]\nname = \"toy\"\n\
                          shim = \"bin/containerd-shim-toy-v1\"\n";

/// A package and its image.
pub struct Bench {
    pub folder: TempDir,
    pub digest: Digest,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("package");
        std::fs::create_dir_all(package.join("bin")).unwrap();
        std::fs::write(package.join("runtime.toml"), DESCRIPTOR).unwrap();
        let shim = package.join("bin/containerd-shim-toy-v1");
        std::fs::write(&shim, "#!/bin/sh\n".repeat(1000)).unwrap();
        std::fs::set_permissions(&shim, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let digest = pack(&package, &folder.path().join("image")).digest();
        Self { folder, digest }
    }

    pub fn image(&self) -> std::path::PathBuf {
        self.folder.path().join("image")
    }

    /// A well-behaved registry that has the image as `team/toy:1.0`.
    pub fn registry(&self) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
        let (image, digest) = (self.image(), self.digest);
        move |request| super::serve_layout(&image, &digest, request)
    }
}

pub fn pack(package: &Path, out: &Path) -> Layout {
    let source = Source::plain(Place::Dir(package.to_owned()));
    TemporaryRoom::default().open(&source, None, &mut |_| {}).unwrap().pack(out, None).unwrap()
}

pub fn remote(fake: &Fake, target: &str, access: Access) -> Remote {
    let reference = Reference::new(format!("127.0.0.1:{}/team/toy{target}", fake.port)).unwrap();
    Remote { reference, access }
}

/// The digest of the package's files, and of its image.
pub fn fetch(place: Place) -> Result<(Digest, Digest), HostError> {
    let room = TemporaryRoom::default();
    let package = room.open(&Source::plain(place), None, &mut |_| {})?.package;
    Ok((package.digest, package.image.unwrap()))
}

pub fn fetch_from(fake: &Fake, target: &str, access: Access) -> Result<(Digest, Digest), HostError> {
    fetch(Place::Oci(remote(fake, target, access)))
}

pub fn ann() -> Access {
    let login = Login::Basic { username: "ann".to_owned(), password: "hunter2".to_owned() };
    Access { login: Some(login), ..quick() }
}

/// Without a login, and without much patience.
pub fn quick() -> Access {
    let short = Duration::from_millis(1);
    let patience = Patience { first_pause: short, longest_pause: short * 4, ..Patience::default() };
    Access { patience, ..Access::default() }
}

pub fn told(error: &HostError) -> String {
    format!("{} {}", error.chain(), error.hint().unwrap_or_default())
}

#[track_caller]
pub fn refused(result: Result<(Digest, Digest), HostError>, class: Class, words: &[&str]) {
    let error = result.unwrap_err();
    for word in words {
        assert!(told(&error).contains(word), "no {word:?} in {}", told(&error));
    }
    assert_eq!(error.class(), class, "{}", told(&error));
    assert!(!told(&error).contains("hunter2"), "a secret in {}", told(&error));
}

/// A registry whose answers are changed on their way.
pub fn changed(bench: &Bench, change: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static) -> Fake {
    let inner = bench.registry();
    Fake::start(move |request| {
        let answer = inner(request);
        change(request, answer)
    })
}

pub fn is_layer(request: &Request, answer: &Answer) -> bool {
    request.path.contains("/blobs/") && answer.body.starts_with(&[0x1f, 0x8b])
}
