//! Commands in a node.

use super::super::command::{Command, DEFAULT_LIMIT, Output};
use super::super::error::Result;
use super::super::tree::Tree;
use super::Node;
use std::ffi::OsStr;
use std::time::Duration;

/// What a root login on Debian has.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Node {
    /// Runs a command to its end, for a minute at most. A status other than 0 is no error.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        self.run_for(DEFAULT_LIMIT, argv)
    }

    /// [`Node::run`] with another limit.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn run_for(&self, limit: Duration, argv: &[&str]) -> Result<Output> {
        self.command(argv).limit(limit).run()
    }

    /// Runs a command that has to succeed, and returns its standard output.
    ///
    /// # Errors
    /// Those of [`Node::run`], or a status other than 0.
    pub fn ok(&self, argv: &[&str]) -> Result<String> {
        Ok(self.run(argv)?.ok()?.stdout)
    }

    /// Runs a shell script. A status other than 0 is no error.
    ///
    /// # Errors
    /// Those of [`Node::run`].
    pub fn sh(&self, script: &str) -> Result<Output> {
        self.run(&["sh", "-c", script])
    }

    /// A command in the node, to be given input or a limit. On a node that is off it fails.
    pub fn command(&self, argv: &[&str]) -> Command {
        Command::from_std(self.std_command(argv))
    }

    /// The same for callers that need the process itself, to follow or to kill it. The process is nsenter: a
    /// signal for the command has to go to its process group, or through [`Node::run`] of `kill`.
    pub fn std_command<A: AsRef<OsStr>>(&self, argv: &[A]) -> std::process::Command {
        let Some(booted) = &self.booted else {
            let mut off = std::process::Command::new("false");
            off.arg("the node is off");
            return off;
        };
        let mut command = booted.enter();
        command.args(argv).env_clear().env("PATH", PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
        if let Some(term) = std::env::var_os("TERM") {
            command.env("TERM", term);
        }
        command
    }

    /// Records what lies below directories of the node (see [`Tree::record`]).
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn snapshot(&self, paths: &[&str]) -> Result<Tree> {
        Tree::record(&self.root(), paths)
    }
}
