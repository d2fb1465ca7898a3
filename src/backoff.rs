//! Pauses that double to a bound and are spread by dice, so that a fleet does not do everything at once.
//!
//! Pure: the dice are a parameter.

use std::time::Duration;

/// How pauses grow.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first pause at its longest.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after `failures` earlier ones: between half and all of the step, as `dice` (0..1) falls.
    pub fn pause(self, failures: u32, dice: f64) -> Duration {
        let step = self.first.saturating_mul(1 << failures.min(16)).min(self.longest);
        step.mul_f64(0.5 + dice / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_are_spread_by_dice() {
        let backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(3) };
        let pauses: Vec<_> = (0..6).map(|failures| backoff.pause(failures, 1.0).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3000, 3000]);
        assert_eq!(backoff.pause(0, 0.0), Duration::from_millis(100));
        assert_eq!(backoff.pause(u32::MAX, 0.5), Duration::from_millis(2250));
    }
}
