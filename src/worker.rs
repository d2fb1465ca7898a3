//! The line: decode → claim → exchange ⇄ judge → record → settle.
//!
//! [`work`] is the only place that takes, bounds, spawns and settles; `Worker::handle` only borrows the delivery and
//! says what is to become of it. What happens before the claim is in `arriving`, between claim and conclusion in
//! `asking`, and after that in `recording`; what is not asked goes by `unasked`. `shares` says who may ask now, `calls`
//! whom WeChat serves at all, `worn_out` which logins are rather not asked, and `panicked` what becomes of one that met a
//! bug of ours.

mod arriving;
mod asking;
mod calls;
mod handed_over;
mod panicked;
mod recording;
mod shares;
mod unasked;
mod worn_out;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use calls::Calls;
pub use handed_over::record_handed_over;
pub use worn_out::WORN_OUT;

use crate::backoff::Backoff;
use crate::login::{Failure, Outcome, Reason, RequestId, SealingKey};
use crate::machine;
use crate::meters::Meters;
use crate::queue::{Consumer, Delivery, Queue, Returns, Settlement};
use crate::stop_point::StopPoint;
use crate::store::{Claim, Claimed, Store, StoreAway};
use crate::token::{App, Tokens};
use crate::wechat::Client;
use arriving::{Arrived, Login, Turn};
use panicked::{Walked, catch_panic};
use shares::{Shares, Standing};

/// A lease outlasts the longest call by this much: time to send the call and to record its answer.
const LEASE_MARGIN: Duration = Duration::from_millis(1500);
/// What a claim says is remembered for so long after the code's life.
const CLAIM_KEPT_AFTER: Duration = Duration::from_secs(60);
/// How often a worker looks whether the one that is asking has finished.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Also where slots are few, so many deliveries may be in hand: those that need no slot come and go as fast as the
/// broker's round trips let them, and those behind them may be in a hurry.
const FEWEST_PLACES: usize = 64;
/// From the hard stop to the end of everything in hand.
const LAST_WORDS: Duration = Duration::from_secs(1);
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
    /// Where results go that cannot be written before a stop.
    pub queue: Queue,
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

/// Takes deliveries and asks for at most `slots` of their logins at once, until the soft stop; returns when all are
/// settled. A place first, a delivery second, and its login has its standing before the next one is taken. False: queue
/// or store was away at the end, and logins that were in hand are delivered again.
pub async fn work(worker: Worker, mut consumer: Consumer, slots: usize, stop: &Stop) -> bool {
    let free = Arc::new(Semaphore::new(places(slots)));
    let shares = Shares::new(slots, worker.0.meters.clone());
    let in_hand = TaskTracker::new();
    while let Some(place) = free_place(&free, stop).await {
        let Some(delivery) = consumer.next().await else { break };
        let Some(arrived) = worker.arrive(&delivery, &shares, &stop.soft).await else { break };
        machine::spawn(&in_hand, worker.clone().work_on(delivery, arrived, place, stop.clone()));
    }
    consumer.give_back();
    in_hand.close();
    info!(in_hand = in_hand.len(), "taking no more logins; finishing those in hand");
    in_hand.wait().await;
    let told = consumer.close(LEASE_MARGIN).await;
    told && worker.0.store.check_writable().await.is_ok()
}

/// How many deliveries are in hand at most: one in each slot, and those that wait for one or need none.
fn places(slots: usize) -> usize {
    (slots + shares::room(slots)).max(FEWEST_PLACES)
}

async fn free_place(free: &Arc<Semaphore>, stop: &Stop) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        biased;
        () = stop.soft.cancelled() => None,
        place = Arc::clone(free).acquire_owned() => place.ok(),
    }
}

impl Worker {
    /// A worker made of these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Knows these apps from now on, and no others; what WeChat refused is tried anew.
    pub fn configure(&self, apps: Vec<App>) {
        self.0.tokens.configure(apps);
        self.0.calls.forget(&self.0.meters);
    }

    /// How many deliveries to consume at once for so many slots: a little more than can be in hand, so that none of them
    /// waits for the broker.
    pub fn prefetch(slots: u16) -> u16 {
        u16::try_from(places(usize::from(slots)) + usize::from(slots / 4)).unwrap_or(u16::MAX)
    }

    async fn work_on(self, delivery: Delivery, arrived: Arrived, place: OwnedSemaphorePermit, stop: Stop) {
        let _in_hand = self.0.meters.take_in_hand();
        let settlement = tokio::select! {
            biased;
            settlement = self.handle(&delivery, arrived, &stop) => settlement,
            () = last_words(&stop.hard) => Settlement::Requeue,
        };
        match settlement {
            Settlement::Requeue => self.0.meters.requeued(),
            Settlement::Dead { .. } => self.0.meters.dead_letter(),
            Settlement::Ack => {}
        }
        delivery.settle(settlement).await;
        drop(place);
    }

    /// Says what is to become of a delivery: at once, or when its login has its result. At the soft stop, one that still
    /// waits for its turn is given back; at the hard stop, each may be.
    async fn handle(&self, delivery: &Delivery, arrived: Arrived, stop: &Stop) -> Settlement {
        match arrived {
            Arrived::Nobodys { problem } => {
                warn!(problem, bytes = delivery.body.len(), "a message without a usable request id is a dead letter");
                Settlement::Dead { reason: problem }
            }
            Arrived::Login(login, standing) => {
                let mut walked = Walked::default();
                let walking = self.take_turn(delivery, &login, standing, &mut walked, stop);
                match catch_panic(walking).await {
                    Some(settlement) => settlement,
                    None => self.conclude_panicked(delivery, &login, walked, &stop.hard).await,
                }
            }
        }
    }

    /// Waits for a login's turn, and then walks it or answers it unasked.
    async fn take_turn(
        &self,
        delivery: &Delivery,
        login: &Login,
        standing: Standing,
        walked: &mut Walked,
        stop: &Stop,
    ) -> Settlement {
        match self.turn(login, standing, &stop.soft).await {
            Some(Turn::Unasked(why)) if delivery.returns == Returns::Few => {
                self.conclude_unasked(delivery, login, why, walked, &stop.hard).await
            }
            // In a box, since it is large, and most of a backlog may have no use for it.
            Some(turn) => Box::pin(self.walk(delivery, login, &turn, walked, &stop.hard)).await,
            None => Settlement::Requeue,
        }
    }

    /// Walks one login from its claim to its result. After `hard`, it may also be given back.
    async fn walk(
        &self,
        delivery: &Delivery,
        login: &Login,
        turn: &Turn,
        Walked { claimed, history }: &mut Walked,
        hard: &CancellationToken,
    ) -> Settlement {
        StopPoint::Share.reached();
        loop {
            let Some((newly_claimed, leased_until)) = self.claim(&login.id).await else { return Settlement::Ack };
            let claimed = claimed.insert(newly_claimed);
            history.learn(claimed.asked, claimed.unheard);
            StopPoint::Claimed.reached();
            let outcome = match (&login.request, turn) {
                (Err(problem), _) => Some(unasked(Reason::InvalidRequest, problem)),
                (Ok(request), _) if Self::is_worn_out(delivery, claimed) => Some(self.give_up(request, history)),
                (Ok(_), Turn::Unasked(why)) => Some(self.unasked_outcome(*why, login, history)),
                (Ok(request), Turn::Ask(slot)) => {
                    let asking = slot.ask();
                    let outcome = self.conclude(request, delivery, claimed, leased_until, history, hard).await;
                    if let (Some(Outcome::Succeeded(_)), 1) = (&outcome, history.asked) {
                        asking.succeeded_at_once();
                    }
                    outcome
                }
            };
            match outcome {
                Some(outcome) => return self.finish(delivery, login, claimed, outcome, history.asked, hard).await,
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
