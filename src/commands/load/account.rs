//! What has become of the logins of a load: counts by name, and latencies. Nothing here knows how they were sent.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::login::{LoginResult, Outcome, SealingKey};

/// The longest that is told apart, in microseconds: ten minutes.
const LONGEST_US: u64 = 600_000_000;
/// To three digits, so 0.1 %.
const DIGITS: u8 = 3;
/// The reason of a result that cannot be read here.
pub(super) const UNREADABLE: &str = "unreadable";

/// What became of one login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has the phone number that it should have.
    Succeeded,
    /// It has another's. Never in order.
    WrongNumber,
    /// A result without a number, by its reason.
    Failed(&'static str),
    /// It was not taken in, by who said so.
    Refused(String),
    /// No result in its time.
    Unanswered,
}

/// All of them; of one rate.
pub(super) struct Account {
    pub(super) sent: u64,
    pub(super) succeeded: u64,
    pub(super) wrong_numbers: u64,
    pub(super) failed: BTreeMap<&'static str, u64>,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) unanswered: u64,
    /// From when a login was due until its result was known, whatever the result.
    pub(super) latency: Latencies,
    /// The same, since this was last taken.
    recent: Latencies,
    /// From when a login was due until it was sent.
    pub(super) late: Latencies,
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            succeeded: 0,
            wrong_numbers: 0,
            failed: BTreeMap::new(),
            refused: BTreeMap::new(),
            unanswered: 0,
            latency: Latencies::new(),
            recent: Latencies::new(),
            late: Latencies::new(),
        }
    }

    /// A login has left, so late.
    pub(super) fn sent(&mut self, late: Duration) {
        self.sent += 1;
        self.late.record(late);
    }

    /// This became of a login, so long after it was due.
    pub(super) fn ended(&mut self, fate: Fate, after: Duration) {
        if matches!(fate, Fate::Succeeded | Fate::WrongNumber | Fate::Failed(_)) {
            self.latency.record(after);
            self.recent.record(after);
        }
        match fate {
            Fate::Succeeded => self.succeeded += 1,
            Fate::WrongNumber => self.wrong_numbers += 1,
            Fate::Failed(reason) => *self.failed.entry(reason).or_default() += 1,
            Fate::Refused(by) => *self.refused.entry(by).or_default() += 1,
            Fate::Unanswered => self.unanswered += 1,
        }
    }

    /// All that did not succeed, by name.
    pub(super) fn troubles(&self) -> Vec<(&str, u64)> {
        let failed = self.failed.iter().map(|(reason, count)| (*reason, *count));
        let refused = self.refused.iter().map(|(by, count)| (by.as_str(), *count));
        let rest = [("wrong_number", self.wrong_numbers), ("unanswered", self.unanswered)];
        failed.chain(refused).chain(rest.into_iter().filter(|(_, count)| *count > 0)).collect()
    }

    pub(super) fn not_succeeded(&self) -> u64 {
        self.troubles().iter().map(|(_, count)| count).sum()
    }

    /// Sent, and not yet ended.
    pub(super) fn in_flight(&self) -> u64 {
        self.sent - self.succeeded - self.not_succeeded()
    }

    /// The latencies since the last time that this was called.
    pub(super) fn take_recent(&mut self) -> Latencies {
        std::mem::replace(&mut self.recent, Latencies::new())
    }
}

impl Fate {
    /// Of the result that stands in the store.
    pub(super) fn of(json: &[u8], expected_number: &str, sealing: Option<&SealingKey>) -> Self {
        match LoginResult::from_json(json, sealing).map(|result| result.outcome) {
            Ok(Outcome::Succeeded(phone)) if phone.phone_number == expected_number => Self::Succeeded,
            Ok(Outcome::Succeeded(_)) => Self::WrongNumber,
            Ok(Outcome::Failed(failure)) => Self::Failed(failure.reason.as_str()),
            Err(_) => Self::Failed(UNREADABLE),
        }
    }
}

/// Durations, as a histogram to three digits: of constant size, whatever the number.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("bounds and digits are good ones"))
    }

    fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(LONGEST_US).max(1));
    }

    /// What all but this part (0.99: a hundredth) did not exceed, in ms; none where there are none.
    pub(super) fn ms_at(&self, quantile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(quantile) as f64 / 1000.0)
    }

    /// In ms; none where there are none.
    pub(super) fn max_ms(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.max() as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::{Failure, PhoneInfo, Reason, RequestId};

    fn result(outcome: Outcome) -> Vec<u8> {
        let request_id = RequestId::try_from("r-1").expect("a good id");
        let result = LoginResult { request_id, appid: None, outcome, attempts: 1, finished_at: 0, simulated: true };
        result.to_json(None)
    }

    fn succeeded(number: &str) -> Vec<u8> {
        let (pure_phone_number, country_code, watermark) = (None, None, None);
        result(Outcome::Succeeded(PhoneInfo {
            phone_number: number.into(),
            pure_phone_number,
            country_code,
            watermark,
        }))
    }

    #[test]
    fn a_success_is_one_only_with_its_own_number() {
        assert_eq!(Fate::of(&succeeded("13800000000"), "13800000000", None), Fate::Succeeded);
        assert_eq!(Fate::of(&succeeded("13800000001"), "13800000000", None), Fate::WrongNumber);
        let failed = result(Outcome::Failed(Failure::new(Reason::Throttled)));
        assert_eq!(Fate::of(&failed, "13800000000", None), Fate::Failed("throttled"));
        assert_eq!(Fate::of(b"{}", "13800000000", None), Fate::Failed("unreadable"));
    }

    #[test]
    fn every_login_is_in_flight_until_it_is_counted_by_name() {
        let mut account = Account::new();
        let fates = [
            Fate::Succeeded,
            Fate::WrongNumber,
            Fate::Failed("throttled"),
            Fate::Failed("throttled"),
            Fate::Refused("queue_full".into()),
            Fate::Unanswered,
        ];
        for _ in 0..=fates.len() {
            account.sent(Duration::from_millis(1));
        }
        for fate in fates {
            account.ended(fate, Duration::from_millis(10));
        }
        assert_eq!((account.in_flight(), account.succeeded, account.not_succeeded()), (1, 1, 5));
        let expected = [("throttled", 2), ("queue_full", 1), ("wrong_number", 1), ("unanswered", 1)];
        assert_eq!(account.troubles(), expected);
        assert_eq!(account.latency.0.len(), 4, "whoever was refused or never answered has no latency");
    }

    #[test]
    fn percentiles_are_those_of_all_results_and_the_recent_ones_begin_anew() {
        let mut account = Account::new();
        for ms in 1..=1000 {
            account.ended(Fate::Succeeded, Duration::from_millis(ms));
        }
        let near = |found: Option<f64>, expected: f64| found.is_some_and(|ms| (ms / expected - 1.0).abs() < 0.002);
        assert!(near(account.latency.ms_at(0.5), 500.0) && near(account.latency.ms_at(0.99), 990.0));
        assert!(near(account.latency.max_ms(), 1000.0) && near(account.take_recent().ms_at(0.99), 990.0));
        account.ended(Fate::Succeeded, Duration::from_secs(5000));
        assert!(near(account.take_recent().max_ms(), 600_000.0), "what is too long to tell apart is the longest");
        assert_eq!(account.take_recent().ms_at(0.5), None);
    }
}
