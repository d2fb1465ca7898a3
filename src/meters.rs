//! What is counted: one set of Prometheus metrics for gateway and worker, handed around as a cheap clone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A handle on all metrics of this process; cheap to clone.
#[derive(Clone)]
pub struct Meters(Arc<Inner>);

struct Inner {
    registry: Registry,
    logins: Family<OutcomeLabel, Counter>,
    in_hand: Gauge,
    in_hand_seconds: Histogram,
    exchange_seconds: Histogram,
    answers: Family<AnswerLabel, Counter>,
    tokens_fetched: Counter,
    dead_letters: Counter,
    requeued: Counter,
    submitted: Family<SubmitLabel, Counter>,
    polls_waiting: Gauge,
    waiting_for_share: Gauge,
    declined: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabel {
    answer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SubmitLabel {
    status: u16,
}

impl Meters {
    /// A fresh set, all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("quicklogin");
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let (logins, answers, submitted) = (Family::default(), Family::default(), Family::default());
        let (in_hand_seconds, exchange_seconds) = (seconds(), seconds());
        let (in_hand, polls_waiting, waiting_for_share) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (tokens_fetched, dead_letters, requeued) = (Counter::default(), Counter::default(), Counter::default());
        let declined = Counter::default();
        registry.register("logins", "Logins concluded by this worker, by outcome", logins.clone());
        registry.register("logins_in_hand", "Logins that this worker works on now", in_hand.clone());
        registry.register("login_in_hand_seconds", "Time from delivery to settlement", in_hand_seconds.clone());
        registry.register("exchange_seconds", "Time that WeChat took to answer an exchange", exchange_seconds.clone());
        registry.register("answers", "WeChat's answers to exchanges, by kind", answers.clone());
        registry.register(
            "tokens_fetched",
            "Access tokens that this worker fetched from WeChat",
            tokens_fetched.clone(),
        );
        registry.register("dead_letters", "Messages without a usable request id", dead_letters.clone());
        registry.register("requeued", "Deliveries given back to the queue", requeued.clone());
        registry.register(
            "logins_waiting_for_share",
            "Logins that this worker took and that wait for a slot of their app's share",
            waiting_for_share.clone(),
        );
        registry.register(
            "logins_declined",
            "Logins answered without asking, since their app's share of this worker was taken",
            declined.clone(),
        );
        registry.register("submitted", "Login requests answered by this gateway, by HTTP status", submitted.clone());
        registry.register("polls_waiting", "Callers that wait for a result at this gateway", polls_waiting.clone());
        Self(Arc::new(Inner {
            registry,
            logins,
            in_hand,
            in_hand_seconds,
            exchange_seconds,
            answers,
            tokens_fetched,
            dead_letters,
            requeued,
            submitted,
            polls_waiting,
            waiting_for_share,
            declined,
        }))
    }

    /// A delivery is in hand until this guard is dropped.
    pub fn take_in_hand(&self) -> InHand {
        self.0.in_hand.inc();
        InHand { meters: self.clone(), since: Instant::now() }
    }

    /// A login has its result; `outcome` is `succeeded` or the reason.
    pub fn concluded(&self, outcome: &'static str) {
        self.0.logins.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// WeChat answered an exchange, or did not.
    pub fn answered(&self, answer: &'static str, after: Duration) {
        self.0.answers.get_or_create(&AnswerLabel { answer }).inc();
        self.0.exchange_seconds.observe(after.as_secs_f64());
    }

    /// An access token was fetched from WeChat.
    pub fn token_fetched(&self) {
        self.0.tokens_fetched.inc();
    }

    /// A message went to the dead letters.
    pub fn dead_letter(&self) {
        self.0.dead_letters.inc();
    }

    /// A delivery was given back.
    pub fn requeued(&self) {
        self.0.requeued.inc();
    }

    /// A login waits for a slot of its app's share until this guard is dropped.
    pub fn wait_for_share(&self) -> WaitsForShare {
        self.0.waiting_for_share.inc();
        WaitsForShare { meters: self.clone() }
    }

    /// A login was answered without asking, since its app's share was taken.
    pub fn declined(&self) {
        self.0.declined.inc();
    }

    /// The gateway answered a submission with this HTTP status.
    pub fn submitted(&self, status: u16) {
        self.0.submitted.get_or_create(&SubmitLabel { status }).inc();
    }

    /// So many callers wait for a result.
    pub fn polls_waiting(&self, callers: usize) {
        self.0.polls_waiting.set(callers as i64);
    }

    /// All of it in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("writing to a string does not fail");
        text
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}

/// One delivery in hand.
pub struct InHand {
    meters: Meters,
    since: Instant,
}

impl Drop for InHand {
    fn drop(&mut self) {
        let inner = &self.meters.0;
        inner.in_hand.dec();
        inner.in_hand_seconds.observe(self.since.elapsed().as_secs_f64());
    }
}

/// One login that waits for a slot of its app's share.
pub struct WaitsForShare {
    meters: Meters,
}

impl Drop for WaitsForShare {
    fn drop(&mut self) {
        self.meters.0.waiting_for_share.dec();
    }
}
