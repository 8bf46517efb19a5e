//! `cargo xtask testbed`: the cache of built things.

use crate::testbed::cache::Cache;
use crate::testbed::image::{self, Image};
use crate::testbed::{Containerd, cluster, node};
use crate::testbed::{gotools, oci};
use anyhow::Result;
use clap::{Subcommand, ValueEnum};

/// Builds or removes what nodes are made of.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Builds what the cache lacks.
    Build {
        /// What to build; without it everything that a node needs.
        #[arg(value_enum)]
        what: Vec<What>,
    },
    /// Clears up after nodes, clusters and registries whose owners died, and removes every entry that nothing uses.
    Clean {
        /// Only the clearing up.
        #[arg(long)]
        nodes: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The root tree of a node, and the images that it starts with.
    Image,
    /// containerd 1.6, 2.1 and 2.4 (fetched, Go, Go).
    Containerd,
    /// gVisor with its own shim (Go).
    Gvisor,
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy and kubectl (Go).
    ControlPlane,
    /// helm and kubeconform (Go).
    Helm,
}

/// Runs the task.
///
/// # Errors
/// Something cannot be built or removed.
pub fn run(args: &Args) -> Result<()> {
    let cache = Cache::open()?;
    match &args.action {
        Action::Build { what } => {
            let all = [What::Image, What::Containerd, What::Gvisor];
            for what in if what.is_empty() { &all[..] } else { what } {
                build(&cache, *what)?;
            }
        }
        Action::Clean { nodes } => {
            node::clear_leftovers()?;
            cluster::clear_leftovers()?;
            if !nodes {
                for stayed in cache.clean()? {
                    eprintln!("{stayed} is in use and stays");
                }
            }
        }
    }
    Ok(())
}

fn build(cache: &Cache, what: What) -> Result<()> {
    let entries = match what {
        What::Image => {
            let tree = image::tree(cache, Image::Trixie)?;
            let images = oci::images(cache, tree.path())?;
            vec![tree, images]
        }
        What::Containerd => {
            let entries = Containerd::ALL.iter().map(|containerd| containerd.layer(cache));
            entries.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
        }
        What::Gvisor => vec![gotools::gvisor(cache)?],
        What::ControlPlane => vec![gotools::control_plane(cache)?],
        What::Helm => vec![gotools::helm(cache)?, gotools::kubeconform(cache)?],
    };
    for entry in entries {
        println!("{}", entry.path().display());
    }
    Ok(())
}
