//! Publishing with confirms: an `Ok` means that RabbitMQ has taken responsibility.
//!
//! One publish at a time on each channel, and many channels: lapin hands a returned message to whichever confirm of the
//! channel completes next, so that with two in flight an unroutable request could be taken for a confirmed one.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use crate::clock;
use crate::login::{LoginRequest, RequestId};
use crate::queue::rabbit::envelope::{MAC, OWNER, text};
use crate::queue::rabbit::letter::DeadLetter;
use crate::queue::rabbit::link::{Link, Links, Slot, away, away_for};
use crate::queue::rabbit::repair::Repairs;
use crate::queue::rabbit::{RabbitSettings, bounded, fault, topology};
use crate::queue::{HeldResult, PublishFault};
use crate::traceparent::Traceparent;

/// A publish waits no longer than this for a connection and a channel; then it has `BROKER_TIMEOUT`.
const WAIT_MOST: Duration = Duration::from_secs(2);
/// Nobody waits for a dead letter, and by any other way it goes without its reason.
const LETTER_WAITS_MOST: Duration = Duration::from_secs(10);

pub(super) struct Publisher {
    settings: RabbitSettings,
    links: Links,
    repairs: Repairs,
}

/// What RabbitMQ did with a message.
enum Sent {
    Taken,
    Refused(PublishFault),
    /// No queue got it: the exchange, the binding or the queue is gone.
    Unroutable,
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
        Self { settings, links, repairs: Repairs::default() }
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
        match (link.is_blocked(), self.repairs.unroutable()) {
            (true, _) => Err(blocked()),
            (false, Some(why)) => Err(PublishFault::Away(why)),
            (false, None) => Ok(()),
        }
    }

    /// How many requests wait in the queue.
    pub(super) async fn depth(&self) -> Result<u64, PublishFault> {
        let slot = in_time(self.links.slot()).await?;
        let looking = async {
            let lane = slot.link.lane().await?;
            let depth = topology::depth(&lane.channel, &self.settings).await?;
            slot.link.take_back(lane);
            Ok(depth)
        };
        looking.await.map_err(|error: lapin::Error| away_for(&error))
    }

    /// Deletes exchange and queues, as far as RabbitMQ lets us.
    pub(super) async fn remove_topology(&self) {
        let Ok(slot) = in_time(self.links.slot()).await else { return };
        if let Ok(lane) = slot.link.lane().await
            && let Err(error) = topology::remove(&lane.channel, &self.settings).await
        {
            warn!(%error, "exchange and queues were not all deleted");
        }
    }

    async fn publish(&self, outgoing: Outgoing<'_>) -> Result<(), PublishFault> {
        self.publish_within(WAIT_MOST, outgoing).await
    }

    /// Waits so long for a connection and a channel. If the connection ends before the message is sent, or RabbitMQ closes
    /// it over too many channels, the message goes out on the next one: no worker asks twice for one request id.
    async fn publish_within(&self, wait_most: Duration, outgoing: Outgoing<'_>) -> Result<(), PublishFault> {
        let until = Instant::now() + wait_most;
        loop {
            let slot = timeout_at(until, self.links.slot()).await.unwrap_or_else(|_| Err(too_slow()))?;
            match self.publish_in(&slot, &outgoing).await {
                Err(error) if fault::may_go_again(&error) && Instant::now() < until => self.links.give_up(&slot.link),
                Err(error) => {
                    // Over a permission RabbitMQ closes the channel only.
                    if !fault::is_refused(&error) {
                        self.links.give_up(&slot.link);
                    }
                    return Err(away_for(&error));
                }
                Ok(Sent::Taken) => return Ok(()),
                Ok(Sent::Refused(fault)) => return Err(fault),
                Ok(Sent::Unroutable) => return Err(away(&outgoing.unroutable())),
            }
        }
    }

    /// Publishes; if no queue gets the message, declares everything again and publishes once more.
    async fn publish_in(&self, slot: &Slot, outgoing: &Outgoing<'_>) -> lapin::Result<Sent> {
        let repaired = self.repairs.number();
        let sent = send(&slot.link, outgoing).await?;
        let sent = match sent {
            Sent::Unroutable => {
                self.repairs.repair(&slot.link, &self.settings, repaired).await?;
                send(&slot.link, outgoing).await?
            }
            sent => sent,
        };
        match sent {
            Sent::Taken => self.repairs.routed(outgoing.routing_key),
            Sent::Unroutable => self.repairs.not_routed(outgoing.routing_key, outgoing.unroutable()),
            Sent::Refused(_) => {}
        }
        Ok(sent)
    }
}

impl Outgoing<'_> {
    /// Why no queue got it.
    fn unroutable(&self) -> String {
        match self.exchange {
            "" => format!("there is no queue {}", self.routing_key),
            exchange => {
                let key = self.routing_key;
                format!(
                    "no queue is bound to the exchange {exchange} with the routing key {key}, or there is no such exchange"
                )
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
    timeout(wait_most, waiting).await.unwrap_or_else(|_| Err(too_slow()))
}

async fn send(link: &Link, outgoing: &Outgoing<'_>) -> lapin::Result<Sent> {
    let sending = async {
        let lane = link.lane().await?;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, routing_key) = (outgoing.exchange.into(), outgoing.routing_key.into());
        let properties = outgoing.properties.clone();
        let sent = lane.channel.basic_publish(exchange, routing_key, options, outgoing.body, properties).await?;
        let confirmation = sent.await?;
        link.take_back(lane);
        Ok(confirmation)
    };
    let confirmation = tokio::select! {
        confirmation = bounded(sending) => confirmation,
        () = link.blocked() => return Ok(Sent::Refused(blocked())),
    };
    Ok(match confirmation {
        Ok(Confirmation::Ack(None)) => Sent::Taken,
        Ok(Confirmation::Ack(Some(_))) => Sent::Unroutable,
        Ok(Confirmation::Nack(_)) => Sent::Refused(PublishFault::Full),
        Ok(Confirmation::NotRequested) => Sent::Refused(away("the channel does not confirm")),
        // The exchange is gone.
        Err(error) if fault::is_not_found(&error) => Sent::Unroutable,
        Err(error) => return Err(error),
    })
}

fn persistent(headers: FieldTable) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_timestamp(clock::now_ms() / 1000)
        .with_headers(headers)
}

fn too_slow() -> PublishFault {
    away("it takes too long to connect, or to publish")
}

fn blocked() -> PublishFault {
    away("RabbitMQ takes no publishes: a memory or disk alarm is on")
}
