//! Where login requests wait: RabbitMQ for a fleet, memory for one process.
//!
//! Only this file knows that there are two. Both deliver at least once, refuse what does not fit, and put a delivery
//! back that was dropped unsettled. RabbitMQ is also told how much may be in hand; in memory, the worker's places bound
//! that.

mod memory;
mod rabbit;

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use memory::MemoryQueue;
pub use rabbit::{BadQueueUrl, DeadFault, DeadLetter, DeadLetters, RabbitQueue, RabbitSettings, shard_of};

use crate::login::{LoginRequest, RequestId, UnixMs};
use crate::traceparent::Traceparent;

/// A handle on the queue; cheap to clone.
#[derive(Clone)]
pub enum Queue {
    /// In this process; nothing survives a restart.
    Memory(MemoryQueue),
    /// RabbitMQ.
    Rabbit(RabbitQueue),
}

/// The queue did not take responsibility for a login request; its sender must be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishFault {
    /// It is full.
    #[error("the queue is full")]
    Full,
    /// It did not confirm in time, is not there, or has no such queue.
    #[error("the queue is away: {0}")]
    Away(String),
}

/// A result that a worker could not write before it stopped, on its way to one that can. JSON as it stands in the store,
/// the phone number sealed where results are.
#[derive(Clone)]
pub struct HeldResult {
    /// Whose result it is.
    pub request_id: RequestId,
    /// In whose name the login is claimed, so that a failure can be told from one that came too late.
    pub owner: String,
    /// What proves that a worker hands it over.
    pub mac: String,
    /// What is to be written.
    pub json: Bytes,
}

/// What a result that was handed over says of its worker. Nothing of it is verified.
#[derive(Clone)]
pub struct Proof {
    /// In whose name the login was claimed.
    pub owner: String,
    /// What only a worker could make.
    pub mac: String,
}

/// What is to become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It has its result: it is gone.
    Ack,
    /// Not its fault (stopping, store away): it comes again.
    Requeue,
    /// It is for people to look at, be it that no result can be keyed or that it has its result: to the dead letters,
    /// with this reason in a header.
    Dead {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How often a delivery has come back, measured by what its queue allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// Not often.
    Few,
    /// As often as one does that ends each worker that has it in hand, or one that was unlucky.
    Many,
    /// So often that the queue may not deliver it again.
    Last,
}

/// One message in hand. Whoever drops it unsettled puts it back.
pub struct Delivery {
    /// What was published.
    pub body: Vec<u8>,
    /// Whether it was delivered before, here or elsewhere.
    pub redelivered: bool,
    /// How often it has come back.
    pub returns: Returns,
    /// The publisher's own time of it, in Unix ms.
    pub timestamp: Option<UnixMs>,
    /// The trace that the login belongs to.
    pub traceparent: Option<Traceparent>,
    /// Of a result that was handed over, if it has one.
    pub proof: Option<Box<Proof>>,
    settler: Option<Settler>,
}

enum Settler {
    Memory(memory::Settler),
    Rabbit(rabbit::Settler),
}

/// A stream of deliveries.
pub enum Consumer {
    /// From this process.
    Memory(memory::Consumer),
    /// From RabbitMQ, over as many connections as it takes.
    Rabbit(rabbit::Consumer),
}

impl Queue {
    /// A queue in this process, for at most `capacity` requests.
    pub fn in_memory(capacity: usize) -> Self {
        Self::Memory(MemoryQueue::new(capacity))
    }

    /// A queue in RabbitMQ. Connects when it is first used, and again whenever that is needed.
    pub fn rabbit(settings: RabbitSettings, tracker: &TaskTracker) -> Result<Self, BadQueueUrl> {
        RabbitQueue::new(settings, tracker.clone()).map(Self::Rabbit)
    }

    /// Returns when the queue has taken responsibility.
    pub async fn publish(&self, request: &LoginRequest, traceparent: &Traceparent) -> Result<(), PublishFault> {
        match self {
            Self::Memory(memory) => memory.publish(request.encode(), Some(traceparent.clone())),
            Self::Rabbit(rabbit) => rabbit.publish(request, traceparent).await,
        }
    }

    /// Deliveries, at most `in_hand` of them unsettled at once; of several shards, so many of each. After `stop`, those not
    /// yet handed out go back.
    pub fn consume(&self, in_hand: u16, stop: CancellationToken) -> Consumer {
        match self {
            Self::Memory(memory) => Consumer::Memory(memory.consume(stop)),
            Self::Rabbit(rabbit) => Consumer::Rabbit(rabbit.consume(in_hand, stop)),
        }
    }

    /// Hands a result over to whichever worker can write it. Returns when the queue has taken responsibility.
    pub async fn hand_over(&self, held: &HeldResult) -> Result<(), PublishFault> {
        match self {
            Self::Memory(_) => Err(PublishFault::Away("nothing survives this process".into())),
            Self::Rabbit(rabbit) => rabbit.hand_over(held).await,
        }
    }

    /// What was handed over, at most `in_hand` of it unsettled at once. None where nothing can have been.
    pub fn consume_handed_over(&self, in_hand: u16, stop: CancellationToken) -> Option<Consumer> {
        match self {
            Self::Memory(_) => None,
            Self::Rabbit(rabbit) => Some(Consumer::Rabbit(rabbit.consume_handed_over(in_hand, stop))),
        }
    }

    /// Deletes everything that was declared for it, requests included: for a demo's own queue.
    pub async fn remove(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Rabbit(rabbit) => rabbit.remove().await,
        }
    }

    /// How many requests wait to be delivered; those in hand are not among them.
    pub async fn depth(&self) -> Result<u64, PublishFault> {
        match self {
            Self::Memory(memory) => Ok(memory.depth()),
            Self::Rabbit(rabbit) => rabbit.depth().await,
        }
    }

    /// Whether a request could be published now.
    pub async fn check(&self) -> Result<(), PublishFault> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Rabbit(rabbit) => rabbit.check().await,
        }
    }
}

impl Consumer {
    /// The next delivery; none once stopped.
    pub async fn next(&mut self) -> Option<Delivery> {
        match self {
            Self::Memory(memory) => memory.next().await,
            Self::Rabbit(rabbit) => rabbit.next().await,
        }
    }

    /// Whether deliveries can come at this moment; watch it for readiness.
    pub fn consuming(&self) -> tokio::sync::watch::Receiver<bool> {
        match self {
            Self::Memory(memory) => memory.consuming(),
            Self::Rabbit(rabbit) => rabbit.consuming(),
        }
    }

    /// Puts back what was fetched and not yet handed out, after the stop.
    pub fn give_back(&mut self) {
        match self {
            Self::Memory(_) => {}
            Self::Rabbit(rabbit) => rabbit.give_back(),
        }
    }

    /// Waits until all settlements are told to the queue, at most so long. False: they were not, or the queue is away;
    /// whatever it was not told of is delivered again.
    pub async fn close(self, at_most: Duration) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Rabbit(rabbit) => rabbit.close(at_most).await,
        }
    }
}

impl Delivery {
    /// Tells the queue what is to become of it, once.
    pub async fn settle(mut self, settlement: Settlement) {
        match (self.settler.take(), settlement) {
            (Some(Settler::Memory(settler)), settlement) => settler.settle(&mut self, settlement),
            (Some(Settler::Rabbit(settler)), Settlement::Ack) => settler.ack(),
            (Some(Settler::Rabbit(settler)), Settlement::Requeue) => settler.requeue(),
            // In a box, as what is large and rare: each delivery in hand would have room for it.
            (Some(Settler::Rabbit(settler)), Settlement::Dead { reason }) => {
                Box::pin(settler.put_aside(self, reason)).await;
            }
            (None, _) => {}
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        match self.settler.take() {
            Some(Settler::Memory(settler)) => settler.settle(self, Settlement::Requeue),
            Some(Settler::Rabbit(settler)) => settler.requeue(),
            None => {}
        }
    }
}
