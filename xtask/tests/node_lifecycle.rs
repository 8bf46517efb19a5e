//! A runtime's life on real nodes: planned, installed, proven, used, removed, and nothing left of it.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::engine::containerd::{Effective, compare};
use cofferdam_core::name::HandlerName;
use cofferdam_core::plan::WORKER_UNIT;
use cofferdam_core::record::Verdict;
use cofferdam_host::event::{Ending, Outcome};
use serde_json::Value;
use std::time::{Duration, Instant};
use xtask::testbed::oci::PAUSE;
use xtask::testbed::trial::wait_for;
use xtask::testbed::{Config, Containerd, Node, NodeSpec, Pod, Runtime, Tree};

const RUNTIMES: [Runtime; 3] = [Runtime::GvisorOci, Runtime::Crun, Runtime::Gvisor];
const NOTHING: Vec<String> = Vec::new();
const CNI: &str = "/etc/cni/net.d/10-testbed.conflist";

fn node(spec: NodeSpec) -> Node {
    let node = Node::boot(spec).unwrap();
    node.put_cofferdam().unwrap();
    for runtime in RUNTIMES {
        node.put_package(runtime).unwrap();
    }
    node
}

/// Runs a change that has to succeed.
fn change(node: &Node, args: &[&str]) -> Outcome {
    let begun = Instant::now();
    let run = node.cofferdam(args).unwrap();
    assert_eq!(run.code(), 0, "{:#?}", run.output);
    let outcome = run.outcome().unwrap();
    eprintln!("{}: {} in {:?} {:?}", node.machine(), args.join(" "), begun.elapsed(), outcome.millis);
    outcome
}

fn install(node: &Node, runtime: Runtime) -> Outcome {
    let outcome = change(node, &["install", &runtime.source()]);
    assert_eq!(outcome.result, Ending::Committed, "{outcome:#?}");
    outcome
}

fn status(node: &Node) -> Value {
    let run = node.cofferdam(&["status"]).unwrap();
    assert_eq!(run.code(), 0, "{:#?}", run.output);
    run.parse().unwrap()
}

fn dump(node: &Node) -> Effective {
    // Without a file 1.7 dumps nothing; what runs then is the default.
    let what = if node.read("/etc/containerd/config.toml").is_ok() { "dump" } else { "default" };
    Effective::parse(&node.ok(&["containerd", "config", what]).unwrap()).unwrap()
}

fn same(before: &Tree, node: &Node) {
    assert_eq!(before.diff(&node.trees().unwrap()), NOTHING);
}

/// The pod of before still runs in the container of before.
fn alive(node: &Node, pod: &Pod) {
    assert_eq!(node.attempt(pod).unwrap(), Some((0, true)), "{}", pod.name);
}

/// Only our handlers differ between the configuration of before and the present one, as containerd reads both.
fn only_ours_differ(before: &Effective, node: &Node, installed: &[Runtime]) {
    let after = dump(node);
    let ours = installed.iter().map(|r| HandlerName::new(r.handler()).unwrap()).collect();
    assert_eq!(compare(before, &after, &ours), Vec::new());
    for runtime in installed {
        assert!(after.handlers().contains_key(runtime.handler()), "{runtime:?}");
    }
}

fn one_runtime(node: &Node, runtime: Runtime, keep: &Pod) {
    let before = node.trees().unwrap();
    let source = runtime.source();
    let pid = node.engine_pid().unwrap();

    let plan: Value = node.cofferdam(&["plan", &source]).unwrap().parse().unwrap();
    assert_eq!(plan["empty"], false, "{plan:#}");
    assert_eq!(plan["restarts"], serde_json::json!(["containerd.service"]), "{plan:#}");
    same(&before, node);
    assert_eq!(node.engine_pid().unwrap(), pid);

    assert_eq!(install(node, runtime).verdict, Some(Verdict::Proven));
    assert_ne!(node.engine_pid().unwrap(), pid, "it was restarted once");
    alive(node, keep);

    let installed = node.trees().unwrap();
    let pid = node.engine_pid().unwrap();
    assert_eq!(change(node, &["install", &source]).result, Ending::Unchanged);
    same(&installed, node);
    assert_eq!(node.engine_pid().unwrap(), pid, "nothing to do, nothing restarted");

    let name = format!("user-of-{}", runtime.name());
    let pod = node.run_pod(&name, runtime.handler()).unwrap();
    let kernel = node.exec_ok(&pod, &["uname", "-r"]).unwrap();
    let host = node.ok(&["uname", "-r"]).unwrap();
    assert_eq!(kernel == host.trim(), runtime == Runtime::Crun, "{runtime:?} says {kernel}");
    let status = status(node);
    let shown = &status["runtimes"][0];
    assert_eq!(shown["name"], runtime.name(), "{status:#}");
    assert_eq!(shown["verdict"]["verdict"], "proven", "{status:#}");
    assert_eq!(shown["served"], serde_json::json!([runtime.handler()]), "{status:#}");
    assert!(shown["users"].to_string().contains(&name), "{status:#}");

    let refused = node.cofferdam(&["remove", runtime.name()]).unwrap();
    assert_eq!(refused.code(), 5, "{:#?}", refused.output);
    let outcome = refused.outcome().unwrap();
    assert_eq!(outcome.result, Ending::Refused);
    assert!(outcome.message.contains(&name), "{outcome:#?}");
    same(&installed, node);
    alive(node, &pod);

    let removed = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| change(node, &["remove", runtime.name(), "--wait", "60s"]));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!waiting.is_finished(), "the pod still runs");
        node.remove_pod(&pod).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(removed.result, Ending::Committed);
    alive(node, keep);
    same(&before, node);
}

fn several(node: &Node, keep: &Pod) {
    let before = node.trees().unwrap();
    let config = dump(node);
    let mut installed: Vec<Runtime> = Vec::new();
    for runtime in RUNTIMES {
        install(node, runtime);
        installed.push(runtime);
        only_ours_differ(&config, node, &installed);
    }
    let pod = node.run_pod("stays", Runtime::GvisorOci.handler()).unwrap();
    let forced = node.run_pod("forced", Runtime::Crun.handler()).unwrap();
    // In another order than they came in; one of them by force, while a pod runs under it.
    change(node, &["remove", "crun", "--force"]);
    assert!(node.pods().unwrap().iter().all(|sandbox| sandbox.id != forced.sandbox), "its sandbox is gone");
    only_ours_differ(&config, node, &[Runtime::GvisorOci, Runtime::Gvisor]);
    alive(node, &pod);
    alive(node, keep);
    node.remove_pod(&pod).unwrap();
    change(node, &["remove", "gvisor-oci"]);
    only_ours_differ(&config, node, &[Runtime::Gvisor]);
    change(node, &["remove", "gvisor"]);
    only_ours_differ(&config, node, &[]);
    assert_eq!(dump(node), config);
    same(&before, node);
}

/// Whoever asked may die: the worker goes on.
fn caller_is_killed(node: &Node) {
    let before = node.trees().unwrap();
    let script = format!(
        "cofferdam install {} >/dev/null 2>&1 & cli=$!
         until systemctl is-active --quiet {WORKER_UNIT}; do sleep 0.01; done; kill -KILL $cli; wait $cli",
        Runtime::Crun.source()
    );
    assert_eq!(node.sh(&script).unwrap().status, 137, "the caller was killed while the worker ran");
    // Somebody else attaches to it, sees it from its begin, and gets its outcome.
    let followed = node.cofferdam(&["follow"]).unwrap();
    assert_eq!(followed.outcome().unwrap().result, Ending::Committed, "{:#?}", followed.output);
    assert!(followed.output.stdout.starts_with("{\"event\":\"read\""), "{:#?}", followed.output);
    let idle = node.cofferdam(&["follow"]).unwrap();
    assert_eq!(idle.outcome().unwrap().result, Ending::Unchanged, "{:#?}", idle.output);
    let status = status(node);
    assert_eq!(status["journal"], Value::Null, "{status:#}");
    assert_eq!(status["runtimes"][0]["verdict"]["verdict"], "proven", "{status:#}");
    let log: Value = node.cofferdam(&["log"]).unwrap().parse().unwrap();
    let entry = &log["entries"][0];
    assert_eq!((&entry["result"], &entry["by"]["user"]), (&"committed".into(), &"root".into()), "{log:#}");
    bundle_has_no_secrets(node);
    change(node, &["remove", "crun"]);
    same(&before, node);
    // The log is gone with the last runtime; systemd's journal is not.
    let journal = node.ok(&["journalctl", "--no-pager", "-o", "cat", "-u", WORKER_UNIT]).unwrap();
    assert!(journal.contains("committed, generation 2: remove crun: done"), "{journal}");
}

/// What the unit gives its daemon is not in a support bundle, nor is what a registry wants to know.
fn bundle_has_no_secrets(node: &Node) {
    const FOLDER: &str = "/etc/systemd/system/containerd.service.d";
    const HOSTS: &str = "/etc/containerd/certs.d/example.org/hosts.toml";
    let secret = "Environment=\"HTTP_PROXY=http://ann:hunter2@proxy\" NAME=hunter2\n# hunter2\n";
    node.put(&format!("{FOLDER}/proxy.conf"), format!("[Service]\n{secret}"), 0o644).unwrap();
    node.put(HOSTS, "[host.\"https://example.org\".header]\n  x = \"hunter2\"\n", 0o644).unwrap();
    node.ok(&["systemctl", "daemon-reload"]).unwrap();
    let script = "cd /run && cofferdam support-bundle /run/bundle.tar.gz && tar xzf bundle.tar.gz &&
         cat cofferdam-support/units/etc/systemd/system/containerd.service.d/proxy.conf &&
         stat -c %a bundle.tar.gz && ! grep -r hunter2 cofferdam-support";
    let ran = node.sh(script).unwrap();
    assert_eq!(ran.status, 0, "{ran:#?}");
    assert!(ran.stdout.contains("HTTP_PROXY=[withheld] NAME=[withheld]"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\n600\n"), "{}", ran.stdout);
    for name in ["status.json", "verify.json", "doctor.json", "engine/dump.toml", "units/journal.txt"] {
        assert!(ran.stdout.contains(name), "no {name} in {}", ran.stdout);
    }
    let away = format!("rm -r /run/bundle.tar.gz /run/cofferdam-support {FOLDER} /etc/containerd/certs.d");
    node.ok(&["sh", "-c", &away]).unwrap();
    node.ok(&["systemctl", "daemon-reload"]).unwrap();
}

/// The doctor's report, and the names of the checks that say no.
fn report(node: &Node, args: &[&str], code: i32) -> (Value, Vec<String>) {
    let run = node.cofferdam(&[&["doctor"], args].concat()).unwrap();
    assert_eq!(run.code(), code, "{:#?}", run.output);
    let report: Value = run.parse().unwrap();
    let no = |finding: &&Value| finding["answer"] == "no";
    let names = report["checks"].as_array().unwrap().iter().filter(no);
    let names = names.map(|finding| finding["check"].as_str().unwrap().to_owned()).collect();
    (report, names)
}

/// The doctor says no to `check`, and so does the plan, with a way out; nothing is written.
fn ill(node: &Node, check: &str, args: &[&str]) {
    let (_, no) = report(node, args, 3);
    assert_eq!(no, [check]);
    let source = Runtime::Crun.source();
    let run = node.cofferdam(&[&["plan", &source], args].concat()).unwrap();
    assert_eq!(run.code(), 3, "{check}: {:#?}", run.output);
    let outcome = run.outcome().unwrap();
    assert!(outcome.message.contains(check) || outcome.message.contains("KillMode"), "{outcome:#?}");
    assert!(outcome.hint.is_some_and(|hint| !hint.is_empty()));
}

/// A healthy node, and one illness after the other.
fn doctor(node: &Node, keep: &Pod) {
    let (well, no) = report(node, &[], 0);
    assert_eq!(no, NOTHING, "{well:#}");
    for judged in well["runtimes"].as_array().unwrap() {
        // Virtual machines want of the kernel what this machine may not have.
        let lacks = judged["checks"].as_array().unwrap().iter().any(|check| check["answer"] == "no");
        assert!(!lacks || judged["name"] == "kata", "{well:#}");
        assert_eq!(judged["verdict"], if lacks { "not-ready" } else { "ready" }, "{well:#}");
    }

    let drop_in = "/etc/systemd/system/containerd.service.d/kill.conf";
    node.put(drop_in, "[Service]\nKillMode=mixed\n", 0o644).unwrap();
    node.ok(&["systemctl", "daemon-reload"]).unwrap();
    ill(node, "kill-mode", &[]);
    node.sh(&format!("rm -r {drop_in} && rmdir --ignore-fail-on-non-empty $(dirname {drop_in})")).unwrap();
    node.ok(&["systemctl", "daemon-reload"]).unwrap();

    for (option, check) in [("ro", "target-writable"), ("noexec", "target-exec")] {
        let mount =
            format!("mkdir -p /srv/x && mount --bind /srv/x /srv/x && mount -o remount,bind,{option} /srv/x");
        assert!(node.sh(&mount).unwrap().success());
        ill(node, check, &["--prefix", "/srv/x/cofferdam"]);
        node.ok(&["umount", "/srv/x"]).unwrap();
    }
    assert!(node.sh("mount -t tmpfs none /srv/x").unwrap().success());
    ill(node, "lasting", &["--prefix", "/srv/x/cofferdam"]);
    node.ok(&["umount", "/srv/x"]).unwrap();

    // An import of a file that is gone: 2.4's own dump hides it, and the daemon would not start again.
    let path = "/etc/containerd/config.toml";
    let config = String::from_utf8(node.read(path).unwrap()).unwrap();
    let import =
        config.replacen("\nversion = ", "\nimports = [\"/etc/containerd/gone.toml\"]\nversion = ", 1);
    assert_ne!(import, config);
    node.put(path, import, 0o644).unwrap();
    let told =
        if node.spec().containerd == Containerd::Debian17 { "engine-config" } else { "engine-imports" };
    assert_eq!(report(node, &[], 3).1, [told]);
    node.put(path, config, 0o644).unwrap();

    node.ok(&["ctr", "--namespace", "k8s.io", "images", "rm", "--sync", PAUSE]).unwrap();
    ill(node, "pause-image", &[]);
    node.load_images().unwrap();

    let network = node.read(CNI).unwrap();
    node.remove(CNI).unwrap();
    node.ok(&["systemctl", "restart", "containerd"]).unwrap();
    ill(node, "cni", &[]);
    node.put(CNI, network, 0o644).unwrap();

    // No engine: what else there is to see is told all the same.
    node.ok(&["systemctl", "stop", "containerd"]).unwrap();
    let (report_without, no) = report(node, &[], 3);
    assert_eq!(no, ["engine-binary"], "{report_without:#}");
    let answered = |finding: &&Value| finding["answer"] == "yes";
    assert!(report_without["checks"].as_array().unwrap().iter().filter(answered).count() > 8);
    let status = status(node);
    assert_eq!(status["engine"], Value::Null, "{status:#}");
    assert!(status["engine_error"].to_string().contains("no containerd runs"), "{status:#}");
    node.ok(&["systemctl", "start", "containerd"]).unwrap();
    wait_for("CRI with its network", Duration::from_secs(20), || {
        Ok((node.cofferdam(&["doctor"])?.code() == 0).then_some(()))
    })
    .unwrap();
    alive(node, keep);
    requires_kvm(node);
}

/// What requires KVM is refused where /dev/kvm is gone, and nothing else is.
fn requires_kvm(node: &Node) {
    let text = "schema = 1\nname = \"kata\"\nversion = \"1\"\n[[handler]]\nname = \"kata\"\n\
                oci-runtime = \"bin/crun\"\nrequires = [\"kvm\"]\n";
    // Where this machine has KVM, the node has it, too, as a mount.
    let script = "cp -r /root/packages/crun /root/packages/kata
                  if [ -e /dev/kvm ]; then umount /dev/kvm && rm /dev/kvm; fi";
    let run = node.sh(script).unwrap();
    assert!(run.success(), "{run:#?}");
    node.put("/root/packages/kata/runtime.toml", text, 0o644).unwrap();
    let (report, no) = report(node, &["dir:/root/packages/kata"], 3);
    assert_eq!(no, NOTHING, "the node itself is well");
    let kata = &report["runtimes"][0];
    assert!(kata["because"].to_string().contains("\"kvm\""), "{kata:#}");
    let run = node.cofferdam(&["plan", "dir:/root/packages/kata"]).unwrap();
    assert_eq!(run.code(), 3, "{:#?}", run.output);
    let outcome = run.outcome().unwrap();
    assert!(outcome.hint.as_deref().unwrap_or_default().contains("--skip-check"), "{outcome:#?}");
    assert_eq!(node.cofferdam(&["plan", &Runtime::Crun.source()]).unwrap().code(), 0);
}

fn life(containerd: Containerd) {
    let node = node(NodeSpec::new(containerd));
    let keep = node.run_pod("keep", "").unwrap();
    let before = node.trees().unwrap();
    doctor(&node, &keep);
    for runtime in RUNTIMES {
        one_runtime(&node, runtime, &keep);
    }
    several(&node, &keep);
    caller_is_killed(&node);
    alive(&node, &keep);
    same(&before, &node);
    assert!(node.run(&["ls", "/run/cofferdam"]).unwrap().status != 0, "nothing is left on the tmpfs either");
}

#[test]
fn runtimes_come_and_go_on_debians_containerd() {
    life(Containerd::Debian17);
}

#[test]
fn runtimes_come_and_go_on_upstreams_containerd() {
    life(Containerd::Upstream24);
}

/// No configuration file, and no CNI: nothing can be proven, and that is said.
#[test]
fn node_without_configuration_and_network_is_unproven_and_keeps_runc() {
    for containerd in Containerd::MAJORS {
        let node = node(NodeSpec::new(containerd).config(Config::Absent));
        node.remove(CNI).unwrap();
        node.ok(&["systemctl", "restart", "containerd"]).unwrap();
        let before = node.trees().unwrap();
        let config = dump(&node);
        let run = node.cofferdam(&["install", &Runtime::Crun.source()]).unwrap();
        assert_eq!(run.code(), 3, "{:#?}", run.output);
        let skip = ["--skip-check", "cni", "--skip-check", "pause-image"];
        let outcome = change(&node, &[&["install", &Runtime::Crun.source()], &skip[..]].concat());
        let overridden: Vec<_> = outcome.overridden.iter().map(|o| o.check.as_str()).collect();
        assert_eq!(overridden, ["cni", "pause-image"], "{outcome:#?}");
        let Some(Verdict::Unproven { reason }) = &outcome.verdict else { panic!("{outcome:#?}") };
        assert!(reason.to_lowercase().contains("network"), "{reason}");
        only_ours_differ(&config, &node, &[Runtime::Crun]);
        let status = status(&node);
        let handlers = &status["engine"]["cri"]["handlers"];
        for name in ["crun", "runc"] {
            assert!(handlers.to_string().contains(&format!("\"{name}\"")), "{status:#}");
        }
        assert_eq!(status["runtimes"][0]["verdict"]["verdict"], "unproven");
        change(&node, &["remove", "crun"]);
        same(&before, &node);
    }
}

/// What could not be proven for want of a network is proven by the same command once there is one, without a restart.
#[test]
fn what_could_not_be_proven_is_probed_again() {
    for containerd in Containerd::MAJORS {
        let node = Node::boot(NodeSpec::new(containerd)).unwrap();
        node.put_cofferdam().unwrap();
        node.put_package(Runtime::Crun).unwrap();
        let network = node.read(CNI).unwrap();
        node.remove(CNI).unwrap();
        node.ok(&["systemctl", "restart", "containerd"]).unwrap();
        let source = Runtime::Crun.source();
        let outcome = change(&node, &["install", &source, "--skip-check", "cni"]);
        assert!(matches!(outcome.verdict, Some(Verdict::Unproven { .. })), "{outcome:#?}");
        node.put(CNI, network, 0o644).unwrap();
        wait_for("the network", Duration::from_secs(20), || {
            Ok((node.cofferdam(&["doctor"])?.code() == 0).then_some(()))
        })
        .unwrap();
        let engine = || node.ok(&["systemctl", "show", "-P", "MainPID", "containerd"]).unwrap();
        let before = engine();
        let outcome = change(&node, &["install", &source]);
        assert_eq!(outcome.verdict, Some(Verdict::Proven), "{outcome:#?}");
        assert_eq!(status(&node)["runtimes"][0]["verdict"]["verdict"], "proven");
        assert_eq!(engine(), before, "the engine was restarted");
        assert_eq!(change(&node, &["install", &source]).result, Ending::Unchanged);
    }
}

fn unit_with_config(containerd: Containerd) -> String {
    format!("[Service]\nExecStart=\nExecStart={} --config /srv/containerd/main.toml\n", containerd.binary())
}

/// The configuration in use is found where it is: behind `--config` in a drop-in of the unit, and behind imports.
#[test]
fn configuration_in_use_is_found() {
    for containerd in Containerd::MAJORS {
        let version = if containerd == Containerd::Debian17 { 2 } else { 3 };
        let root = format!("version = {version}\nimports = [\"/etc/containerd/site/*.toml\"]\n");
        let node = node(
            NodeSpec::new(containerd)
                .config(Config::Text("# nobody reads this\nversion = 99\n".into()))
                .file("/srv/containerd/main.toml", root, 0o644)
                .file("/etc/containerd/site/10-site.toml", containerd.admin_config(), 0o644)
                .file(
                    "/etc/systemd/system/containerd.service.d/config.conf",
                    unit_with_config(containerd),
                    0o644,
                ),
        );
        let before = node.trees().unwrap();
        let main = node.read("/srv/containerd/main.toml").unwrap();
        let dumped = || {
            let text = node.ok(&["containerd", "--config", "/srv/containerd/main.toml", "config", "dump"]);
            Effective::parse(&text.unwrap()).unwrap()
        };
        let config = dumped();
        let status = status(&node);
        assert_eq!(status["engine"]["config"], "/srv/containerd/main.toml", "{status:#}");
        assert_eq!(status["engine"]["config_origin"], "argument", "{status:#}");
        assert!(
            status["engine"]["files"].to_string().contains("\"/etc/containerd/site/10-site.toml\""),
            "{status:#}"
        );
        assert_eq!(install(&node, Runtime::GvisorOci).verdict, Some(Verdict::Proven));
        let ours = [HandlerName::new("runsc-oci").unwrap()].into();
        assert_eq!(compare(&config, &dumped(), &ours), Vec::new());
        let pod = node.run_pod("one", "runsc-oci").unwrap();
        node.remove_pod(&pod).unwrap();
        change(&node, &["remove", "gvisor-oci"]);
        assert_eq!(node.read("/srv/containerd/main.toml").unwrap(), main);
        same(&before, &node);
    }
}
