//! The exchange and the queues: declared, or only checked where the operator keeps them.

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tracing::warn;

use crate::login::MAX_BODY_BYTES;
use crate::queue::rabbit::returns::{self, Limits};
use crate::queue::rabbit::{RabbitSettings, bounded, open_channel};

/// As good as none. RabbitMQ 3 knows no word for none.
const NO_LIMIT: i64 = 1_000_000_000;

/// Makes sure that everything is there that a request passes through, and tells how often each of the queues lets a
/// request come back. What is there with other arguments is used as it is: a policy or an earlier configuration made it
/// so, and a fleet must not stop over it.
pub(super) async fn ensure(connection: &Connection, settings: &RabbitSettings) -> lapin::Result<Vec<Limits>> {
    let (channel, limits) = ensure_on(open_channel(connection).await?, connection, settings).await?;
    bounded(channel.close(200, "declared".into())).await?;
    Ok(limits)
}

/// The same on this channel. Returns an open one: RabbitMQ may have closed the first.
pub(super) async fn ensure_on(
    mut channel: Channel,
    connection: &Connection,
    settings: &RabbitSettings,
) -> lapin::Result<(Channel, Vec<Limits>)> {
    let backstop = returns::backstop(settings.delivery_limit);
    let (queues, mut limits) = (settings.queues(), vec![]);
    let requests = queues.iter().map(|queue| Part::Requests(queue));
    for part in [Part::Exchange, Part::DeadLetters].into_iter().chain(requests).chain([Part::Results]) {
        let mut limit = Some(backstop).filter(|_| settings.declare);
        match part.declare(&channel, settings, !settings.declare).await {
            Err(error) if is_other_arguments(&error) => {
                warn!(?part, "exists with other arguments than configured, and is used as it is; see rabbitmq.declare");
                limit = returns::limit_in(&error.to_string());
                // RabbitMQ has closed the channel over it.
                channel = open_channel(connection).await?;
                part.declare(&channel, settings, true).await?;
            }
            declared => declared?,
        }
        if matches!(part, Part::Requests(_)) {
            limits.push(Limits::new(settings.delivery_limit, limit));
        }
    }
    if settings.declare {
        bind(&channel, settings).await?;
    }
    Ok((channel, limits))
}

/// What there is to declare.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Exchange,
    DeadLetters,
    /// One of the queues of requests, by name.
    Requests(&'a str),
    Results,
}

impl Part<'_> {
    /// Declares it; `passive` only checks that it is there.
    async fn declare(self, channel: &Channel, settings: &RabbitSettings, passive: bool) -> lapin::Result<()> {
        match self {
            Self::Exchange => {
                let options = ExchangeDeclareOptions { durable: true, passive, ..Default::default() };
                let name = settings.exchange.as_str().into();
                bounded(channel.exchange_declare(name, ExchangeKind::Direct, options, FieldTable::default())).await
            }
            Self::DeadLetters => declare_queue(channel, &settings.dead_queue, passive, dead_letters(settings)).await,
            Self::Requests(queue) => declare_queue(channel, queue, passive, requests(settings)).await,
            Self::Results => declare_queue(channel, &settings.results_queue, passive, results()).await,
        }
    }
}

async fn bind(channel: &Channel, settings: &RabbitSettings) -> lapin::Result<()> {
    for (queue, routing_key) in settings.queues().into_iter().zip(settings.routing_keys()) {
        bounded(channel.queue_bind(
            queue.into(),
            settings.exchange.as_str().into(),
            routing_key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        ))
        .await?;
    }
    Ok(())
}

fn is_other_arguments(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}

/// How many requests wait to be delivered.
pub(super) async fn depth(channel: &Channel, settings: &RabbitSettings) -> lapin::Result<u64> {
    let mut depth = 0;
    for queue in settings.queues() {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let asked = channel.queue_declare(queue.into(), options, FieldTable::default());
        depth += u64::from(bounded(asked).await?.message_count());
    }
    Ok(depth)
}

/// Deletes all of it, whatever is in it.
pub(super) async fn remove(channel: &Channel, settings: &RabbitSettings) -> lapin::Result<()> {
    let others = [&settings.dead_queue, &settings.results_queue].map(String::clone);
    for queue in settings.queues().into_iter().chain(others) {
        bounded(channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await?;
    }
    bounded(channel.exchange_delete(settings.exchange.as_str().into(), ExchangeDeleteOptions::default())).await
}

async fn declare_queue(channel: &Channel, name: &str, passive: bool, arguments: FieldTable) -> lapin::Result<()> {
    let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
    bounded(channel.queue_declare(name.into(), options, arguments)).await?;
    Ok(())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

/// Loses the oldest when full, so that garbage fills no disk and never stands in the way of the requests. RabbitMQ 4 would
/// also drop what was looked at 20 times.
fn dead_letters(settings: &RabbitSettings) -> FieldTable {
    let length = i64::from(settings.dead_max_length);
    let mut arguments = quorum();
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(length));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(length * MAX_BODY_BYTES as i64));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(NO_LIMIT));
    arguments
}

/// Holds each result until it is written, however often the workers that wait for Redis with it in hand are stopped:
/// RabbitMQ 4 would drop it for good after 20 times.
fn results() -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(NO_LIMIT));
    arguments
}

/// Refuses publishes when full; what is rejected or delivered too often goes to the dead letters, at least once.
fn requests(settings: &RabbitSettings) -> FieldTable {
    let mut arguments = quorum();
    let text = |text: &str| AMQPValue::LongString(text.into());
    let backstop = returns::backstop(settings.delivery_limit);
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(settings.max_length.into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(backstop as i64));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(&settings.dead_queue));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_was_handed_over_may_come_back_any_number_of_times() {
        let limit = results().inner().get("x-delivery-limit").cloned();
        assert_eq!(limit, Some(AMQPValue::LongLongInt(NO_LIMIT)), "none is one of 20 in RabbitMQ 4");
    }
}
