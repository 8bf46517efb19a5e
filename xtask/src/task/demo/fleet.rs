//! The demo on a cluster, which is a test as well: every step fails if it does not end as it should.

#![allow(clippy::indexing_slicing)] // reading what a JSON object has not gives null

use crate::task::screen::{Screen, time};
use crate::testbed::fleet::{Fleet, Kind, LABEL, NAMESPACE, Published};
use crate::testbed::package::Release;
use crate::testbed::web::Pods;
use crate::testbed::{ClusterSpec, Tree};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A change of two nodes, one after the other, on a busy machine.
const LIMIT: Duration = Duration::from_secs(360);

/// What a removal has to leave as it was.
const WATCHED: &[&str] = &["/etc", "/opt", "/usr", "/var/lib/cofferdam"];

/// How the rollout goes in the demo: agents of the demo say often that they live.
const ROLLOUT: &str = "  rollout:\n    canary: 1\n    maxUnavailable: 1\n    agentSilentSeconds: 60\n";

/// Tells the whole story on a cluster with `binary`.
///
/// # Errors
/// A step does not end as it should.
pub fn tell(screen: &mut Screen, binary: &Path) -> Result<()> {
    screen.heading("A cluster, a registry, and Cofferdam from its chart");
    screen.typed("$", "helm install cofferdam deploy/chart/cofferdam --namespace cofferdam-system --wait");
    let fleet = Fleet::boot(ClusterSpec::default(), binary, &[])?;
    screen.good(&format!(
        "two nodes are ready and their agents have reported, after {}",
        time(screen.elapsed())
    ));
    let mut story = Story { fleet, screen };
    story.types(&["get", "sandboxnodes"])?;
    let old = story.fleet.publish(Kind::Works(Release::Old), "gvisor", "20240729")?;
    let new = story.fleet.publish(Kind::Works(Release::New), "gvisor", "20250205")?;
    let broken = story.fleet.publish(Kind::Broken, "gvisor", "99")?;
    story.screen.good(&format!("a registry with an account and a CA of its own holds {}", old.reference));
    let before = story.trees()?;
    story.install(&old)?;
    let pods = story.sandboxes()?;
    story.upgrade(&new, &pods)?;
    story.failing(&broken, &new, &pods)?;
    story.removal()?;
    story.compare(&before)
}

struct Story<'a> {
    fleet: Fleet,
    screen: &'a mut Screen,
}

impl Story<'_> {
    fn install(&mut self, package: &Published) -> Result<()> {
        self.screen.heading("One object: a runtime for every node");
        self.apply(package)?;
        let runtime = self.wait("Complete")?;
        ensure!(runtime["status"]["nodes"]["ready"] == 2, "not proven on both nodes: {runtime:#}");
        self.types(&["get", "sandboxruntimes,sandboxnodes,runtimeclasses"])?;
        for node in ["n1", "n2"] {
            ensure!(self.label(node)? == Some("true".to_owned()), "{node} has no label");
        }
        self.screen.good("a sandbox ran on each node before the node got its label");
        Ok(())
    }

    fn sandboxes(&mut self) -> Result<Pods> {
        self.screen.heading("Pods in it");
        self.screen.typed("$", "kubectl apply -f web.yaml   # runtimeClassName: runsc-oci, two replicas");
        let pods = self.fleet.cluster.start_web("runsc-oci")?;
        for pod in pods.keys() {
            let log = self.types(&["exec", pod, "--", "/bin/dmesg"])?;
            ensure!(log.contains("gVisor"), "{pod}'s kernel does not call itself gVisor");
        }
        self.screen.good("each has gVisor's kernel");
        Ok(pods)
    }

    fn upgrade(&mut self, package: &Published, pods: &Pods) -> Result<()> {
        self.screen.heading("An upgrade while they run");
        self.apply(package)?;
        let runtime = self.wait("Complete")?;
        ensure!(runtime["status"]["nodes"]["updated"] == 2, "not on both nodes: {runtime:#}");
        self.types(&["get", "sandboxruntimes"])?;
        for node in ["n1", "n2"] {
            let own = self.get(&["sandboxnode", node])?;
            let version = own["status"]["runtimes"][0]["version"].as_str().unwrap_or_default();
            ensure!(version == "20250205.0", "{node} has version {version}");
        }
        self.unharmed(pods, "both nodes have the new version, and no container was restarted")
    }

    fn failing(&mut self, broken: &Published, good: &Published, pods: &Pods) -> Result<()> {
        self.screen.heading("A release that does not work");
        self.apply(broken)?;
        self.wait("Halted")?;
        // The canary goes back to what worked, and gets its label again.
        self.wait_for_labels()?;
        let runtime = self.get(&["sandboxruntime", "gvisor"])?;
        let shown = self.types(&["get", "sandboxruntimes,sandboxnodes"])?;
        ensure!(
            shown.contains("halted: it failed on n1 (failed (rolled-back)"),
            "kubectl get does not say why"
        );
        let failures = runtime["status"]["failures"].as_array().map(Vec::len);
        ensure!(failures == Some(1), "more than the canary failed: {runtime:#}");
        let revision = runtime["status"]["revision"].as_str().unwrap_or_default();
        for node in ["n1", "n2"] {
            let own = self.get(&["sandboxnode", node])?;
            let told = own["spec"]["runtimes"][0]["target"]["revision"].as_str().unwrap_or_default();
            ensure!(told != revision, "{node} is still told to have the release that fails");
            let version = own["status"]["runtimes"][0]["version"].as_str().unwrap_or_default();
            ensure!(version == "20250205.0", "{node} has version {version}");
        }
        self.screen.good("one node tried it, went back to what worked, and says why; the other never saw it");
        self.unharmed(pods, "no container was restarted")?;
        self.apply(good)?;
        self.wait("Complete")?;
        self.screen.good("with the good release named again, all is well");
        Ok(())
    }

    fn removal(&mut self) -> Result<()> {
        self.screen.heading("It is not taken away from under a pod");
        self.types(&["delete", "sandboxruntime", "gvisor", "--wait=false"])?;
        let busy = |object: &Value| {
            object["status"]["message"].as_str().is_some_and(|message| message.contains("default/web"))
        };
        self.fleet.cluster.wait_until(&["sandboxruntime", "gvisor"], LIMIT, busy)?;
        self.types(&["get", "sandboxruntimes"])?;
        self.fleet.cluster.web(2)?;
        self.screen.good("the pods run on, and the message names them");
        self.types(&["delete", "deployment", "web"])?;
        self.types(&["wait", "--for=delete", "sandboxruntime/gvisor", "--timeout=360s"])?;
        for node in ["n1", "n2"] {
            ensure!(self.label(node)?.is_none(), "{node} has its label still");
        }
        ensure!(
            self.fleet.cluster.get_json(&["runtimeclass", "runsc-oci"])?.is_none(),
            "the RuntimeClass stayed"
        );
        self.screen.good("removed from both nodes; RuntimeClass and labels are gone");
        Ok(())
    }

    fn compare(&mut self, before: &BTreeMap<String, Tree>) -> Result<()> {
        self.screen.heading("Is anything left on the nodes?");
        for (name, after) in self.trees()? {
            let differences = before.get(&name).map(|before| before.diff(&after)).unwrap_or_default();
            self.screen.output(&differences.join("\n"));
            ensure!(differences.is_empty(), "the removal left {} differences on {name}", differences.len());
            self.screen.good(&format!(
                "{name}: {} identical: {} entries",
                WATCHED.join(" "),
                after.entries.len()
            ));
        }
        Ok(())
    }

    fn trees(&self) -> Result<BTreeMap<String, Tree>> {
        let nodes = self.fleet.cluster.nodes().iter();
        nodes.map(|node| Ok((node.spec().name.clone(), node.snapshot(WATCHED)?))).collect()
    }

    fn apply(&mut self, package: &Published) -> Result<()> {
        let text = self.fleet.runtime("gvisor", package, ROLLOUT);
        self.screen.typed("$", &format!("kubectl apply -f gvisor.yaml   # {}", package.reference));
        self.fleet.cluster.apply(&text)?;
        Ok(())
    }

    fn get(&self, args: &[&str]) -> Result<Value> {
        self.fleet.cluster.get_json(args)?.with_context(|| format!("there is no {}", args.join(" ")))
    }

    /// Waits until the rollout of the present spec is in this phase.
    fn wait(&self, phase: &str) -> Result<Value> {
        let waited = self.fleet.cluster.wait_until(&["sandboxruntime", "gvisor"], LIMIT, |object| {
            object["status"]["phase"] == phase
                && object["status"]["observedGeneration"] == object["metadata"]["generation"]
        });
        match waited {
            Ok(object) => Ok(object),
            Err(error) => bail!("{error}\n{}", self.logs()),
        }
    }

    fn wait_for_labels(&self) -> Result<()> {
        for node in ["n1", "n2"] {
            let labelled = |object: &Value| object["metadata"]["labels"].get(LABEL) == Some(&"true".into());
            if let Err(error) = self.fleet.cluster.wait_until(&["node", node], LIMIT, labelled) {
                bail!("{error}\n{}", self.logs());
            }
        }
        Ok(())
    }

    /// What controller and agents said, for a failed test.
    fn logs(&self) -> String {
        let of = |what: &str| {
            let args = ["logs", "-n", NAMESPACE, "--tail=40", "--prefix", "--selector", what];
            self.fleet.cluster.kubectl_ok(&args).unwrap_or_else(|error| error.to_string())
        };
        let runs = |what: &str| format!("app.kubernetes.io/component={what}");
        format!("{}\n{}", of(&runs("controller")), of(&runs("agent")))
    }

    fn label(&self, node: &str) -> Result<Option<String>> {
        let node = self.get(&["node", node])?;
        Ok(node["metadata"]["labels"].get(LABEL).and_then(Value::as_str).map(str::to_owned))
    }

    fn unharmed(&mut self, pods: &Pods, what: &str) -> Result<()> {
        let present = self.fleet.cluster.web(pods.len())?;
        ensure!(present == *pods, "containers are not those of before: {pods:?}, now {present:?}");
        self.screen.good(what);
        Ok(())
    }

    /// Runs kubectl and shows it with its output.
    fn types(&mut self, args: &[&str]) -> Result<String> {
        self.screen.typed("$", &format!("kubectl {}", args.join(" ")));
        let output = self.fleet.cluster.kubectl_command(args).limit(LIMIT).ok()?;
        self.screen.output(&output.stdout);
        Ok(output.stdout)
    }
}
