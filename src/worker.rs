//! The line: decode → claim → exchange ⇄ judge → record → settle.
//!
//! [`work`] is the only place that takes, bounds, spawns and settles; [`Worker::handle`] only borrows the delivery and
//! says what is to become of it. What happens between claim and conclusion is in `asking`.

mod asking;
mod calls;
mod recording;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use calls::Calls;

use crate::backoff::Backoff;
use crate::login::{Failure, LoginRequest, Outcome, Reason, RequestId, SealingKey, Undecodable};
use crate::meters::Meters;
use crate::queue::{Consumer, Delivery, Settlement};
use crate::store::{Claim, Claimed, Recorded, Store, StoreAway};
use crate::token::Tokens;
use crate::verdict::History;
use crate::wechat::Client;

/// A lease outlasts the longest call by this much: time to send the call and to record its answer.
const LEASE_MARGIN: Duration = Duration::from_millis(1500);
/// What a claim says is remembered for so long after the code's life.
const CLAIM_KEPT_AFTER: Duration = Duration::from_secs(60);
/// How often a worker looks whether the one that is asking has finished.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// From the hard stop to the end of everything in hand.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Pauses while the store is away.
const STORE_AWAY: Backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };

/// How long logins may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A code's life, counted from the tap: WeChat's five minutes less a margin.
    pub code_life: Duration,
    /// The longest a login is asked again and again.
    pub patience: Duration,
    /// How long a result stays.
    pub result_ttl: Duration,
}

/// What a worker works with; cheap to clone.
#[derive(Clone)]
pub struct Worker(Arc<Parts>);

/// The parts that a worker is made of.
pub struct Parts {
    /// Where claims and results are.
    pub store: Store,
    /// The access tokens of the apps.
    pub tokens: Tokens,
    /// WeChat.
    pub client: Client,
    /// What WeChat lets each app do, as far as it was heard.
    pub calls: Calls,
    /// How long logins may take.
    pub limits: Limits,
    /// Seals phone numbers, where results are encrypted.
    pub sealing: Option<Arc<SealingKey>>,
    /// Whether the simulator stands in for WeChat, which every result then says.
    pub simulated: bool,
    /// What is counted.
    pub meters: Meters,
}

/// When to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Take nothing more; finish what is in hand.
    pub soft: CancellationToken,
    /// Finish nothing more; give back what is in hand.
    pub hard: CancellationToken,
}

/// Takes deliveries and works on at most `slots` of them at once, until the soft stop; returns when all are settled.
pub async fn work(worker: Worker, mut consumer: Consumer, slots: usize, stop: &Stop) {
    let free = Arc::new(Semaphore::new(slots));
    let in_hand = TaskTracker::new();
    while let Some(slot) = free_slot(&free, stop).await {
        let Some(delivery) = consumer.next().await else { break };
        in_hand.spawn(worker.clone().work_on(delivery, slot, stop.hard.clone()));
    }
    consumer.give_back();
    in_hand.close();
    info!(in_hand = in_hand.len(), "taking no more logins; finishing those in hand");
    in_hand.wait().await;
    consumer.close(LEASE_MARGIN).await;
}

async fn free_slot(free: &Arc<Semaphore>, stop: &Stop) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        biased;
        () = stop.soft.cancelled() => None,
        slot = Arc::clone(free).acquire_owned() => slot.ok(),
    }
}

impl Worker {
    /// A worker made of these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The tokens of its apps, for whoever configures others.
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    async fn work_on(self, delivery: Delivery, slot: OwnedSemaphorePermit, hard: CancellationToken) {
        let _in_hand = self.0.meters.take_in_hand();
        let settlement = tokio::select! {
            biased;
            settlement = self.handle(&delivery, &hard) => settlement,
            () = last_words(&hard) => Settlement::Requeue,
        };
        match settlement {
            Settlement::Requeue => self.0.meters.requeued(),
            Settlement::Dead { .. } => self.0.meters.dead_letter(),
            Settlement::Ack => {}
        }
        delivery.settle(settlement).await;
        drop(slot);
    }

    /// Walks one login from its delivery to its result. After `hard`, it may also be given back.
    pub async fn handle(&self, delivery: &Delivery, hard: &CancellationToken) -> Settlement {
        let began = Instant::now();
        let (id, decoded) = match LoginRequest::decode(&delivery.body) {
            Ok(request) => (request.request_id.clone(), Ok(request)),
            Err(Undecodable::Invalid { request_id, problem }) => (request_id, Err(problem)),
            Err(Undecodable::Unkeyed { problem }) => {
                warn!(problem, bytes = delivery.body.len(), "a message without a usable request id is a dead letter");
                return Settlement::Dead { reason: problem };
            }
        };
        let mut history = History::default();
        loop {
            let Some((claimed, leased_until)) = self.claim(&id).await else { return Settlement::Ack };
            history.learn(claimed.asked, claimed.unheard);
            let outcome = match &decoded {
                Err(problem) => Some(unasked(Reason::InvalidRequest, problem)),
                Ok(request) => self.conclude(request, delivery, &claimed, leased_until, &mut history, hard).await,
            };
            match outcome {
                Some(outcome) => {
                    let result = self.result(&id, decoded.as_ref().ok(), outcome, history.asked);
                    match self.record(&result, &claimed).await {
                        Recorded::Written => self.log(&result, delivery, began),
                        Recorded::Kept | Recorded::NotMine => debug!(request_id = %id, "concluded by somebody else"),
                    }
                    return Settlement::Ack;
                }
                None if hard.is_cancelled() => return Settlement::Requeue,
                // The claim is someone else's now; their result is as good.
                None => {}
            }
        }
    }

    /// Claims the login, however long it takes, and says until when it is ours. None: it has its result already.
    async fn claim(&self, id: &RequestId) -> Option<(Claimed, Instant)> {
        let keep = self.0.limits.code_life + CLAIM_KEPT_AFTER;
        // One name for all tries: a claim whose answer was lost on the way is this worker's own.
        let owner = uuid::Uuid::now_v7().simple().to_string();
        let mut failures = 0;
        loop {
            let began = Instant::now();
            match self.0.store.claim(id, &owner, self.lease(), keep).await {
                Ok(Claim::Mine(claimed)) => return Some((claimed, began + self.lease())),
                Ok(Claim::Recorded) => return None,
                Ok(Claim::Held { left }) => sleep(left.min(LOOK_EVERY)).await,
                Err(fault) => store_away(id, &fault, &mut failures).await,
            }
        }
    }

    fn lease(&self) -> Duration {
        self.0.client.timeout() + LEASE_MARGIN
    }
}

/// Tells the first time that the store is away, and waits each time.
async fn store_away(id: &RequestId, fault: &StoreAway, failures: &mut u32) {
    if *failures == 0 {
        warn!(request_id = %id, %fault, "a login waits for the store");
    }
    sleep(STORE_AWAY.pause(*failures, fastrand::f64())).await;
    *failures += 1;
}

/// Returns a moment after the hard stop: logins that only wait use it to give their claim back.
async fn last_words(hard: &CancellationToken) {
    hard.cancelled().await;
    sleep(LAST_WORDS).await;
}

/// A conclusion that needs no asking.
fn unasked(reason: Reason, detail: &str) -> Outcome {
    Outcome::Failed(Failure { detail: Some(detail.to_owned()), ..Failure::new(reason) })
}
