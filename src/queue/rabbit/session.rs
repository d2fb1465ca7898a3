//! One session of consuming: from the first delivery of a connection to whatever ends it.

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use lapin::options::BasicCancelOptions;
use lapin::{Channel, Event};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::queue::rabbit::acks::{self, Settled};
use crate::queue::rabbit::bounded;
use crate::queue::rabbit::consume::{End, Settler, Supervisor};
use crate::queue::rabbit::envelope::{self, Envelope};
use crate::queue::rabbit::suspects::{Suspects, Turn, is_suspect};
use crate::queue::{self, Delivery};

/// After a stop, for so long nothing more that was sent ahead means that there is nothing more.
const SENT_AHEAD: Duration = Duration::from_millis(50);

impl Supervisor {
    /// Hands out deliveries until something ends it; after a stop, settles what is still in hand.
    pub(super) async fn session(
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
        let mut suspects = Suspects::new();
        loop {
            let room = self.sender.reserve().await.ok()?;
            tokio::select! {
                (suspect, turn) = suspects.next() => room.send(in_turn(suspect, turn)),
                next = consumer.next() => match next {
                    Some(Ok(delivery)) => match self.delivery(delivery, settled) {
                        (delivery, true) => suspects.hold_back(delivery),
                        (delivery, false) => room.send(delivery),
                    },
                    Some(Err(error)) => return Some(error.to_string()),
                    None => return Some("RabbitMQ cancelled the consumer".into()),
                },
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

    /// The flag tells whether it is suspect.
    fn delivery(&self, delivery: lapin::message::Delivery, settled: &mpsc::Sender<Settled>) -> (Delivery, bool) {
        let properties = &delivery.properties;
        let envelope = Envelope::of(properties);
        let suspect = is_suspect(envelope.taken_back());
        let settler = Settler {
            tag: delivery.delivery_tag,
            envelope,
            settled: settled.clone(),
            queue: self.queue.clone(),
            _turn: None,
        };
        let delivery = Delivery {
            traceparent: envelope::traceparent(properties),
            redelivered: delivery.redelivered,
            timestamp: envelope::timestamp(properties),
            owner: envelope::owner(properties),
            body: delivery.data,
            settler: Some(queue::Settler::Rabbit(settler)),
        };
        (delivery, suspect)
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
            Some(Event::Error(error)) => return error.to_string(),
            None => return "the connection ended".into(),
            Some(_) => {}
        }
    }
}
