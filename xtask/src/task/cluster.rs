//! `cargo xtask cluster`: a disposable cluster for a person.

use super::node::wait_for_enter;
use crate::testbed::cache::Cache;
use crate::testbed::{Cluster, ClusterSpec, Containerd, Member, gotools};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

/// Boots a disposable cluster and opens a shell with kubectl and helm. The cluster is gone when the shell ends.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A node's containerd: 1.6, 1.7, 2.1 or 2.4. Give it once for each node; without it there are two, 1.7 and 2.4.
    #[arg(long)]
    containerd: Vec<Containerd>,
    /// No nodes: the control plane alone.
    #[arg(long, conflicts_with = "containerd")]
    no_nodes: bool,
    /// No shell: keep the cluster until Enter is pressed.
    #[arg(long)]
    keep: bool,
    /// No shell: run this command with kubectl and helm at hand, and end with its status.
    #[arg(last = true, conflicts_with = "keep")]
    command: Vec<String>,
}

/// Runs the task. Returns the exit code.
///
/// # Errors
/// The cluster does not boot.
pub fn run(args: &Args) -> Result<u8> {
    // Built before the clock starts.
    let _helm = gotools::helm(&Cache::open()?)?;
    let begun = Instant::now();
    let cluster = Cluster::boot(spec(args))?;
    eprintln!(
        "cluster up after {:.1} s, its files in {}",
        begun.elapsed().as_secs_f64(),
        cluster.dir().display()
    );
    for node in cluster.nodes() {
        let leader = node.leader().unwrap_or_default();
        eprintln!("node {} at {}; enter it with: nsenter -t {leader} -a", node.spec().name, node.address());
    }
    let path = path(&[cluster.bin(), cluster.helm_directory()?])?;
    if args.keep {
        eprintln!("export KUBECONFIG={} PATH={}", cluster.kubeconfig().display(), path.display());
        eprintln!("press Enter to end it");
        wait_for_enter()?;
        return Ok(0);
    }
    let shell = [std::env::var("SHELL").unwrap_or_else(|_| "sh".into())];
    let argv = if args.command.is_empty() { &shell[..] } else { &args.command };
    let (program, rest) = argv.split_first().context("no command")?;
    let status = std::process::Command::new(program)
        .args(rest)
        .envs(cluster.environment())
        .env("PATH", path)
        .stdin(Stdio::inherit())
        .status()
        .with_context(|| format!("cannot run {}", argv.join(" ")))?;
    Ok(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1))
}

fn spec(args: &Args) -> ClusterSpec {
    if !args.no_nodes && args.containerd.is_empty() {
        return ClusterSpec::default();
    }
    let numbered = args.containerd.iter().zip(1..);
    numbered.fold(ClusterSpec::without_nodes(), |spec, (containerd, number)| {
        spec.member(Member::new(&format!("n{number}"), *containerd))
    })
}

/// These folders before those of our own PATH.
fn path(first: &[PathBuf]) -> Result<OsString> {
    let ours = std::env::var_os("PATH").unwrap_or_default();
    let all = first.iter().cloned().chain(std::env::split_paths(&ours));
    std::env::join_paths(all).context("PATH has a folder that cannot stand in it")
}
