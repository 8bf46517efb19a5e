//! Other installers and people edit the same configuration, before, between and after our changes: nothing of theirs is
//! lost, and at the end everything of ours is gone. The tree that they edited is compared with a twin on which they did
//! the same without us.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use cofferdam_core::engine::containerd::{Effective, compare};
use cofferdam_core::name::HandlerName;
use cofferdam_core::testing::peers;
use std::collections::BTreeSet;
use support::{Bench, CONFIG, Ran};

/// What may differ at the end between a tree with our past and one without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Nothing.
    Bytes,
    /// Blank lines and comments that a tool moved or dropped; no setting.
    Meaning,
}

/// Someone who edits containerd's configuration.
struct Actor {
    name: &'static str,
    engines: &'static [&'static str],
    keeps: Keeps,
    edit: fn(&Bench),
    undo: fn(&Bench),
}

const ALL: &[&str] = &["containerd@1.7", "containerd@2.1", "containerd@2.4"];
const NEW: &[&str] = &["containerd@2.1", "containerd@2.4"];

const ACTORS: &[Actor] = &[
    Actor {
        name: "kata-deploy, drop-in",
        engines: NEW,
        keeps: Keeps::Meaning,
        edit: |bench| {
            let text = bench.read(CONFIG);
            let version = Effective::parse(&text).unwrap().version();
            bench.write(KATA_DROP_IN, &peers::kata_drop_in(version, peers::tables_of(&text)));
            bench.write(CONFIG, &peers::add_import(&text, "/etc/containerd/conf.d/*.toml").unwrap());
        },
        undo: |bench| {
            bench.write(
                CONFIG,
                &peers::drop_import(&bench.read(CONFIG), "/etc/containerd/conf.d/*.toml").unwrap(),
            );
            std::fs::remove_file(bench.at(KATA_DROP_IN)).unwrap();
        },
    },
    Actor {
        name: "kata-deploy, import by name",
        engines: NEW,
        keeps: Keeps::Meaning,
        edit: |bench| {
            let text = bench.read(CONFIG);
            let version = Effective::parse(&text).unwrap().version();
            bench.write(KATA_IMPORT, &peers::kata_drop_in(version, peers::tables_of(&text)));
            bench.write(CONFIG, &peers::add_import(&text, KATA_IMPORT).unwrap());
        },
        undo: |bench| {
            bench.write(CONFIG, &peers::drop_import(&bench.read(CONFIG), KATA_IMPORT).unwrap());
            std::fs::remove_file(bench.at(KATA_IMPORT)).unwrap();
        },
    },
    Actor {
        name: "kata-deploy, main file",
        engines: ALL,
        keeps: Keeps::Meaning,
        edit: |bench| bench.write(CONFIG, &peers::kata_main(&bench.read(CONFIG)).unwrap()),
        undo: |bench| bench.write(CONFIG, &peers::kata_main_removed(&bench.read(CONFIG)).unwrap()),
    },
    Actor {
        name: "nvidia-ctk, main file printed anew, another default runtime",
        engines: ALL,
        keeps: Keeps::Meaning,
        edit: |bench| bench.write(CONFIG, &peers::nvidia(&bench.read(CONFIG)).unwrap()),
        undo: |bench| bench.write(CONFIG, &peers::nvidia_removed(&bench.read(CONFIG)).unwrap()),
    },
    Actor {
        name: "spin, appended and taken out as text",
        engines: ALL,
        keeps: Keeps::Bytes,
        edit: |bench| {
            let text = bench.read(CONFIG);
            bench.write(CONFIG, &format!("{text}{}", peers::spin_block(&text)));
        },
        undo: |bench| {
            let text = bench.read(CONFIG);
            bench.write(CONFIG, &text.replacen(&peers::spin_block(&text), "", 1));
        },
    },
    Actor {
        name: "kontain, before the first runtime",
        engines: ALL,
        keeps: Keeps::Bytes,
        edit: |bench| {
            let text = bench.read(CONFIG);
            let at =
                text.lines().take_while(|line| !line.contains("runtimes.runc]")).map(|l| l.len() + 1).sum();
            let (head, tail) = text.split_at(at);
            bench.write(CONFIG, &format!("{head}{}{tail}", peers::kontain_block(&text)));
        },
        undo: |bench| {
            let text = bench.read(CONFIG);
            bench.write(CONFIG, &text.replacen(&peers::kontain_block(&text), "", 1));
        },
    },
    Actor {
        name: "by hand: every line indented otherwise",
        engines: ALL,
        keeps: Keeps::Meaning,
        edit: |bench| {
            let lines: Vec<String> =
                bench.read(CONFIG).lines().map(|line| format!("\t{}", line.trim_start())).collect();
            bench.write(CONFIG, &(lines.join("\n") + "\n"));
        },
        undo: |bench| {
            let lines: Vec<String> =
                bench.read(CONFIG).lines().map(|line| line.trim_start().to_owned()).collect();
            bench.write(CONFIG, &(lines.join("\n") + "\n"));
        },
    },
    Actor {
        name: "by hand: imports over several lines, with one of their own",
        engines: NEW,
        keeps: Keeps::Meaning,
        edit: |bench| {
            let text = bench.read(CONFIG);
            let old = imports(&text);
            let mut new = old.clone();
            new.push("/etc/site/*.toml".to_owned());
            rewrite_imports(bench, &text, &new);
        },
        undo: |bench| {
            let text = bench.read(CONFIG);
            let mut new = imports(&text);
            new.retain(|import| import != "/etc/site/*.toml");
            rewrite_imports(bench, &text, &new);
        },
    },
    Actor {
        name: "by hand: a comment in every table",
        engines: ALL,
        keeps: Keeps::Meaning,
        edit: |bench| {
            let lines = bench
                .read(CONFIG)
                .lines()
                .map(|line| {
                    if line.trim_start().starts_with('[') {
                        format!("{line}\n# {NOTE}")
                    } else {
                        line.to_owned()
                    }
                })
                .collect::<Vec<_>>();
            bench.write(CONFIG, &(lines.join("\n") + "\n"));
        },
        undo: |bench| {
            let text = bench.read(CONFIG);
            let lines: Vec<&str> = text.lines().filter(|line| !line.contains(NOTE)).collect();
            bench.write(CONFIG, &(lines.join("\n") + "\n"));
        },
    },
    Actor {
        name: "by hand: sed over the whole file",
        engines: ALL,
        keeps: Keeps::Bytes,
        edit: |bench| {
            bench.write(CONFIG, &bench.read(CONFIG).replace("SystemdCgroup = false", "SystemdCgroup = true"))
        },
        undo: |bench| {
            bench.write(CONFIG, &bench.read(CONFIG).replace("SystemdCgroup = true", "SystemdCgroup = false"))
        },
    },
    Actor {
        name: "by hand: Windows line ends",
        engines: ALL,
        keeps: Keeps::Meaning,
        edit: |bench| bench.write(CONFIG, &bench.read(CONFIG).replace("\r\n", "\n").replace('\n', "\r\n")),
        undo: |bench| bench.write(CONFIG, &bench.read(CONFIG).replace("\r\n", "\n")),
    },
];

const KATA_DROP_IN: &str = "/etc/containerd/conf.d/kata-deploy.toml";
const KATA_IMPORT: &str = "/opt/kata/containerd/config.d/kata-deploy.toml";
const NOTE: &str = "looked at by the site's audit";

/// A node's configuration, as administrators write them.
fn config(engine: &str) -> &'static str {
    if engine.ends_with("1.7") {
        include_str!("../../../xtask/assets/node/config-1.toml")
    } else {
        include_str!("../../../xtask/assets/node/config-2.toml")
    }
}

fn imports(text: &str) -> Vec<String> {
    Effective::parse(text).unwrap().imports().iter().map(|import| (*import).to_owned()).collect()
}

/// Writes the list of imports over several lines, wherever it stood.
fn rewrite_imports(bench: &Bench, text: &str, imports: &[String]) {
    let rest: Vec<&str> = text.lines().skip_while(|line| line.starts_with('#')).collect();
    let mut out: Vec<String> =
        text.lines().take_while(|line| line.starts_with('#')).map(str::to_owned).collect();
    let mut inside = false;
    for line in rest {
        inside |= line.starts_with("imports");
        if !inside {
            out.push(line.to_owned());
        }
        if line.starts_with("version") && !imports.is_empty() {
            out.push("imports = [".to_owned());
            out.extend(imports.iter().map(|import| format!("    {import:?}, # looked at")));
            out.push("]".to_owned());
        }
        inside &= !line.contains(']');
    }
    bench.write(CONFIG, &(out.join("\n") + "\n"));
}

/// Our changes, one after the other.
const OURS: [&str; 4] = ["install one", "install two", "remove one", "remove two"];

fn change(bench: &Bench, change: &str) -> Ran {
    match change.split_once(' ').unwrap() {
        ("install", name) => bench.run(&["install", &bench.package(name)]),
        (verb, name) => bench.run(&[verb, name]),
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

#[test]
fn edits_before_between_and_after_ours_stay_and_ours_goes() {
    let mut orders = 0;
    let mut wrong = Vec::new();
    for actor in ACTORS {
        for engine in actor.engines {
            let moments = 0..=OURS.len();
            for (edit, undo) in moments.flat_map(|edit| (edit..=OURS.len() + 1).map(move |undo| (edit, undo)))
            {
                orders += 1;
                let found = order(actor, engine, edit, undo);
                if !found.is_empty() {
                    wrong.push(format!(
                        "{engine}, {}, edit before {edit}, undo before {undo}:\n{}",
                        actor.name,
                        found.join("\n")
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {orders} orders:\n{}", wrong.len(), wrong.join("\n\n"));
    println!("{orders} orders of edits and changes");
}
