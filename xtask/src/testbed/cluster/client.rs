//! The cluster's API, through kubectl.

use super::super::command::{Command, Output};
use super::super::error::{Error, Result};
use super::super::trial::wait_for;
use super::Cluster;
use serde_json::Value;
use std::time::Duration;

/// Between two looks at an object: each is a kubectl of its own, which takes a processor for a tenth of a second.
const TURN: Duration = Duration::from_millis(800);

impl Cluster {
    /// A call of kubectl as the administrator, to be given input or a limit.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        self.environment()
            .fold(Command::new(self.plane.program("kubectl")).args(args), |command, (name, value)| {
                command.env(name, value)
            })
    }

    /// Runs kubectl to its end, for a minute at most. A status other than 0 is no error.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_command(args).run()
    }

    /// Runs kubectl, which has to succeed, and returns its standard output.
    ///
    /// # Errors
    /// Those of [`Cluster::kubectl`], or a status other than 0.
    pub fn kubectl_ok(&self, args: &[&str]) -> Result<String> {
        Ok(self.kubectl(args)?.ok()?.stdout)
    }

    /// [`Cluster::kubectl`] as the owner of a token, with no right of the administrator's.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn kubectl_with_token(&self, token: &str, args: &[&str]) -> Result<Output> {
        self.kubectl_command(args)
            .args(["--token", token])
            .env("KUBECONFIG", self.plane.tokens_kubeconfig())
            .run()
    }

    /// A call of helm as the administrator, to be given a limit.
    ///
    /// # Errors
    /// helm cannot be built.
    pub fn helm_command(&self, args: &[&str]) -> Result<Command> {
        let program = self.helm_directory()?.join("helm");
        let command = Command::new(program).args(args);
        Ok(self.environment().fold(command, |command, (name, value)| command.env(name, value)))
    }

    /// Runs helm to its end, for a minute at most. A status other than 0 is no error.
    ///
    /// # Errors
    /// It cannot be built or started, or does not end in time.
    pub fn helm(&self, args: &[&str]) -> Result<Output> {
        self.helm_command(args)?.run()
    }

    /// Creates or changes objects, given as YAML or JSON, as the server's side does it.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn apply(&self, objects: &str) -> Result<()> {
        self.kubectl_command(&["apply", "--server-side", "--force-conflicts", "-f", "-"])
            .input(objects)
            .ok()?;
        Ok(())
    }

    /// An object or a list: `get_json(&["node", "n1"])`. Nothing when there is no such object.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub fn get_json(&self, args: &[&str]) -> Result<Option<Value>> {
        let mut all = vec!["get", "--output=json", "--ignore-not-found"];
        all.extend(args);
        let text = self.kubectl_ok(&all)?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(|e| Error::Unexpected {
            what: format!("what kubectl get {} printed", args.join(" ")),
            why: e.to_string(),
            next: "run it in `cargo xtask cluster`".into(),
        })
    }

    /// Asks for an object until `fits` holds for it, and returns it. While the API server is away, it goes on asking.
    ///
    /// # Errors
    /// [`Error::TimedOut`], with the object as it was last seen.
    pub fn wait_until(&self, args: &[&str], limit: Duration, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = String::from("there was no such object");
        let what = format!("kubectl get {} to be as wanted", args.join(" "));
        let waited = wait_for(&what, limit, || {
            match self.get_json(args) {
                Ok(Some(object)) if fits(&object) => return Ok(Some(object)),
                Ok(Some(object)) => last = format!("{object:#}"),
                Ok(None) => {}
                Err(e @ Error::Interrupted { .. }) => return Err(e),
                Err(e) => last = e.to_string(),
            }
            std::thread::sleep(TURN);
            Ok(None)
        });
        match waited {
            Err(Error::TimedOut { command, limit, .. }) => {
                Err(Error::TimedOut { command, limit, output: last })
            }
            other => other,
        }
    }

    /// Waits until there is no such object.
    ///
    /// # Errors
    /// It is still there, or the API server does not answer.
    pub fn wait_gone(&self, args: &[&str], limit: Duration) -> Result<()> {
        let what = format!("kubectl get {} to find nothing", args.join(" "));
        wait_for(&what, limit, || Ok(self.get_json(args)?.is_none().then_some(())))
    }

    /// Waits until an object's condition of this type has this status.
    ///
    /// # Errors
    /// Those of [`Cluster::wait_until`].
    pub fn wait_condition(&self, args: &[&str], kind: &str, status: &str, limit: Duration) -> Result<Value> {
        self.wait_until(args, limit, |object| condition(object, kind) == Some(status))
    }

    /// A token of a ServiceAccount as the kubelet gives it to a pod: bound to the pod, and so to its node.
    ///
    /// # Errors
    /// There is no such account or pod.
    pub fn pod_token(&self, namespace: &str, account: &str, pod: &str) -> Result<String> {
        let bound = ["--bound-object-kind=Pod", "--bound-object-name", pod];
        let mut args = vec!["create", "token", account, "--namespace", namespace];
        args.extend(bound);
        Ok(self.kubectl_ok(&args)?.trim().to_owned())
    }

    /// A token of a ServiceAccount that is bound to nothing.
    ///
    /// # Errors
    /// There is no such account.
    pub fn token(&self, namespace: &str, account: &str) -> Result<String> {
        Ok(self.kubectl_ok(&["create", "token", account, "--namespace", namespace])?.trim().to_owned())
    }
}

/// The status of an object's condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let wanted = conditions.iter().find(|c| c.get("type").and_then(Value::as_str) == Some(kind))?;
    wanted.get("status")?.as_str()
}
