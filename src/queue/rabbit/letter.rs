//! One dead letter: what its headers tell, whether we put it aside or RabbitMQ moved it, and how it goes out again.
//!
//! Nothing here is fit for printing: body, ids and headers are a stranger's.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Map, Value, json};

use crate::login::UnixMs;
use crate::queue::rabbit::envelope::{
    self, DEAD_AT, DELIVERIES, QUEUE, REASON, TAKEN_BACK, WORKER, in_ms, whole_number,
};
use crate::traceparent::Traceparent;

/// What RabbitMQ writes on a message that it moves: the latest move first.
pub(super) const DEATH: &str = "x-death";
/// Headers that are longer than this together, in AMQP's encoding, stay behind: they might not fit into a frame.
const HEADER_BYTES_MOST: usize = 8 * 1024;
/// RabbitMQ routes copies of a message by these. It did so when the message was first published.
const COPIES_TO: [&str; 2] = ["CC", "BCC"];

/// A message in the queue of dead letters.
pub struct DeadLetter {
    /// As it was published; anything.
    pub body: Vec<u8>,
    /// Why it is here: our reason, or RabbitMQ's, such as `delivery_limit`.
    pub reason: Option<String>,
    /// The queue that it was in before.
    pub queue: Option<String>,
    /// When it came here.
    pub dead_at: Option<UnixMs>,
    /// How often it was delivered, as far as that was written down.
    pub deliveries: Option<u64>,
    /// Host and process id of the worker that put it aside; none where RabbitMQ moved it.
    pub worker: Option<String>,
    /// What its publisher called it.
    pub message_id: Option<String>,
    /// What its publisher said it was.
    pub content_type: Option<String>,
    /// Its publisher's own time of it.
    pub timestamp: Option<UnixMs>,
    /// The trace that it belongs to.
    pub traceparent: Option<Traceparent>,
    /// All of its headers.
    pub headers: Map<String, Value>,
    properties: BasicProperties,
    tag: u64,
}

impl DeadLetter {
    pub(super) fn new(body: Vec<u8>, properties: BasicProperties, tag: u64) -> Self {
        let headers = properties.headers().as_ref().map_or_else(Map::new, object);
        let header = |name: &str| headers.get(name).and_then(Value::as_str).map(str::to_owned);
        let death = headers.get(DEATH).and_then(|deaths| deaths.get(0));
        let died_at = death.and_then(|death| death["time"].as_u64()).and_then(in_ms);
        let deliveries = whole_number(&properties, DELIVERIES);
        Self {
            reason: header(REASON).or_else(|| Some(death?["reason"].as_str()?.to_owned())),
            queue: header(QUEUE).or_else(|| Some(death?["queue"].as_str()?.to_owned())),
            dead_at: whole_number(&properties, DEAD_AT).or(died_at),
            deliveries,
            worker: header(WORKER),
            message_id: properties.message_id().as_ref().map(ShortString::to_string),
            content_type: properties.content_type().as_ref().map(ShortString::to_string),
            timestamp: envelope::timestamp(&properties),
            traceparent: envelope::traceparent(&properties),
            headers,
            body,
            properties,
            tag,
        }
    }

    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    /// What it goes out in again: as it came, without what tells of its death, and without what RabbitMQ would hold
    /// against another publisher or use to drop it. A time of its own, if it has none, so that nobody takes its code for
    /// a fresh one.
    pub(super) fn properties_again(&self) -> BasicProperties {
        let from = &self.properties;
        let all_go = from.headers().as_ref().is_none_or(|headers| table_bytes(headers) <= HEADER_BYTES_MOST);
        let goes = |name: &str| {
            let stays = tells_of_death(name) || COPIES_TO.contains(&name);
            (name == "traceparent" && self.traceparent.is_some()) || (all_go && !stays)
        };
        let mut headers = FieldTable::default();
        for (name, value) in from.headers().iter().flat_map(FieldTable::inner).filter(|(name, _)| goes(name.as_str())) {
            headers.insert(name.clone(), value.clone());
        }
        let mut again = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        let died_at_s = self.dead_at.map(|at| at / 1000);
        if let Some(timestamp) = from.timestamp().or(died_at_s) {
            again = again.with_timestamp(timestamp);
        }
        type With = fn(BasicProperties, ShortString) -> BasicProperties;
        let texts: [(&Option<ShortString>, With); 6] = [
            (from.content_type(), BasicProperties::with_content_type),
            (from.content_encoding(), BasicProperties::with_content_encoding),
            (from.correlation_id(), BasicProperties::with_correlation_id),
            (from.message_id(), BasicProperties::with_message_id),
            (from.kind(), BasicProperties::with_type),
            (from.app_id(), BasicProperties::with_app_id),
        ];
        for (text, with) in texts {
            if let Some(text) = text {
                again = with(again, text.clone());
            }
        }
        again
    }
}

fn tells_of_death(header: &str) -> bool {
    let beginnings = ["x-quicklogin-", DEATH, "x-first-death-", "x-last-death-"];
    header == TAKEN_BACK || header == "x-acquired-count" || beginnings.iter().any(|begin| header.starts_with(begin))
}

/// How many bytes a table takes in a frame.
fn table_bytes(table: &FieldTable) -> usize {
    4 + table.inner().iter().map(|(name, value)| 1 + name.as_str().len() + value_bytes(value)).sum::<usize>()
}

fn value_bytes(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Timestamp(_) | AMQPValue::Double(_) => 8,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => 4 + values.as_slice().iter().map(value_bytes).sum::<usize>(),
        AMQPValue::FieldTable(table) => table_bytes(table),
    }
}

fn object(table: &FieldTable) -> Map<String, Value> {
    table.inner().iter().map(|(name, value)| (name.to_string(), json_of(value))).collect()
}

fn json_of(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::DecimalValue(_) | AMQPValue::Void => Value::Null,
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => json!(String::from_utf8_lossy(bytes.as_slice())),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json_of).collect(),
        AMQPValue::FieldTable(table) => Value::Object(object(table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::rabbit::envelope::text;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn moved_by_rabbitmq(strangers: &str) -> DeadLetter {
        let mut death = FieldTable::default();
        death.insert("reason".into(), text("delivery_limit"));
        death.insert("queue".into(), text("quicklogin.results"));
        death.insert("time".into(), AMQPValue::Timestamp(1_637_744_274));
        let mut headers = FieldTable::default();
        headers.insert(DEATH.into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
        headers.insert("x-first-death-reason".into(), text("delivery_limit"));
        headers.insert(TAKEN_BACK.into(), AMQPValue::LongLongInt(21));
        headers.insert("traceparent".into(), text(TRACE));
        headers.insert("stranger".into(), text(strangers));
        let properties = BasicProperties::default()
            .with_message_id("r-1".into())
            .with_type("login".into())
            .with_user_id("gateway".into())
            .with_expiration("1000".into())
            .with_headers(headers);
        DeadLetter::new(b"{}".to_vec(), properties, 1)
    }

    fn names(properties: &BasicProperties) -> Vec<&str> {
        properties.headers().iter().flat_map(FieldTable::inner).map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn what_rabbitmq_moved_says_why_and_when() {
        let letter = moved_by_rabbitmq("short");
        assert_eq!((letter.reason.as_deref(), letter.dead_at), (Some("delivery_limit"), Some(1_637_744_274_000)));
        assert_eq!(letter.queue.as_deref(), Some("quicklogin.results"));
        assert_eq!((letter.deliveries, letter.worker), (None, None), "RabbitMQ does not say");
    }

    #[test]
    fn a_letter_goes_out_as_it_came_without_its_death_and_with_an_age() {
        let again = moved_by_rabbitmq("short").properties_again();
        assert_eq!(names(&again), ["stranger", "traceparent"]);
        assert_eq!((again.user_id(), again.expiration(), *again.delivery_mode()), (&None, &None, Some(2)));
        assert_eq!(again.message_id().as_ref().map(ShortString::as_str), Some("r-1"));
        assert_eq!(again.kind().as_ref().map(ShortString::as_str), Some("login"));
        assert_eq!(*again.timestamp(), Some(1_637_744_274), "when it died, for want of a better one");
    }

    #[test]
    fn of_headers_that_fit_into_no_frame_only_the_trace_goes_out_again() {
        assert_eq!(names(&moved_by_rabbitmq(&"x".repeat(40_000)).properties_again()), ["traceparent"]);
        // Two characters each as text, nine bytes each in a frame.
        let numbers = vec![AMQPValue::LongLongInt(7); 4000];
        let mut headers = FieldTable::default();
        headers.insert("numbers".into(), AMQPValue::FieldArray(numbers.into()));
        headers.insert("traceparent".into(), text(TRACE));
        let letter = DeadLetter::new(vec![], BasicProperties::default().with_headers(headers), 1);
        assert_eq!(names(&letter.properties_again()), ["traceparent"]);
    }

    #[test]
    fn a_replayed_letter_is_routed_to_nobody_else() {
        let mut headers = FieldTable::default();
        for name in ["CC", "BCC"] {
            headers.insert(name.into(), AMQPValue::FieldArray(vec![text("another")].into()));
        }
        let letter = DeadLetter::new(vec![], BasicProperties::default().with_headers(headers), 1);
        assert_eq!(names(&letter.properties_again()), [""; 0]);
    }
}
