//! Rate limit for the log lines of a fault that lasts: one line when it begins, one at growing intervals while it lasts,
//! one when it ends. The caller writes the lines; this only says when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// Interval between the first two lines of one cause; it doubles from line to line.
const FIRST_INTERVAL: Duration = Duration::from_secs(30);
const LONGEST_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// If the last failure was so long ago, and there was a success since, the next failure is a new fault.
const CALM: Duration = Duration::from_secs(10);
/// Maximum number of causes that are told apart; faults that alternate are logged at their own intervals.
const MAX_CAUSES: usize = 16;

/// When to log one kind of fault. Share it among all that would report the same fault.
#[derive(Debug, Default)]
pub(crate) struct FaultLog {
    /// Whether there was a failure since the last success; spares successes the lock.
    failing: AtomicBool,
    lasting: Mutex<Lasting>,
}

#[derive(Debug, Default)]
struct Lasting {
    causes: Vec<Cause>,
    began: Option<Instant>,
    last_failure: Option<Instant>,
    succeeded_since: bool,
}

#[derive(Debug)]
struct Cause {
    what: String,
    next: Instant,
    interval: Duration,
    suppressed: u64,
}

impl FaultLog {
    /// Counts a failure. If a line is due: how many failures of the same cause had none since the last line.
    pub(crate) fn failed(&self, cause: &str) -> Option<u64> {
        let (now, mut lasting) = (Instant::now(), self.lasting());
        let is_calm = lasting.last_failure.is_some_and(|last| now.duration_since(last) >= CALM);
        if is_calm && lasting.succeeded_since {
            *lasting = Lasting::default();
        }
        (lasting.last_failure, lasting.succeeded_since) = (Some(now), false);
        let due = lasting.count(cause, now);
        if due.is_some() {
            lasting.began.get_or_insert(now);
        }
        self.failing.store(true, Ordering::Relaxed);
        due
    }

    /// Counts a success. If it ends a fault that a line was due for: how long the fault lasted.
    pub(crate) fn ended(&self) -> Option<Duration> {
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let mut lasting = self.lasting();
        self.failing.store(false, Ordering::Relaxed);
        lasting.succeeded_since = true;
        lasting.began.take().map(|began| began.elapsed())
    }

    fn lasting(&self) -> MutexGuard<'_, Lasting> {
        self.lasting.lock().expect("nothing panics while holding it")
    }
}

impl Lasting {
    fn count(&mut self, what: &str, now: Instant) -> Option<u64> {
        if let Some(cause) = self.causes.iter_mut().find(|cause| cause.what == what) {
            if now < cause.next {
                cause.suppressed += 1;
                return None;
            }
            cause.interval = (cause.interval * 2).min(LONGEST_INTERVAL);
            cause.next = now + cause.interval;
            return Some(std::mem::take(&mut cause.suppressed));
        }
        if self.causes.len() == MAX_CAUSES {
            // Its text changes each time: it counts as one cause from here on.
            let last = self.causes.last_mut().expect("there are as many as the maximum");
            last.what = what.to_owned();
            return self.count(what, now);
        }
        self.causes.push(Cause {
            what: what.to_owned(),
            next: now + FIRST_INTERVAL,
            interval: FIRST_INTERVAL,
            suppressed: 0,
        });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// A failure every half second for so long: after how many seconds a line was due.
    async fn lines(log: &FaultLog, seconds: u64, causes: &[&str]) -> Vec<u64> {
        let (began, mut due) = (Instant::now(), vec![]);
        for n in 0..seconds * 2 {
            if log.failed(causes[n as usize % causes.len()]).is_some() {
                due.push(began.elapsed().as_secs());
            }
            advance(Duration::from_millis(500)).await;
        }
        due
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_that_lasts_is_logged_at_once_and_then_at_doubling_intervals() {
        let log = FaultLog::default();
        assert_eq!(lines(&log, 500, &["refused"]).await, [0, 30, 90, 210, 450]);
        assert_eq!(log.ended(), Some(Duration::from_secs(500)));
        assert_eq!(log.ended(), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_says_how_many_failures_had_none() {
        let log = FaultLog::default();
        assert_eq!(log.failed("refused"), Some(0));
        assert_eq!((log.failed("refused"), log.failed("refused")), (None, None));
        advance(FIRST_INTERVAL).await;
        assert_eq!(log.failed("refused"), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn causes_that_alternate_have_an_interval_each() {
        let log = FaultLog::default();
        assert_eq!(lines(&log, 29, &["refused", "timed out"]).await, [0, 0]);
        let texts: Vec<_> = (0..1000).map(|n| format!("cause {n}")).collect();
        let due = texts.iter().filter(|text| log.failed(text).is_some()).count();
        assert!(due <= MAX_CAUSES, "a text that is new each time is bounded: {due}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_flaps_is_not_a_new_fault_each_time() {
        let log = FaultLog::default();
        let mut lines = 0;
        for _ in 0..50 {
            lines += u64::from(log.failed("closed").is_some()) + u64::from(log.ended().is_some());
            advance(Duration::from_millis(500)).await;
        }
        assert_eq!(lines, 2, "one that it began, one that it ended");
        advance(CALM).await;
        assert_eq!(log.failed("closed"), Some(0), "a new fault is logged at once");
    }
}
