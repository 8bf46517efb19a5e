//! Watches that tell whether they work, and wait longer after each failure.

use crate::serve::Ready;
use futures::{Stream, StreamExt};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{DefaultBackoff, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The events of a watch that never ends. Broken watches, 410s and outages are waited out; `ready` learns of them.
pub(crate) fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    ready: Ready,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let pauses = Pauses::default();
    let works = Arc::clone(&pauses.works);
    watcher(api, config).inspect(move |event| judge(event, &ready, &works)).backoff(pauses)
}

/// Takes note of what an event says of its watch.
fn judge<K: Resource<DynamicType = ()>>(
    event: &watcher::Result<Event<K>>,
    ready: &Ready,
    works: &AtomicBool,
) {
    let kind = K::kind(&());
    match event {
        // It comes before the list is asked for, also before each one that fails.
        Ok(Event::Init) => {}
        Ok(_) => {
            works.store(true, Ordering::Relaxed);
            ready.works(&kind);
        }
        Err(error) => {
            ready.fails(&kind);
            tracing::warn!(%kind, %error, "watching");
        }
    }
}

/// The pauses after failures. They are short again once the watch worked, which kube takes an `Init` for, too.
#[derive(Default)]
struct Pauses {
    pauses: DefaultBackoff,
    works: Arc<AtomicBool>,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.works.swap(false, Ordering::Relaxed) {
            self.pauses.reset();
        }
        self.pauses.next()
    }
}

impl Backoff for Pauses {
    /// Called at every event: [`judge`] knows better.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Node;

    #[test]
    fn the_beginning_of_a_list_is_no_success() {
        let (ready, works) = (Ready::default(), AtomicBool::new(false));
        judge::<Node>(&Err(watcher::Error::NoResourceVersion), &ready, &works);
        judge::<Node>(&Ok(Event::Init), &ready, &works);
        assert!(ready.is_troubled("Node") && !works.load(Ordering::Relaxed));
        judge::<Node>(&Ok(Event::InitDone), &ready, &works);
        assert!(!ready.is_troubled("Node") && works.load(Ordering::Relaxed));
    }

    #[test]
    fn only_a_success_makes_the_pauses_short_again() {
        let mut pauses = Pauses::default();
        for _ in 0..5 {
            assert!(pauses.next().is_some());
            pauses.reset();
        }
        assert!(pauses.next() > Some(Duration::from_secs(20)));
        pauses.works.store(true, Ordering::Relaxed);
        assert!(pauses.next() < Some(Duration::from_secs(2)));
        assert!(pauses.next() > Some(Duration::from_secs(1)), "one success, one new beginning");
    }
}
