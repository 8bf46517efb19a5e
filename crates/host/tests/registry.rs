//! Images from a registry that does not always behave, in this very process.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod fake;

use cofferdam_core::class::Class;
use cofferdam_core::name::Digest;
use cofferdam_host::package::{Access, Place, Source, TemporaryRoom};
use cofferdam_host::registry::{self, Layout, Login, Registry};
use fake::bench::{Bench, ann, changed, fetch, fetch_from, is_layer, pack, quick, refused, remote, told};
use fake::{Answer, Fake};

#[test]
fn by_tag_by_digest_and_from_a_folder_it_is_the_same_package() {
    let bench = Bench::new();
    let fake = Fake::start(bench.registry());
    let by_tag = fetch_from(&fake, ":1.0", quick()).unwrap();
    assert_eq!(by_tag.1, bench.digest);
    let pinned = format!("@{}", bench.digest);
    assert_eq!(fetch_from(&fake, &pinned, quick()).unwrap(), by_tag);
    assert_eq!(fetch(Place::Layout(bench.image())).unwrap(), by_tag);
    let folder = Source::plain(Place::Dir(bench.folder.path().join("package")));
    let local = TemporaryRoom::default().open(&folder, None, &mut |_| {}).unwrap();
    assert_eq!(local.package.digest, by_tag.0, "packing changes nothing");
    let again = pack(&bench.folder.path().join("package"), &bench.folder.path().join("again"));
    assert_eq!(again.digest(), bench.digest, "the same package, the same image");
}

#[test]
fn a_plan_needs_the_manifest_and_the_descriptor_alone() {
    let bench = Bench::new();
    let fake = Fake::start(bench.registry());
    let whole = fetch_from(&fake, ":1.0", Access::default()).unwrap();
    let before = fake.requests().len();
    let source = Source::plain(Place::Oci(remote(&fake, ":1.0", Access::default())));
    let looked = TemporaryRoom::default().look(&source, None, &mut |_| {}).unwrap();
    assert_eq!((looked.digest, looked.image.unwrap()), whole, "what it says is what it is");
    let blobs = fake.requests().split_off(before).iter().filter(|r| r.path.contains("/blobs/")).count();
    assert_eq!(blobs, 1, "no layer");
    let package = fetch_package(&source);
    assert_eq!((looked.bytes, looked.entries, &looked.descriptor), (package.0, package.1, &package.2));
}

fn fetch_package(source: &Source) -> (u64, u64, cofferdam_core::descriptor::Descriptor) {
    let package = TemporaryRoom::default().open(source, None, &mut |_| {}).unwrap().package;
    (package.bytes, package.entries, package.descriptor)
}

#[test]
fn a_login_is_sent_to_who_asks_and_to_nobody_else() {
    let bench = Bench::new();
    let inner = bench.registry();
    let basic = Fake::start(move |request| match request.header("authorization") {
        Some("Basic YW5uOmh1bnRlcjI=") => inner(request),
        _ => Answer::status(401).with("www-authenticate", "Basic realm=\"r\""),
    });
    fetch_from(&basic, ":1.0", ann()).unwrap();
    let first = basic.requests().into_iter().find(|request| request.path.contains("manifests")).unwrap();
    assert_eq!(first.header("authorization"), None, "nobody had asked yet");
    refused(
        fetch_from(&basic, ":1.0", quick()),
        Class::Invalid,
        &["127.0.0.1", "team/toy", "401", "without credentials", "--auth-file"],
    );
    let wrong = Login::Basic { username: "ann".to_owned(), password: "other".to_owned() };
    let wrong = Access { login: Some(wrong), ..quick() };
    refused(fetch_from(&basic, ":1.0", wrong), Class::Invalid, &["401", "with credentials"]);
}

#[test]
fn tokens_are_had_with_the_login_and_sent_instead_of_it() {
    let bench = Bench::new();
    let tokens = Fake::start(|request| match request.header("authorization") {
        Some("Basic YW5uOmh1bnRlcjI=") => Answer::ok(br#"{"token": "t0ken"}"#),
        None if request.method == "POST" && request.body.contains("refresh_token=1d") => {
            Answer::ok(br#"{"access_token": "t0ken"}"#)
        }
        _ => Answer::status(401),
    });
    let realm = format!("http://127.0.0.1:{}/token?x=y", tokens.port);
    let inner = bench.registry();
    let registry = Fake::start(move |request| match request.header("authorization") {
        Some("Bearer t0ken") => inner(request),
        _ => {
            let text = format!("Bearer realm=\"{realm}\",service=\"s v\",scope=\"repository:team/toy:pull\"");
            Answer::status(401).with("www-authenticate", &text)
        }
    });
    fetch_from(&registry, ":1.0", ann()).unwrap();
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1, "one token for all of it: {asked:?}");
    assert!(asked[0].path.contains("x=y&scope=repository%3Ateam%2Ftoy%3Apull&service=s%20v"), "{asked:?}");
    let password = registry
        .requests()
        .into_iter()
        .find(|r| r.header("authorization").is_some_and(|v| v.starts_with("Basic")));
    assert!(password.is_none(), "{password:?}");

    let identity = Login::Identity { token: "1d".to_owned() };
    fetch_from(&registry, ":1.0", Access { login: Some(identity), ..quick() }).unwrap();
    let bearer = Login::Bearer { token: "t0ken".to_owned() };
    fetch_from(&registry, ":1.0", Access { login: Some(bearer), ..quick() }).unwrap();
    refused(fetch_from(&registry, ":1.0", quick()), Class::Invalid, &["401", "--auth-file"]);
}

#[test]
fn a_token_server_without_tls_gets_no_password_from_a_registry_with_tls() {
    // The registry itself is on this machine, without TLS, and sends us to a realm that is no address of ours.
    let bench = Bench::new();
    for realm in ["ftp://127.0.0.1/token", "nowhere"] {
        let text = format!("Bearer realm=\"{realm}\"");
        let fake = Fake::start(move |_| Answer::status(401).with("www-authenticate", &text));
        refused(fetch_from(&fake, ":1.0", ann()), Class::Invalid, &["no token", realm]);
    }
    drop(bench);
}

#[test]
fn blobs_may_be_elsewhere_and_the_login_stays_here() {
    let bench = Bench::new();
    let storage = Fake::start(bench.registry());
    let elsewhere = storage.port;
    let inner = bench.registry();
    let registry = Fake::start(move |request| match request.header("authorization") {
        None => Answer::status(401).with("www-authenticate", "Basic realm=\"r\""),
        Some(_) if request.path.contains("/blobs/") => {
            let target = format!("http://127.0.0.1:{elsewhere}{}?signature=s3cret", request.path);
            Answer::status(307).with("location", &target)
        }
        Some(_) => inner(request),
    });
    fetch_from(&registry, ":1.0", ann()).unwrap();
    let seen = storage.requests();
    assert!(!seen.is_empty() && seen.iter().all(|r| r.header("authorization").is_none()), "{seen:?}");

    let circle = Fake::start(|request| Answer::status(302).with("location", &request.path));
    refused(fetch_from(&circle, ":1.0", quick()), Class::Invalid, &["too many redirects"]);
    let file = Fake::start(|_| Answer::status(302).with("location", "file:///etc/shadow?signature=s3cret"));
    let error = fetch_from(&file, ":1.0", quick()).unwrap_err();
    assert!(told(&error).contains("no address") && !told(&error).contains("s3cret"), "{}", told(&error));
}

#[test]
fn what_is_not_what_was_named_is_not_installed() {
    let bench = Bench::new();
    let manifest = changed(&bench, |request, mut answer| {
        if request.path.contains("/manifests/") && request.method == "GET" {
            answer.body.push(b'\n');
        }
        answer
    });
    refused(fetch_from(&manifest, ":1.0", quick()), Class::Invalid, &["manifest", "was asked for"]);

    let layer = changed(&bench, |request, mut answer| {
        if is_layer(request, &answer) {
            let middle = answer.body.len() / 2;
            answer.body[middle] ^= 1;
        }
        answer
    });
    refused(fetch_from(&layer, ":1.0", quick()), Class::Invalid, &["layer 1", "was asked for"]);

    let longer = changed(&bench, |request, mut answer| {
        if is_layer(request, &answer) {
            answer.body.extend([0; 100]);
        }
        answer
    });
    refused(fetch_from(&longer, ":1.0", quick()), Class::Invalid, &["layer 1", "were announced"]);

    let config = changed(&bench, |request, mut answer| {
        if request.path.contains("/blobs/") && answer.body.starts_with(b"schema") {
            answer.body = answer.body.to_ascii_uppercase();
        }
        answer
    });
    refused(fetch_from(&config, ":1.0", quick()), Class::Invalid, &["descriptor", "asked for"]);
}

#[test]
fn what_may_work_later_says_so() {
    let bench = Bench::new();
    let shorter = changed(&bench, |request, mut answer| {
        if is_layer(request, &answer) {
            answer.body.truncate(50);
        }
        answer
    });
    refused(fetch_from(&shorter, ":1.0", quick()), Class::Unavailable, &["50 bytes", "announced"]);
    let broken = changed(&bench, |request, answer| {
        if is_layer(request, &answer) { Answer { cut_at: Some(50), ..answer } } else { answer }
    });
    refused(fetch_from(&broken, ":1.0", quick()), Class::Unavailable, &["layer 1"]);
    for status in [429, 500, 503] {
        let body = br#"{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down\u0007"}]}"#;
        let busy = Fake::start(move |request| match request.method.as_str() {
            "HEAD" => Answer::status(status),
            _ => Answer { status, ..Answer::ok(body) },
        });
        let text = status.to_string();
        refused(fetch_from(&busy, ":1.0", quick()), Class::Unavailable, &[&text]);
        let pinned = format!("@{}", bench.digest);
        let words = [text.as_str(), "TOOMANYREQUESTS slow down"];
        refused(fetch_from(&busy, &pinned, quick()), Class::Unavailable, &words);
    }
}

#[test]
fn what_is_not_there_is_named() {
    let bench = Bench::new();
    let fake = Fake::start(bench.registry());
    refused(fetch_from(&fake, ":2.0", quick()), Class::Invalid, &["has no", "team/toy:2.0"]);
}

/// A registry with this text as its manifest.
fn with_manifest(bench: &Bench, text: String) -> (Fake, String) {
    let target = format!("@{}", Digest::of(text.as_bytes()));
    let fake = changed(bench, move |request, answer| {
        if request.path.contains("/manifests/") { Answer::ok(text.as_bytes()) } else { answer }
    });
    (fake, target)
}

#[test]
fn manifests_that_are_not_for_us_are_refused_with_the_reason() {
    let bench = Bench::new();
    let blob = |media_type: &str, more: &str| {
        format!(
            "{{\"mediaType\":\"{media_type}\",\"digest\":\"{}\",\"size\":10{more}}}",
            Digest::of(b"nothing")
        )
    };
    let image = "application/vnd.oci.image.manifest.v1+json";
    let index = "application/vnd.oci.image.index.v1+json";
    let config = blob("application/vnd.oci.image.config.v1+json", "");
    let of = |kind: &str, rest: String| format!("{{\"schemaVersion\":2,\"mediaType\":\"{kind}\",{rest}}}");
    let arm = blob(image, ",\"platform\":{\"architecture\":\"s390x\",\"os\":\"linux\"}");
    let huge = config.replace("\"size\":10", "\"size\":99999999");
    let layer = blob("application/vnd.oci.image.layer.v1.tar", "");
    let wide = layer.replace("\"size\":10", "\"size\":99999999999");
    let artifact = blob("application/vnd.oci.empty.v1+json", "");
    for (text, class, word) in [
        ("no json".to_owned(), Class::Invalid, "expected"),
        ("{\"schemaVersion\":1}".to_owned(), Class::Invalid, "schema 1"),
        (of("text/plain", "\"x\":1".to_owned()), Class::Invalid, "text/plain"),
        (of(index, format!("\"manifests\":[{arm},{arm}]")), Class::Unsupported, "linux/s390x"),
        (of(index, "\"manifests\":[]".to_owned()), Class::Unsupported, "nothing"),
        (of(image, format!("\"config\":{config},\"layers\":[]")), Class::Invalid, "no layers"),
        (
            of(image, format!("\"config\":{config},\"layers\":[{}]", vec![layer.as_str(); 200].join(","))),
            Class::Invalid,
            "200 layers",
        ),
        (of(image, format!("\"config\":{huge},\"layers\":[{layer}]")), Class::Invalid, "99999999 bytes"),
        (of(image, format!("\"config\":{artifact},\"layers\":[{wide}]")), Class::Invalid, "the limit is"),
        (
            of(image, format!("\"config\":{artifact},\"layers\":[{}]", blob("text/plain", ""))),
            Class::Invalid,
            "no archive",
        ),
        (
            of(image, format!("\"config\":{},\"layers\":[]", config.replace("sha256", "md5"))),
            Class::Invalid,
            "md5",
        ),
        ("[".repeat(100_000), Class::Invalid, "cannot be used"),
        (" ".repeat((4 << 20) + 1), Class::Invalid, "larger than"),
    ] {
        let (fake, target) = with_manifest(&bench, text);
        refused(fetch_from(&fake, &target, quick()), class, &[word]);
    }
}

#[test]
fn an_index_gives_the_image_for_this_machine() {
    let bench = Bench::new();
    let own = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let size = std::fs::metadata(bench.image().join("blobs/sha256").join(bench.digest.hex())).unwrap().len();
    let entry = |digest: &Digest, architecture: &str| {
        format!(
            "{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{digest}\",\"size\":{size},\
             \"platform\":{{\"architecture\":\"{architecture}\",\"os\":\"linux\"}}}}"
        )
    };
    let text = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[{},{}]}}",
        entry(&Digest::of(b"other"), "s390x"),
        entry(&bench.digest, own)
    );
    let digest = Digest::of(text.as_bytes());
    let place = format!("/manifests/{digest}");
    let fake = changed(&bench, move |request, answer| {
        let is_index = request.path.ends_with(&place) || request.path.ends_with(":multi");
        if is_index { Answer::ok(text.as_bytes()) } else { answer }
    });
    let (_, image) = fetch_from(&fake, &format!("@{digest}"), quick()).unwrap();
    assert_eq!(image, digest, "what was asked for is what is remembered");
}

#[test]
fn an_image_is_pushed_and_comes_back() {
    let bench = Bench::new();
    let store = fake::Store::default();
    let kept = store.clone();
    let fake = Fake::start(move |request| kept.answer(request));
    let layout = Layout::open(&bench.image()).unwrap();
    let push = || {
        let registry = Registry::to_push(&remote(&fake, ":1.0", quick())).unwrap();
        registry::push(&layout, &registry).unwrap()
    };
    assert_eq!(push(), bench.digest);
    let (_, image) = fetch_from(&fake, ":1.0", quick()).unwrap();
    assert_eq!(image, bench.digest);
    let uploads = || fake.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(uploads(), 2);
    push();
    assert_eq!(uploads(), 2, "what is there is not sent again");
}
