//! Signatures made with keys: what is accepted, and what is refused before a byte is unpacked.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub, dead_code)]

mod fake;
mod signed;

use cofferdam_core::name::Digest;
use cofferdam_core::trust::{Covers, Form, Policy, Signer};
use cofferdam_host::net::Patience;
use cofferdam_host::package::{Access, Place, Remote};
use cofferdam_host::registry::HostSettings;
use cofferdam_host::signature::read_policy;
use serde_json::{Value, json};
use signed::{BUNDLE, INDEX, Key, MANIFEST, Shop, base64, open, payload, refused, statement};

#[test]
fn old_and_new_signatures_are_accepted_and_named() {
    let key = Key::new();
    for form in ["tag", "bundle by tag", "bundle by list", "bundle on the manifest's bytes"] {
        let shop = Shop::new();
        match form {
            "tag" => shop.put_tag_signatures(shop.image, &[key.tag_signature(shop.image)]),
            "bundle on the manifest's bytes" => {
                let mut bundle = key.bundle(shop.image);
                bundle.as_object_mut().unwrap().remove("dsseEnvelope");
                let digest = base64(shop.image.as_bytes());
                bundle["messageSignature"] = json!({
                    "messageDigest": {"algorithm": "SHA2_256", "digest": digest},
                    "signature": base64(key.sign(&shop.manifest())),
                });
                shop.put_bundle(shop.image, bundle.to_string().as_bytes(), |_| {});
            }
            form => {
                shop.put_bundle(shop.image, key.bundle(shop.image).to_string().as_bytes(), |_| {});
                if form == "bundle by list" {
                    shop.keep_lists();
                }
            }
        }
        let verified = shop.open(key.policy()).unwrap_or_else(|error| panic!("{form}: {error}"));
        let Signer::Key { key: fingerprint, name, form: kept } = &verified.by else { panic!("{verified:?}") };
        assert_eq!(*fingerprint, Digest::of(&key.der()), "{form}");
        assert!(name.ends_with("acme.pub"), "{name}");
        assert_eq!(*kept, if form == "tag" { Form::Tag } else { Form::Bundle }, "{form}");
        assert_eq!((verified.subject, verified.covers), (Some(shop.image), Covers::Manifest), "{form}");
        assert!(shop.was_unpacked(), "{form}");
    }
}

#[test]
fn one_good_signature_among_bad_ones_is_enough() {
    let (key, other) = (Key::new(), Key::new());
    let shop = Shop::new();
    let broken = (b"{}".to_vec(), json!({"dev.cosignproject.cosign/signature": "AAAA"}));
    let signatures = [broken, other.tag_signature(shop.image), key.tag_signature(shop.image)];
    shop.put_tag_signatures(shop.image, &signatures);
    shop.open(key.policy()).unwrap();
}

#[test]
fn a_signature_on_the_index_or_on_the_platforms_manifest_covers_what_is_installed() {
    let key = Key::new();
    for on_index in [true, false] {
        let shop = Shop::new();
        let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let one = |digest: Digest, arch: &str| {
            json!({"mediaType": MANIFEST, "digest": digest.to_string(), "size": shop.manifest().len(),
                   "platform": {"os": "linux", "architecture": arch}})
        };
        let other = Digest::of(b"another machine's");
        let manifests = [one(other, "s390x"), one(shop.image, arch)];
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
        let index = shop.put("all", index.as_bytes(), INDEX);
        let (signed, covers) = if on_index { (index, Covers::Index) } else { (shop.image, Covers::Manifest) };
        // What another machine's manifest is signed with says nothing of ours.
        shop.put_tag_signatures(other, &[key.tag_signature(other)]);
        refused(&shop, shop.open_as(":all", key.policy()), "only another one's", &["not signed"]);
        shop.put_tag_signatures(signed, &[key.tag_signature(signed)]);
        let verified = shop.open_as(":all", key.policy()).unwrap();
        assert_eq!((verified.subject, verified.covers), (Some(signed), covers));
    }
}

/// Attacks on a registry whose image should be signed with a key.
#[test]
fn attacks_are_refused_with_the_right_reason_before_a_byte_is_unpacked() {
    let (key, other) = (Key::new(), Key::new());
    let elsewhere = Digest::of(b"another image");
    type Attack<'a> = (&'a str, Box<dyn Fn(&Shop) + 'a>, &'a [&'a str]);
    let tag = |shop: &Shop, payload: Vec<u8>, annotation: Value| {
        shop.put_tag_signatures(shop.image, &[(payload, annotation)]);
    };
    let signed = |payload: &[u8]| json!({"dev.cosignproject.cosign/signature": base64(key.sign(payload))});
    let bundle = |shop: &Shop, bundle: Value| {
        shop.put_bundle(shop.image, bundle.to_string().as_bytes(), |_| {});
    };
    let attacks: Vec<Attack<'_>> = vec![
        ("no signature", Box::new(|_| {}), &["is not signed", "--verify-key", "cosign sign"]),
        (
            "wrong key, by tag",
            Box::new(|shop| shop.put_tag_signatures(shop.image, &[other.tag_signature(shop.image)])),
            &["no signature of it is one", "not made with a key that the rule names"],
        ),
        (
            "wrong key, in a bundle",
            Box::new(|shop| bundle(shop, other.bundle(shop.image))),
            &["a bundle: it was not made with a key"],
        ),
        (
            "signature of another image, moved",
            Box::new(|shop| shop.put_tag_signatures(shop.image, &[key.tag_signature(elsewhere)])),
            &["it signs sha256:", "another image"],
        ),
        (
            "statement about another image, moved",
            Box::new(|shop| bundle(shop, key.bundle(elsewhere))),
            &["it signs sha256:", "another image"],
        ),
        (
            "payload of this image, signature of another payload",
            Box::new(|shop| tag(shop, payload(shop.image), signed(&payload(elsewhere)))),
            &["not made with a key that the rule names"],
        ),
        (
            "payload of another type",
            Box::new(|shop| {
                let text = String::from_utf8(payload(shop.image)).unwrap();
                let text = text.replace("cosign container image signature", "atomic container signature");
                tag(shop, text.clone().into_bytes(), signed(text.as_bytes()));
            }),
            &["payload's type `atomic container signature` is not understood"],
        ),
        (
            "payload without a digest",
            Box::new(|shop| {
                let text = br#"{"critical": {"image": {}, "type": "cosign container image signature"}}"#;
                tag(shop, text.to_vec(), signed(text));
            }),
            &["its payload cannot be read"],
        ),
        (
            "garbled base64",
            Box::new(|shop| {
                let garbled = json!({"dev.cosignproject.cosign/signature": "MEUC~~~~"});
                tag(shop, payload(shop.image), garbled);
            }),
            &["its signature cannot be read: it is no base64"],
        ),
        (
            "no signature in the annotations",
            Box::new(|shop| tag(shop, payload(shop.image), json!({}))),
            &["its signature cannot be read: there is none"],
        ),
        (
            "huge annotation",
            Box::new(|shop| {
                let huge = json!({"dev.cosignproject.cosign/signature": "A".repeat(300 << 10)});
                tag(shop, payload(shop.image), huge);
            }),
            &["its signature is larger than 262144 bytes"],
        ),
        (
            "huge payload",
            Box::new(|shop| {
                let huge = [payload(shop.image), vec![b' '; 80 << 10]].concat();
                tag(shop, huge.clone(), signed(&huge));
            }),
            &["its payload is larger than 65536 bytes"],
        ),
        (
            "payload that is not what its digest says",
            Box::new(|shop| {
                let mut layer = shop.put_blob(b"x", "application/vnd.dev.cosign.simplesigning.v1+json");
                let good = payload(shop.image);
                layer["annotations"] = signed(&good);
                layer["size"] = good.len().into();
                shop.put_blob_as(layer["digest"].as_str().unwrap(), &good);
                shop.put_tag_layers(shop.image, &[layer]);
            }),
            &["its payload is not what its digest says"],
        ),
        (
            "more signatures than are looked at, the good one last",
            Box::new(|shop| {
                let mut many = vec![other.tag_signature(shop.image); 64];
                many.push(key.tag_signature(shop.image));
                shop.put_tag_signatures(shop.image, &many);
            }),
            &["it has 65 signatures in a signature tags", "limit is 64"],
        ),
        (
            "more bundles than are looked at",
            Box::new(|shop| {
                let one = shop.put_bundle(shop.image, key.bundle(shop.image).to_string().as_bytes(), |_| {});
                shop.list(shop.image, &vec![one; 65]);
            }),
            &["it has 65 signatures in a bundles"],
        ),
        (
            "manifest of signatures that is no JSON",
            Box::new(|shop| {
                shop.put(&format!("sha256-{}.sig", shop.image.hex()), b"]", MANIFEST);
            }),
            &["the manifest of signatures cannot be read"],
        ),
        (
            "list of bundles that is no JSON",
            Box::new(|shop| {
                shop.put(&format!("sha256-{}", shop.image.hex()), b"]", INDEX);
            }),
            &["the list of bundles cannot be read"],
        ),
        (
            "bundle with another media type inside",
            Box::new(|shop| {
                let mut text = key.bundle(shop.image);
                text["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
                bundle(shop, text);
            }),
            &["bundle's media type `application/vnd.dev.sigstore.bundle+json;version=0.1` is not understood"],
        ),
        (
            "bundle in a layer of another media type",
            Box::new(|shop| {
                let text = key.bundle(shop.image).to_string();
                shop.put_bundle(shop.image, text.as_bytes(), |manifest| {
                    manifest["layers"][0]["mediaType"] = "text/plain".into();
                });
            }),
            &["bundle's media type `text/plain` is not understood"],
        ),
        (
            "listed as a bundle, and refers to something else",
            Box::new(|shop| {
                let text = key.bundle(shop.image).to_string();
                shop.put_bundle(shop.image, text.as_bytes(), |manifest| {
                    manifest["subject"]["digest"] = elsewhere.to_string().into();
                });
            }),
            &["does not refer to this image"],
        ),
        (
            "refers to nothing",
            Box::new(|shop| {
                let text = key.bundle(shop.image).to_string();
                shop.put_bundle(shop.image, text.as_bytes(), |manifest| {
                    manifest.as_object_mut().unwrap().remove("subject");
                });
            }),
            &["does not refer to this image"],
        ),
        (
            "manifest of a bundle that is not what the list names",
            Box::new(|shop| {
                let text = key.bundle(shop.image).to_string();
                let mut one = shop.put_bundle(shop.image, text.as_bytes(), |_| {});
                let lie = Digest::of(b"lie").to_string();
                shop.put(&lie, b"{\"layers\": []}", MANIFEST);
                one["digest"] = lie.into();
                shop.list(shop.image, &[one]);
            }),
            &["the manifest that brings it is not what its digest says"],
        ),
        (
            "attestation about the image that is no signature",
            Box::new(|shop| {
                let mut text = statement(shop.image);
                text["predicateType"] = "https://cosign.sigstore.dev/attestation/vuln/v1".into();
                bundle(shop, key.bundle_of(&text));
            }),
            &["it is no signature of an image, but says `https://cosign.sigstore.dev/attestation/vuln/v1`"],
        ),
        (
            "statement of another type",
            Box::new(|shop| {
                let mut text = statement(shop.image);
                text["_type"] = "https://example.com/Statement".into();
                bundle(shop, key.bundle_of(&text));
            }),
            &["statement's type `https://example.com/Statement` is not understood"],
        ),
        (
            "statement about nothing with a SHA-256 digest",
            Box::new(|shop| {
                let mut text = statement(shop.image);
                text["subject"] =
                    json!([{"name": shop.image.to_string(), "digest": {"sha1": shop.image.hex()}}]);
                bundle(shop, key.bundle_of(&text));
            }),
            &["it signs nothing that has a SHA-256 digest"],
        ),
        (
            "statement changed after it was signed",
            Box::new(|shop| {
                let mut text = key.bundle(elsewhere);
                text["dsseEnvelope"]["payload"] = base64(statement(shop.image).to_string()).into();
                bundle(shop, text);
            }),
            &["not made with a key that the rule names"],
        ),
        (
            "envelope of another type",
            Box::new(|shop| {
                let mut text = key.bundle(shop.image);
                text["dsseEnvelope"]["payloadType"] = "text/plain".into();
                bundle(shop, text);
            }),
            &["envelope's type `text/plain` is not understood"],
        ),
        (
            "envelope with a second signature",
            Box::new(|shop| {
                let mut text = key.bundle(shop.image);
                let one = text["dsseEnvelope"]["signatures"][0].clone();
                text["dsseEnvelope"]["signatures"] = json!([one, one]);
                bundle(shop, text);
            }),
            &["it has not exactly one signature"],
        ),
        (
            "message signature with this image's digest, made on something else",
            Box::new(|shop| {
                let digest = base64(shop.image.as_bytes());
                let message = json!({"messageDigest": {"algorithm": "SHA2_256", "digest": digest},
                                     "signature": base64(key.sign(b"something else"))});
                let mut text = key.bundle(shop.image);
                text.as_object_mut().unwrap().remove("dsseEnvelope");
                text["messageSignature"] = message;
                bundle(shop, text);
            }),
            &["not made with a key that the rule names"],
        ),
        (
            "bundle with both kinds of signatures",
            Box::new(|shop| {
                let mut text = key.bundle(shop.image);
                text["messageSignature"] = json!({"signature": ""});
                bundle(shop, text);
            }),
            &["it holds not exactly one signature"],
        ),
        (
            "bundle that is cut short",
            Box::new(|shop| {
                let text = key.bundle(shop.image).to_string();
                shop.put_bundle(shop.image, &text.as_bytes()[..text.len() / 2], |_| {});
            }),
            &["the bundle cannot be read"],
        ),
    ];
    assert!(attacks.len() > 25);
    for (what, set_up, words) in attacks {
        let shop = Shop::new();
        set_up(&shop);
        refused(&shop, shop.open(key.policy()), what, words);
    }
}

#[test]
fn what_cannot_be_asked_is_not_taken_for_unsigned() {
    let key = Key::new();
    let shop = Shop::new();
    let behind = shop.fake.port;
    let fake = fake::Fake::start(move |request| match request.path.ends_with(".sig") {
        true => fake::Answer::status(503),
        false => {
            fake::Answer::status(307).with("Location", &format!("http://127.0.0.1:{behind}{}", request.path))
        }
    });
    let look = || {
        let reference = format!("127.0.0.1:{}/team/toy:1.0", fake.port);
        let reference = cofferdam_core::reference::Reference::new(reference).unwrap();
        let patience = Patience { tries: 1, ..Patience::default() };
        open(Place::Oci(Remote { reference, access: Access { patience, ..Access::default() } }), key.policy())
    };
    let error = look().unwrap_err();
    assert_eq!(error.class(), cofferdam_core::class::Class::Unavailable, "{}", signed::told(&error));
    // A signature of the other form is enough.
    shop.put_bundle(shop.image, key.bundle(shop.image).to_string().as_bytes(), |_| {});
    look().unwrap();
}

#[test]
fn a_mirror_that_lists_nothing_does_not_speak_for_its_registry() {
    let (key, shop) = (Key::new(), Shop::new());
    shop.keep_lists();
    shop.put_bundle(shop.image, key.bundle(shop.image).to_string().as_bytes(), |_| {});
    let (layout, image) = (shop.layout(), shop.image);
    let mirror = fake::Fake::start(move |request| match request.path.contains("/referrers/") {
        true => fake::Answer::ok(b"{\"schemaVersion\":2,\"manifests\":[]}"),
        false => fake::serve_layout(&layout, &image, request),
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("_default")).unwrap();
    let text = format!("[host.\"http://127.0.0.1:{}\"]\n", mirror.port);
    std::fs::write(folder.path().join("_default/hosts.toml"), text).unwrap();
    let settings = HostSettings { hosts: vec![folder.path().into()], ..HostSettings::none() };
    let access = Access { settings, ..Access::default() };
    open(Place::Oci(Remote { reference: shop.reference(":1.0"), access }), key.policy()).unwrap();
    let lists: Vec<String> =
        mirror.requests().into_iter().map(|r| r.path).filter(|path| path.contains("/referrers/")).collect();
    let namespace = format!("&ns=127.0.0.1:{}", shop.fake.port);
    assert!(
        !lists.is_empty()
            && lists.iter().all(|path| path.contains("?artifactType=") && path.ends_with(&namespace)),
        "{lists:?}"
    );
}

/// A policy in a folder of its own, with the public key `acme.pub` beside it.
fn policy(key: &Key, text: &str) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.pub"), key.pem()).unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, format!("schema = 1\n{text}")).unwrap();
    read_policy(&file).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_narrowest_rule_counts_and_what_none_covers_is_refused() {
    let key = Key::new();
    let shop = Shop::new();
    let host = format!("127.0.0.1:{}", shop.fake.port);
    let rule = |scope: &str, rest: &str| format!("[[rule]]\nmatch = \"{scope}\"\naccept = {rest}\n");
    let keys = "\"key\"\nkeys = [\"acme.pub\"]";
    let none = policy(&key, &rule("ghcr.io", "\"anything\""));
    refused(&shop, shop.open(none), "no rule", &["no rule of", "policy.toml is about it", "[[rule]]"]);
    let empty = policy(&key, "");
    refused(&shop, shop.open(empty), "no rules", &["no rule of"]);
    let text = rule(&host, "\"anything\"") + &rule(&format!("{host}/team"), keys);
    refused(&shop, shop.open(policy(&key, &text)), "narrow asks for more", &["is not signed", "/team"]);
    let text = rule("*", keys) + &rule(&format!("{host}/team/toy"), "\"anything\"");
    let verified = shop.open(policy(&key, &text)).unwrap();
    assert_eq!((verified.by, verified.rule), (Signer::Nobody, format!("{host}/team/toy")));
}

#[test]
fn a_digest_in_the_reference_is_what_a_rule_may_ask_for() {
    let key = Key::new();
    let shop = Shop::new();
    let pinned = || policy(&key, "[[rule]]\nmatch = \"*\"\naccept = \"digest\"\n");
    refused(&shop, shop.open(pinned()), "by tag", &["it is not pinned by a digest", "REPOSITORY@sha256:"]);
    let verified = shop.open_as(&format!("@{}", shop.image), pinned()).unwrap();
    assert_eq!((verified.by, verified.subject), (Signer::Digest, Some(shop.image)));
}

#[test]
fn folders_cannot_be_signed_and_layouts_can() {
    let key = Key::new();
    let shop = Shop::new();
    let folder = || Place::Dir(shop.folder.path().join("package"));
    refused(&shop, open(folder(), key.policy()), "folder", &["only images can have one", "cofferdam pack"]);
    let anything = policy(&key, "[[rule]]\nmatch = \"dir:/\"\naccept = \"anything\"\n");
    assert_eq!(open(folder(), anything).unwrap().by, Signer::Nobody);
    let layout = || Place::Layout(shop.layout());
    refused(&shop, open(layout(), key.policy()), "layout", &["is not signed"]);
    add_to_layout(&shop, &key);
    let verified = open(layout(), key.policy()).unwrap();
    assert_eq!(verified.subject, Some(shop.image));
}

/// As tools copy an image with its signature into a layout.
fn add_to_layout(shop: &Shop, key: &Key) {
    let blobs = shop.layout().join("blobs/sha256");
    let write = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({"mediaType": BUNDLE, "digest": digest.to_string(), "size": bytes.len()})
    };
    let layer = write(key.bundle(shop.image).to_string().as_bytes());
    let config = write(b"{}");
    let about = json!({"mediaType": MANIFEST, "digest": shop.image.to_string(), "size": 1});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
                          "config": config, "layers": [layer], "subject": about});
    let mut one = write(manifest.to_string().as_bytes());
    one["mediaType"] = MANIFEST.into();
    one["artifactType"] = BUNDLE.into();
    let path = shop.layout().join("index.json");
    let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().push(one);
    std::fs::write(path, index.to_string()).unwrap();
}
