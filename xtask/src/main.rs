//! The project's own tasks.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xtask::task;
use xtask::testbed::interrupt;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(task::bench::Args),
    Cluster(task::cluster::Args),
    Demo(task::demo::Args),
    Fuzz(task::fuzz::Args),
    Generate(task::generate::Args),
    Image(task::image::Args),
    Node(task::node::Args),
    Test(task::test::Args),
    Testbed(task::testbed::Args),
    Tour(task::tour::Args),
}

fn main() -> ExitCode {
    interrupt::watch();
    match run(&Cli::parse().task) {
        Ok(code) => code.into(),
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<u8> {
    match task {
        Task::Bench(args) => task::bench::run(args).map(|()| 0),
        Task::Cluster(args) => task::cluster::run(args),
        Task::Demo(args) => task::demo::run(args).map(|()| 0),
        Task::Fuzz(args) => task::fuzz::run(args).map(|()| 0),
        Task::Generate(args) => task::generate::run(args).map(|()| 0),
        Task::Image(args) => task::image::run(args).map(|()| 0),
        Task::Node(args) => task::node::run(args),
        Task::Test(args) => task::test::run(args),
        Task::Testbed(args) => task::testbed::run(args).map(|()| 0),
        Task::Tour(args) => task::tour::run(args).map(|()| 0),
    }
}
