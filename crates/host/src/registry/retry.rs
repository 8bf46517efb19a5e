//! Which failures are worth another try, and what a server says about when. No I/O.

use std::time::{Duration, SystemTime};

/// From here on a `Retry-After` is no number of seconds to wait but a time: seconds since 1970. Docker's registry does that.
const A_TIME: u64 = 1_000_000_000;

/// Whether a registry that answers `status` may do otherwise in a moment.
pub(super) const fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// What `Retry-After` asks for.
pub(super) fn asked(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let until = |time: SystemTime| time.duration_since(now).unwrap_or(Duration::ZERO);
    if let Ok(seconds) = value.parse::<u64>() {
        let time = || SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        return if seconds < A_TIME { Some(Duration::from_secs(seconds)) } else { time().map(until) };
    }
    httpdate::parse_http_date(value).ok().map(until)
}

/// Where the bytes of an answer to a request for a range begin: `bytes START-END/SIZE`.
pub(super) fn range_start(content_range: &str) -> Option<u64> {
    let range = content_range.trim().strip_prefix("bytes")?.trim_start();
    range.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_retry_after_is_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("1800000030", Some(30)),
            ("1700000000", Some(0)),
            ("Fri, 15 Jan 2027 08:00:10 GMT", Some(10)),
            ("Fri, 15 Jan 2021 08:00:10 GMT", Some(0)),
            ("18446744073709551615", None),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(asked(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn the_start_of_a_range_is_read() {
        for (text, start) in [
            ("bytes 50-99/100", Some(50)),
            ("bytes 0-99/*", Some(0)),
            ("bytes */100", None),
            ("50-99/100", None),
            ("", None),
        ] {
            assert_eq!(range_start(text), start, "{text:?}");
        }
    }
}
