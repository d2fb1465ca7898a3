//! What a message carries besides its body: read from a delivery, written on its dead letter.
//!
//! Only what is named here goes on, so that a stranger's properties (a user id that is not ours, headers without end)
//! cannot keep a dead letter from being published.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::clock;
use crate::login::{EARLIEST_MS, UnixMs};
use crate::queue::Proof;
use crate::traceparent::Traceparent;

/// Why a message is dead.
pub(super) const REASON: &str = "x-quicklogin-reason";
/// When it died, in Unix ms.
pub(super) const DEAD_AT: &str = "x-quicklogin-dead-at";
/// How often it was delivered, the last time included.
pub(super) const DELIVERIES: &str = "x-quicklogin-deliveries";
/// Host and process id of the worker that put it aside.
pub(super) const WORKER: &str = "x-quicklogin-worker";
/// In whose name the login is claimed whose result this is.
pub(super) const OWNER: &str = "x-quicklogin-owner";
/// What proves that a worker has handed this result over.
pub(super) const MAC: &str = "x-quicklogin-mac";
/// The queue that a dead letter was in before.
pub(super) const QUEUE: &str = "x-quicklogin-queue";
/// How often a quorum queue has taken a message back. RabbitMQ writes it on redeliveries alone: on a first delivery it is
/// absent, or it is what the publisher has copied from another message.
pub(super) const TAKEN_BACK: &str = "x-delivery-count";

/// AMQP timestamps are in seconds; larger ones than this are taken for ms, which some publishers send.
const LARGEST_SECONDS: u64 = 100_000_000_000;

/// What a delivery came in.
pub(crate) struct Envelope {
    content_type: Option<ShortString>,
    message_id: Option<ShortString>,
    timestamp: Option<u64>,
    /// How often RabbitMQ has had it back from a worker.
    pub(super) taken_back: u64,
}

impl Envelope {
    /// `redelivered` is RabbitMQ's own flag.
    pub(super) fn of(properties: &BasicProperties, redelivered: bool) -> Self {
        let counted = || whole_number(properties, TAKEN_BACK).unwrap_or(0);
        Self {
            content_type: properties.content_type().clone(),
            message_id: properties.message_id().clone(),
            timestamp: *properties.timestamp(),
            taken_back: if redelivered { counted() } else { 0 },
        }
    }

    /// What its dead letter goes out in.
    pub(super) fn of_dead_letter(
        &self,
        reason: &str,
        queue: &str,
        traceparent: Option<&Traceparent>,
        worker: &str,
    ) -> BasicProperties {
        let deliveries = i64::try_from(self.taken_back.saturating_add(1)).unwrap_or(i64::MAX);
        let mut headers = FieldTable::default();
        headers.insert(REASON.into(), text(reason));
        headers.insert(QUEUE.into(), text(queue));
        headers.insert(DEAD_AT.into(), AMQPValue::LongLongInt(clock::now_ms() as i64));
        headers.insert(DELIVERIES.into(), AMQPValue::LongLongInt(deliveries));
        headers.insert(WORKER.into(), text(worker));
        if let Some(traceparent) = traceparent {
            headers.insert("traceparent".into(), text(traceparent.as_str()));
        }
        let mut properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        if let Some(content_type) = &self.content_type {
            properties = properties.with_content_type(content_type.clone());
        }
        if let Some(message_id) = &self.message_id {
            properties = properties.with_message_id(message_id.clone());
        }
        if let Some(timestamp) = self.timestamp {
            properties = properties.with_timestamp(timestamp);
        }
        properties
    }
}

pub(super) fn traceparent(properties: &BasicProperties) -> Option<Traceparent> {
    Traceparent::parse(text_in(properties, "traceparent")?)
}

pub(super) fn proof(properties: &BasicProperties) -> Option<Box<Proof>> {
    let text = |header| text_in(properties, header).map(str::to_owned);
    Some(Box::new(Proof { owner: text(OWNER)?, mac: text(MAC)? }))
}

fn text_in<'a>(properties: &'a BasicProperties, header: &str) -> Option<&'a str> {
    let header = properties.headers().as_ref()?.inner().get(header)?.as_long_string()?;
    std::str::from_utf8(header.as_bytes()).ok()
}

/// The publisher's own time of it. AMQP says seconds; some publishers send milliseconds, and some 0 for nothing.
pub(super) fn timestamp(properties: &BasicProperties) -> Option<UnixMs> {
    in_ms((*properties.timestamp())?)
}

pub(super) fn in_ms(timestamp: u64) -> Option<UnixMs> {
    let ms = if timestamp < LARGEST_SECONDS { timestamp * 1000 } else { timestamp };
    (ms >= EARLIEST_MS).then_some(ms)
}

/// A header that is a number and not below zero, in whichever of AMQP's sizes.
pub(super) fn whole_number(properties: &BasicProperties, header: &str) -> Option<u64> {
    match properties.headers().as_ref()?.inner().get(header)? {
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::ShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::ShortShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        _ => None,
    }
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(taken_back: Option<i64>) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert("stranger".into(), text("his own"));
        if let Some(taken_back) = taken_back {
            headers.insert(TAKEN_BACK.into(), AMQPValue::LongLongInt(taken_back));
        }
        BasicProperties::default()
            .with_content_type("text/plain".into())
            .with_message_id("r-1".into())
            .with_timestamp(1_637_744_274)
            .with_user_id("gateway".into())
            .with_expiration("1000".into())
            .with_headers(headers)
    }

    #[test]
    fn a_dead_letter_keeps_what_is_known_and_nothing_else() {
        let trace = Traceparent::generate();
        let dead = Envelope::of(&delivered(Some(4)), true).of_dead_letter("no good", "logins", Some(&trace), "host/1");
        assert_eq!(dead.content_type().as_ref().map(ShortString::as_str), Some("text/plain"));
        assert_eq!(dead.message_id().as_ref().map(ShortString::as_str), Some("r-1"));
        assert_eq!((timestamp(&dead), *dead.delivery_mode()), (Some(1_637_744_274_000), Some(2)));
        assert_eq!((dead.user_id(), dead.expiration()), (&None, &None));
        assert_eq!((traceparent(&dead), whole_number(&dead, DELIVERIES)), (Some(trace), Some(5)));
        let headers = dead.headers().as_ref().expect("headers").inner();
        assert_eq!((headers[REASON].clone(), headers[WORKER].clone()), (text("no good"), text("host/1")));
        assert_eq!(headers[QUEUE].clone(), text("logins"));
        assert!(!headers.contains_key("stranger") && whole_number(&dead, DEAD_AT).is_some());
    }

    #[test]
    fn a_first_delivery_is_the_only_one() {
        for copied in [None, Some(5), Some(500), Some(i64::MAX)] {
            let envelope = Envelope::of(&delivered(copied), false);
            assert_eq!(envelope.taken_back, 0, "{copied:?} is the publisher's own");
            assert_eq!(whole_number(&envelope.of_dead_letter("r", "q", None, "w"), DELIVERIES), Some(1));
        }
        assert_eq!(Envelope::of(&delivered(Some(-1)), true).taken_back, 0, "no number that can be");
        assert_eq!(Envelope::of(&delivered(Some(i64::MAX)), true).taken_back, i64::MAX as u64);
    }

    #[test]
    fn a_count_that_is_no_number_counts_nothing() {
        for odd in [text("500"), AMQPValue::Void, AMQPValue::Boolean(true), AMQPValue::Double(500.0)] {
            let mut headers = FieldTable::default();
            headers.insert(TAKEN_BACK.into(), odd);
            assert_eq!(Envelope::of(&BasicProperties::default().with_headers(headers), true).taken_back, 0);
        }
    }

    #[test]
    fn a_timestamp_is_in_seconds_or_milliseconds_or_nothing() {
        assert_eq!(in_ms(1_637_744_274), Some(1_637_744_274_000));
        assert_eq!(in_ms(1_637_744_274_123), Some(1_637_744_274_123));
        assert_eq!(in_ms(0), None);
    }
}
