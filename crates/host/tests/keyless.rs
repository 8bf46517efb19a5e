//! Signatures of people and workflows without a key of their own, against a certificate authority and a log of the test's.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub, dead_code)]

mod fake;
mod signed;

use cofferdam_core::name::Digest;
use cofferdam_core::trust::{Form, Policy, Signer};
use cofferdam_host::signature::read_policy;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, PublicKeyData, SanType,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use signed::{BUNDLE, Key, Shop, base64, enveloped, payload, refused, statement};
use std::time::Duration;

const FLOW: &str = "https://github.com/acme/kata/.github/workflows/release.yml@refs/tags/v1.0";
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// 2023-11-14, midnight.
const DAY: u64 = 1_699_920_000;

/// An authority that certifies signers, and a log that notes what they sign.
struct Sigstore {
    root: Issuer<'static, KeyPair>,
    root_der: Vec<u8>,
    between: Issuer<'static, KeyPair>,
    between_der: Vec<u8>,
    log: Key,
    /// A log of certificates.
    publisher: Key,
}

/// What is signed, by whom, when.
struct Order<'a> {
    identity: SanType,
    issuer: &'a str,
    usage: ExtendedKeyUsagePurpose,
    signed_at: u64,
    from: u64,
    until: u64,
    published: bool,
}

impl Default for Order<'_> {
    fn default() -> Self {
        Self {
            identity: SanType::URI(FLOW.try_into().unwrap()),
            issuer: GITHUB,
            usage: ExtendedKeyUsagePurpose::CodeSigning,
            signed_at: DAY + 60,
            from: DAY,
            until: DAY + 600,
            published: true,
        }
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params
}

impl Sigstore {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority("root");
        let root_der = params.self_signed(&key).unwrap().der().to_vec();
        let root = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = authority("intermediate");
        let between_der = params.signed_by(&key, &root).unwrap().der().to_vec();
        Self {
            root,
            root_der,
            between: Issuer::new(params, key),
            between_der,
            log: Key::new(),
            publisher: Key::new(),
        }
    }

    /// The same authority and the same logs.
    fn copy(&self) -> Self {
        let key = |issuer: &Issuer<'_, KeyPair>| KeyPair::from_pem(&issuer.key().serialize_pem()).unwrap();
        Self {
            root: Issuer::new(authority("root"), key(&self.root)),
            between: Issuer::new(authority("intermediate"), key(&self.between)),
            root_der: self.root_der.clone(),
            between_der: self.between_der.clone(),
            log: self.log.copy(),
            publisher: self.publisher.copy(),
        }
    }

    fn log_id(&self) -> Digest {
        Digest::of(&self.log.der())
    }

    fn trust_root(&self) -> Value {
        let raw = |der: &[u8]| json!({"rawBytes": base64(der)});
        let window = json!({"start": "2021-01-12T11:53:27.000Z"});
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [{
                "baseUrl": "https://log.example.org", "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": base64(self.log.der()), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                              "validFor": window},
                "logId": {"keyId": base64(self.log_id().as_bytes())},
            }],
            "certificateAuthorities": [{
                "uri": "https://authority.example.org",
                "certChain": {"certificates": [raw(&self.between_der), raw(&self.root_der)]},
                "validFor": window,
            }],
            "ctlogs": [{
                "baseUrl": "https://certificates.example.org", "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": base64(self.publisher.der()), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                              "validFor": window},
                "logId": {"keyId": base64(Digest::of(&self.publisher.der()).as_bytes())},
            }],
        })
    }

    fn policy(&self) -> Policy {
        self.policy_of(&self.trust_root(), FLOW, GITHUB)
    }

    fn policy_of(&self, root: &Value, identity: &str, issuer: &str) -> Policy {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("trusted_root.json"), root.to_string()).unwrap();
        let file = folder.path().join("policy.toml");
        let text = format!(
            "schema = 1\n[[rule]]\nmatch = \"*\"\naccept = \"keyless\"\ntrust-root = \"trusted_root.json\"\n\
             signers = [{{ identity = \"{identity}\", issuer = \"{issuer}\" }}]\n"
        );
        std::fs::write(&file, text).unwrap();
        read_policy(&file).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A key and its certificate, as PEM and DER.
    fn certify(&self, order: &Order<'_>) -> (Key, String, Vec<u8>) {
        let key = Key::new();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![order.identity.clone()];
        params.extended_key_usages = vec![order.usage.clone()];
        let day = rcgen::date_time_ymd(2023, 11, 14);
        params.not_before = day + Duration::from_secs(order.from - DAY);
        params.not_after = day + Duration::from_secs(order.until - DAY);
        let text = order.issuer.as_bytes();
        let mut utf8 = vec![0x0c, u8::try_from(text.len()).unwrap()];
        utf8.extend_from_slice(text);
        params.custom_extensions = vec![
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 1], text.to_vec()),
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], utf8),
        ];
        params.serial_number = Some(rcgen::SerialNumber::from(7));
        let seen = params.signed_by(&key.pair, &self.between).unwrap();
        if order.published {
            params.custom_extensions.push(self.stamp(seen.der(), order.from));
        }
        let certificate = params.signed_by(&key.pair, &self.between).unwrap();
        (key, certificate.pem(), certificate.der().to_vec())
    }

    /// The extension in which the log of certificates says that it has seen one.
    fn stamp(&self, seen: &[u8], time: u64) -> CustomExtension {
        // A certificate of less than 64 KiB: its head has four bytes, and so has the head of what is signed in it.
        assert_eq!((seen[1], seen[4], seen[5]), (0x82, 0x30, 0x82));
        let tbs = &seen[4..8 + usize::from(seen[6]) * 256 + usize::from(seen[7])];
        let authority = Sha256::digest(self.between.key().subject_public_key_info());
        let millis = (time * 1000).to_be_bytes();
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let message = [&[0, 0], &millis[..], &[0, 1], &authority, &length[1..], tbs, &[0, 0]].concat();
        let signature = self.publisher.sign(&message);
        let id = Digest::of(&self.publisher.der());
        let counted = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let stamp = [&[0], &id.as_bytes()[..], &millis, &[0, 0], &[4, 3], &counted(&signature)].concat();
        let list = counted(&counted(&stamp));
        let content = [&[0x04, u8::try_from(list.len()).unwrap()], &list[..]].concat();
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], content)
    }

    /// The log's entry for `body`, with its promise, and a proof that it is the fourth of seven.
    fn entry(&self, kind: &str, body: &Value, time: u64) -> Value {
        let body = body.to_string();
        let promised = format!(
            "{{\"body\":\"{}\",\"integratedTime\":{time},\"logID\":\"{}\",\"logIndex\":103}}",
            base64(&body),
            self.log_id().hex()
        );
        let mut leaves: Vec<Vec<u8>> = (0..7).map(|n| format!("entry {n}").into_bytes()).collect();
        leaves[3] = body.clone().into_bytes();
        let root = tree(&leaves);
        let text = format!("log.example.org - 1\n7\n{}\n", base64(root));
        let note = [&self.log_id().as_bytes()[..4], &self.log.sign(text.as_bytes())].concat();
        json!({
            "logIndex": "103", "logId": {"keyId": base64(self.log_id().as_bytes())},
            "kindVersion": {"kind": kind, "version": "0.0.1"}, "integratedTime": time.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": base64(self.log.sign(promised.as_bytes()))},
            "inclusionProof": {
                "logIndex": "3", "rootHash": base64(root), "treeSize": "7",
                "hashes": steps(3, &leaves).iter().map(base64).collect::<Vec<_>>(),
                "checkpoint": {"envelope": format!("{text}\n\u{2014} log.example.org {}\n", base64(note))},
            },
            "canonicalizedBody": base64(body),
        })
    }

    /// A bundle about `image`.
    fn bundle(&self, image: Digest, order: &Order<'_>) -> Value {
        let (key, pem, der) = self.certify(order);
        let payload = statement(image).to_string();
        let signature = base64(key.sign(&enveloped(payload.as_bytes())));
        let noted = json!({"signature": signature, "verifier": base64(pem)});
        let hash = json!({"algorithm": "sha256", "value": Digest::of(payload.as_bytes()).hex()});
        let body = json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "envelopeHash": hash, "payloadHash": hash, "signatures": [noted],
        }});
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "certificate": {"rawBytes": base64(der)},
                "tlogEntries": [self.entry("dsse", &body, order.signed_at)],
            },
            "dsseEnvelope": {
                "payload": base64(payload), "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": signature}],
            },
        })
    }

    /// An old signature of `image`.
    fn tag_signature(&self, image: Digest, order: &Order<'_>) -> (Vec<u8>, Value) {
        let (key, pem, _) = self.certify(order);
        let payload = payload(image);
        let signature = base64(key.sign(&payload));
        let body = json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": Digest::of(&payload).hex()}},
            "signature": {"content": signature, "publicKey": {"content": base64(&pem)}},
        }});
        let entry = self.entry("hashedrekord", &body, order.signed_at);
        let bundle = json!({
            "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {"body": entry["canonicalizedBody"], "integratedTime": order.signed_at,
                        "logIndex": 103, "logID": self.log_id().hex()},
        });
        let annotations = json!({
            "dev.cosignproject.cosign/signature": signature, "dev.sigstore.cosign/certificate": pem,
            "dev.sigstore.cosign/bundle": bundle.to_string(),
        });
        (payload, annotations)
    }
}

fn sha(parts: &[&[u8]]) -> [u8; 32] {
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(part));
    sha.finalize().into()
}

/// RFC 6962, as it is written there: where a tree of so many leaves is cut in two.
fn cut(count: usize) -> usize {
    (count.div_ceil(2)).next_power_of_two()
}

fn tree(leaves: &[Vec<u8>]) -> [u8; 32] {
    match leaves {
        [leaf] => sha(&[&[0], leaf]),
        leaves => {
            let (left, right) = leaves.split_at(cut(leaves.len()));
            sha(&[&[1], &tree(left), &tree(right)])
        }
    }
}

fn steps(at: usize, leaves: &[Vec<u8>]) -> Vec<[u8; 32]> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(cut(leaves.len()));
    if at < left.len() {
        [steps(at, left), vec![tree(right)]].concat()
    } else {
        [steps(at - left.len(), right), vec![tree(left)]].concat()
    }
}

fn put(shop: &Shop, bundle: &Value) {
    shop.put_bundle(shop.image, bundle.to_string().as_bytes(), |_| {});
}

#[test]
fn who_signed_is_known_in_both_forms() {
    let sigstore = Sigstore::new();
    for form in [Form::Tag, Form::Bundle] {
        let shop = Shop::new();
        match form {
            Form::Tag => {
                let signature = sigstore.tag_signature(shop.image, &Order::default());
                shop.put_tag_signatures(shop.image, &[signature]);
            }
            Form::Bundle => put(&shop, &sigstore.bundle(shop.image, &Order::default())),
        }
        let verified = shop.open(sigstore.policy()).unwrap_or_else(|error| panic!("{form}: {error}"));
        let (identity, issuer) = (FLOW.to_owned(), GITHUB.to_owned());
        assert_eq!(verified.by, Signer::Identity { identity, issuer, signed_at: DAY + 60, form }, "{form}");
        assert_eq!(verified.subject, Some(shop.image));
    }
}

#[test]
fn a_pattern_of_identities_lets_in_who_fits_and_nobody_else() {
    let sigstore = Sigstore::new();
    let shop = Shop::new();
    put(&shop, &sigstore.bundle(shop.image, &Order::default()));
    let policy = |pattern: &str| sigstore.policy_of(&sigstore.trust_root(), pattern, GITHUB);
    for near_miss in [
        "https://github.com/acme/*",
        "https://github.com/acme/kata/.github/workflows/release.yml@refs/heads/*",
        "https://github.com/acme/kata/.github/workflows/release.yml@refs/tags/v1",
        "https://github.com/acme/kat/**",
        "https://github.com/Acme/kata/**",
        "http://github.com/acme/kata/**",
        "github.com/acme/kata/**",
    ] {
        refused(&shop, shop.open(policy(near_miss)), near_miss, &["was signed by", FLOW, GITHUB, "may not"]);
    }
    let fits = "https://github.com/acme/kata/.github/workflows/release.yml@refs/tags/v*";
    shop.open(policy(fits)).unwrap();
    let mail =
        Order { identity: SanType::Rfc822Name("ann@acme.example".try_into().unwrap()), ..Order::default() };
    let shop = Shop::new();
    put(&shop, &sigstore.bundle(shop.image, &mail));
    shop.open(policy("*@acme.example")).unwrap();
}

/// Attacks on a registry whose image should be signed by a workflow.
#[test]
fn attacks_are_refused_with_the_right_reason_before_a_byte_is_unpacked() {
    let (sigstore, stranger) = (Sigstore::new(), Sigstore::new());
    type Attack<'a> = (&'a str, Box<dyn Fn(&Shop) + 'a>, &'a [&'a str]);
    let ordered = |order: Order<'static>| {
        let sigstore = &sigstore;
        Box::new(move |shop: &Shop| put(shop, &sigstore.bundle(shop.image, &order))) as Box<dyn Fn(&Shop)>
    };
    let changed = |change: fn(&mut Value)| {
        let sigstore = &sigstore;
        Box::new(move |shop: &Shop| {
            let mut bundle = sigstore.bundle(shop.image, &Order::default());
            change(&mut bundle);
            put(shop, &bundle);
        }) as Box<dyn Fn(&Shop)>
    };
    fn entry(bundle: &mut Value) -> &mut Value {
        &mut bundle["verificationMaterial"]["tlogEntries"][0]
    }
    let attacks: Vec<Attack<'_>> = vec![
        ("no signature", Box::new(|_| {}), &["is not signed"]),
        (
            "made with a key",
            Box::new(|shop| put(shop, &Key::new().bundle(shop.image))),
            &["it was made with a key, without a certificate"],
        ),
        (
            "signed when the certificate had expired",
            ordered(Order { signed_at: DAY + 601, ..Order::default() }),
            &["it was signed at 1699920601", "valid from 1699920000 to 1699920600 only"],
        ),
        (
            "signed before the certificate was valid",
            ordered(Order { from: DAY + 100, ..Order::default() }),
            &["it was signed at 1699920060", "valid from 1699920100"],
        ),
        (
            "wrong issuer",
            ordered(Order { issuer: "https://accounts.google.com", ..Order::default() }),
            &["was signed by", FLOW, "(known to https://accounts.google.com), who may not"],
        ),
        (
            "wrong identity",
            ordered(Order {
                identity: SanType::URI((FLOW.to_owned() + ".1").try_into().unwrap()),
                ..Order::default()
            }),
            &["v1.0.1 (known to", "who may not"],
        ),
        (
            "the right identity as the name of a host",
            ordered(Order {
                identity: SanType::DnsName("github.com".try_into().unwrap()),
                ..Order::default()
            }),
            &["names neither a mail address nor a URI"],
        ),
        (
            "certificate that is not for signing",
            ordered(Order { usage: ExtendedKeyUsagePurpose::ServerAuth, ..Order::default() }),
            &["comes from no authority of the trust root"],
        ),
        (
            "another authority's certificate, the right log",
            Box::new(|shop| {
                let mixed = Sigstore {
                    root: Issuer::new(authority("root"), KeyPair::generate().unwrap()),
                    between: Issuer::new(authority("intermediate"), KeyPair::generate().unwrap()),
                    root_der: Vec::new(),
                    between_der: Vec::new(),
                    log: sigstore.log.copy(),
                    publisher: sigstore.publisher.copy(),
                };
                put(shop, &mixed.bundle(shop.image, &Order::default()));
            }),
            &["comes from no authority of the trust root"],
        ),
        (
            "certificate that was never published",
            ordered(Order { published: false, ..Order::default() }),
            &["no log of the trust root says that its certificate was published"],
        ),
        (
            "certificate that another log published",
            Box::new(|shop| {
                let other = Sigstore { publisher: Key::new(), ..sigstore.copy() };
                put(shop, &other.bundle(shop.image, &Order::default()));
            }),
            &["no log of the trust root says that its certificate was published"],
        ),
        (
            "another log",
            Box::new(|shop| put(shop, &stranger.bundle(shop.image, &Order::default()))),
            &["no log of the trust root says when", "does not name"],
        ),
        (
            "no log entry",
            changed(|bundle| bundle["verificationMaterial"]["tlogEntries"] = json!([])),
            &["no log of the trust root says when it was signed"],
        ),
        (
            "time changed",
            changed(|bundle| entry(bundle)["integratedTime"] = "1699920061".into()),
            &["the time in its log entry is not signed by the log"],
        ),
        (
            "no signed time, as newer logs have it",
            changed(|bundle| drop(entry(bundle).as_object_mut().unwrap().remove("inclusionPromise"))),
            &["no signed time"],
        ),
        (
            "entry of another signature",
            Box::new(|shop| {
                let mut bundle = sigstore.bundle(shop.image, &Order::default());
                let other = sigstore.bundle(shop.image, &Order::default());
                bundle["verificationMaterial"]["tlogEntries"] =
                    other["verificationMaterial"]["tlogEntries"].clone();
                put(shop, &bundle);
            }),
            &["its log entry notes another signature"],
        ),
        (
            "proof of another root",
            changed(|bundle| entry(bundle)["inclusionProof"]["rootHash"] = base64([7; 32]).into()),
            &["for another state of the log than the checkpoint"],
        ),
        (
            "proof with a step changed",
            changed(|bundle| entry(bundle)["inclusionProof"]["hashes"][1] = base64([7; 32]).into()),
            &["does not lead to the log's root"],
        ),
        (
            "proof with a step left out",
            changed(|bundle| {
                drop(entry(bundle)["inclusionProof"]["hashes"].as_array_mut().unwrap().pop());
            }),
            &["does not lead to the log's root"],
        ),
        (
            "proof for another place",
            changed(|bundle| entry(bundle)["inclusionProof"]["logIndex"] = "2".into()),
            &["does not lead to the log's root"],
        ),
        (
            "checkpoint that the log did not sign",
            changed(|bundle| {
                let note = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
                let text = note.as_str().unwrap().replace("log.example.org - 1", "log.example.org - 2");
                *note = text.into();
            }),
            &["the checkpoint of its proof is not signed by the log"],
        ),
        (
            "proof without a checkpoint",
            changed(|bundle| {
                drop(entry(bundle)["inclusionProof"].as_object_mut().unwrap().remove("checkpoint"));
            }),
            &["no checkpoint that can be read"],
        ),
        (
            "the certificate of somebody else",
            Box::new(|shop| {
                let mut bundle = sigstore.bundle(shop.image, &Order::default());
                let (_, _, der) = sigstore.certify(&Order::default());
                bundle["verificationMaterial"]["certificate"]["rawBytes"] = base64(der).into();
                put(shop, &bundle);
            }),
            &["it was not made with the key of its certificate"],
        ),
        (
            "a certificate that is none",
            changed(|bundle| {
                bundle["verificationMaterial"]["certificate"]["rawBytes"] = base64("0\u{3}abc").into();
            }),
            &["its certificate cannot be read"],
        ),
    ];
    for (what, set_up, words) in attacks {
        let shop = Shop::new();
        set_up(&shop);
        refused(&shop, shop.open(sigstore.policy()), what, words);
    }
}

#[test]
fn authorities_and_logs_are_believed_in_their_time_only() {
    let sigstore = Sigstore::new();
    let shop = Shop::new();
    put(&shop, &sigstore.bundle(shop.image, &Order::default()));
    let ended = json!({"start": "2021-01-12T11:53:27.000Z", "end": "2023-11-13T23:59:59.999Z"});
    let mut root = sigstore.trust_root();
    root["certificateAuthorities"][0]["validFor"] = ended.clone();
    refused(&shop, shop.open(sigstore.policy_of(&root, FLOW, GITHUB)), "authority", &["none of them counts"]);
    let mut root = sigstore.trust_root();
    root["tlogs"][0]["publicKey"]["validFor"] = ended;
    refused(
        &shop,
        shop.open(sigstore.policy_of(&root, FLOW, GITHUB)),
        "log",
        &["does not name for that time"],
    );
}

#[test]
fn an_old_signature_with_a_changed_log_entry_is_refused() {
    let sigstore = Sigstore::new();
    let shop = Shop::new();
    let (payload, mut annotations) = sigstore.tag_signature(shop.image, &Order::default());
    let bundle =
        annotations["dev.sigstore.cosign/bundle"].as_str().unwrap().replace("1699920060", "1699920061");
    annotations["dev.sigstore.cosign/bundle"] = bundle.into();
    shop.put_tag_signatures(shop.image, &[(payload.clone(), annotations.clone())]);
    refused(&shop, shop.open(sigstore.policy()), "time", &["is not signed by the log"]);
    annotations.as_object_mut().unwrap().remove("dev.sigstore.cosign/bundle");
    shop.put_tag_signatures(shop.image, &[(payload, annotations)]);
    refused(&shop, shop.open(sigstore.policy()), "no entry", &["no log of the trust root says when"]);
}

#[test]
fn every_proof_of_every_small_tree_holds() {
    // The product climbs the tree, the test descends it: RFC 9162 and RFC 6962.
    use cofferdam_core::trust::{LogEntry, Proof};
    for size in 1..=20usize {
        let leaves: Vec<Vec<u8>> = (0..size).map(|n| vec![n as u8]).collect();
        for at in 0..size {
            let entry = LogEntry {
                log: Digest::of(b""),
                index: 0,
                integrated: 0,
                body: leaves[at].clone(),
                promise: None,
                proof: None,
            };
            let proof = |index: usize| Proof {
                index: index as u64,
                size: size as u64,
                root: Digest::from_bytes(tree(&leaves)),
                steps: steps(at, &leaves).into_iter().map(Digest::from_bytes).collect(),
                checkpoint: None,
            };
            assert!(entry.is_proven_by(&proof(at)), "{at} of {size}");
            assert!(!entry.is_proven_by(&proof(at + 1)), "{at} of {size}, as the next one");
        }
    }
}
