//! Someone else's gateway: publishes and looks into queues with lapin alone.
//!
//! Shares no line with quicklogin's own queue code, so that the two cannot be wrong together.

use std::{fmt::Debug, time::Duration};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
    options::{
        BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tokio::time::timeout;

/// One connection, one channel with confirms. Panics on what a test did not mean to happen.
pub(crate) struct Publisher {
    connection: Connection,
    channel: Channel,
}

/// What RabbitMQ did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Taken,
    /// A queue that is full, and says so.
    Refused,
    /// No queue is bound for it.
    Unroutable,
}

impl Publisher {
    pub(crate) async fn connect(url: &str) -> Self {
        bounded("connect", Self::dial(url)).await
    }

    /// The same, where RabbitMQ may be away: none if it does not answer soon.
    pub(crate) async fn try_connect(url: &str) -> Option<Self> {
        timeout(Duration::from_secs(5), Self::dial(url)).await.ok()?.ok()
    }

    async fn dial(url: &str) -> lapin::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel })
    }

    /// Durable JSON under an id, as the contract asks of every publisher.
    pub(crate) fn properties(message_id: &str) -> BasicProperties {
        BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(message_id.into())
    }

    /// Publishes and waits for the confirm. The error is the connection's or the channel's end.
    pub(crate) async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::Result<Outcome> {
        Ok(outcome(&self.send(exchange, routing_key, body, properties).await?.await?))
    }

    /// Publishes all at once and only then waits for the confirms. Outcomes are in order, but RabbitMQ's returns reach
    /// lapin's confirms by guess: with several in flight only the number of the unroutable is sure.
    pub(crate) async fn publish_many(
        &self,
        exchange: &str,
        routing_key: &str,
        messages: impl IntoIterator<Item = (Vec<u8>, BasicProperties)>,
    ) -> lapin::Result<Vec<Outcome>> {
        let mut confirms = Vec::new();
        for (body, properties) in messages {
            confirms.push(self.send(exchange, routing_key, &body, properties).await?);
        }
        let mut outcomes = Vec::with_capacity(confirms.len());
        for confirm in confirms {
            outcomes.push(outcome(&confirm.await?));
        }
        Ok(outcomes)
    }

    /// Takes the oldest message out of a queue: its body and its headers.
    pub(crate) async fn get(&self, queue: &str) -> Option<(Vec<u8>, FieldTable)> {
        let got = bounded("basic.get", self.channel.basic_get(queue.into(), BasicGetOptions::default())).await?;
        bounded("basic.ack", got.delivery.ack(BasicAckOptions::default())).await;
        Some((got.delivery.data, got.delivery.properties.headers().clone().unwrap_or_default()))
    }

    /// Takes so many messages out of a queue, all at once, and gives them back, as a worker that ends does.
    pub(crate) async fn take_and_give_back(&self, queue: &str, messages: u64) {
        let mut taken = vec![];
        for _ in 0..messages {
            let got = bounded("basic.get", self.channel.basic_get(queue.into(), BasicGetOptions::default())).await;
            taken.push(got.expect("there are so many").delivery.acker);
        }
        for acker in taken {
            let options = BasicNackOptions { requeue: true, multiple: false };
            assert!(bounded("basic.nack", acker.nack(options)).await, "the channel is open");
        }
    }

    /// How many messages were thrown away.
    pub(crate) async fn purge(&self, queue: &str) -> u32 {
        bounded("queue.purge", self.channel.queue_purge(queue.into(), QueuePurgeOptions::default())).await
    }

    /// A durable quorum queue without further ado; for tests that do not need quicklogin's own.
    pub(crate) async fn declare(&self, queue: &str) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let declared = self.channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments);
        bounded("queue.declare", declared).await;
    }

    /// For whatever else a test wants of AMQP.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether the connection lives, as far as this side has heard.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    async fn send(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::Result<PublisherConfirm> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        self.channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties).await
    }
}

fn outcome(confirmation: &Confirmation) -> Outcome {
    match confirmation {
        Confirmation::Ack(None) => Outcome::Taken,
        Confirmation::Ack(Some(_)) => Outcome::Unroutable,
        Confirmation::Nack(_) => Outcome::Refused,
        Confirmation::NotRequested => unreachable!("the channel was asked for confirms when it was opened"),
    }
}

/// lapin waits for ever for a broker that is silent; a test must not.
async fn bounded<T, E: Debug>(what: &str, call: impl Future<Output = Result<T, E>>) -> T {
    let answered = timeout(Duration::from_secs(60), call).await;
    let answered = answered.unwrap_or_else(|_| panic!("RabbitMQ did not answer {what} within 60 s"));
    answered.unwrap_or_else(|error| panic!("RabbitMQ answered {what} with {error:?}"))
}
