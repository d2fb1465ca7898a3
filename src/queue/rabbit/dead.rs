//! Reading the dead letters on a connection of its own, one by one and unacked: whatever becomes of the reader, what it
//! has not removed comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

use crate::queue::rabbit::dial::{LONG_FRAMES, io_error};
use crate::queue::rabbit::letter::DeadLetter;
use crate::queue::rabbit::{RabbitQueue, bounded};

/// One reader looks at so many letters at most.
const READ_MOST: u64 = 100_000;
/// So many more are read for the sake of their order.
const READ_ON_MOST: u64 = 1000;
/// Of letters that come back in a great number at once, or by a closed channel, RabbitMQ does not keep the order.
const BACK_AT_ONCE: u64 = 16;
/// RabbitMQ may need seconds for a letter whose headers are nested thousands of levels deep. A broker that is gone is
/// noticed by the heartbeat before this.
const GOT_WITHIN: Duration = Duration::from_secs(60);
/// Quorum queues take letters back a moment after they are told to.
const BACK_WITHIN: Duration = Duration::from_secs(1);

/// The dead letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DeadFault {
    /// Nobody has declared their queue.
    #[error("there is no queue {0}")]
    NoQueue(String),
    /// RabbitMQ is not there, or does not answer.
    #[error("RabbitMQ is away: {0}")]
    Away(#[from] lapin::Error),
}

/// A reader of the dead letters, the oldest first. Those that another reader has in hand are not seen.
pub struct DeadLetters {
    connection: Connection,
    channel: Channel,
    queue: ShortString,
    /// How many letters there were when the first was read: what comes later is left for the next reader.
    until: Option<u64>,
    read: u64,
    unread: u64,
    /// The tags of what was read and is to go back.
    held: BTreeSet<u64>,
}

impl DeadLetters {
    pub(super) async fn open(queue: &RabbitQueue) -> Result<Self, DeadFault> {
        let settings = &queue.0.settings;
        let name = format!("{} dead letters", settings.connection_name);
        let connection = queue.0.endpoints.connect(&name, LONG_FRAMES).await?;
        let channel = bounded(connection.create_channel()).await?;
        let queue = settings.dead_queue.as_str().into();
        Ok(Self { connection, channel, queue, until: None, read: 0, unread: 0, held: BTreeSet::new() })
    }

    /// The next letter, which stays in the queue; none after the last.
    pub async fn next(&mut self) -> Result<Option<DeadLetter>, DeadFault> {
        if self.until.is_some_and(|until| self.read >= until) {
            return Ok(None);
        }
        let got = self.get().await.map_err(|error| match is_not_found(&error) {
            true => DeadFault::NoQueue(self.queue.to_string()),
            false => DeadFault::Away(error),
        })?;
        let Some(got) = got else { return Ok(None) };
        self.until.get_or_insert(READ_MOST.min(self.unread + 1));
        self.read += 1;
        let Delivery { data, properties, delivery_tag, .. } = got.delivery;
        Ok(Some(DeadLetter::new(data, properties, delivery_tag)))
    }

    /// Removes a letter that was read.
    pub async fn remove(&mut self, letter: &DeadLetter) -> Result<(), DeadFault> {
        bounded(self.channel.basic_ack(letter.tag(), BasicAckOptions::default())).await?;
        self.held.remove(&letter.tag());
        Ok(())
    }

    /// How many letters were not read.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Whether what goes back keeps its place. Behind those that were not read it may be, where they are many.
    pub fn keeps_order(&self) -> bool {
        self.unread <= READ_ON_MOST
    }

    /// How many are there, read and unread.
    pub fn left(&self) -> u64 {
        self.held.len() as u64 + self.unread
    }

    /// Puts back what was not removed, in the order in which it was read.
    pub async fn put_back(mut self) -> Result<(), DeadFault> {
        self.read_on().await?;
        let mut orderly = true;
        for (told, tag) in (1..).zip(&self.held) {
            bounded(self.channel.basic_nack(*tag, BasicNackOptions { multiple: false, requeue: true })).await?;
            let is_pause = told % BACK_AT_ONCE == 0 || told == self.held.len() as u64;
            orderly = orderly && (!is_pause || self.are_back(told).await?);
        }
        bounded(self.channel.close(200, "bye".into())).await?;
        bounded(self.connection.close(200, "bye".into())).await?;
        Ok(())
    }

    /// RabbitMQ puts what comes back behind what came back before: the order stays where all have been read. Where there
    /// are too many for that, those that were read are now behind the others.
    async fn read_on(&mut self) -> lapin::Result<()> {
        for _ in 0..READ_ON_MOST.min(self.unread) {
            if !self.keeps_order() || self.get().await?.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn get(&mut self) -> lapin::Result<Option<BasicGetMessage>> {
        let getting = self.channel.basic_get(self.queue.clone(), BasicGetOptions::default());
        let got = timeout(GOT_WITHIN, getting).await.map_err(|_| io_error(std::io::ErrorKind::TimedOut))??;
        self.unread = got.as_ref().map_or(0, |got| got.message_count.into());
        self.held.extend(got.as_ref().map(|got| got.delivery.delivery_tag));
        Ok(got)
    }

    /// Waits until so many letters are back; in vain where others read too.
    async fn are_back(&self, letters: u64) -> lapin::Result<bool> {
        let until = Instant::now() + BACK_WITHIN;
        while self.ready().await? < self.unread + letters {
            if Instant::now() > until {
                return Ok(false);
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(true)
    }

    /// How many letters nobody has in hand.
    async fn ready(&self) -> lapin::Result<u64> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let asked = self.channel.queue_declare(self.queue.clone(), options, FieldTable::default());
        Ok(bounded(asked).await?.message_count().into())
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}
