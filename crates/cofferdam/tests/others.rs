//! Other installers and people edit the same configuration, before, between and after our changes: nothing of theirs is
//! lost, and at the end everything of ours is gone. The tree that they edited is compared with a twin on which they did
//! the same without us.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "others/actors.rs"]
mod actors;
mod support;

use actors::{ACTORS, ALL, Actor, Keeps, imports};

use cofferdam_core::engine::containerd::{Effective, compare};
use cofferdam_core::name::HandlerName;
use std::collections::BTreeSet;
use support::{Bench, CONFIG, Ran};

/// A node's configuration, as administrators write them.
fn config(engine: &str) -> &'static str {
    if engine.ends_with("1.7") {
        include_str!("../../../xtask/assets/node/config-1.toml")
    } else {
        include_str!("../../../xtask/assets/node/config-2.toml")
    }
}

/// Our changes, one after the other.
const OURS: [&str; 5] = ["install one", "upgrade one", "install two", "remove one", "remove two"];

fn change(bench: &Bench, change: &str) -> Ran {
    change_with(bench, None, change)
}

fn change_with(bench: &Bench, fault: Option<&str>, change: &str) -> Ran {
    match change.split_once(' ').unwrap() {
        ("install", name) => bench.run_with(fault, &["install", &bench.package(name)]),
        ("upgrade", name) => bench.run_with(fault, &["upgrade", &bench.package_with(name, "2.0", &[name])]),
        (verb, name) => bench.run_with(fault, &[verb, name]),
    }
}

/// What differs in meaning between what they would have without us and what there is; our handlers and imports may.
fn differences(ours: &Bench, twin: &Bench) -> Vec<String> {
    let parse = |text: &str| Effective::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let (text, expected) = (ours.read(CONFIG), twin.read(CONFIG));
    let handlers = ["one", "two"].map(|name| HandlerName::new(name).unwrap());
    let mut found: Vec<String> =
        compare(&parse(&expected), &parse(&text), &handlers.into()).iter().map(ToString::to_string).collect();
    let present = imports(&text);
    found.extend(imports(&expected).into_iter().filter(|import| !present.contains(import)));
    found
}

/// At the end: theirs is as without us, and nothing of ours is left.
fn left(actor: &Actor, ours: &Bench, twin: &Bench) -> Vec<String> {
    let mut found = differences(ours, twin);
    found.extend(differences(twin, ours));
    let (text, expected) = (ours.read(CONFIG), twin.read(CONFIG));
    if actor.keeps == Keeps::Bytes && text != expected {
        found.push(format!("other bytes than without us:\n{expected}"));
    }
    let files = |bench: &Bench| -> BTreeSet<String> { bench.snapshot().into_keys().collect() };
    found.extend(files(ours).symmetric_difference(&files(twin)).map(|path| format!("the file {path}")));
    found.extend(
        ["cofferdam:", "cofferdam.d"].iter().filter(|mark| text.contains(*mark)).map(ToString::to_string),
    );
    found
}

/// What drifted is named and put back. Returns what is wrong.
fn mended(bench: &Bench) -> Option<String> {
    let found = bench.run(&["verify"]);
    if found.code == Some(0) {
        return None;
    }
    let repaired = bench.run(&["repair"]);
    let again = bench.run(&["verify"]);
    let sound = (found.code, repaired.code, again.code) == (Some(4), Some(0), Some(0));
    (!sound).then(|| format!("{found}\n{repaired}\n{again}"))
}

/// Their edit comes before our change number `edit`, their undoing before number `undo`; past the last: at the end, or
/// never. Returns what is wrong.
fn order(actor: &Actor, engine: &str, edit: usize, undo: usize) -> Vec<String> {
    let (ours, twin) = (Bench::new(engine), Bench::new(engine));
    for bench in [&ours, &twin] {
        bench.write(CONFIG, config(engine));
    }
    for step in 0..=OURS.len() {
        for (at, act) in [(edit, actor.edit), (undo, actor.undo)] {
            if step == at {
                act(&ours);
                act(&twin);
                if let Some(problem) = mended(&ours) {
                    return vec![problem, ours.read(CONFIG)];
                }
            }
        }
        let Some(now) = OURS.get(step) else { continue };
        let ran = change(&ours, now);
        if ran.code != Some(0) {
            return vec![format!("{ran}\n{}", ours.read(CONFIG))];
        }
        let lost = differences(&ours, &twin);
        if !lost.is_empty() {
            return vec![format!("{now}: {lost:#?}\n{}", ours.read(CONFIG))];
        }
    }
    let mut left = left(actor, &ours, &twin);
    if !left.is_empty() {
        left.push(ours.read(CONFIG));
    }
    left
}

/// Every order of one edit, its undoing (or none) and our changes, with the actors that this engine meets.
fn orders(engine: &str) {
    let mut orders = 0;
    let mut wrong = Vec::new();
    for actor in ACTORS.iter().filter(|actor| actor.engines.contains(&engine)) {
        for (edit, undo) in (0..OURS.len()).flat_map(|edit| [(edit, edit + 1), (edit, OURS.len() + 1)]) {
            orders += 1;
            let found = order(actor, engine, edit, undo);
            if !found.is_empty() {
                let found = found.join("\n");
                wrong.push(format!("{}, edit before {edit}, undo before {undo}:\n{found}", actor.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {orders} orders:\n{}", wrong.len(), wrong.join("\n\n"));
    println!("{engine}: {orders} orders of edits and changes");
}

#[test]
fn edits_before_between_and_after_ours_with_containerd_1_7() {
    orders("containerd@1.7");
}

#[test]
fn edits_before_between_and_after_ours_with_containerd_2_1() {
    orders("containerd@2.1");
}

#[test]
fn edits_before_between_and_after_ours_with_containerd_2_4() {
    orders("containerd@2.4");
}

/// One of our changes dies at `fault`, they edit, and the change is recovered. Returns what is wrong.
fn crash(actor: &Actor, engine: &str, dying: usize, fault: &str) -> Vec<String> {
    let (ours, twin) = (Bench::new(engine), Bench::new(engine));
    for bench in [&ours, &twin] {
        bench.write(CONFIG, config(engine));
        // Every real tree has it. Should we have to make it, nothing can be recorded before.
        std::fs::create_dir_all(bench.at("/var/lib")).unwrap();
    }
    for done in &OURS[..dying] {
        change(&ours, done).expect(0);
    }
    let served = installed(&ours);
    change_with(&ours, Some(fault), OURS[dying]).expect_killed();
    (actor.edit)(&ours);
    (actor.edit)(&twin);
    let ran = ours.run(&["recover"]);
    // 0: it died before it had begun.
    if !matches!(ran.code, Some(0 | 7)) {
        return vec![format!("{ran}\n{}", ours.read(CONFIG))];
    }
    let mut found = differences(&ours, &twin);
    if installed(&ours) != served {
        found.push(format!("{:?} are installed, not {served:?}", installed(&ours)));
    }
    // The same change works now, and so does taking everything away.
    found.extend(failure(change(&ours, OURS[dying])));
    for name in installed(&ours) {
        found.extend(failure(ours.run(&["remove", &name])));
    }
    // Blank lines may differ: ours was written anew among theirs.
    found.extend(left(&Actor { keeps: Keeps::Meaning, ..*actor }, &ours, &twin));
    if !found.is_empty() {
        found.push(ours.read(CONFIG));
    }
    found
}

fn failure(ran: Ran) -> Option<String> {
    (ran.code != Some(0)).then(|| ran.to_string())
}

fn installed(bench: &Bench) -> Vec<String> {
    let status = bench.run(&["status", "--json"]).expect(0).json();
    let runtimes = status["runtimes"].as_array().unwrap();
    runtimes.iter().map(|runtime| runtime["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn edits_between_a_crash_and_its_recovery_stay_and_the_change_goes() {
    let mut crashes = 0;
    let mut wrong = Vec::new();
    for engine in ALL {
        for actor in ACTORS.iter().filter(|actor| actor.engines.contains(engine)) {
            for (dying, shown) in OURS.iter().enumerate() {
                for fault in ["kill:change:12", "kill:before:commit:1"] {
                    crashes += 1;
                    let found = crash(actor, engine, dying, fault);
                    if !found.is_empty() {
                        let found = found.join("\n");
                        wrong.push(format!("{engine}, {}, {} {fault}:\n{found}", actor.name, shown));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {crashes} crashes:\n{}", wrong.len(), wrong.join("\n\n"));
    println!("{crashes} edits after a crash");
}
