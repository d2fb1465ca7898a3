//! Which deliveries of one channel are settled, and which acks may be told as one. Pure.

use std::collections::BTreeSet;

/// The tags of one channel: 1, 2, 3, … It remembers those that are outstanding, which the prefetch bounds, and not those
/// that are settled: one that takes long has any number of others go past it.
#[derive(Default)]
pub(super) struct Window {
    /// The highest tag that was settled.
    highest: u64,
    /// Those below it that are outstanding.
    gaps: BTreeSet<u64>,
    /// Those to be acked now.
    finished: BTreeSet<u64>,
}

impl Window {
    /// This one is to be acked.
    pub(super) fn finish(&mut self, tag: u64) {
        self.settle(tag);
        self.finished.insert(tag);
    }

    /// RabbitMQ has heard of this one by itself.
    pub(super) fn told_alone(&mut self, tag: u64) {
        self.settle(tag);
    }

    /// The highest tag to be acked with nothing outstanding below it: the only one that may be named with `multiple`,
    /// since RabbitMQ closes the channel over a tag that it has heard of before.
    pub(super) fn take_prefix(&mut self) -> Option<u64> {
        let first_gap = self.gaps.first().copied().unwrap_or(u64::MAX);
        let up_to = *self.finished.range(..first_gap).next_back()?;
        self.finished = self.finished.split_off(&(up_to + 1));
        Some(up_to)
    }

    /// The finished ones behind a gap, to be acked one by one.
    pub(super) fn take_singles(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.finished).into_iter().collect()
    }

    fn settle(&mut self, tag: u64) {
        if tag > self.highest {
            self.gaps.extend(self.highest + 1..tag);
            self.highest = tag;
        } else {
            self.gaps.remove(&tag);
        }
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

    #[test]
    fn one_delivery_that_takes_for_ever_costs_no_more_than_what_is_outstanding() {
        const PREFETCH: u64 = 40;
        let (mut window, mut dice) = (Window::default(), fastrand::Rng::with_seed(1));
        let mut outstanding: Vec<u64> = (1..=PREFETCH).collect();
        for tag in PREFETCH + 1..100_000 {
            // Never the first.
            let settled = outstanding.swap_remove(dice.usize(1..outstanding.len()));
            outstanding.push(tag);
            window.finish(settled);
            assert_eq!(window.take_prefix(), None, "the first one is outstanding");
            assert_eq!(window.take_singles(), [settled]);
            assert!(window.gaps.len() <= outstanding.len(), "{} remembered at {tag}", window.gaps.len());
        }
    }
}
