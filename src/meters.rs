//! What is counted: one set of Prometheus metrics for gateway and worker, handed around as a cheap clone.

mod exposition;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::login::Reason;
pub use exposition::Exposition;

/// The outcome of nearly each login.
const SUCCEEDED: &str = "succeeded";
/// Nearly each answer.
const PHONE: &str = "phone";
/// Every kind of answer to an exchange.
const ANSWERS: [&str; 8] = [PHONE, "refused", "unreachable", "local", "busy", "throttled", "unheard", "unreadable"];
/// The statuses that a submission is answered with.
const SUBMIT_STATUSES: [u16; 8] = [202, 400, 409, 413, 415, 422, 429, 503];
/// Every kind of push, with what may come of it.
const PUSHES: [(&str, &[&str]); 6] = [
    ("ticket", &["kept", "outdated", "repeated", "store_away"]),
    ("authorized", &["noted", "repeated"]),
    ("updateauthorized", &["noted", "repeated"]),
    ("unauthorized", &["noted", "repeated"]),
    ("other", &["noted", "repeated"]),
    ("unread", &["refused", "unreadable"]),
];

/// Of this process, as its stderr is.
static LOG_LINES_DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// A handle on all metrics of this process; cheap to clone.
#[derive(Clone)]
pub struct Meters(Arc<Inner>);

struct Inner {
    registry: Registry,
    logins: Family<OutcomeLabel, Counter>,
    /// Of `logins`, the one that nearly each is.
    succeeded: Counter,
    in_hand: Gauge,
    in_hand_seconds: Histogram,
    exchange_seconds: Histogram,
    answers: Family<AnswerLabel, Counter>,
    /// Of `answers`, the one that nearly each is.
    phones: Counter,
    tokens_fetched: Counter,
    dead_letters: Counter,
    requeued: Counter,
    submitted: Family<SubmitLabel, Counter>,
    polls_waiting: Gauge,
    apps_stopped: Gauge,
    wechat_away: Gauge,
    pushes: Family<PushLabel, Counter>,
    waiting_for_share: Gauge,
    declined: Counter,
    panicked: Counter,
    clock_ahead_seconds: Gauge<f64, AtomicU64>,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PushLabel {
    kind: &'static str,
    outcome: &'static str,
}

impl Meters {
    /// A fresh set, all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("quicklogin");
        let to = &mut registry;
        let logins: Family<OutcomeLabel, Counter> =
            added_at_zero(to, "logins", "Logins concluded by this worker, by outcome");
        let answers: Family<AnswerLabel, Counter> =
            added_at_zero(to, "answers", "WeChat's answers to exchanges, by kind");
        to.register(
            "log_lines_dropped",
            "Log lines of this process that stderr did not take in time",
            LOG_LINES_DROPPED.clone(),
        );
        let submitted: Family<SubmitLabel, Counter> =
            added_at_zero(to, "submitted", "Login requests answered by this gateway, by HTTP status");
        let pushes: Family<PushLabel, Counter> =
            added_at_zero(to, "pushes", "WeChat's pushes to this gateway, by kind and outcome");
        // What is not there before it is first counted escapes each alarm on an increase.
        for outcome in Reason::ALL.map(Reason::as_str) {
            drop(logins.get_or_create(&OutcomeLabel { outcome }));
        }
        for answer in ANSWERS {
            drop(answers.get_or_create(&AnswerLabel { answer }));
        }
        for status in SUBMIT_STATUSES {
            drop(submitted.get_or_create(&SubmitLabel { status }));
        }
        for (kind, outcomes) in PUSHES {
            for outcome in outcomes {
                drop(pushes.get_or_create(&PushLabel { kind, outcome }));
            }
        }
        Self(Arc::new(Inner {
            succeeded: logins.get_or_create_owned(&OutcomeLabel { outcome: SUCCEEDED }),
            logins,
            in_hand: added_at_zero(to, "logins_in_hand", "Logins that this worker works on now"),
            in_hand_seconds: added(to, "login_in_hand_seconds", "Time from delivery to settlement", seconds()),
            exchange_seconds: added(to, "exchange_seconds", "Time that WeChat took to answer an exchange", seconds()),
            phones: answers.get_or_create_owned(&AnswerLabel { answer: PHONE }),
            answers,
            tokens_fetched: added_at_zero(to, "tokens_fetched", "Access tokens that this worker fetched from WeChat"),
            dead_letters: added_at_zero(to, "dead_letters", "Messages put aside for people to look at"),
            requeued: added_at_zero(to, "requeued", "Deliveries given back to the queue"),
            waiting_for_share: added_at_zero(
                to,
                "logins_waiting_for_share",
                "Logins that this worker took and that wait for a slot of their app's share",
            ),
            declined: added_at_zero(
                to,
                "logins_declined",
                "Logins answered without asking, since their app's share of this worker was taken",
            ),
            panicked: added_at_zero(
                to,
                "logins_panicked",
                "Logins whose walk panicked, which is a bug; each has a result all the same",
            ),
            clock_ahead_seconds: added_at_zero(
                to,
                "clock_ahead_seconds",
                "How far the clock of this machine is ahead of the clock of Redis; negative if it is behind",
            ),
            submitted,
            polls_waiting: added_at_zero(to, "polls_waiting", "Callers that wait for a result at this gateway"),
            apps_stopped: added_at_zero(
                to,
                "apps_stopped",
                "Apps that this worker does not ask for now: WeChat serves them no calls, or no more",
            ),
            wechat_away: added_at_zero(to, "wechat_away", "1 while WeChat answers nobody, and one login asks for all"),
            pushes,
            registry,
        }))
    }

    /// A delivery is in hand until this guard is dropped.
    pub fn take_in_hand(&self) -> InHand {
        self.0.in_hand.inc();
        InHand { meters: self.clone(), since: Instant::now() }
    }

    /// A login has its result; `outcome` is `succeeded` or the reason.
    pub fn concluded(&self, outcome: &'static str) {
        debug_assert!(outcome == SUCCEEDED || Reason::ALL.iter().any(|reason| reason.as_str() == outcome), "{outcome}");
        match outcome {
            SUCCEEDED => self.0.succeeded.inc(),
            _ => self.0.logins.get_or_create(&OutcomeLabel { outcome }).inc(),
        };
    }

    /// WeChat answered an exchange, or did not.
    pub fn answered(&self, answer: &'static str, after: Duration) {
        debug_assert!(ANSWERS.contains(&answer), "{answer} does not start at 0");
        match answer {
            PHONE => self.0.phones.inc(),
            _ => self.0.answers.get_or_create(&AnswerLabel { answer }).inc(),
        };
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

    /// A login's walk panicked.
    pub fn panicked(&self) {
        self.0.panicked.inc();
    }

    /// How far the clock of this machine is ahead of the clock of Redis, in seconds.
    pub fn clock_ahead(&self, seconds: f64) {
        self.0.clock_ahead_seconds.set(seconds);
    }

    /// How many deliveries are in hand.
    pub fn in_hand(&self) -> i64 {
        self.0.in_hand.get()
    }

    /// The gateway answered a submission with this HTTP status.
    pub fn submitted(&self, status: u16) {
        debug_assert!(SUBMIT_STATUSES.contains(&status), "{status} does not start at 0");
        self.0.submitted.get_or_create(&SubmitLabel { status }).inc();
    }

    /// So many more, or fewer, apps are stopped.
    pub fn app_stopped(&self, more: i64) {
        self.0.apps_stopped.inc_by(more);
    }

    /// WeChat is away, or back.
    pub fn wechat_away(&self, away: bool) {
        self.0.wechat_away.set(i64::from(away));
    }

    /// So many callers wait for a result.
    pub fn polls_waiting(&self, callers: usize) {
        self.0.polls_waiting.set(callers as i64);
    }

    /// The gateway dealt with a push of WeChat's, or with what claimed to be one.
    pub fn pushed(&self, kind: &'static str, outcome: &'static str) {
        debug_assert!(
            PUSHES.iter().any(|(known, outcomes)| *known == kind && outcomes.contains(&outcome)),
            "{kind}, {outcome} does not start at 0"
        );
        self.0.pushes.get_or_create(&PushLabel { kind, outcome }).inc();
    }

    /// All of it in Prometheus' text format.
    pub fn render(&self) -> String {
        self.render_as(Exposition::Text)
    }

    /// All of it in this format.
    pub fn render_as(&self, exposition: Exposition) -> String {
        let mut open_metrics = String::new();
        encode(&mut open_metrics, &self.0.registry).expect("writing to a string does not fail");
        exposition.rendering(open_metrics)
    }
}

/// Log lines of this process were dropped.
pub fn log_lines_dropped(lines: u64) {
    LOG_LINES_DROPPED.inc_by(lines);
}

/// A metric that the registry shows from now on.
fn added<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn added_at_zero<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    added(registry, name, help, M::default())
}

/// From a millisecond to half a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
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
