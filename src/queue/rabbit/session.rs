//! One session of consuming: from the first delivery of a connection to whatever ends it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::{Stream, StreamExt};
use lapin::options::BasicCancelOptions;
use lapin::{Channel, Event};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::queue::rabbit::acks::{self, Settled};
use crate::queue::rabbit::arrivals::{Arrivals, Arriving};
use crate::queue::rabbit::consume::{End, Settler, Supervisor};
use crate::queue::rabbit::envelope::{self, Envelope};
use crate::queue::rabbit::returns::Limits;
use crate::queue::rabbit::suspects::{Suspects, Turn, is_suspect};
use crate::queue::rabbit::watch::{self, Quiet};
use crate::queue::rabbit::{bounded, fault};
use crate::queue::{self, Delivery};

/// After a stop, for so long nothing more that was sent ahead means that there is nothing more.
const SENT_AHEAD: Duration = Duration::from_millis(50);

/// What all deliveries of one session share.
struct Session<'a> {
    supervisor: &'a Supervisor,
    channel: &'a Channel,
    settled: mpsc::Sender<Settled>,
    quiet: Quiet,
    queues: Vec<Consumed>,
}

/// One of the queues that a session consumes.
struct Consumed {
    limits: Limits,
    /// Its name, held by each delivery of it that is not settled.
    name: Arc<str>,
}

impl Supervisor {
    /// Hands out deliveries until something ends it; after a stop, settles what is still in hand. `limits` are those of the
    /// queues of requests, in the order of the consumers. They say nothing of the one queue of results, and nobody asks
    /// how often one of these has come back.
    pub(super) async fn session(
        &self,
        channel: &Channel,
        consumers: Vec<lapin::Consumer>,
        events: impl Stream<Item = Event>,
        limits: &[Limits],
    ) -> End {
        let (settled, to_tell) = mpsc::channel(usize::from(self.in_hand) * consumers.len());
        let quiet = Quiet::of(consumers.len());
        let are_results = self.names == [self.queue.0.settings.results_queue.as_str()];
        let consumed = |(name, limits): (&String, &Limits)| {
            let limits = if are_results { limits.untold() } else { *limits };
            Consumed { limits, name: name.as_str().into() }
        };
        let queues = self.names.iter().zip(limits).map(consumed).collect();
        let session = Session { supervisor: self, channel, settled, quiet, queues };
        let mut arrivals = Arrivals::of(consumers);
        let mut acks = pin!(acks::tell(channel, to_tell));
        let lost = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            told = &mut acks => Some(told.map_or_else(|error| format!("acks: {}", fault::text(&error)), |()| "acks ended".into())),
            why = fatal_event(events) => Some(why),
            why = session.hand_out(&mut arrivals) => why,
            why = watch::over(&session.quiet, channel, &self.names, |queue| session.has_all(queue)) => Some(why),
        };
        if let Some(why) = lost {
            return End::Lost(why);
        }
        match tokio::join!(session.give_back(arrivals), acks).1 {
            Ok(()) => End::Stopped,
            Err(error) => End::Lost(format!("acks: {}", fault::text(&error))),
        }
    }
}

impl Session<'_> {
    /// Room on the way to the worker first, delivery second. None: nobody listens any more.
    async fn hand_out(&self, arrivals: &mut Arrivals<lapin::Consumer>) -> Option<String> {
        let mut suspects = Suspects::new();
        loop {
            let room = self.supervisor.sender.reserve().await.ok()?;
            self.quiet.begins();
            tokio::select! {
                (suspect, turn) = suspects.next() => room.send(in_turn(suspect, turn)),
                next = arrivals.next(&self.quiet) => match next {
                    Ok((queue, delivery)) => match self.delivery(queue, delivery) {
                        (delivery, true) => suspects.hold_back(delivery),
                        (delivery, false) => room.send(delivery),
                    },
                    Err(why) => return Some(why),
                },
            }
            self.quiet.ends();
        }
    }

    /// RabbitMQ sends no more than this of a queue.
    fn has_all(&self, queue: usize) -> bool {
        Arc::strong_count(&self.queues[queue].name) > usize::from(self.supervisor.in_hand)
    }

    /// Ends the consumers and puts back what RabbitMQ had sent ahead.
    async fn give_back(self, arrivals: Arrivals<lapin::Consumer>) {
        let arriving = arrivals.into_parts();
        let cancel = |tag| self.channel.basic_cancel(tag, BasicCancelOptions::default());
        if bounded(try_join_all(arriving.iter().map(|queue| cancel(queue.consumer.tag())))).await.is_err() {
            return;
        }
        for (queue, Arriving { mut consumer, first }) in arriving.into_iter().enumerate() {
            drop(first.map(|delivery| self.delivery(queue, delivery)));
            while let Ok(Some(Ok(delivery))) = timeout(SENT_AHEAD, consumer.next()).await {
                drop(self.delivery(queue, delivery));
            }
        }
    }

    /// The flag tells whether it is suspect.
    fn delivery(&self, queue: usize, delivery: lapin::message::Delivery) -> (Delivery, bool) {
        let Consumed { limits, name } = &self.queues[queue];
        let properties = &delivery.properties;
        let mut envelope = Envelope::of(properties, delivery.redelivered);
        let taken_back = limits.believed(envelope.taken_back);
        envelope.taken_back = taken_back;
        let settler = Settler {
            tag: delivery.delivery_tag,
            envelope,
            settled: self.settled.clone(),
            queue: self.supervisor.queue.clone(),
            origin: Arc::clone(name),
            _turn: None,
        };
        let delivery = Delivery {
            traceparent: envelope::traceparent(properties),
            redelivered: delivery.redelivered,
            returns: limits.of(taken_back),
            timestamp: envelope::timestamp(properties),
            proof: envelope::proof(properties),
            body: delivery.data,
            settler: Some(queue::Settler::Rabbit(settler)),
        };
        (delivery, is_suspect(taken_back))
    }
}

/// The suspect, whose turn lasts until it is settled.
fn in_turn(mut suspect: Delivery, turn: Turn) -> Delivery {
    if let Some(queue::Settler::Rabbit(settler)) = &mut suspect.settler {
        settler._turn = Some(turn);
    }
    suspect
}

/// Returns when the connection has failed or ended.
async fn fatal_event(events: impl Stream<Item = Event>) -> String {
    let mut events = pin!(events);
    loop {
        match events.next().await {
            Some(Event::Error(error)) => return fault::text(&error),
            None => return "the connection ended".into(),
            Some(_) => {}
        }
    }
}
