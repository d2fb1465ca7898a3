//! Consuming: one supervisor, one session for each connection. Whatever goes wrong (connection error, channel closed,
//! consumer cancelled, an ack that fails or hangs) leads to the same thing: drop everything, connect again, for ever.

use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::process_name::process_name;
use crate::queue::Delivery;
use crate::queue::rabbit::acks::Settled;
use crate::queue::rabbit::dial::LONG_FRAMES;
use crate::queue::rabbit::envelope::Envelope;
use crate::queue::rabbit::suspects::Turn;
use crate::queue::rabbit::{RabbitQueue, bounded, fault, open_channel, topology};

const RECONNECT: Backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(2) };
/// A session that lasted so long was a good one, and the next begins without a long pause.
const GOOD_SESSION: Duration = Duration::from_secs(5);
/// So many deliveries are handed from the session to the worker at once, of those that RabbitMQ has sent ahead: one by one,
/// each would cost a turn of both.
const AT_ONCE: usize = 32;
/// Bound on saying goodbye to a broker that may be gone.
const GOODBYE: Duration = Duration::from_secs(1);

pub struct Consumer {
    deliveries: mpsc::Receiver<Delivery>,
    consuming: watch::Receiver<bool>,
    stop: CancellationToken,
    /// Answers whether it could say goodbye.
    supervisor: JoinHandle<bool>,
}

/// Settles one delivery on the channel that it came by; on any later channel its tag would be another's.
pub(crate) struct Settler {
    pub(super) tag: u64,
    pub(super) envelope: Envelope,
    pub(super) settled: mpsc::Sender<Settled>,
    pub(super) queue: RabbitQueue,
    /// The queue it came from; as long as it is held, the delivery is not settled.
    pub(super) origin: Arc<str>,
    /// Held until it is settled, where it came back too often.
    pub(super) _turn: Option<Turn>,
}

/// How a session ended.
pub(super) enum End {
    Stopped,
    Lost(String),
}

/// Consumes the queues of these names, so much of each.
pub(super) fn start(queue: RabbitQueue, names: Vec<String>, in_hand: u16, stop: CancellationToken) -> Consumer {
    let (sender, deliveries) = mpsc::channel(AT_ONCE);
    let (consuming_sender, consuming) = watch::channel(false);
    let tracker = queue.0.tracker.clone();
    let supervisor =
        Supervisor { queue, names, in_hand: in_hand.max(1), stop: stop.clone(), sender, consuming: consuming_sender };
    Consumer { deliveries, consuming, stop, supervisor: tracker.spawn(supervisor.run()) }
}

impl Consumer {
    pub(in crate::queue) async fn next(&mut self) -> Option<Delivery> {
        if !self.stop.is_cancelled()
            && let Ok(delivery) = self.deliveries.try_recv()
        {
            return Some(delivery);
        }
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

    pub(in crate::queue) async fn close(self, at_most: Duration) -> bool {
        let Self { deliveries, mut supervisor, stop, .. } = self;
        stop.cancel();
        // What was sent ahead but not handed out goes back.
        drop(deliveries);
        let ended = timeout(at_most, &mut supervisor).await;
        if ended.is_err() {
            supervisor.abort();
            warn!("RabbitMQ did not take the last acks in time; those logins will be delivered again");
        }
        matches!(ended, Ok(Ok(true)))
    }
}

impl Settler {
    pub(in crate::queue) fn ack(self) {
        let tag = self.tag;
        self.tell(Settled::Ack(tag));
    }

    pub(in crate::queue) fn requeue(self) {
        let tag = self.tag;
        self.tell(Settled::Requeue(tag));
    }

    /// To the dead letters.
    pub(in crate::queue) async fn put_aside(self, delivery: Delivery, reason: &'static str) {
        let properties =
            self.envelope.of_dead_letter(reason, &self.origin, delivery.traceparent.as_ref(), &process_name());
        let settled = match self.queue.0.publisher.publish_dead(&delivery.body, properties).await {
            Ok(()) => Settled::Ack(self.tag),
            Err(fault) => {
                warn!(%fault, reason, "a dead letter goes by rejection, without its reason");
                Settled::Reject(self.tag)
            }
        };
        self.tell(settled);
    }

    /// There is room for each delivery in hand; a closed channel means that the session is gone, and the broker
    /// delivers again.
    fn tell(self, settled: Settled) {
        let _ = self.settled.try_send(settled);
    }
}

pub(super) struct Supervisor {
    pub(super) queue: RabbitQueue,
    /// Of the queues that are consumed.
    pub(super) names: Vec<String>,
    /// So much of each queue may be in hand, since all that there is may be in one of them, and that must fill the slots.
    /// Of all together there is no bound to be told: RabbitMQ knows none over several quorum queues. So what waits in
    /// lapin's buffer is as much once more for each further queue.
    pub(super) in_hand: u16,
    pub(super) stop: CancellationToken,
    pub(super) sender: mpsc::Sender<Delivery>,
    consuming: watch::Sender<bool>,
}

impl Supervisor {
    /// Returns after the stop: whether RabbitMQ was there until then.
    async fn run(self) -> bool {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let end = self.connect_and_consume().await;
            self.consuming.send_replace(false);
            match end {
                End::Stopped => return true,
                End::Lost(why) => self.queue.0.endpoints.report(&why),
            }
            if began.elapsed() > GOOD_SESSION {
                failures = 0;
            }
            tokio::select! {
                () = sleep(RECONNECT.pause(failures, fastrand::f64())) => {}
                () = self.stop.cancelled() => return false,
            }
            failures += 1;
        }
        false
    }

    async fn connect_and_consume(&self) -> End {
        let name = format!("{} consuming", self.queue.0.settings.connection_name);
        let connection = tokio::select! {
            connected = self.queue.0.endpoints.connect(&name, LONG_FRAMES) => match connected {
                Ok(connection) => connection,
                Err(error) => return End::Lost(fault::text(&error)),
            },
            () = self.stop.cancelled() => return End::Lost("stopped while connecting".into()),
        };
        let end = self.consume(&connection).await.unwrap_or_else(|error| End::Lost(fault::text(&error)));
        let _ = timeout(GOODBYE, connection.close(200, "bye".into())).await;
        end
    }

    async fn consume(&self, connection: &Connection) -> lapin::Result<End> {
        let settings = &self.queue.0.settings;
        let limits = topology::ensure(connection, settings).await?;
        // Not before: a queue that is there with other arguments costs a channel, which is no reason to end anything.
        let events = connection.events_listener();
        let channel = open_channel(connection).await?;
        bounded(channel.basic_qos(self.in_hand, BasicQosOptions::default())).await?;
        // One channel for all: a channel numbers its deliveries and takes acks by number, whichever queue they are of.
        let mut consumers = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let (name, options) = (name.as_str().into(), BasicConsumeOptions::default());
            consumers.push(bounded(channel.basic_consume(name, "".into(), options, FieldTable::default())).await?);
        }
        self.consuming.send_replace(true);
        self.queue.0.endpoints.report_success();
        info!(queue = self.names[0], shards = self.names.len(), "consuming");
        let end = self.session(&channel, consumers, events, &limits).await;
        // Said aloud, since lapin logs an error over a channel that is dropped while its connection closes; and the answer
        // means that RabbitMQ has read all acks.
        let goodbye = timeout(GOODBYE, channel.close(200, "bye".into())).await;
        Ok(match (end, goodbye) {
            (End::Stopped, Err(_)) => End::Lost("no answer to the last acks".into()),
            (End::Stopped, Ok(Err(error))) => End::Lost(format!("the last acks: {error}")),
            (end, _) => end,
        })
    }
}
