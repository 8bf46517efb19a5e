//! How long the lead lasts, by this replica's own clock. Whoever renews the Lease learns of a loss from the API server only;
//! while that is silent, another replica may lead already.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{Api, Client};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::{sleep, timeout};

/// How often the Lease is looked at.
const LOOK: Duration = Duration::from_secs(3);

/// How long before its end the lead is given up: a write that was begun must have ended by then.
const MARGIN: Duration = Duration::from_secs(1);

/// Returns when the lead has run out.
pub(super) async fn run_out(client: &Client, namespace: &str, name: &str, identity: &str) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    watch(LOOK, || {
        let (leases, name, identity) = (leases.clone(), name.to_owned(), identity.to_owned());
        async move {
            let lease = leases.get(&name).await.ok()?;
            Some(left(&lease.spec.unwrap_or_default(), &identity, SystemTime::now()))
        }
    })
    .await;
}

/// Returns when what `look` last said was left has passed. What it does not say (in time) changes nothing.
async fn watch<F: Future<Output = Option<Duration>>>(pause: Duration, look: impl Fn() -> F) {
    let mut end = Instant::now() + pause * 2;
    while Instant::now() < end {
        // The answer is about a moment after this one.
        let asked = Instant::now();
        if let Ok(Some(left)) = timeout(end - asked, look()).await {
            end = asked + left;
        }
        sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

/// How long this replica leads from `now` on. It wrote the time of the renewal itself, so both are of one clock.
fn left(lease: &LeaseSpec, identity: &str, now: SystemTime) -> Duration {
    let (Some(renewed), Some(seconds)) = (&lease.renew_time, lease.lease_duration_seconds) else {
        return Duration::ZERO;
    };
    if lease.holder_identity.as_deref() != Some(identity) {
        return Duration::ZERO;
    }
    let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let end = SystemTime::from(renewed.0) + whole.saturating_sub(MARGIN);
    // A clock that was set back must not make it longer.
    end.duration_since(now).unwrap_or_default().min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_lead_lasts_as_long_as_the_lease_says() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let lease = LeaseSpec {
            holder_identity: Some("me".to_owned()),
            renew_time: Some(MicroTime(Timestamp::from_second(995).unwrap())),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        assert_eq!(left(&lease, "me", now), Duration::from_secs(9));
        assert_eq!(left(&lease, "other", now), Duration::ZERO);
        assert_eq!(left(&lease, "me", now + Duration::from_secs(20)), Duration::ZERO);
        assert_eq!(left(&lease, "me", now - Duration::from_secs(900)), Duration::from_secs(15));
        assert_eq!(left(&LeaseSpec::default(), "me", now), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_silent_server_does_not_keep_the_lead() {
        let (asked, begun) = (AtomicUsize::new(0), Instant::now());
        let look = || {
            let count = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                match count {
                    0..3 => Some(Duration::from_millis(200)),
                    _ => std::future::pending().await,
                }
            }
        };
        watch(Duration::from_millis(50), look).await;
        let lasted = begun.elapsed();
        assert!(lasted >= Duration::from_millis(280) && lasted < Duration::from_secs(2), "{lasted:?}");
        assert!(asked.load(Ordering::Relaxed) >= 3);
    }
}
