//! Requests to a test cluster's API server with an account's token.

use cofferdam_cluster::client;
use http::{Method, Request, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::runtime::Runtime;
use xtask::testbed::Cluster;

/// Namespaces in which namespaced resources are asked for.
const NAMESPACES: [&str; 3] = ["cofferdam-system", "default", "kube-system"];

const MERGE: &str = "application/merge-patch+json";

/// Somebody with a token.
pub(crate) struct Caller {
    runtime: Runtime,
    client: kube::Client,
}

/// What the API server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// Refused by a policy, with these words.
    #[track_caller]
    pub(crate) fn refused(self, words: &str) {
        assert_eq!(self.status, StatusCode::FORBIDDEN, "{self:?}");
        assert!(self.message().contains("ValidatingAdmissionPolicy"), "{self:?}");
        assert!(self.message().contains(words), "{self:?}");
    }

    /// Refused by the schema or its rules.
    #[track_caller]
    pub(crate) fn invalid(self, words: &str) {
        assert_eq!(self.status, StatusCode::UNPROCESSABLE_ENTITY, "{self:?}");
        assert!(self.message().contains(words), "{self:?}");
    }

    /// Refused by RBAC.
    #[track_caller]
    pub(crate) fn no_right(self) {
        assert_eq!(self.status, StatusCode::FORBIDDEN, "{self:?}");
        assert!(self.message().contains("cannot "), "{self:?}");
    }
}

impl Caller {
    pub(crate) fn new(cluster: &Cluster, name: &str, token: &str) -> Self {
        let file = cluster.dir().join(format!("{name}.conf"));
        let config = json!({
            "clusters": [{"name": "c", "cluster": {"server": cluster.url(), "certificate-authority": cluster.dir().join("ca.crt")}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        });
        std::fs::write(&file, config.to_string()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(client::from_kubeconfig(Some(&file), None)).unwrap();
        Self { runtime, client }
    }

    /// The status alone: a watch has no end.
    fn status(&self, method: Method, path: &str, content: &str, body: &Value) -> StatusCode {
        let body = if method == Method::GET { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content)
            .body(Body::from(body));
        self.runtime.block_on(async { self.client.send(request.unwrap()).await.unwrap().status() })
    }

    pub(crate) fn ask(&self, method: Method, path: &str, content: &str, body: &Value) -> Answer {
        let body = if method == Method::GET { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content)
            .body(Body::from(body));
        self.runtime.block_on(async {
            let answer = self.client.send(request.unwrap()).await.unwrap();
            let status = answer.status();
            let bytes = answer.into_body().collect_bytes().await.unwrap();
            Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() }
        })
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, "application/json", &Value::Null).ok()
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::PATCH, path, MERGE, body)
    }

    pub(crate) fn create(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, "application/json", body)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, "application/json", &json!({}))
    }

    /// What the API server says that this caller may do in a namespace, as text, a line for each rule.
    pub(crate) fn rules(&self, namespace: &str) -> BTreeSet<String> {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}});
        let answer = self.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).ok();
        assert_eq!(answer["status"]["incomplete"], false, "{answer}");
        let rules = answer["status"]["resourceRules"].as_array().unwrap().iter();
        let rules = rules.chain(answer["status"]["nonResourceRules"].as_array().unwrap());
        rules.map(Value::to_string).collect()
    }

    /// Which of `doors` the API server's authorization lets this caller through: each is tried with a real request.
    pub(crate) fn open<'d>(&self, doors: &'d [Door]) -> BTreeSet<&'d Door> {
        doors
            .iter()
            .filter(|door| {
                let (method, content) = match door.verb.as_str() {
                    "get" | "list" | "watch" => (Method::GET, "application/json"),
                    "create" => (Method::POST, "application/json"),
                    "update" => (Method::PUT, "application/json"),
                    "patch" => (Method::PATCH, MERGE),
                    "delete" | "deletecollection" => (Method::DELETE, "application/json"),
                    other => panic!("an unknown verb: {other}"),
                };
                self.status(method, &door.path, content, &json!({})) != StatusCode::FORBIDDEN
            })
            .collect()
    }
}

/// One verb on one resource in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Door {
    pub(crate) verb: String,
    /// `resource.group/subresource`.
    pub(crate) resource: String,
    /// Empty: cluster-scoped.
    pub(crate) namespace: String,
    path: String,
}

/// Every verb of every resource and subresource of the API server: what its discovery lists.
pub(crate) fn doors(admin: &Caller) -> Vec<Door> {
    let mut roots = vec![(String::new(), "/api/v1".to_owned())];
    for group in admin.get("/apis")["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let version = version["groupVersion"].as_str().unwrap();
            roots.push((group["name"].as_str().unwrap().to_owned(), format!("/apis/{version}")));
        }
    }
    let mut doors = Vec::new();
    for (group, root) in roots {
        for resource in admin.get(&root)["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let namespaces = if resource["namespaced"] == true { &NAMESPACES[..] } else { &[""] };
            let verbs: BTreeSet<&str> =
                resource["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
            for namespace in namespaces {
                doors.extend(verbs.iter().map(|verb| Door::new(&root, &group, name, namespace, verb)));
            }
        }
    }
    doors
}

impl Door {
    fn new(root: &str, group: &str, name: &str, namespace: &str, verb: &str) -> Self {
        let (plural, sub) = name.split_once('/').unwrap_or((name, ""));
        let mut path = root.to_owned();
        // A Namespace is addressed like its content.
        if !namespace.is_empty() {
            path.push_str(&format!("/namespaces/{namespace}"));
        }
        path.push_str(&format!("/{plural}"));
        if !sub.is_empty() {
            path.push_str(&format!("/nobody/{sub}"));
        } else if matches!(verb, "get" | "update" | "patch" | "delete") {
            path.push_str("/nobody");
        }
        match verb {
            "watch" => path.push_str("?watch=true&timeoutSeconds=1"),
            "get" | "list" => {}
            // Nobody is asked to carry anything out.
            _ => path.push_str("?dryRun=All"),
        }
        let group = if group.is_empty() { String::new() } else { format!(".{group}") };
        let slash = if sub.is_empty() { String::new() } else { format!("/{sub}") };
        Self {
            verb: verb.to_owned(),
            resource: format!("{plural}{group}{slash}"),
            namespace: namespace.to_owned(),
            path,
        }
    }
}
