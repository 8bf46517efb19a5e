//! Health and metrics over HTTP: `/healthz`, `/readyz`, `/metrics`.

use crate::metrics::Scrape;
use http::{Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// How long a client may take to say what it wants.
const HEADER_LIMIT: Duration = Duration::from_secs(5);

/// A watch that has failed for so long again and again makes the program not ready.
const ENOUGH: Duration = Duration::from_secs(60);

/// So long after the last failure a watch is believed to work again, even if it had nothing to tell. Longer than the
/// longest wait between two tries.
const QUIET: Duration = Duration::from_secs(120);

/// Whether the program does what it is there for.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    begun: AtomicBool,
    /// The watches that fail, by what they watch.
    troubles: Mutex<BTreeMap<String, Trouble>>,
}

/// Failures that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trouble {
    first: Instant,
    last: Instant,
}

impl Trouble {
    /// Another failure.
    fn again(before: Option<Self>, now: Instant) -> Self {
        match before.filter(|before| now.duration_since(before.last) < QUIET) {
            Some(before) => Self { last: now, ..before },
            None => Self { first: now, last: now },
        }
    }

    /// Whether it has gone on for too long.
    fn lasts(self, now: Instant) -> bool {
        now.duration_since(self.last) < QUIET && self.last.duration_since(self.first) >= ENOUGH
    }
}

impl Ready {
    /// It does, from now on, as long as its watches do not fail.
    pub fn set(&self) {
        self.0.begun.store(true, Ordering::Relaxed);
    }

    /// The watch of `what` failed.
    pub(crate) fn fails(&self, what: &str) {
        let mut troubles = self.troubles();
        let trouble = Trouble::again(troubles.get(what).copied(), Instant::now());
        troubles.insert(what.to_owned(), trouble);
    }

    /// The watch of `what` told something.
    pub(crate) fn works(&self, what: &str) {
        self.troubles().remove(what);
    }

    /// Whether the watch of `what` has failed, and told nothing since.
    #[cfg(test)]
    pub(crate) fn is_troubled(&self, what: &str) -> bool {
        self.troubles().contains_key(what)
    }

    /// Why it does not; none: it does.
    fn obstacle(&self, now: Instant) -> Option<String> {
        if !self.0.begun.load(Ordering::Relaxed) {
            return Some("not yet".to_owned());
        }
        let troubles = self.troubles();
        let (what, _) = troubles.iter().find(|(_, trouble)| trouble.lasts(now))?;
        Some(format!("the watch of {what} fails: see the log"))
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<String, Trouble>> {
        self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers until the runtime ends.
///
/// # Errors
/// If nobody can listen on `address`.
pub async fn serve(address: SocketAddr, ready: Ready, metrics: impl Scrape) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let metrics = Arc::new(metrics);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (ready, metrics) = (ready.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let answer = answer(request.uri().path(), &ready, metrics.as_ref());
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            // A client that goes away is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(path: &str, ready: &Ready, metrics: &impl Scrape) -> Response<String> {
    let (status, body) = match path {
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match ready.obstacle(Instant::now()) {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" => (StatusCode::OK, metrics.text()),
        _ => (StatusCode::NOT_FOUND, "there is /healthz, /readyz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if path == "/metrics" {
        let kind =
            http::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn failed(times: &[u64], begin: Instant) -> Trouble {
        let fold = |before, at: &u64| Some(Trouble::again(before, begin + Duration::from_secs(*at)));
        times.iter().fold(None, fold).unwrap()
    }

    #[test]
    fn a_watch_that_fails_for_long_is_an_obstacle_until_it_is_quiet() {
        let begin = Instant::now();
        let lasts = |times: &[u64], at| failed(times, begin).lasts(begin + Duration::from_secs(at));
        assert!(!lasts(&[0], 30), "once is nothing");
        assert!(!lasts(&[0, 30], 31));
        assert!(lasts(&[0, 30, 60], 61));
        assert!(lasts(&[0, 30, 60], 179));
        assert!(!lasts(&[0, 30, 60], 180), "it does not fail any more");
        assert!(!lasts(&[0, 119, 300], 301), "these do not belong together");
    }

    #[test]
    fn readiness_comes_and_goes() {
        let ready = Ready::default();
        let now = Instant::now();
        assert_eq!(ready.obstacle(now).as_deref(), Some("not yet"));
        ready.set();
        assert_eq!(ready.obstacle(now), None);
        ready.fails("Node");
        assert_eq!(ready.obstacle(now), None);
        let trouble = Trouble { first: now, last: now + ENOUGH };
        ready.troubles().insert("Node".to_owned(), trouble);
        ready.works("SandboxNode");
        assert!(ready.obstacle(now + ENOUGH).is_some_and(|why| why.contains("watch of Node")));
        ready.works("Node");
        assert_eq!(ready.obstacle(now + ENOUGH), None);
    }
}
