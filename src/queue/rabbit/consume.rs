//! Consuming: one supervisor, one session for each connection. Whatever goes wrong (connection error, channel closed,
//! consumer cancelled, an ack that fails or hangs) leads to the same thing: drop everything, connect again, for ever.

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Event};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::queue::rabbit::acks::{self, Settled};
use crate::queue::rabbit::{RabbitQueue, bounded, topology};
use crate::queue::{Delivery, Settlement};
use crate::traceparent::Traceparent;

const RECONNECT: Backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(2) };
/// A session that lasted so long was a good one, and the next begins without a long pause.
const GOOD_SESSION: Duration = Duration::from_secs(5);
/// AMQP timestamps are in seconds; larger ones than this are taken for ms, which some publishers send.
const LARGEST_SECONDS: u64 = 100_000_000_000;
/// Bound on saying goodbye to a broker that may be gone.
const GOODBYE: Duration = Duration::from_secs(1);
/// After a stop, for so long nothing more that was sent ahead means that there is nothing more.
const SENT_AHEAD: Duration = Duration::from_millis(50);

pub struct Consumer {
    deliveries: mpsc::Receiver<Delivery>,
    consuming: watch::Receiver<bool>,
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

/// Settles one delivery on the channel that it came by; on any later channel its tag would be another's.
pub(crate) struct Settler {
    tag: u64,
    settled: mpsc::Sender<Settled>,
    queue: RabbitQueue,
}

/// How a session ended.
enum End {
    Stopped,
    Lost(String),
}

pub(super) fn start(queue: RabbitQueue, in_hand: u16, stop: CancellationToken) -> Consumer {
    // One: what RabbitMQ has sent ahead waits in lapin's buffer, which the prefetch bounds.
    let (sender, deliveries) = mpsc::channel(1);
    let (consuming_sender, consuming) = watch::channel(false);
    let tracker = queue.0.tracker.clone();
    let supervisor =
        Supervisor { queue, in_hand: in_hand.max(1), stop: stop.clone(), sender, consuming: consuming_sender };
    Consumer { deliveries, consuming, stop, supervisor: tracker.spawn(supervisor.run()) }
}

impl Consumer {
    pub(in crate::queue) async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            delivery = self.deliveries.recv() => delivery,
        }
    }

    pub(in crate::queue) fn consuming(&self) -> watch::Receiver<bool> {
        self.consuming.clone()
    }

    pub(in crate::queue) fn give_back(&mut self) {
        self.deliveries.close();
        while let Ok(delivery) = self.deliveries.try_recv() {
            drop(delivery);
        }
    }

    pub(in crate::queue) async fn close(self, at_most: Duration) {
        let Self { deliveries, mut supervisor, stop, .. } = self;
        stop.cancel();
        // What was sent ahead but not handed out goes back.
        drop(deliveries);
        if timeout(at_most, &mut supervisor).await.is_err() {
            supervisor.abort();
            warn!("RabbitMQ did not take the last acks in time; those logins will be delivered again");
        }
    }
}

impl Settler {
    pub(in crate::queue) async fn settle(self, body: &[u8], settlement: Settlement) {
        let settled = match settlement {
            Settlement::Ack => Settled::Ack(self.tag),
            Settlement::Requeue => Settled::Requeue(self.tag),
            Settlement::Dead { reason } => match self.queue.0.publisher.publish_dead(body, reason).await {
                Ok(()) => Settled::Ack(self.tag),
                Err(fault) => {
                    warn!(%fault, reason, "a dead letter goes by rejection, without its reason");
                    Settled::Reject(self.tag)
                }
            },
        };
        self.tell(settled);
    }

    pub(in crate::queue) fn requeue(self) {
        let tag = self.tag;
        self.tell(Settled::Requeue(tag));
    }

    /// There is room for each delivery in hand; a closed channel means that the session is gone, and the broker
    /// delivers again.
    fn tell(self, settled: Settled) {
        let _ = self.settled.try_send(settled);
    }
}

struct Supervisor {
    queue: RabbitQueue,
    in_hand: u16,
    stop: CancellationToken,
    sender: mpsc::Sender<Delivery>,
    consuming: watch::Sender<bool>,
}

impl Supervisor {
    async fn run(self) {
        let (mut failures, mut told) = (0, String::new());
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let end = self.connect_and_consume().await;
            self.consuming.send_replace(false);
            match end {
                End::Stopped => return,
                End::Lost(why) if why == told => debug!(why, "RabbitMQ is still away"),
                End::Lost(why) => {
                    warn!(why, "RabbitMQ is lost; connecting again, for ever");
                    told = why;
                }
            }
            if began.elapsed() > GOOD_SESSION {
                (failures, told) = (0, String::new());
            }
            tokio::select! {
                () = sleep(RECONNECT.pause(failures, fastrand::f64())) => {}
                () = self.stop.cancelled() => return,
            }
            failures += 1;
        }
    }

    async fn connect_and_consume(&self) -> End {
        let name = format!("{} consuming", self.queue.0.settings.connection_name);
        let connection = tokio::select! {
            connected = self.queue.0.endpoints.connect(&name) => match connected {
                Ok(connection) => connection,
                Err(error) => return End::Lost(error.to_string()),
            },
            () = self.stop.cancelled() => return End::Stopped,
        };
        let end = self.consume(&connection).await.unwrap_or_else(|error| End::Lost(error.to_string()));
        let _ = timeout(GOODBYE, connection.close(200, "bye".into())).await;
        end
    }

    async fn consume(&self, connection: &Connection) -> lapin::Result<End> {
        let settings = &self.queue.0.settings;
        let events = connection.events_listener();
        topology::ensure(connection, settings).await?;
        let channel = bounded(connection.create_channel()).await?;
        bounded(channel.basic_qos(self.in_hand, BasicQosOptions::default())).await?;
        let consuming = channel.basic_consume(
            settings.queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = bounded(consuming).await?;
        self.consuming.send_replace(true);
        info!(queue = settings.queue, "consuming");
        let end = self.session(&channel, consumer, events).await;
        // Said aloud, since lapin logs an error over a channel that is dropped while its connection closes.
        let _ = timeout(GOODBYE, channel.close(200, "bye".into())).await;
        Ok(end)
    }

    /// Hands out deliveries until something ends it; after a stop, settles what is still in hand.
    async fn session(
        &self,
        channel: &Channel,
        mut consumer: lapin::Consumer,
        events: impl Stream<Item = Event>,
    ) -> End {
        let (settled, to_tell) = mpsc::channel(usize::from(self.in_hand));
        let mut acks = pin!(acks::tell(channel, to_tell));
        let lost = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            told = &mut acks => Some(told.map_or_else(|error| format!("acks: {error}"), |()| "acks ended".into())),
            why = fatal_event(events) => Some(why),
            why = self.hand_out(&mut consumer, &settled) => why,
        };
        if let Some(why) = lost {
            return End::Lost(why);
        }
        self.give_back(channel, consumer, &settled).await;
        drop(settled);
        match acks.await {
            Ok(()) => End::Stopped,
            Err(error) => End::Lost(format!("acks: {error}")),
        }
    }

    /// Room first, delivery second, so that nothing is taken that nobody is ready for. None: nobody listens any more.
    async fn hand_out(&self, consumer: &mut lapin::Consumer, settled: &mpsc::Sender<Settled>) -> Option<String> {
        loop {
            let room = self.sender.reserve().await.ok()?;
            match consumer.next().await {
                Some(Ok(delivery)) => room.send(self.delivery(delivery, settled)),
                Some(Err(error)) => return Some(error.to_string()),
                None => return Some("RabbitMQ cancelled the consumer".into()),
            }
        }
    }

    /// Ends the consumer and puts back what RabbitMQ had sent ahead.
    async fn give_back(&self, channel: &Channel, mut consumer: lapin::Consumer, settled: &mpsc::Sender<Settled>) {
        let cancelled = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        if bounded(cancelled).await.is_err() {
            return;
        }
        while let Ok(Some(Ok(delivery))) = timeout(SENT_AHEAD, consumer.next()).await {
            drop(self.delivery(delivery, settled));
        }
    }

    fn delivery(&self, delivery: lapin::message::Delivery, settled: &mpsc::Sender<Settled>) -> Delivery {
        let properties = &delivery.properties;
        let header = |name: &str| properties.headers().as_ref()?.inner().get(name)?.as_long_string();
        let traceparent =
            header("traceparent").and_then(|text| Traceparent::parse(std::str::from_utf8(text.as_bytes()).ok()?));
        let settler = Settler { tag: delivery.delivery_tag, settled: settled.clone(), queue: self.queue.clone() };
        Delivery {
            traceparent,
            redelivered: delivery.redelivered,
            timestamp: properties.timestamp().map(in_ms),
            body: delivery.data,
            settler: Some(crate::queue::Settler::Rabbit(settler)),
        }
    }
}

/// Returns when the connection has failed or ended.
async fn fatal_event(events: impl Stream<Item = Event>) -> String {
    let mut events = pin!(events);
    loop {
        match events.next().await {
            Some(Event::Error(error)) => return error.to_string(),
            None => return "the connection ended".into(),
            Some(_) => {}
        }
    }
}

/// AMQP says seconds; some publishers send milliseconds.
fn in_ms(timestamp: u64) -> u64 {
    if timestamp < LARGEST_SECONDS { timestamp * 1000 } else { timestamp }
}
