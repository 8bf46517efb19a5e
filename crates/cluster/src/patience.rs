//! What a client does when the API server is in trouble: it waits as it is told, and never runs in circles.

use http::{HeaderValue, Request, Response};
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tower::retry::Policy;
use tower::{BoxError, Service};

/// The first wait before a request is repeated, if the server names none.
const FIRST: Duration = Duration::from_millis(200);

/// The longest.
const LONGEST: Duration = Duration::from_secs(10);

/// So often a request is repeated; then it has failed, and whoever asked goes on with something else.
const TIMES: u32 = 5;

/// The longest wait that a server may ask for.
const MOST_ASKED: u64 = 60;

/// Between two beginnings of one watch.
const PACE: Duration = Duration::from_secs(1);

/// The header in which a server says how long to wait.
const RETRY_AFTER: &str = "retry-after";

/// Repeats what was answered with 429, 503 or 504, after the time that the server asks for.
#[derive(Clone)]
pub(crate) struct Patience(RetryPolicy);

impl Patience {
    pub(crate) fn new() -> Result<Self, kube::Error> {
        let policy = RetryPolicy::new(FIRST, LONGEST, TIMES, true);
        policy.map(Self).map_err(|error| kube::Error::Service(error.into()))
    }
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Patience {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        if let Ok(response) = result
            && let Some(asked) = response.headers_mut().get_mut(RETRY_AFTER)
            && asked.to_str().ok().and_then(|text| text.parse::<u64>().ok()).is_some_and(|n| n > MOST_ASKED)
        {
            *asked = HeaderValue::from(MOST_ASKED);
        }
        Policy::<_, Response<B>, _>::retry(&mut self.0, request, result)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Policy::<_, Response<B>, BoxError>::clone_request(&mut self.0, request)
    }
}

/// Begins each watch at most once in a while: a server, or a proxy before it, that ends every watch at once would be asked
/// again and again without a pause.
#[derive(Clone, Debug)]
pub(crate) struct Paced<S> {
    inner: S,
    begun: Arc<Mutex<HashMap<String, Instant>>>,
}

impl<S> Paced<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, begun: Arc::default() }
    }

    /// When this request may be sent.
    fn due(&self, request: &Request<Body>) -> Option<Instant> {
        let uri = request.uri();
        let query = uri.query()?;
        let mut parts = query.split('&');
        if !parts.any(|part| part == "watch=true") {
            return None;
        }
        // Without the version, which changes.
        let rest: Vec<&str> = query.split('&').filter(|part| !part.starts_with("resourceVersion=")).collect();
        let key = format!("{}?{}", uri.path(), rest.join("&"));
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = begun.get(&key).map_or(now, |last| (*last + PACE).max(now));
        begun.insert(key, due);
        Some(due)
    }
}

impl<S, B> Service<Request<Body>> for Paced<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let due = self.due(&request);
        // The one that is ready is used, its copy may not be.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            if let Some(due) = due {
                sleep_until(due).await;
            }
            inner.call(request).await
        })
    }
}
