//! An API server that keeps cluster-scoped objects in memory and has the faults that it is told to have. It speaks HTTP to
//! the program's own client.

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedSender};

type Body = BoxBody<Bytes, Infallible>;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This status, and how long to wait.
    Status(u16, Option<u64>),
    /// A list without objects.
    EmptyList,
    /// A watch whose first event says that its version is too old.
    Expired,
    /// A watch that ends at once.
    End,
}

/// One request that was answered.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub verb: &'static str,
    /// The plural name.
    pub kind: String,
    pub name: String,
    pub code: u16,
}

#[derive(Debug)]
struct Fault {
    verb: &'static str,
    kind: &'static str,
    answer: Answer,
    times: u32,
}

#[derive(Default)]
struct State {
    /// By plural name and name.
    objects: BTreeMap<(String, String), Value>,
    version: u64,
    faults: Vec<Fault>,
    asked: Vec<Asked>,
    watchers: Vec<(String, UnboundedSender<Bytes>)>,
}

/// The server. It ends with its runtime.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl ApiServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { state: Arc::default(), port: listener.local_addr().unwrap().port() };
        let own = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let own = own.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let own = own.clone();
                        async move { Ok::<_, Infallible>(own.answer(request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }

    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "t",
            "clusters": [{ "name": "t", "cluster": { "server": format!("http://127.0.0.1:{}", self.port) } }],
            "users": [{ "name": "t", "user": {} }],
            "contexts": [{ "name": "t", "context": { "cluster": "t", "user": "t" } }],
        })
        .to_string()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Puts an object there, as somebody else would.
    pub fn put(&self, kind: &str, object: Value) -> Value {
        self.state().put(kind, object)
    }

    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&(kind.to_owned(), name.to_owned())).cloned()
    }

    /// Every object but leases, without what each write changes.
    pub fn all(&self) -> BTreeMap<(String, String), Value> {
        let state = self.state();
        state
            .objects
            .iter()
            .filter(|((kind, _), _)| kind != "leases")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// The next `times` requests of this kind get this answer.
    pub fn fail(&self, verb: &'static str, kind: &'static str, answer: Answer, times: u32) {
        self.state().faults.push(Fault { verb, kind, answer, times });
    }

    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// Ends every watch, without saying so.
    pub fn cut(&self) {
        self.state().watchers.clear();
    }

    pub fn asked(&self, verb: &str, kind: &str) -> Vec<Asked> {
        let state = self.state();
        state.asked.iter().filter(|asked| asked.verb == verb && asked.kind == kind).cloned().collect()
    }

    /// How many requests there were, without those about the lease.
    pub fn count(&self) -> usize {
        self.state().asked.iter().filter(|asked| asked.kind != "leases").count()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
        let query = head.uri.query().unwrap_or_default();
        // api/v1 or apis/GROUP/VERSION, perhaps namespaces/NAME, then the kind, a name, a subresource.
        let mut rest = path[if path[0] == "api" { 2 } else { 3 }..].iter();
        let mut kind = *rest.next().unwrap();
        if kind == "namespaces" && rest.len() >= 2 {
            rest.next();
            kind = rest.next().unwrap();
        }
        let name = rest.next().copied().unwrap_or_default();
        let verb = match head.method {
            Method::GET if query.contains("watch=true") => "watch",
            Method::GET if name.is_empty() => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::DELETE => "delete",
            _ => "patch",
        };
        let fault = self.state().fault(verb, kind);
        let status_only = rest.next() == Some(&"status");
        let response = match (fault, verb) {
            (Some(Answer::Status(code, wait)), _) => failure(code, wait),
            (Some(Answer::EmptyList), _) => plain(200, &list(&[], self.state().version)),
            (Some(Answer::Expired), _) => {
                let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "reason": "Expired", "code": 410, "message": "too old resource version" });
                text(200, format!("{}\n", json!({ "type": "ERROR", "object": status })))
            }
            (Some(Answer::End), _) => text(200, String::new()),
            (None, "watch") => self.watch(kind, query),
            (None, "list") => {
                let state = self.state();
                let items: Vec<Value> = state
                    .objects
                    .iter()
                    .filter(|((k, _), _)| k == kind)
                    .map(|(_, object)| object.clone())
                    .collect();
                plain(200, &list(&items, state.version))
            }
            (None, "get") => {
                self.get(kind, name).map_or_else(|| failure(404, None), |object| plain(200, &object))
            }
            (None, "create") => self.create(kind, body),
            (None, "delete") => {
                self.state().delete(kind, name);
                plain(200, &json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            (None, _) => self.state().patch(kind, name, &body, query, status_only),
        };
        let asked = Asked {
            at: Instant::now(),
            verb,
            kind: kind.to_owned(),
            name: name.to_owned(),
            code: response.status().as_u16(),
        };
        self.state().asked.push(asked);
        response
    }

    fn watch(&self, kind: &str, query: &str) -> Response<Body> {
        let (send, mut receive) = mpsc::unbounded_channel::<Bytes>();
        let from =
            query.split('&').find_map(|part| part.strip_prefix("resourceVersion=")?.parse::<u64>().ok());
        let mut state = self.state();
        // What was missed since then; what was deleted meanwhile is not told.
        for ((_, _), object) in state.objects.iter().filter(|((k, _), _)| k == kind) {
            if version(object) > from.unwrap_or_default() {
                let _ = send.send(event("MODIFIED", object));
            }
        }
        state.watchers.push((kind.to_owned(), send));
        let frames = futures::stream::poll_fn(move |context| {
            receive.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))))
        });
        Response::new(BodyExt::boxed(StreamBody::new(frames)))
    }

    fn create(&self, kind: &str, mut object: Value) -> Response<Body> {
        let mut state = self.state();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if state.objects.contains_key(&(kind.to_owned(), name)) {
            return failure(409, None);
        }
        object["metadata"]["generation"] = json!(1);
        plain(201, &state.put(kind, object))
    }
}

impl State {
    fn fault(&mut self, verb: &str, kind: &str) -> Option<Answer> {
        let hits = |fault: &&mut Fault| {
            (fault.verb == "*" || fault.verb == verb)
                && (fault.kind == kind || fault.kind == "*" && kind != "leases")
        };
        let fault = self.faults.iter_mut().filter(|fault| fault.times > 0).find(hits)?;
        fault.times -= 1;
        Some(fault.answer)
    }

    fn put(&mut self, kind: &str, mut object: Value) -> Value {
        self.version += 1;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{name}"));
        }
        let key = (kind.to_owned(), name);
        let word = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.objects.insert(key, object.clone());
        self.tell(kind, word, &object);
        object
    }

    fn delete(&mut self, kind: &str, name: &str) {
        if let Some(object) = self.objects.remove(&(kind.to_owned(), name.to_owned())) {
            self.tell(kind, "DELETED", &object);
        }
    }

    fn tell(&mut self, kind: &str, word: &str, object: &Value) {
        let event = event(word, object);
        self.watchers.retain(|(watched, send)| watched != kind || send.send(event.clone()).is_ok());
    }

    fn patch(
        &mut self,
        kind: &str,
        name: &str,
        patch: &Value,
        query: &str,
        status_only: bool,
    ) -> Response<Body> {
        let present = self.objects.get(&(kind.to_owned(), name.to_owned())).cloned();
        let mut object = match present {
            Some(object) => object,
            None if query.contains("force") || kind == "leases" => json!({ "metadata": { "name": name } }),
            None => return failure(404, None),
        };
        let wanted = &patch["metadata"]["resourceVersion"];
        if wanted.is_string() && *wanted != object["metadata"]["resourceVersion"] {
            return failure(409, None);
        }
        let spec = object["spec"].clone();
        if status_only {
            merge(&mut object["status"], &patch["status"]);
        } else {
            merge(&mut object, patch);
        }
        if object["spec"] != spec {
            object["metadata"]["generation"] =
                json!(object["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        }
        let manager =
            query.split('&').find_map(|part| part.strip_prefix("fieldManager=")).unwrap_or("unknown");
        let now = serde_json::to_value(cofferdam_cluster::now()).unwrap();
        let entry = json!({ "manager": manager, "operation": "Update", "time": now, "fieldsType": "FieldsV1", "fieldsV1": {} });
        let managed = object["metadata"]["managedFields"].take();
        let mut entries: Vec<Value> = managed.as_array().cloned().unwrap_or_default();
        entries.retain(|entry| entry["manager"] != manager);
        entries.push(entry);
        object["metadata"]["managedFields"] = json!(entries);
        plain(200, &self.put(kind, object))
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn list(items: &[Value], version: u64) -> Value {
    json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": version.to_string() }, "items": items })
}

fn event(word: &str, object: &Value) -> Bytes {
    format!("{}\n", json!({ "type": word, "object": object })).into()
}

fn text(code: u16, text: String) -> Response<Body> {
    let body = BodyExt::boxed(Full::new(Bytes::from(text)));
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn plain(code: u16, value: &Value) -> Response<Body> {
    text(code, value.to_string())
}

fn failure(code: u16, wait: Option<u64>) -> Response<Body> {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": "Trouble", "message": "as the test wants it", "code": code });
    let mut response = plain(code, &status);
    if let Some(wait) = wait {
        response.headers_mut().insert("retry-after", wait.into());
    }
    response
}
