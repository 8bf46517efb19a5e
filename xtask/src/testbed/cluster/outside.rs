//! A program that runs on this machine as it would in a pod: with an account's token where pods find theirs. For control
//! planes without nodes.

use super::super::daemon::{self, Daemon};
use super::super::error::{Error, Result};
use super::super::host;
use super::Cluster;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where pods find it.
const ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// What should run.
#[derive(Clone, Debug)]
pub struct OutsideSpec {
    /// For its log.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The namespace of its account.
    pub namespace: String,
    /// Its account.
    pub account: String,
    /// Where it reaches the API server, if not directly: host and port.
    pub server: Option<(String, u16)>,
}

/// It runs until this is dropped.
#[derive(Debug)]
pub struct Outside {
    daemon: Daemon,
    log: PathBuf,
}

/// What a process needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Its resident memory, in bytes (VmRSS).
    pub rss: u64,
    /// The most that this ever was (VmHWM).
    pub peak: u64,
    /// Its threads.
    pub threads: u64,
    /// The processor time that it had, in seconds.
    pub cpu: f64,
}

impl Usage {
    /// Reads `status` and `stat` of a process, as /proc has them.
    pub fn of(status: &str, stat: &str) -> Self {
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
        };
        // After the name, which may contain anything; utime and stime are the fields 14 and 15, in ticks of 10 ms.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        Self {
            rss: number("VmRSS:") * 1024,
            peak: number("VmHWM:") * 1024,
            threads: number("Threads:"),
            cpu: f64::from(ticks) / 100.0,
        }
    }
}

impl Outside {
    /// What it needs now.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&mut self) -> Result<Usage> {
        self.daemon.check()?;
        let read = |name: &str| {
            let path = Path::new("/proc").join(self.daemon.pid().to_string()).join(name);
            std::fs::read_to_string(&path).map_err(Error::io("read", &path))
        };
        Ok(Usage::of(&read("status")?, &read("stat")?))
    }

    /// All that it printed.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn output(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).map_err(Error::io("read", &self.log))
    }

    /// Ends it: in good order if it can, else by force.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop()
    }

    /// Fails if it has ended, with the end of its log.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&mut self) -> Result<()> {
        self.daemon.check()
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        daemon::tail(&self.log)
    }
}

impl Cluster {
    /// Starts a program outside of any pod.
    ///
    /// # Errors
    /// There is no such account, or it does not start.
    pub fn start_outside(&mut self, spec: &OutsideSpec) -> Result<Outside> {
        let folder = self.dir().join(format!("account-{}", spec.name));
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let args = ["create", "token", &spec.account, "--namespace", &spec.namespace, "--duration=24h"];
        host::write(&folder.join("token"), self.kubectl_ok(&args)?.trim(), 0o600)?;
        host::write(&folder.join("ca.crt"), self.authority(), 0o644)?;
        host::write(&folder.join("namespace"), &spec.namespace, 0o644)?;
        let (address, port) = spec.server.clone().unwrap_or_else(|| (self.address().to_owned(), 6443));
        // Where it looks for its token there is nothing of this machine's, and it is alone in seeing that.
        let script = format!(
            "set -e; account=$1; shift; mkdir /dev/shm/$$; cp \"$account\"/* /dev/shm/$$; mount -t tmpfs tmpfs /run; \
             mkdir -p {ACCOUNT}; mv /dev/shm/$$/* {ACCOUNT}; rmdir /dev/shm/$$; exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation=private", "sh", "-c", &script, "sh"])
            .arg(&folder)
            .arg(&spec.program)
            .args(&spec.args)
            .env("KUBERNETES_SERVICE_HOST", address)
            .env("KUBERNETES_SERVICE_PORT", port.to_string());
        let log = self.plane.site().log(&spec.name);
        let daemon = self.plane.site_mut().start(&spec.name, command)?;
        Ok(Outside { daemon, log })
    }

    /// A kubeconfig of an account that may do everything, for programs that play many parts.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn almighty(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir().join(format!("{name}.conf"));
        let folder = self.dir();
        let (certificate, key) =
            self.plane.authority().client(name, Some("system:masters"))?.write(folder, name)?;
        let text = super::config::kubeconfig(&self.url(), &folder.join("ca.crt"), &certificate, &key);
        host::write(&path, text, 0o600)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn usage_is_what_proc_says() {
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 100 1000 256";
        let usage = Usage::of(status, stat);
        assert_eq!((usage.rss, usage.peak, usage.threads), (1 << 20, 2 << 20, 3));
        assert!((usage.cpu - 2.0).abs() < 1e-9);
    }
}
