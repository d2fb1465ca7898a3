//! The line: decode → claim → exchange ⇄ judge → record → settle.
//!
//! [`work`] is the only place that takes, bounds and settles; what is in one of its `hands` is only borrowed by its `Walk`,
//! which says what is to become of it. A walk's stages in their order: `arriving`, before anything is claimed; `claiming`;
//! `asking`, up to the conclusion; `recording`. What is not asked goes by `unasked`. `shares` says who may ask now, `calls`
//! whom WeChat serves at all, `worn_out` which logins are rather not asked, and `panicked` what becomes of one that met a
//! bug of ours. `handed_over` writes the results of workers that could not, and `outbox` proves that they are a worker's.

mod arriving;
mod asking;
mod calls;
mod claiming;
mod handed_over;
mod hands;
mod outbox;
mod panicked;
mod recent;
mod recording;
mod shares;
mod unasked;
mod walk;
mod worn_out;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use calls::Calls;
pub use handed_over::record_handed_over;
pub use outbox::{BadOutboxKey, OutboxKey};
pub use recent::Recent;
pub use worn_out::WORN_OUT;

use crate::backoff::Backoff;
use crate::login::{RequestId, SealingKey};
use crate::meters::Meters;
use crate::queue::{Consumer, Delivery, Queue, Settlement};
use crate::store::{Store, StoreAway};
use crate::token::{App, Tokens};
use crate::wechat::Client;
use arriving::Arrived;
use hands::Hands;
use panicked::catch_panic;
use shares::Shares;
use walk::Walk;

/// Also where slots are few, so many deliveries may be in hand: those that need no slot come and go as fast as the
/// broker's round trips let them, and those behind them may be in a hurry.
const FEWEST_PLACES: usize = 128;
/// From the hard stop to the end of everything in hand.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// After that, the last acks have so long to leave.
const LAST_ACKS: Duration = Duration::from_millis(1500);
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
    /// Which logins have their result, as far as this worker remembers.
    pub recent: Recent,
    /// How long logins may take.
    pub limits: Limits,
    /// Seals phone numbers, where results are encrypted.
    pub sealing: Option<Arc<SealingKey>>,
    /// Authenticates results that are handed over; without it, the AppSecret of each result's app does.
    pub outbox_key: Option<OutboxKey>,
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
    let hands = {
        let (worker, stop) = (worker.clone(), stop.clone());
        Hands::new(move |(delivery, arrived, place)| worker.clone().work_on(delivery, arrived, place, stop.clone()))
    };
    while let Some(place) = free_place(&free, stop).await {
        let Some(delivery) = consumer.next().await else { break };
        let Some(arrived) = worker.arrive(&delivery, &shares, &stop.soft).await else { break };
        hands.take((delivery, arrived, place));
    }
    consumer.give_back();
    let busy = hands.close();
    info!(in_hand = busy, "taking no more logins; finishing those in hand");
    hands.wait().await;
    let told = consumer.close(LAST_ACKS).await;
    told && worker.0.store.check_writable().await.is_ok()
}

/// How many deliveries are in hand at most: one in each slot, and those that wait for one or need none.
fn places(slots: usize) -> usize {
    (slots + shares::room(slots)).max(FEWEST_PLACES)
}

async fn free_place(free: &Arc<Semaphore>, stop: &Stop) -> Option<OwnedSemaphorePermit> {
    if !stop.soft.is_cancelled()
        && let Ok(place) = Arc::clone(free).try_acquire_owned()
    {
        return Some(place);
    }
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
        self.warn_of_missing_outbox_keys();
    }

    /// The access tokens of its apps.
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// What WeChat lets each app do.
    pub fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// How many deliveries to consume at once for so many slots: a little more than can be in hand, so that none of them
    /// waits for the broker.
    pub fn prefetch(slots: u16) -> u16 {
        u16::try_from(places(usize::from(slots)) + usize::from(slots / 4)).unwrap_or(u16::MAX)
    }

    /// Settles a delivery when it is known what is to become of it, and gives its place back.
    async fn work_on(
        self,
        delivery: Delivery,
        arrived: Arrived,
        place: OwnedSemaphorePermit,
        stop: Stop,
    ) -> OwnedSemaphorePermit {
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
        place
    }

    /// Says what is to become of a delivery: at once, or when its login has its result. At the soft stop, one that still
    /// waits for its turn is given back; at the hard stop, each may be.
    async fn handle(&self, delivery: &Delivery, arrived: Arrived, stop: &Stop) -> Settlement {
        match arrived {
            Arrived::Nobodys { problem } => {
                warn!(problem, bytes = delivery.body.len(), "a message without a usable request id is a dead letter");
                Settlement::Dead { reason: problem }
            }
            Arrived::Recorded(id) => {
                debug!(request_id = %id, "recorded here before its ack was lost");
                Settlement::Ack
            }
            Arrived::Login(login, standing) => {
                let mut walk = Walk::new(self, delivery, &login, &stop.hard);
                match catch_panic(walk.take_turn(standing, &stop.soft)).await {
                    Some(settlement) => settlement,
                    None => Box::pin(walk.conclude_panicked()).await,
                }
            }
        }
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
