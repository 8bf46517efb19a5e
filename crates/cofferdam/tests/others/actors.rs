//! Who edits containerd's configuration beside us, and how.

use super::support::{Bench, CONFIG};
use cofferdam_core::engine::containerd::Effective;
use cofferdam_core::testing::peers;

/// What may differ at the end between a tree with our past and one without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Nothing.
    Bytes,
    /// Blank lines and comments that a tool moved or dropped; no setting.
    Meaning,
}

/// Someone who edits containerd's configuration.
pub(crate) struct Actor {
    pub(crate) name: &'static str,
    pub(crate) engines: &'static [&'static str],
    pub(crate) keeps: Keeps,
    pub(crate) edit: fn(&Bench),
    pub(crate) undo: fn(&Bench),
}

pub(crate) const ALL: &[&str] = &["containerd@1.7", "containerd@2.4"];
const NEW: &[&str] = &["containerd@2.1", "containerd@2.4"];

pub(crate) const ACTORS: &[Actor] = &[
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

pub(crate) fn imports(text: &str) -> Vec<String> {
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
