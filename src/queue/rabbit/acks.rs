//! Telling RabbitMQ what became of deliveries: gathered, since an ack by itself costs several times what the login's
//! own Redis commands do.

mod window;

use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::queue::rabbit::bounded;
use crate::stop_point::StopPoint;
use window::Window;

/// So many settlements are told at once, at most.
const GATHERED: usize = 512;
/// And so long after the last ones, at the earliest. Each telling wakes lapin's thread, and a socket of the broker's; what
/// has been told of late can wait a moment for others, since its result is written.
const APART: Duration = Duration::from_millis(2);

/// What became of the delivery with this tag.
pub(super) enum Settled {
    Ack(u64),
    Requeue(u64),
    Reject(u64),
}

impl Settled {
    fn tag(&self) -> u64 {
        match self {
            Self::Ack(tag) | Self::Requeue(tag) | Self::Reject(tag) => *tag,
        }
    }
}

/// Tells everything that comes, until the last sender is gone. What comes while one write is under way, or just was, makes
/// the next.
pub(super) async fn tell(channel: &Channel, mut settled: mpsc::Receiver<Settled>) -> lapin::Result<()> {
    let mut window = Window::default();
    let mut gathered = Vec::with_capacity(GATHERED);
    let mut next = Instant::now();
    while settled.recv_many(&mut gathered, GATHERED).await > 0 {
        // Lets the logins that are just finishing join this write.
        match gathered.len() < GATHERED && Instant::now() < next {
            true => sleep_until(next).await,
            false => tokio::task::yield_now().await,
        }
        while gathered.len() < GATHERED
            && let Ok(more) = settled.try_recv()
        {
            gathered.push(more);
        }
        let mut others = Vec::new();
        for settled in gathered.drain(..) {
            match settled {
                Settled::Ack(tag) => window.finish(tag),
                other => others.push(other),
            }
        }
        StopPoint::AcksGathered.reached();
        tell_finished(channel, &mut window).await?;
        tell_others(channel, &mut window, &others).await?;
        next = Instant::now() + APART;
    }
    Ok(())
}

async fn tell_others(channel: &Channel, window: &mut Window, others: &[Settled]) -> lapin::Result<()> {
    let telling = others.iter().map(async |settled| match *settled {
        Settled::Reject(tag) => channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await,
        Settled::Requeue(tag) => channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true }).await,
        Settled::Ack(tag) => channel.basic_ack(tag, BasicAckOptions::default()).await,
    });
    bounded(try_join_all(telling)).await?;
    others.iter().for_each(|settled| window.told_alone(settled.tag()));
    Ok(())
}

async fn tell_finished(channel: &Channel, window: &mut Window) -> lapin::Result<()> {
    let up_to = window.take_prefix();
    let singles = window.take_singles();
    let multiple = async {
        match up_to {
            Some(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
            None => Ok(()),
        }
    };
    let alone = singles.iter().map(|tag| channel.basic_ack(*tag, BasicAckOptions::default()));
    bounded(async { tokio::try_join!(multiple, try_join_all(alone)) }).await?;
    Ok(())
}
