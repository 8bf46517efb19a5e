//! `cargo xtask node`: a disposable node for a person.

use crate::testbed::interrupt;
use crate::testbed::{Config, Containerd, Node, NodeSpec, Release, Runtime};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

/// Boots a disposable node and opens a root shell in it. The node is gone when the shell ends.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's containerd: 1.6, 1.7, 2.1 or 2.4.
    #[arg(long, default_value = "2.4")]
    containerd: Containerd,
    /// This file as containerd's configuration, instead of the test bed's own.
    #[arg(long, value_name = "FILE", conflicts_with = "no_config")]
    config: Option<PathBuf>,
    /// No configuration file at all.
    #[arg(long)]
    no_config: bool,
    /// Copy FILE or a directory to /root on the node.
    #[arg(long, value_name = "FILE")]
    put: Vec<PathBuf>,
    /// Put the packages of gVisor (both forms) and crun, in two releases each, into /root/packages on the node.
    #[arg(long)]
    packages: bool,
    /// No shell: keep the node until Enter is pressed.
    #[arg(long)]
    keep: bool,
    /// No shell: run this command on the node, pass on what it prints, and end with its status.
    #[arg(last = true, conflicts_with = "keep")]
    command: Vec<String>,
}

/// Runs the task. Returns the exit code.
///
/// # Errors
/// The node does not boot.
pub fn run(args: &Args) -> Result<u8> {
    let begun = Instant::now();
    let node = Node::boot(spec(args)?)?;
    for path in &args.put {
        let name = path.file_name().context("--put needs a path with a name")?.to_string_lossy();
        put(&node, path, &format!("/root/{name}"))?;
    }
    if args.packages {
        put_packages(&node)?;
    }
    eprintln!(
        "node with containerd {} up after {:.1} s",
        args.containerd.version(),
        begun.elapsed().as_secs_f64()
    );
    if args.keep {
        eprintln!("address {}, disk {}", node.address(), node.disk().display());
        eprintln!("enter it with: nsenter -t {} -a", node.leader().unwrap_or_default());
        eprintln!("press Enter to end it");
        wait_for_enter()?;
        return Ok(0);
    }
    let shell = ["bash".to_owned(), "--login".to_owned()];
    let argv = if args.command.is_empty() { &shell[..] } else { &args.command };
    let status = node
        .std_command(argv)
        .stdin(Stdio::inherit())
        .status()
        .with_context(|| format!("cannot run {} in the node", argv.join(" ")))?;
    Ok(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1))
}

/// Ctrl-C is an answer as well: a read alone would go on after the signal.
pub(super) fn wait_for_enter() -> Result<()> {
    let turn = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let stdin = std::io::stdin();
    while !interrupt::take() {
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&turn)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(e) => return Err(e).context("cannot wait for Enter"),
        }
    }
    Ok(())
}

fn spec(args: &Args) -> Result<NodeSpec> {
    let config = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Config::Text(text.with_context(|| format!("cannot read {}", path.display()))?)
        }
        None if args.no_config => Config::Absent,
        None => Config::Admin,
    };
    Ok(NodeSpec::new(args.containerd).config(config))
}

fn put(node: &Node, path: &Path, to: &str) -> Result<()> {
    if path.is_dir() {
        return Ok(node.put_tree(path, to)?);
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(node.put(to, bytes, 0o755)?)
}

fn put_packages(node: &Node) -> Result<()> {
    for runtime in Runtime::ALL {
        for release in [Release::Old, Release::New] {
            node.put_release(runtime, release)?;
        }
    }
    Ok(())
}
