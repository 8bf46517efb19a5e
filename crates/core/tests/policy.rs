//! Policies: what is read, and what is wrong where.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::name::Digest;
use cofferdam_core::reference::Reference;
use cofferdam_core::trust::{
    Accept, Covers, Form, Policy, PublicKey, Signer, Verified, Whence, parse_policy,
};

const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZRrqjZKfBtc6S3qT3nWL1KLEvKCU\n\
    ouvr3LmgBwlL2Kl8e3Qhj1pQPZfUYZ4aAdULYyZRr0qBQnuG4V6D4pPZ5Q==\n\
    -----END PUBLIC KEY-----\n";

const P521: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBsHoCZEVO6B5WzArCeFQ+NM08Xsjt\n\
    G2AuTCRoVTwUDcx2bRp7T7OMVB1EvvhYv8t1fgrf0BXeXrmR4CrDB9Pc5K0BSTpc\n\
    VkqYJyRipzcCzaH0lo3TzAZI1oIVwRLyG5iBSc6du6ixxXSqNuvrjromyJKZbzoM\n\
    BfLI8DSGPKARO1EAnmA=\n\
    -----END PUBLIC KEY-----\n";

/// A trust root with the authorities and logs that its reading needs, and no more.
fn root() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trust/trusted_root.json"))
        .unwrap()
}

fn files(name: &str) -> Result<String, String> {
    match name {
        "trusted_root.json" => Ok(root()),
        name if name.ends_with(".pub") => Ok(KEY.to_owned()),
        "cosign.key" => Ok("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n".to_owned()),
        "two.pem" => Ok(KEY.repeat(2)),
        "p521.pem" => Ok(P521.to_owned()),
        "text" => Ok("hello".to_owned()),
        _ => Err("No such file or directory".to_owned()),
    }
}

fn parse(text: &str) -> Result<Policy, String> {
    parse_policy("policy.toml", text, &mut |name| files(name)).map_err(|findings| findings.to_string())
}

#[test]
fn the_examples_of_the_documentation_are_policies() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verification.md")).unwrap();
    let mut examples = Vec::new();
    let mut example = String::new();
    for line in page.lines().chain(["end"]) {
        match line.strip_prefix("    ") {
            Some(code) => example.push_str(&format!("{code}\n")),
            None if line.is_empty() => example.push('\n'),
            None => examples.push(std::mem::take(&mut example)),
        }
    }
    let policies: Vec<Policy> = examples
        .iter()
        .filter(|example| example.contains("[[rule]]"))
        .map(|example| parse(example).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    assert_eq!(policies.len(), 2);
    let kinds: Vec<&str> = policies[1]
        .rules
        .iter()
        .map(|rule| match &rule.accept {
            Accept::Key(_) => "key",
            Accept::Keyless(_) => "keyless",
            Accept::Digest => "digest",
            Accept::Anything => "anything",
        })
        .collect();
    assert_eq!(kinds, ["key", "keyless", "digest", "anything"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let key = "match = \"*\"\naccept = \"key\"\n";
    let keyless = "match = \"*\"\naccept = \"keyless\"\ntrust-root = \"trusted_root.json\"\n";
    for (rule, words) in [
        ("accept = \"anything\"".to_owned(), "has no `match`"),
        ("match = \"*\"".to_owned(), "has no `accept`"),
        (
            "match = \"*\"\naccept = \"all\"".to_owned(),
            "policy.toml:4:10: `all` is nothing that can be accepted",
        ),
        (
            "match = \"acme/kata\"\naccept = \"anything\"".to_owned(),
            "policy.toml:3:9: `match`: write `docker.io/acme/kata`",
        ),
        ("match = \"*\"\naccept = \"anything\"\nkey = []".to_owned(), "policy.toml:5:1: unknown key `key`"),
        (
            "match = \"*\"\naccept = \"digest\"\nkeys = [\"a.pub\"]".to_owned(),
            "`keys` has no meaning with `accept = \"digest\"`",
        ),
        (key.to_owned(), "has no `keys`"),
        (format!("{key}keys = []"), "`keys` names no key"),
        (format!("{key}keys = \"a.pub\""), "a list of strings"),
        (
            format!("{key}keys = [\"a.pub\", \"none.pem\"]"),
            "policy.toml:5:18: `keys`: none.pem: No such file",
        ),
        (format!("{key}keys = [\"cosign.key\"]"), "it holds a private key"),
        (format!("{key}keys = [\"two.pem\"]"), "more than one key"),
        (format!("{key}keys = [\"text\"]"), "it is no PEM text"),
        (format!("{key}keys = [\"p521.pem\"]"), "neither P-256 nor P-384"),
        (keyless.to_owned(), "has no `signers`"),
        (format!("{keyless}signers = []"), "`signers` names nobody"),
        (format!("{keyless}signers = [{{ identity = \"a@b.c\" }}]"), "has no `issuer`"),
        (
            format!("{keyless}signers = [{{ identity = \"*\", issuer = \"https://a\" }}]"),
            "would let everybody sign",
        ),
        (format!("{keyless}signers = [{{ identity = \"a@b.c\", issuer = \"https://*\" }}]"), "named exactly"),
        (format!("{keyless}signers = [{{ identity = \"a@b.c\", issuer = \"\" }}]"), "it is empty"),
        (
            format!("{keyless}signers = [{{ identitty = \"a@b.c\", issuer = \"x\" }}]"),
            "did you mean `identity`?",
        ),
        (
            "match = \"*\"\naccept = \"keyless\"\ntrust-root = \"text\"\nsigners = []".to_owned(),
            "it is no trust root",
        ),
        (
            "match = \"*\"\naccept = \"anything\"\n[[rule]]\nmatch = \"*\"\naccept = \"digest\"".to_owned(),
            "a second rule for `*`",
        ),
    ] {
        let error = parse(&format!("schema = 1\n[[rule]]\n{rule}\n")).unwrap_err();
        assert!(error.contains(words), "no {words:?} in {error}");
    }
    for (text, words) in [
        ("schema = 2", "schema 2 is not known"),
        ("", "has no `schema`"),
        ("schema = 1\nrules = []", "did you mean `rule`?"),
        ("schema = 1\n[rule]\nmatch = \"*\"", "double brackets"),
        ("schema = 1\nmatch = \"*\"", "`match` belongs in a `[[rule]]`"),
        ("schema = ", "not TOML"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(words), "no {words:?} in {error}");
    }
}

#[test]
fn a_policy_travels_with_its_keys_and_roots() {
    let text = "schema = 1\n[[rule]]\nmatch = \"*\"\naccept = \"keyless\"\ntrust-root = \"trusted_root.json\"\n\
                signers = [{ identity = \"a@b.c\", issuer = \"https://a\" }]\n[[rule]]\nmatch = \"ghcr.io\"\n\
                accept = \"key\"\nkeys = [\"a.pub\"]\n";
    let policy = parse(text).unwrap();
    let json = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    assert!(serde_json::from_str::<Policy>(&json.replace("a@b.c", "**")).is_err(), "checked again");
}

#[test]
fn what_was_verified_counts_for_the_same_image_and_a_signer_who_is_still_trusted() {
    let policy = parse("schema = 1\n[[rule]]\nmatch = \"*\"\naccept = \"key\"\nkeys = [\"a.pub\"]").unwrap();
    let reference = Reference::new("ghcr.io/acme/kata:1").unwrap();
    let rule = policy.rule(Whence::Registry(&reference)).unwrap();
    let image = Digest::of(b"image");
    let verified = |key: Digest, subject| Verified {
        by: Signer::Key { key, name: "a.pub".to_owned(), form: Form::Tag },
        subject: Some(subject),
        covers: Covers::Manifest,
        rule: "*".to_owned(),
    };
    let own = PublicKey::from_pem(KEY).unwrap().fingerprint();
    assert!(rule.accepts(&verified(own, image), image));
    assert!(!rule.accepts(&verified(own, Digest::of(b"other")), image), "another image");
    assert!(
        !rule.accepts(&verified(Digest::of(b"other"), image), image),
        "a key that was taken out of the policy"
    );
    let nobody = Verified { by: Signer::Nobody, ..verified(own, image) };
    assert!(!rule.accepts(&nobody, image), "installed when nothing was asked");
}
