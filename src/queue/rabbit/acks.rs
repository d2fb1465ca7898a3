//! Telling RabbitMQ what became of deliveries: gathered, since an ack by itself costs several times what the login's
//! own Redis commands do.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use tokio::sync::mpsc;

use crate::queue::rabbit::bounded;
use crate::stop_point::StopPoint;

/// So many settlements are told at once, at most.
const GATHERED: usize = 512;

/// What became of the delivery with this tag.
pub(super) enum Settled {
    Ack(u64),
    Requeue(u64),
    Reject(u64),
}

/// Tells everything that comes, until the last sender is gone. Gathering needs no timer: what comes while one write is
/// under way makes the next.
pub(super) async fn tell(channel: &Channel, mut settled: mpsc::Receiver<Settled>) -> lapin::Result<()> {
    let mut window = Window::default();
    let mut gathered = Vec::with_capacity(GATHERED);
    while settled.recv_many(&mut gathered, GATHERED).await > 0 {
        // Lets the logins that are just finishing join this write.
        tokio::task::yield_now().await;
        while gathered.len() < GATHERED
            && let Ok(more) = settled.try_recv()
        {
            gathered.push(more);
        }
        for settled in gathered.drain(..) {
            match settled {
                Settled::Ack(tag) => window.finish(tag),
                Settled::Requeue(tag) => {
                    let options = BasicNackOptions { multiple: false, requeue: true };
                    bounded(channel.basic_nack(tag, options)).await?;
                    window.told_alone(tag);
                }
                Settled::Reject(tag) => {
                    bounded(channel.basic_reject(tag, BasicRejectOptions { requeue: false })).await?;
                    window.told_alone(tag);
                }
            }
        }
        StopPoint::AcksGathered.reached();
        tell_finished(channel, &mut window).await?;
    }
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

/// The tags of one channel: 1, 2, 3, … Finished are those to be acked, told those that RabbitMQ has heard of.
#[derive(Default)]
struct Window {
    /// Everything up to this tag has been told.
    base: u64,
    finished: BTreeSet<u64>,
    told: BTreeSet<u64>,
}

impl Window {
    fn finish(&mut self, tag: u64) {
        self.finished.insert(tag);
    }

    fn told_alone(&mut self, tag: u64) {
        self.told.insert(tag);
    }

    /// The highest tag of the unbroken run of settled ones that is itself still outstanding: the only one that may be
    /// named with `multiple`, since RabbitMQ closes the channel over a tag that it has heard of before.
    fn take_prefix(&mut self) -> Option<u64> {
        let mut highest = None;
        loop {
            let next = self.base + 1;
            if self.finished.remove(&next) {
                highest = Some(next);
            } else if !self.told.remove(&next) {
                return highest;
            }
            self.base = next;
        }
    }

    /// The finished ones behind a gap, to be acked one by one.
    fn take_singles(&mut self) -> Vec<u64> {
        let singles: Vec<u64> = std::mem::take(&mut self.finished).into_iter().collect();
        self.told.extend(&singles);
        singles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays settlements in batches against a model of RabbitMQ's unacked set.
    fn play(batches: &[&[u64]], alone: &[u64], total: u64) {
        let mut window = Window::default();
        let mut outstanding: BTreeSet<u64> = (1..=total).collect();
        for tag in alone {
            assert!(outstanding.remove(tag));
            window.told_alone(*tag);
        }
        for batch in batches {
            for tag in *batch {
                window.finish(*tag);
            }
            if let Some(up_to) = window.take_prefix() {
                assert!(outstanding.contains(&up_to), "a tag named with multiple is still outstanding: {up_to}");
                outstanding.retain(|tag| *tag > up_to);
            }
            for tag in window.take_singles() {
                assert!(outstanding.remove(&tag), "acked once: {tag}");
            }
        }
        let settled: BTreeSet<u64> =
            batches.iter().flat_map(|batch| batch.iter().copied()).chain(alone.to_vec()).collect();
        assert_eq!(outstanding, (1..=total).filter(|tag| !settled.contains(tag)).collect());
    }

    #[test]
    fn in_order_is_one_ack() {
        let mut window = Window::default();
        (1..=5).for_each(|tag| window.finish(tag));
        assert_eq!((window.take_prefix(), window.take_singles()), (Some(5), vec![]));
    }

    #[test]
    fn whatever_the_order_each_tag_is_told_once() {
        play(&[&[3], &[1], &[2, 5], &[4]], &[], 5);
        play(&[&[2], &[3], &[1]], &[], 4);
        play(&[&[1, 4], &[3]], &[2], 5);
        play(&[&[2, 3, 4], &[]], &[1, 5], 6);
    }

    #[test]
    fn any_shuffle_is_told_right() {
        for seed in 0..500 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let mut tags: Vec<u64> = (1..=40).collect();
            dice.shuffle(&mut tags);
            let alone: Vec<u64> = tags.split_off(40 - dice.usize(0..8));
            let finished: Vec<u64> = tags.into_iter().filter(|_| dice.u8(0..10) > 0).collect();
            let batches: Vec<&[u64]> = finished.chunks(dice.usize(1..9)).collect();
            play(&batches, &alone, 40);
        }
    }
}
