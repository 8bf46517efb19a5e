//! The project's own tasks.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xtask::testbed::{Containerd, Node, NodeSpec};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Node,
}

fn main() -> ExitCode {
    let Task::Node = Cli::parse().task;
    for c in Containerd::ALL {
        let t = std::time::Instant::now();
        let n = match Node::boot(NodeSpec::new(c)) {
            Ok(n) => n,
            Err(e) => {
                eprintln!("{e}");
                return ExitCode::FAILURE;
            }
        };
        eprintln!("booted in {:?}", t.elapsed());
        for s in [
            "systemctl is-system-running; systemctl --failed; systemctl status containerd | tail -20",
            "ctr version; ctr plugins ls | grep -v ok",
            "cat /proc/self/cgroup; ip a",
            "ctr -n k8s.io i ls",
            "ctr -n k8s.io run --rm cofferdam.test/busybox:1 x uname -a",
            "systemd-analyze blame | head -5; systemd-analyze",
        ] {
            eprintln!("{:?}", n.sh(s).map(|o| eprintln!("$ {s}\n{}{}\n{:?}", o.stdout, o.stderr, o.took)));
        }
    }
    ExitCode::SUCCESS
}
