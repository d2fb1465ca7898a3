//! The exchange and the queues: declared, or only checked where the operator keeps them.

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use crate::queue::rabbit::{RabbitSettings, bounded};

/// Makes sure that everything is there that a request passes through.
pub(super) async fn ensure(channel: &Channel, settings: &RabbitSettings) -> lapin::Result<()> {
    let RabbitSettings { exchange, routing_key, queue, dead_queue, declare, .. } = settings;
    let passive = !declare;
    bounded(channel.exchange_declare(
        exchange.as_str().into(),
        ExchangeKind::Direct,
        ExchangeDeclareOptions { durable: true, passive, ..Default::default() },
        FieldTable::default(),
    ))
    .await?;
    declare_queue(channel, dead_queue, passive, quorum()).await?;
    declare_queue(channel, queue, passive, requests(settings)).await?;
    if *declare {
        bounded(channel.queue_bind(
            queue.as_str().into(),
            exchange.as_str().into(),
            routing_key.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        ))
        .await?;
    }
    Ok(())
}

/// Deletes all of it, whatever is in it.
pub(super) async fn remove(channel: &Channel, settings: &RabbitSettings) -> lapin::Result<()> {
    for queue in [&settings.queue, &settings.dead_queue] {
        bounded(channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default())).await?;
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

/// Refuses publishes when full; what is rejected or delivered too often goes to the dead letters, at least once.
fn requests(settings: &RabbitSettings) -> FieldTable {
    let mut arguments = quorum();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(settings.max_length.into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(settings.delivery_limit.into()));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(&settings.dead_queue));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments
}
