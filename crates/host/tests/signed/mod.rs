//! A registry with one image, and whoever signs it.

use crate::fake::{Answer, Fake, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cofferdam_core::name::Digest;
use cofferdam_core::reference::Reference;
use cofferdam_core::trust::{Policy, Verified};
use cofferdam_host::error::HostError;
use cofferdam_host::package::{Access, Place, Remote, Source, TemporaryRoom};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const DESCRIPTOR: &str = "schema = 1\nname = \"toy\"\nversion = \"1.0\"\n[[handler]]\nname = \"toy\"\n\
                          shim = \"bin/containerd-shim-toy-v1\"\n";

/// Manifests and blobs by their places, with their media types.
type Kept = BTreeMap<String, (Vec<u8>, String)>;

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// A registry that has an image as `team/toy:1.0`, and whatever is put beside it.
pub struct Shop {
    pub folder: TempDir,
    pub image: Digest,
    pub fake: Fake,
    store: Arc<Mutex<Kept>>,
    /// Whether it keeps lists of what refers to what.
    lists: Arc<Mutex<bool>>,
}

impl Shop {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("package");
        std::fs::create_dir_all(package.join("bin")).unwrap();
        std::fs::write(package.join("runtime.toml"), DESCRIPTOR).unwrap();
        let shim = package.join("bin/containerd-shim-toy-v1");
        std::fs::write(&shim, "#!/bin/sh\n".repeat(1000)).unwrap();
        std::fs::set_permissions(&shim, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let source = Source::plain(Place::Dir(package));
        let layout = folder.path().join("image");
        let image = TemporaryRoom::default().open(&source, None, &mut |_| {}).unwrap();
        let image = image.pack(&layout, None).unwrap().digest();
        let store: Arc<Mutex<Kept>> = Arc::default();
        let lists: Arc<Mutex<bool>> = Arc::default();
        let (kept, listing) = (Arc::clone(&store), Arc::clone(&lists));
        let fake = Fake::start(move |request| answer(&layout, &kept, &listing, image, request));
        Self { folder, image, fake, store, lists }
    }

    pub fn layout(&self) -> std::path::PathBuf {
        self.folder.path().join("image")
    }

    /// The image's manifest.
    pub fn manifest(&self) -> Vec<u8> {
        std::fs::read(self.layout().join("blobs/sha256").join(self.image.hex())).unwrap()
    }

    /// From now on it lists what refers to a manifest.
    pub fn keep_lists(&self) {
        *self.lists.lock().unwrap() = true;
    }

    /// Puts a manifest there, by its digest and under `tag`.
    pub fn put(&self, tag: &str, bytes: &[u8], media_type: &str) -> Digest {
        let digest = Digest::of(bytes);
        let mut store = self.store.lock().unwrap();
        for name in [tag.to_owned(), digest.to_string()] {
            store.insert(format!("manifests/{name}"), (bytes.to_vec(), media_type.to_owned()));
        }
        digest
    }

    /// Puts a blob there, and returns what names it.
    pub fn put_blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::of(bytes).to_string();
        self.put_blob_as(&digest, bytes);
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    pub fn put_blob_as(&self, digest: &str, bytes: &[u8]) {
        self.store.lock().unwrap().insert(format!("blobs/{digest}"), (bytes.to_vec(), String::new()));
    }

    /// Old signatures of `subject`: payloads with their annotations.
    pub fn put_tag_signatures(&self, subject: Digest, signatures: &[(Vec<u8>, Value)]) {
        let mut layers = Vec::new();
        for (payload, annotations) in signatures {
            let mut layer = self.put_blob(payload, SIMPLE);
            layer["annotations"] = annotations.clone();
            layers.push(layer);
        }
        self.put_tag_layers(subject, &layers);
    }

    pub fn put_tag_layers(&self, subject: Digest, layers: &[Value]) {
        let config = self.put_blob(b"{}", "application/vnd.oci.image.config.v1+json");
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.put(&format!("sha256-{}.sig", subject.hex()), manifest.to_string().as_bytes(), MANIFEST);
    }

    /// A bundle that refers to `subject`; `change` may alter the manifest that brings it.
    pub fn put_bundle(&self, subject: Digest, bundle: &[u8], change: impl FnOnce(&mut Value)) -> Value {
        let layer = self.put_blob(bundle, BUNDLE);
        let config = self.put_blob(b"{}", "application/vnd.oci.empty.v1+json");
        let about = json!({"mediaType": MANIFEST, "digest": subject.to_string(), "size": 1});
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
            "config": config, "layers": [layer], "subject": about,
        });
        change(&mut manifest);
        let bytes = manifest.to_string();
        let digest = self.put("unused", bytes.as_bytes(), MANIFEST);
        let one = json!({
            "mediaType": MANIFEST, "digest": digest.to_string(), "size": bytes.len(), "artifactType": BUNDLE,
        });
        self.list(subject, std::slice::from_ref(&one));
        one
    }

    /// What the tag (or the list) says of what refers to `subject`.
    pub fn list(&self, subject: Digest, referrers: &[Value]) {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": referrers}).to_string();
        self.put(&format!("sha256-{}", subject.hex()), index.as_bytes(), INDEX);
    }

    pub fn reference(&self, target: &str) -> Reference {
        Reference::new(format!("127.0.0.1:{}/team/toy{target}", self.fake.port)).unwrap()
    }

    /// What was verified of the image by its tag.
    pub fn open(&self, policy: Policy) -> Result<Verified, HostError> {
        self.open_as(":1.0", policy)
    }

    pub fn open_as(&self, target: &str, policy: Policy) -> Result<Verified, HostError> {
        let place = Place::Oci(Remote { reference: self.reference(target), access: Access::default() });
        open(place, policy)
    }

    /// Whether a byte of the image itself was asked for.
    pub fn was_unpacked(&self) -> bool {
        let manifest: Value = serde_json::from_slice(&self.manifest()).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let layers: Vec<&str> = layers.iter().map(|layer| layer["digest"].as_str().unwrap()).collect();
        let requests = self.fake.requests();
        requests.iter().any(|request| layers.iter().any(|layer| request.path.contains(layer)))
    }
}

pub fn open(place: Place, policy: Policy) -> Result<Verified, HostError> {
    let source = Source { policy: Some(policy), ..Source::plain(place) };
    let room = TemporaryRoom::default();
    let package = room.open(&source, None, &mut |_| {})?.package;
    Ok(package.verified.unwrap())
}

fn answer(
    layout: &Path,
    store: &Mutex<Kept>,
    lists: &Mutex<bool>,
    image: Digest,
    request: &Request,
) -> Answer {
    let store = store.lock().unwrap();
    let path = request.path.strip_prefix("/v2/team/toy/").unwrap_or_default();
    let path = path.split('?').next().unwrap();
    let kept = match path.strip_prefix("referrers/sha256:") {
        Some(hex) if *lists.lock().unwrap() => store.get(&format!("manifests/sha256-{hex}")),
        Some(_) => None,
        None => store.get(path),
    };
    match kept {
        Some((bytes, media_type)) => Answer::ok(bytes)
            .with("content-type", media_type)
            .with("docker-content-digest", &Digest::of(bytes).to_string()),
        None if path.starts_with("referrers/") => Answer::status(404),
        None => crate::fake::serve_layout(layout, &image, request),
    }
}

/// Somebody with a key.
pub struct Key {
    pub pair: rcgen::KeyPair,
}

impl Key {
    pub fn new() -> Self {
        Self { pair: rcgen::KeyPair::generate().unwrap() }
    }

    pub fn copy(&self) -> Self {
        Self { pair: rcgen::KeyPair::from_pem(&self.pair.serialize_pem()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.pair.public_key_pem()
    }

    pub fn der(&self) -> Vec<u8> {
        let pem = self.pem();
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        STANDARD.decode(text).unwrap()
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let pkcs8 = self.pair.serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random).unwrap();
        pair.sign(&random, message).unwrap().as_ref().to_vec()
    }

    /// The policy that everything is signed with this key.
    pub fn policy(&self) -> Policy {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("acme.pub");
        std::fs::write(&file, self.pem()).unwrap();
        cofferdam_host::signature::policy_of_keys(&[file]).unwrap()
    }

    /// An old signature of `image`.
    pub fn tag_signature(&self, image: Digest) -> (Vec<u8>, Value) {
        let payload = payload(image);
        let annotations = json!({"dev.cosignproject.cosign/signature": base64(self.sign(&payload))});
        (payload, annotations)
    }

    /// A bundle with a signed statement about `image`.
    pub fn bundle(&self, image: Digest) -> Value {
        self.bundle_of(&statement(image))
    }

    pub fn bundle_of(&self, statement: &Value) -> Value {
        let payload = statement.to_string();
        let signature = self.sign(&enveloped(payload.as_bytes()));
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64(&payload), "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": base64(signature), "keyid": ""}],
            },
        })
    }
}

/// What is signed of a payload in an envelope.
pub fn enveloped(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

pub fn payload(image: Digest) -> Vec<u8> {
    let critical = json!({
        "identity": {"docker-reference": "registry.example.org/team/toy"},
        "image": {"docker-manifest-digest": image.to_string()},
        "type": "cosign container image signature",
    });
    json!({"critical": critical, "optional": null}).to_string().into_bytes()
}

pub fn statement(image: Digest) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "", "digest": {"sha256": image.hex()}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {},
    })
}

pub fn told(error: &HostError) -> String {
    format!("{} {}", error.chain(), error.hint().unwrap_or_default())
}

/// A refusal with these words, before a byte of the image was asked for.
#[track_caller]
pub fn refused(shop: &Shop, result: Result<Verified, HostError>, what: &str, words: &[&str]) {
    let error = match result {
        Ok(verified) => panic!("{what}: accepted: {verified:?}"),
        Err(error) => error,
    };
    for word in words {
        assert!(told(&error).contains(word), "{what}: no {word:?} in {}", told(&error));
    }
    assert_eq!(error.class(), cofferdam_core::class::Class::Invalid, "{what}: {}", told(&error));
    assert!(!shop.was_unpacked(), "{what}: a layer was fetched");
}
