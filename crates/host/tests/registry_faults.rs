//! Registries that fail in the middle: what is tried again, what goes on where it broke off, what ends.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod fake;

use cofferdam_core::class::Class;
use cofferdam_host::net::Patience;
use cofferdam_host::package::Access;
use cofferdam_host::registry::Registry;
use fake::bench::{Bench, changed, fetch_from, is_layer, quick, refused, remote};
use fake::{Answer, Fake, Request};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn with(change: impl FnOnce(&mut Patience)) -> Access {
    let mut access = quick();
    change(&mut access.patience);
    access
}

fn layer_requests(fake: &Fake) -> Vec<Request> {
    let blobs: Vec<Request> = fake.requests().into_iter().filter(|r| r.path.contains("/blobs/")).collect();
    let layer = blobs.last().unwrap().path.clone();
    blobs.into_iter().filter(|request| request.path == layer).collect()
}

/// A registry that spoils the layer by `spoil` as long as `bad` of its answers were not spoiled yet. It knows ranges.
fn spoilt(bench: &Bench, bad: usize, spoil: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> Fake {
    let left = AtomicUsize::new(bad);
    changed(bench, move |request, answer| {
        if !is_layer(request, &answer) {
            return answer;
        }
        let answer = answer.ranged(request);
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => spoil(answer),
            Err(_) => answer,
        }
    })
}

#[test]
fn a_layer_goes_on_where_it_broke_off() {
    let bench = Bench::new();
    let cut = spoilt(&bench, 3, |answer| Answer { cut_at: Some(20), ..answer });
    assert_eq!(fetch_from(&cut, ":1.0", quick()).unwrap().1, bench.digest);
    let ranges: Vec<Option<String>> =
        layer_requests(&cut).iter().map(|request| request.header("range").map(str::to_owned)).collect();
    let expected = [None, Some("bytes=20-"), Some("bytes=40-"), Some("bytes=60-")];
    assert_eq!(ranges, expected.map(|range| range.map(str::to_owned)));
}

#[test]
fn a_registry_without_ranges_sends_it_all_again() {
    let bench = Bench::new();
    let left = AtomicUsize::new(2);
    let fake = changed(&bench, move |request, answer| {
        let bad = is_layer(request, &answer) && left.load(Ordering::SeqCst) > 0;
        if bad {
            left.fetch_sub(1, Ordering::SeqCst);
        }
        Answer { cut_at: bad.then_some(50), ..answer }
    });
    assert_eq!(fetch_from(&fake, ":1.0", quick()).unwrap().1, bench.digest);
    assert_eq!(layer_requests(&fake).len(), 3);
}

#[test]
fn silence_and_a_trickle_in_a_layer_are_left_for_another_connection() {
    let bench = Bench::new();
    let silent = spoilt(&bench, 2, |answer| Answer { stall_at: Some(20), ..answer });
    let access = with(|patience| patience.silence = Duration::from_millis(100));
    assert_eq!(fetch_from(&silent, ":1.0", access.clone()).unwrap().1, bench.digest);
    assert_eq!(layer_requests(&silent).len(), 3);

    let trickle = Some((1, Duration::from_millis(20)));
    let slow = spoilt(&bench, 1, move |answer| Answer { trickle, ..answer });
    let access = with(|patience| (patience.window, patience.least) = (Duration::from_millis(100), 1000));
    assert_eq!(fetch_from(&slow, ":1.0", access).unwrap().1, bench.digest);
    let requests = layer_requests(&slow);
    assert_eq!(requests.len(), 2);
    assert!(requests[1].header("range").is_some(), "what came is not fetched again: {requests:?}");
}

#[test]
fn whoever_never_does_better_is_given_up() {
    let bench = Bench::new();
    let cut = spoilt(&bench, usize::MAX, |answer| Answer { cut_at: Some(1), ..answer });
    let words = ["layer 1", "broke off after 5 of", "5 tries", "127.0.0.1"];
    refused(fetch_from(&cut, ":1.0", quick()), Class::Unavailable, &words);
    assert_eq!(layer_requests(&cut).len(), 5);

    let silent = spoilt(&bench, usize::MAX, |answer| Answer { stall_at: Some(0), ..answer });
    let access = with(|patience| (patience.silence, patience.tries) = (Duration::from_millis(50), 2));
    refused(fetch_from(&silent, ":1.0", access), Class::Unavailable, &["sent nothing for 50ms", "2 tries"]);

    let trickle = Some((1, Duration::from_millis(10)));
    let slow = spoilt(&bench, usize::MAX, move |answer| Answer { trickle, ..answer });
    let access = with(|patience| {
        (patience.window, patience.least, patience.tries) = (Duration::from_millis(40), 1000, 2);
    });
    refused(fetch_from(&slow, ":1.0", access), Class::Unavailable, &["only", "bytes in"]);
}

#[test]
fn a_length_that_is_wrong_is_noticed_whatever_it_is() {
    let bench = Bench::new();
    let longer = spoilt(&bench, 1, |answer| Answer { length: Some(answer.body.len() + 100), ..answer });
    let result = fetch_from(&longer, ":1.0", quick());
    assert_eq!(result.unwrap().1, bench.digest, "the connection ended early, and all of it was there");
    let shorter =
        spoilt(&bench, usize::MAX, |answer| Answer { length: Some(10), cut_at: Some(10), ..answer });
    refused(fetch_from(&shorter, ":1.0", quick()), Class::Unavailable, &["50 bytes", "announced"]);
    let once = spoilt(&bench, 1, |answer| Answer { length: Some(10), cut_at: Some(10), ..answer });
    assert_eq!(fetch_from(&once, ":1.0", quick()).unwrap().1, bench.digest);
}

#[test]
fn the_wrong_part_is_not_put_in_the_middle() {
    let bench = Bench::new();
    // It says so.
    let other =
        changed(&bench, |request, answer| match (is_layer(request, &answer), request.header("range")) {
            (true, None) => Answer { cut_at: Some(50), ..answer },
            (true, Some(_)) => {
                let status = Answer { status: 206, ..answer };
                status.with("content-range", "bytes 70-100/200")
            }
            _ => answer,
        });
    refused(fetch_from(&other, ":1.0", quick()), Class::Invalid, &["another part"]);
    // It does not: then the digest tells.
    let lying =
        changed(&bench, |request, answer| match (is_layer(request, &answer), request.header("range")) {
            (true, None) => Answer { cut_at: Some(50), ..answer },
            (true, Some(_)) => {
                let body = answer.body[49..answer.body.len() - 1].to_vec();
                Answer { status: 206, body, ..answer }.with("content-range", "bytes 50-100/200")
            }
            _ => answer,
        });
    refused(fetch_from(&lying, ":1.0", quick()), Class::Invalid, &["layer 1", "was asked for"]);
}

#[test]
fn a_failure_of_the_moment_is_waited_out() {
    let bench = Bench::new();
    for status in [408, 429, 500, 502, 503, 504] {
        let asked = AtomicUsize::new(0);
        // Every request fails twice.
        let fake = changed(&bench, move |_, answer| match asked.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => answer,
            _ => Answer::status(status),
        });
        assert_eq!(fetch_from(&fake, ":1.0", quick()).unwrap().1, bench.digest, "{status}");
    }
    for status in [400, 404, 405] {
        let fake = Fake::start(move |_| Answer::status(status));
        refused(fetch_from(&fake, ":1.0", quick()), Class::Invalid, &[]);
        assert_eq!(fake.requests().len(), 1, "{status} is for good");
    }
}

#[test]
fn a_manifest_that_breaks_off_is_fetched_again() {
    let bench = Bench::new();
    let asked = AtomicUsize::new(0);
    let fake = changed(&bench, move |request, answer| {
        let spoil = request.path.contains("/manifests/sha256") && asked.fetch_add(1, Ordering::SeqCst) < 2;
        Answer { cut_at: spoil.then_some(30), ..answer }
    });
    assert_eq!(fetch_from(&fake, ":1.0", quick()).unwrap().1, bench.digest);
}

/// The pauses that were made until the digest of `:1.0` was there, or was not to be had.
fn pauses(fake: &Fake, access: Access) -> (Vec<Duration>, Result<(), String>) {
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&pauses);
    let registry = Registry::new(&remote(fake, ":1.0", access)).unwrap();
    let registry = registry.with_pause(move |pause| kept.lock().unwrap().push(pause));
    let result = registry.digest().map(drop).map_err(|error| error.chain());
    (pauses.lock().unwrap().clone(), result)
}

#[test]
fn a_rate_limit_is_obeyed_up_to_a_limit() {
    let bench = Bench::new();
    let limited = |value: &'static str| {
        let asked = AtomicUsize::new(0);
        changed(&bench, move |_, answer| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::status(429).with("retry-after", value),
            _ => answer,
        })
    };
    let access = with(|patience| patience.first_pause = Duration::from_secs(1));
    let (made, result) = pauses(&limited("77"), access.clone());
    result.unwrap();
    assert_eq!(made.len(), 1);
    assert!(made[0] >= Duration::from_secs(77) && made[0] <= Duration::from_secs(78), "{made:?}");

    let (made, result) = pauses(&limited("7777"), access);
    let error = result.unwrap_err();
    assert!(error.contains("rate limit") && error.contains("7777 seconds"), "{error}");
    assert_eq!(made, Vec::<Duration>::new(), "what asks for more than the limit is left alone");
}

#[test]
fn one_registry_may_be_read_by_several_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Registry>();
}

#[test]
fn pauses_grow_and_differ() {
    let down = Fake::start(|_| Answer::status(503));
    let access = with(|patience| {
        (patience.first_pause, patience.longest_pause) = (Duration::from_secs(1), Duration::from_secs(4));
    });
    let (made, result) = pauses(&down, access.clone());
    assert!(result.unwrap_err().contains("503"));
    let within = |pause: &Duration, most: u64| {
        *pause <= Duration::from_secs(most) && *pause >= Duration::from_secs(most) / 2
    };
    assert!(made.iter().zip([1, 2, 4, 4]).all(|(pause, most)| within(pause, most)), "{made:?}");
    assert_eq!(made.len(), 4);
    assert_ne!(made, pauses(&down, access).0, "a fleet must not come back all at once");
}

#[test]
fn a_token_that_ends_in_the_middle_is_replaced() {
    let bench = Bench::new();
    let issued = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&issued);
    let tokens = Fake::start(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Answer::ok(format!("{{\"token\": \"t{number}\"}}").as_bytes())
    });
    let realm = format!("Bearer realm=\"http://127.0.0.1:{}/token\"", tokens.port);
    let inner = bench.registry();
    let used = Mutex::new(std::collections::BTreeMap::new());
    let now = Arc::clone(&issued);
    // A token is good for one request.
    let fake = Fake::start(move |request| {
        let Some(token) = request.header("authorization") else {
            return Answer::status(401).with("www-authenticate", &realm);
        };
        let mut used = used.lock().unwrap();
        let times = used.entry(token.to_owned()).or_insert(0);
        *times += 1;
        if *times > 1 || token != format!("Bearer t{}", now.load(Ordering::SeqCst)) {
            return Answer::status(401).with("www-authenticate", &realm);
        }
        let answer = inner(request);
        // And the layer breaks off once, so that the rest of it needs another one.
        let cut = is_layer(request, &answer) && request.header("range").is_none();
        let answer = if is_layer(request, &answer) { answer.ranged(request) } else { answer };
        Answer { cut_at: cut.then_some(50), ..answer }
    });
    assert_eq!(fetch_from(&fake, ":1.0", quick()).unwrap().1, bench.digest);
    assert_eq!(issued.load(Ordering::SeqCst), 5, "tag, manifest, configuration, layer, the rest of it");
}

#[test]
fn a_token_server_may_need_a_moment_too() {
    let bench = Bench::new();
    let asked = AtomicUsize::new(0);
    let tokens = Fake::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::status(429).with("retry-after", "0"),
        1 => Answer::status(502),
        _ => Answer::ok(br#"{"token": "t"}"#),
    });
    let realm = format!("Bearer realm=\"http://127.0.0.1:{}/token\"", tokens.port);
    let inner = bench.registry();
    let fake = Fake::start(move |request| match request.header("authorization") {
        Some("Bearer t") => inner(request),
        _ => Answer::status(401).with("www-authenticate", &realm),
    });
    assert_eq!(fetch_from(&fake, ":1.0", quick()).unwrap().1, bench.digest);
}
