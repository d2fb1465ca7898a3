//! The queue in RabbitMQ. Publishing and consuming have connections of their own, since an alarm blocks a publishing
//! connection whole, acks and heartbeats included.
//!
//! lapin's own recovery stays off: whatever goes wrong, everything is dropped and built again, in one place each
//! ([`consume`] and [`publish`]). Every wait for the broker is bounded.

mod acks;
mod arrivals;
mod consume;
mod dead;
mod dial;
mod envelope;
mod fault;
mod filter;
mod letter;
mod link;
mod publish;
mod repair;
mod returns;
mod runtime;
mod session;
mod shards;
mod suspects;
mod topology;
mod uri;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use consume::Consumer;
pub(super) use consume::Settler;
pub use dead::{DeadFault, DeadLetters};
pub use letter::DeadLetter;
pub use shards::shard_of;
pub use uri::BadQueueUrl;

use crate::login::{LoginRequest, RequestId};
use crate::queue::{HeldResult, PublishFault};
use crate::secret::Secret;
use crate::traceparent::Traceparent;

/// Bound on every single wait for the broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before another attempt to open a channel while as many are open as lapin allows.
const CHANNEL_CLOSES_WITHIN: Duration = Duration::from_millis(5);

/// Where RabbitMQ is and how things are named there.
#[derive(Debug, Clone)]
pub struct RabbitSettings {
    /// One or several `amqp://` or `amqps://` URLs, comma-separated, tried in turn.
    pub url: Secret,
    /// The direct exchange that requests are published to.
    pub exchange: String,
    /// The routing key of a request.
    pub routing_key: String,
    /// The queue that workers consume.
    pub queue: String,
    /// How many queues there are instead of that one. The first has its name and routing key, those of the others have
    /// their number behind.
    pub shards: u16,
    /// The queue of dead letters.
    pub dead_queue: String,
    /// The queue of results that stopping workers hand over.
    pub results_queue: String,
    /// Declare all of these at start; else only check that they are there.
    pub declare: bool,
    /// How many requests each queue holds before it refuses more.
    pub max_length: u32,
    /// How many dead letters are kept; the oldest go first.
    pub dead_max_length: u32,
    /// How often a request may come back before it is suspected of ending its workers. The queue allows more.
    pub delivery_limit: u32,
    /// What RabbitMQ's own pages call the connection.
    pub connection_name: String,
}

impl RabbitSettings {
    /// Whether the URL can be used, without connecting.
    pub fn check(&self) -> Result<(), BadQueueUrl> {
        uri::parse(&self.url).map(drop)
    }
}

/// A handle on the queue in RabbitMQ; cheap to clone.
#[derive(Clone)]
pub struct RabbitQueue(Arc<Inner>);

struct Inner {
    settings: RabbitSettings,
    publisher: publish::Publisher,
    endpoints: dial::Endpoints,
    tracker: TaskTracker,
}

impl RabbitQueue {
    /// Connects when it is first used.
    pub fn new(settings: RabbitSettings, tracker: TaskTracker) -> Result<Self, BadQueueUrl> {
        let endpoints = dial::Endpoints::parse(&settings.url)?;
        let links = link::Links::new(endpoints.clone(), settings.clone(), tracker.clone());
        let publisher = publish::Publisher::new(settings.clone(), links);
        Ok(Self(Arc::new(Inner { settings, publisher, endpoints, tracker })))
    }

    pub(super) async fn publish(&self, request: &LoginRequest, traceparent: &Traceparent) -> Result<(), PublishFault> {
        self.0.publisher.publish_request(request, traceparent).await
    }

    /// A reader of the dead letters.
    pub async fn dead_letters(&self) -> Result<DeadLetters, DeadFault> {
        DeadLetters::open(self).await
    }

    /// Publishes a dead letter as the login request of this id that it was. Returns when RabbitMQ has taken
    /// responsibility.
    pub async fn publish_again(&self, letter: &DeadLetter, id: &RequestId) -> Result<(), PublishFault> {
        self.0.publisher.publish_again(letter, id).await
    }

    pub(super) async fn remove(&self) {
        self.0.publisher.remove_topology().await;
    }

    pub(super) async fn depth(&self) -> Result<u64, PublishFault> {
        self.0.publisher.depth().await
    }

    pub(super) async fn check(&self) -> Result<(), PublishFault> {
        self.0.publisher.check().await
    }

    pub(super) fn consume(&self, in_hand: u16, stop: CancellationToken) -> Consumer {
        consume::start(self.clone(), self.0.settings.queues(), in_hand, stop)
    }

    pub(super) async fn hand_over(&self, held: &HeldResult) -> Result<(), PublishFault> {
        self.0.publisher.publish_result(held).await
    }

    pub(super) fn consume_handed_over(&self, in_hand: u16, stop: CancellationToken) -> Consumer {
        consume::start(self.clone(), vec![self.0.settings.results_queue.clone()], in_hand, stop)
    }
}

/// Bounds a wait for the broker.
async fn bounded<T>(wait: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
    tokio::time::timeout(BROKER_TIMEOUT, wait).await.map_err(|_| dial::io_error(std::io::ErrorKind::TimedOut))?
}

/// Opens a channel. lapin counts a channel that is being closed for a moment longer: if no more are allowed, this waits.
async fn open_channel(connection: &lapin::Connection) -> lapin::Result<lapin::Channel> {
    bounded(async {
        loop {
            match connection.create_channel().await {
                Err(error) if matches!(error.kind(), lapin::ErrorKind::ChannelsLimitReached) => {
                    tokio::time::sleep(CHANNEL_CLOSES_WITHIN).await;
                }
                opened => return opened,
            }
        }
    })
    .await
}
