//! `dead show`: one letter, with all that may be seen of it.

use serde_json::{Map, Value, json};

use crate::clock;
use crate::commands::CommandError;
use crate::commands::dead::entry::{Entry, Refusal};
use crate::commands::dead::lines::labelled;
use crate::commands::dead::redact::{self, masked, masked_json, tame};
use crate::commands::dead::{Reader, print};
use crate::login::RequestId;
use crate::queue::DeadLetter;
use crate::traceparent::Traceparent;

#[derive(clap::Args)]
pub(in crate::commands) struct Args {
    /// Its request id, or what its publisher called it
    #[arg(required_unless_present = "position", conflicts_with = "position")]
    id: Option<String>,
    /// Its number in `dead list`
    #[arg(long, value_name = "N")]
    position: Option<u64>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(mut reader: Reader, args: Args) -> Result<(), CommandError> {
    let mut found = None;
    while found.is_none()
        && let Some(entry) = reader.next().await?
    {
        found = args.mean(&entry).then(|| shown(&entry));
    }
    match &found {
        Some(shown) if args.json => {
            print(shown.iter().cloned().map(|(name, value)| (name.to_owned(), value)).collect::<Value>());
        }
        Some(shown) => print_lines(shown),
        None => reader.tell_unread(""),
    }
    reader.close().await?;
    found.map(drop).ok_or_else(|| {
        CommandError::at_run_time("there is no such dead letter")
            .with_hint("`quicklogin dead list` lists them; what somebody else has in hand is not seen")
    })
}

impl Args {
    fn mean(&self, entry: &Entry) -> bool {
        let id = self.id.as_deref();
        let is_named = id.is_some()
            && (entry.request_id.as_ref().map(RequestId::as_str) == id || entry.letter.message_id.as_deref() == id);
        is_named || self.position == Some(entry.position)
    }
}

/// Everything, in the order in which people read it.
fn shown(entry: &Entry) -> Vec<(&'static str, Value)> {
    let Entry { position, letter, appid, request_id, refusal } = entry;
    let text = |text: &Option<String>| json!(text.as_deref().map(masked));
    let message_id = letter.message_id.as_deref();
    let is_id = message_id.is_some_and(|id| RequestId::try_from(id).is_ok());
    vec![
        ("position", json!(position)),
        ("dead_at", json!(letter.dead_at)),
        ("reason", text(&letter.reason)),
        ("replay", json!(refusal.map_or("possible", Refusal::as_str))),
        ("deliveries", json!(letter.deliveries)),
        ("worker", json!(letter.worker.as_deref().map(tame))),
        ("request_id", json!(request_id)),
        ("appid", json!(appid)),
        ("message_id", if is_id { json!(message_id) } else { text(&letter.message_id) }),
        ("content_type", text(&letter.content_type)),
        ("timestamp", json!(letter.timestamp)),
        ("traceparent", json!(letter.traceparent.as_ref().map(Traceparent::as_str))),
        ("headers", Value::Object(headers(letter))),
        ("bytes", json!(letter.body.len())),
        ("body", redact::body(&letter.body)),
    ]
}

/// Those that quicklogin and RabbitMQ write.
const OURS: [&str; 9] = [
    "x-quicklogin-reason",
    "x-quicklogin-dead-at",
    "x-quicklogin-deliveries",
    "x-quicklogin-worker",
    "x-quicklogin-owner",
    "x-quicklogin-queue",
    "x-quicklogin-mac",
    "x-delivery-count",
    "x-acquired-count",
];

/// Some values name a place, such as a host or a queue, or a trace; all others may be anything.
fn headers(letter: &DeadLetter) -> Map<String, Value> {
    let shown = |(name, value): (&String, &Value)| {
        let is_place = ["x-quicklogin-worker", "x-quicklogin-queue", "x-death"].contains(&name.as_str())
            || ["x-first-death-", "x-last-death-"].iter().any(|begin| name.starts_with(begin));
        let is_trace = name == "traceparent" && letter.traceparent.is_some();
        let is_ours = is_place || is_trace || OURS.contains(&name.as_str());
        let value = if is_place || is_trace { tame_json(value) } else { masked_json(value) };
        (if is_ours { tame(name) } else { masked(name) }, value)
    };
    letter.headers.iter().map(shown).collect()
}

fn tame_json(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(tame(text)),
        Value::Array(values) => values.iter().map(tame_json).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (tame(name), tame_json(value))).collect())
        }
        other => other.clone(),
    }
}

fn print_lines(shown: &[(&'static str, Value)]) {
    for (name, value) in shown {
        match (*name, value) {
            (_, Value::Null) => {}
            ("headers", Value::Object(headers)) => {
                for (header, value) in headers {
                    print(labelled("header", &format!("{header}: {value}")));
                }
            }
            ("dead_at" | "timestamp", Value::Number(at)) => {
                print(labelled(name, &clock::utc(at.as_u64().unwrap_or_default())));
            }
            (_, Value::String(text)) => print(labelled(name, text)),
            _ => print(labelled(name, &value.to_string())),
        }
    }
}
