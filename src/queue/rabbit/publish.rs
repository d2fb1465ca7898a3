//! Publishing with confirms: an `Ok` means that RabbitMQ has taken responsibility.
//!
//! One publish at a time on each channel, and many channels: lapin hands a returned message to whichever confirm of the
//! channel completes next, so that with two in flight an unroutable request could be taken for a confirmed one.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use crate::clock;
use crate::login::{LoginRequest, RequestId};
use crate::queue::rabbit::envelope::{MAC, OWNER, text};
use crate::queue::rabbit::letter::DeadLetter;
use crate::queue::rabbit::link::{Link, Links, away};
use crate::queue::rabbit::{RabbitSettings, bounded, topology};
use crate::queue::{HeldResult, PublishFault};
use crate::traceparent::Traceparent;

/// How many publishes may be in flight.
const LANES: usize = 128;
/// A publish waits no longer than this for its lane and for a connection; then it has `BROKER_TIMEOUT`.
const WAIT_MOST: Duration = Duration::from_secs(2);
/// Nobody waits for a dead letter, and by any other way it goes without its reason.
const LETTER_WAITS_MOST: Duration = Duration::from_secs(10);

pub(super) struct Publisher {
    settings: RabbitSettings,
    lanes: Semaphore,
    links: Links,
}

/// One message as it goes out.
struct Outgoing<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    body: &'a [u8],
    properties: BasicProperties,
}

impl Publisher {
    pub(super) fn new(settings: RabbitSettings, links: Links) -> Self {
        Self { settings, lanes: Semaphore::new(LANES), links }
    }

    pub(super) async fn publish_request(
        &self,
        request: &LoginRequest,
        traceparent: &Traceparent,
    ) -> Result<(), PublishFault> {
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), text(traceparent.as_str()));
        let properties = persistent(headers).with_message_id(request.request_id.as_str().into());
        let routing_key = &self.settings.routing_key_of(&request.request_id);
        let exchange = &self.settings.exchange;
        self.publish(Outgoing { exchange, routing_key, body: &request.encode(), properties }).await
    }

    /// Publishes to the dead letters, payload as it came; the properties say why.
    pub(super) async fn publish_dead(&self, body: &[u8], properties: BasicProperties) -> Result<(), PublishFault> {
        let outgoing = Outgoing { exchange: "", routing_key: &self.settings.dead_queue, body, properties };
        self.publish_within(LETTER_WAITS_MOST, outgoing).await
    }

    /// Publishes a result that its worker could not write.
    pub(super) async fn publish_result(&self, held: &HeldResult) -> Result<(), PublishFault> {
        let mut headers = FieldTable::default();
        headers.insert(OWNER.into(), text(&held.owner));
        headers.insert(MAC.into(), text(&held.mac));
        let properties = persistent(headers).with_message_id(held.request_id.as_str().into());
        let routing_key = &self.settings.results_queue;
        self.publish(Outgoing { exchange: "", routing_key, body: &held.json, properties }).await
    }

    /// Publishes a dead letter to where requests of its id go.
    pub(super) async fn publish_again(&self, letter: &DeadLetter, id: &RequestId) -> Result<(), PublishFault> {
        let routing_key = &self.settings.routing_key_of(id);
        let (exchange, properties) = (&self.settings.exchange, letter.properties_again());
        self.publish(Outgoing { exchange, routing_key, body: &letter.body, properties }).await
    }

    /// Whether a publish could succeed now.
    pub(super) async fn check(&self) -> Result<(), PublishFault> {
        let link = in_time(self.links.current()).await?;
        if link.is_blocked() { Err(blocked()) } else { Ok(()) }
    }

    /// How many requests wait in the queue.
    pub(super) async fn depth(&self) -> Result<u64, PublishFault> {
        let link = in_time(self.links.current()).await?;
        let looking = async {
            let channel = link.channel().await?;
            let depth = topology::depth(&channel, &self.settings).await?;
            link.take_back(channel);
            Ok(depth)
        };
        looking.await.map_err(|error: lapin::Error| away(&error.to_string()))
    }

    /// Deletes exchange and queues, as far as RabbitMQ lets us.
    pub(super) async fn remove_topology(&self) {
        let Ok(link) = in_time(self.links.current()).await else { return };
        if let Ok(channel) = link.channel().await
            && let Err(error) = topology::remove(&channel, &self.settings).await
        {
            warn!(%error, "exchange and queues were not all deleted");
        }
    }

    async fn publish(&self, outgoing: Outgoing<'_>) -> Result<(), PublishFault> {
        self.publish_within(WAIT_MOST, outgoing).await
    }

    /// Waits so long for its lane and for a connection.
    async fn publish_within(&self, wait_most: Duration, outgoing: Outgoing<'_>) -> Result<(), PublishFault> {
        let (_lane, link) = within(wait_most, async {
            let lane = self.lanes.acquire().await.expect("the semaphore is never closed");
            Ok((lane, self.links.current().await?))
        })
        .await?;
        if link.is_blocked() {
            return Err(blocked());
        }
        let published = tokio::select! {
            published = bounded(publish_on(&link, outgoing)) => published,
            () = link.blocked() => return Err(blocked()),
        };
        match published {
            Ok(confirmation) => taken(&confirmation),
            Err(error) => {
                self.links.give_up(&link);
                Err(away(&error.to_string()))
            }
        }
    }
}

async fn in_time<T>(waiting: impl Future<Output = Result<T, PublishFault>>) -> Result<T, PublishFault> {
    within(WAIT_MOST, waiting).await
}

async fn within<T>(
    wait_most: Duration,
    waiting: impl Future<Output = Result<T, PublishFault>>,
) -> Result<T, PublishFault> {
    timeout(wait_most, waiting).await.unwrap_or_else(|_| Err(away("it takes too long to connect, or to publish")))
}

async fn publish_on(link: &Link, outgoing: Outgoing<'_>) -> lapin::Result<Confirmation> {
    let Outgoing { exchange, routing_key, body, properties } = outgoing;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let channel = link.channel().await?;
    let sent = channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties).await?;
    let confirmation = sent.await?;
    link.take_back(channel);
    Ok(confirmation)
}

fn taken(confirmation: &Confirmation) -> Result<(), PublishFault> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => Err(away("no queue is bound to the exchange")),
        Confirmation::Nack(_) => Err(PublishFault::Full),
        Confirmation::NotRequested => Err(away("the channel does not confirm")),
    }
}

fn persistent(headers: FieldTable) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_timestamp(clock::now_ms() / 1000)
        .with_headers(headers)
}

fn blocked() -> PublishFault {
    away("RabbitMQ takes no publishes: a memory or disk alarm is on")
}
