//! Publishing with confirms: an `Ok` means that RabbitMQ has taken responsibility.
//!
//! One publish at a time on each channel, and many channels: lapin hands a returned message to whichever confirm of the
//! channel completes next, so that with two in flight an unroutable request could be taken for a confirmed one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::clock;
use crate::login::LoginRequest;
use crate::queue::rabbit::dial::{Endpoints, SHORT_FRAMES};
use crate::queue::rabbit::envelope::{OWNER, text};
use crate::queue::rabbit::letter::DeadLetter;
use crate::queue::rabbit::{BROKER_TIMEOUT, RabbitSettings, bounded, topology};
use crate::queue::{HeldResult, PublishFault};
use crate::traceparent::Traceparent;

/// How many publishes may be in flight.
const LANES: usize = 128;
/// After a failed connection, publishes are refused at once for so long, so that they do not queue up behind dials.
const RETRY_AFTER: Duration = Duration::from_millis(500);

pub(super) struct Publisher {
    endpoints: Endpoints,
    settings: RabbitSettings,
    lanes: Semaphore,
    link: AsyncMutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    link: Option<Arc<Link>>,
    failed: Option<(Instant, PublishFault)>,
}

/// A connection and those of its channels that are free.
struct Link {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
}

/// One message as it goes out.
struct Outgoing<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    body: &'a [u8],
    properties: BasicProperties,
}

impl Publisher {
    pub(super) fn new(endpoints: Endpoints, settings: RabbitSettings) -> Self {
        Self { endpoints, settings, lanes: Semaphore::new(LANES), link: AsyncMutex::default() }
    }

    pub(super) async fn publish_request(
        &self,
        request: &LoginRequest,
        traceparent: &Traceparent,
    ) -> Result<(), PublishFault> {
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), text(traceparent.as_str()));
        let properties = persistent(headers).with_message_id(request.request_id.as_str().into());
        let RabbitSettings { exchange, routing_key, .. } = &self.settings;
        self.publish(Outgoing { exchange, routing_key, body: &request.encode(), properties }).await
    }

    /// Publishes to the dead letters, payload as it came; the properties say why.
    pub(super) async fn publish_dead(&self, body: &[u8], properties: BasicProperties) -> Result<(), PublishFault> {
        self.publish(Outgoing { exchange: "", routing_key: &self.settings.dead_queue, body, properties }).await
    }

    /// Publishes a result that its worker could not write.
    pub(super) async fn publish_result(&self, held: &HeldResult) -> Result<(), PublishFault> {
        let mut headers = FieldTable::default();
        headers.insert(OWNER.into(), text(&held.owner));
        let properties = persistent(headers).with_message_id(held.request_id.as_str().into());
        let routing_key = &self.settings.results_queue;
        self.publish(Outgoing { exchange: "", routing_key, body: &held.json, properties }).await
    }

    /// Publishes a dead letter to where requests go.
    pub(super) async fn publish_again(&self, letter: &DeadLetter) -> Result<(), PublishFault> {
        let RabbitSettings { exchange, routing_key, .. } = &self.settings;
        let properties = letter.properties_again();
        self.publish(Outgoing { exchange, routing_key, body: &letter.body, properties }).await
    }

    /// Whether a publish could succeed now.
    pub(super) async fn check(&self) -> Result<(), PublishFault> {
        let link = self.link().await?;
        if link.connection.status().blocked() { Err(blocked()) } else { Ok(()) }
    }

    /// Deletes exchange and queues, as far as RabbitMQ lets us.
    pub(super) async fn remove_topology(&self) {
        let Ok(link) = self.link().await else { return };
        if let Ok(channel) = link.channel().await
            && let Err(error) = topology::remove(&channel, &self.settings).await
        {
            warn!(%error, "exchange and queues were not all deleted");
        }
    }

    async fn publish(&self, outgoing: Outgoing<'_>) -> Result<(), PublishFault> {
        let lane = timeout(BROKER_TIMEOUT, self.lanes.acquire()).await;
        let _lane = lane.map_err(|_| away("too many publishes at once"))?.expect("the semaphore is never closed");
        let link = self.link().await?;
        if link.connection.status().blocked() {
            return Err(blocked());
        }
        let channel = link.channel().await.map_err(|error| away(&error.to_string()))?;
        match publish_on(&channel, outgoing).await {
            Ok(confirmation) => {
                link.idle.lock().expect("nothing panics while holding it").push(channel);
                taken(&confirmation)
            }
            Err(error) => {
                self.give_up(&link).await;
                Err(away(&error.to_string()))
            }
        }
    }

    /// The connection of the moment, made when there is none.
    async fn link(&self) -> Result<Arc<Link>, PublishFault> {
        let mut state = timeout(BROKER_TIMEOUT, self.link.lock()).await.map_err(|_| away("still connecting"))?;
        if let Some(link) = state.link.as_ref().filter(|link| link.connection.status().connected()) {
            return Ok(Arc::clone(link));
        }
        if let Some((_, fault)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < RETRY_AFTER) {
            return Err(fault.clone());
        }
        match self.connect().await {
            Ok(link) => {
                *state = LinkState { link: Some(Arc::clone(&link)), failed: None };
                Ok(link)
            }
            Err(error) => {
                let fault = away(&error.to_string());
                *state = LinkState { link: None, failed: Some((Instant::now(), fault.clone())) };
                Err(fault)
            }
        }
    }

    async fn connect(&self) -> lapin::Result<Arc<Link>> {
        let name = format!("{} publishing", self.settings.connection_name);
        let connection = self.endpoints.connect(&name, SHORT_FRAMES).await?;
        topology::ensure(&connection, &self.settings).await?;
        Ok(Arc::new(Link { connection, idle: Mutex::default() }))
    }

    /// A publish failed or hung: this connection is not to be trusted any more.
    async fn give_up(&self, link: &Arc<Link>) {
        if link.connection.status().blocked() {
            return;
        }
        let mut state = self.link.lock().await;
        if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            state.link = None;
        }
    }
}

impl Link {
    async fn channel(&self) -> lapin::Result<Channel> {
        let idle = self.idle.lock().expect("nothing panics while holding it").pop();
        if let Some(channel) = idle.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let channel = bounded(self.connection.create_channel()).await?;
        bounded(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }
}

async fn publish_on(channel: &Channel, outgoing: Outgoing<'_>) -> lapin::Result<Confirmation> {
    let Outgoing { exchange, routing_key, body, properties } = outgoing;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    bounded(async {
        channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties).await?.await
    })
    .await
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

fn away(why: &str) -> PublishFault {
    PublishFault::Away(why.to_owned())
}
