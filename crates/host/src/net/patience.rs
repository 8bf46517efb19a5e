//! How long we wait for others, and how often we ask again.

use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How long we wait for others, and how often we ask again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Patience {
    /// How often something is tried, the first time counted.
    pub tries: u32,
    /// The pause before the second try. Each one after it is twice as long, and a random part of each is left out, so
    /// that a fleet does not come back all at once.
    pub first_pause: Duration,
    /// No pause of ours is longer.
    pub longest_pause: Duration,
    /// The longest pause that a server may ask for (`Retry-After`). Whoever asks for more is not asked again.
    pub longest_asked: Duration,
    /// How long a TCP connection may take to come up, over all addresses of a name.
    pub connect: Duration,
    /// How long a peer may take to begin its answer.
    pub answer: Duration,
    /// How long a peer may send nothing in the middle of an answer.
    pub silence: Duration,
    /// Over this much waiting a peer must have sent [`Self::least`] bytes.
    pub window: Duration,
    /// Whoever sends less in a [`Self::window`] is too slow: another connection may be better.
    pub least: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 5,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(20),
            longest_asked: Duration::from_secs(120),
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            silence: Duration::from_secs(60),
            window: Duration::from_secs(60),
            least: 60 << 10,
        }
    }
}

impl Patience {
    /// The pause before the next try, after `done` of them; none if there is to be no other. `asked` is what the server
    /// wants, and `chance` is anything from 0 to 1.
    pub fn pause(&self, done: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.5 };
        if done >= self.tries {
            return None;
        }
        if let Some(asked) = asked {
            // Never earlier than asked, and not all at the same moment.
            return (asked <= self.longest_asked).then(|| asked + self.first_pause.mul_f64(chance));
        }
        let factor = 1u32.checked_shl(done.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first_pause.saturating_mul(factor).min(self.longest_pause);
        Some(whole.mul_f64((1.0 + chance) / 2.0))
    }
}

/// Anything from 0 to 1, another one each time.
pub fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end() {
        let patience = Patience::default();
        let seconds = |done, chance| patience.pause(done, None, chance).map(|pause| pause.as_secs_f64());
        assert_eq!(seconds(1, 1.0), Some(1.0));
        assert_eq!(seconds(1, 0.0), Some(0.5));
        assert_eq!(seconds(3, 1.0), Some(4.0));
        assert_eq!(seconds(5, 1.0), None, "five tries were enough");
        let endless = Patience { tries: u32::MAX, ..patience.clone() };
        for done in [10, 31, 32, 64, 1_000_000] {
            assert_eq!(endless.pause(done, None, 1.0), Some(patience.longest_pause), "{done}");
        }
        assert!(seconds(1, f64::NAN).is_some());
    }

    #[test]
    fn what_a_server_asks_for_is_obeyed_to_a_limit() {
        let patience = Patience::default();
        let asked = |seconds| patience.pause(1, Some(Duration::from_secs(seconds)), 0.0);
        assert_eq!(asked(0), Some(Duration::ZERO));
        assert_eq!(asked(90), Some(Duration::from_secs(90)), "longer than any pause of ours");
        assert_eq!(asked(121), None, "not asked again too early, but not at all");
        assert!(patience.pause(1, Some(Duration::from_secs(90)), 1.0) > asked(90), "not all at once");
    }

    #[test]
    fn chances_differ() {
        let all: Vec<f64> = (0..50).map(|_| chance()).collect();
        assert!(all.iter().all(|one| (0.0..=1.0).contains(one)), "{all:?}");
        assert!(all.iter().any(|one| *one < 0.5) && all.iter().any(|one| *one > 0.5), "{all:?}");
    }
}
