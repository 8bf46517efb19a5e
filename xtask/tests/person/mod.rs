//! Somebody with kubectl, our plugin on the PATH, and a kubeconfig.

use serde_json::Value;
use std::ffi::OsString;
use std::os::unix::fs::symlink;
use tempfile::TempDir;
use xtask::testbed::Output;
use xtask::testbed::fleet::Fleet;
use xtask::testbed::trial::binary;

pub(crate) struct Person<'a> {
    fleet: &'a Fleet,
    files: TempDir,
}

impl<'a> Person<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        let files = tempfile::tempdir().unwrap();
        symlink(binary().unwrap(), files.path().join("kubectl-cofferdam")).unwrap();
        std::fs::write(files.path().join("ca.pem"), fleet.cluster.authority()).unwrap();
        Self { fleet, files }
    }

    /// `kubectl cofferdam ARGS`.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut path: OsString = self.files.path().into();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let args = [&["cofferdam"], args].concat();
        let output = self.fleet.cluster.kubectl_command(&args).env("PATH", path).run().unwrap();
        eprintln!(
            "$ kubectl {}  # {}, {:.1?}\n{}{}",
            args.join(" "),
            output.status,
            output.took,
            output.stdout,
            output.stderr
        );
        output
    }

    /// What it prints, with this exit code.
    pub(crate) fn says(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status, code, "{output:#?}");
        output.stdout
    }

    /// What it complains of, with this exit code.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status, code, "{output:#?}");
        assert!(output.stderr.contains("error: "), "{output:#?}");
        output.stderr
    }

    /// The same with `--json`.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.says(0, &[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A kubeconfig for the owner of a token.
    pub(crate) fn kubeconfig(&self, name: &str, server: &str, token: &str) -> String {
        let path = self.files.path().join(name);
        let ca = self.files.path().join("ca.pem");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters:\n- name: it\n  cluster: {{server: '{server}', \
             certificate-authority: {}}}\nusers:\n- name: it\n  user: {{token: {token}}}\ncontexts:\n- name: it\n  context: \
             {{cluster: it, user: it}}\n",
            ca.display()
        );
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}
