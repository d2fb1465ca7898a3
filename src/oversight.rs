//! Looks at the store now and then without being asked, and logs what an operator has to know: a missing permission, a
//! clock that is wrong, settings of Redis that lose results.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::meters::Meters;
use crate::ops::Readiness;

/// Interval between two looks, and while something is missing.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Interval between two looks for a connection.
const CONNECTED_EVERY: Duration = Duration::from_millis(100);
/// Interval between two looks at how the store is set up, and between two warnings about the clock.
const REMIND_EVERY: Duration = Duration::from_secs(600);
/// A smaller difference of two clocks harms no login.
const CLOCK_TOLERANCE_MS: u64 = 5000;

/// What was logged last.
#[derive(Default)]
struct Logged {
    refusal: Option<String>,
    warnings: Vec<String>,
    warned_at: Option<Instant>,
    clock_at: Option<Instant>,
}

/// Goes on until it is dropped.
pub async fn oversee(readiness: Readiness, meters: Meters) {
    let mut logged = Logged::default();
    loop {
        while !readiness.store.is_connected() {
            sleep(CONNECTED_EVERY).await;
        }
        logged.check_access(&readiness).await;
        logged.check_clock(&readiness, &meters).await;
        logged.check_settings(&readiness).await;
        sleep(if logged.refusal.is_some() { LOOK_AGAIN } else { LOOK_EVERY }).await;
    }
}

impl Logged {
    async fn check_access(&mut self, readiness: &Readiness) {
        let refusal = readiness.store.check_access(readiness.uses()).await.err().map(|away| away.why().to_owned());
        if refusal.is_some() && !readiness.store.is_connected() {
            return;
        }
        match &refusal {
            Some(why) if self.refusal.as_ref() != Some(why) => {
                warn!(%why, "Redis does not let this process do all that it needs, so this process is not ready");
            }
            None if self.refusal.is_some() => info!("Redis lets this process do all that it needs"),
            _ => {}
        }
        self.refusal = refusal;
    }

    async fn check_clock(&mut self, readiness: &Readiness, meters: &Meters) {
        let Some(ahead_ms) = readiness.store.clock_ahead_ms().await else { return };
        meters.clock_ahead(ahead_ms as f64 / 1000.0);
        if ahead_ms.unsigned_abs() <= CLOCK_TOLERANCE_MS {
            self.clock_at = None;
            return;
        }
        if self.clock_at.is_some_and(|at| at.elapsed() < REMIND_EVERY) {
            return;
        }
        self.clock_at = Some(Instant::now());
        let by_s = ahead_ms.unsigned_abs() / 1000;
        let (direction, so) = match ahead_ms > 0 {
            true => ("ahead of", "logins expire too early"),
            false => ("behind", "codes are exchanged after their time, and WeChat refuses them"),
        };
        warn!(
            by_s,
            "the clock of this machine is {direction} the clock of Redis, so {so}: is NTP running on both machines?"
        );
    }

    async fn check_settings(&mut self, readiness: &Readiness) {
        if self.warned_at.is_some_and(|at| at.elapsed() < REMIND_EVERY) {
            return;
        }
        self.warned_at = Some(Instant::now());
        let warnings = readiness.store.warnings().await;
        warnings.iter().filter(|warning| !self.warnings.contains(warning)).for_each(|warning| warn!("{warning}"));
        self.warnings = warnings;
    }
}
