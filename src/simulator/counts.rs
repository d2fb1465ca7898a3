//! What is counted beside the model, and so without its lock: connections, handshakes, and how late answers were.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::HandshakeKind;

use super::Simulator;
use super::record::{Asked, Handshakes, Lateness};

#[derive(Default)]
pub(super) struct Counts {
    connections: AtomicU64,
    connections_open: AtomicU64,
    handshakes_full: AtomicU64,
    handshakes_resumed: AtomicU64,
    handshakes_failed: AtomicU64,
    late_answers: AtomicU64,
    late_us: AtomicU64,
    late_us_most: AtomicU64,
}

impl Counts {
    /// None: it has failed.
    pub(super) fn handshake(&self, kind: Option<HandshakeKind>) {
        let count = match kind {
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) => &self.handshakes_full,
            Some(HandshakeKind::Resumed) => &self.handshakes_resumed,
            None => &self.handshakes_failed,
        };
        add(count, 1);
    }

    /// An answer of the phone endpoint goes out so long after its moment.
    pub(super) fn late_by(&self, late: Duration) {
        let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        add(&self.late_answers, 1);
        add(&self.late_us, late_us);
        self.late_us_most.fetch_max(late_us, Ordering::Relaxed);
    }

    /// The record, and with it what is counted here.
    pub(super) fn beside(&self, asked: Asked) -> Asked {
        let answers = read(&self.late_answers);
        Asked {
            connections: read(&self.connections),
            connections_open: read(&self.connections_open),
            handshakes: Handshakes {
                full: read(&self.handshakes_full),
                resumed: read(&self.handshakes_resumed),
                failed: read(&self.handshakes_failed),
            },
            late: Lateness {
                answers,
                mean_us: read(&self.late_us).checked_div(answers).unwrap_or(0),
                max_us: read(&self.late_us_most),
            },
            ..asked
        }
    }

    /// Sets all to nothing, but for the connections that are open.
    pub(super) fn forget(&self) {
        let Self { connections, handshakes_full, handshakes_resumed, handshakes_failed, .. } = self;
        let Self { late_answers, late_us, late_us_most, .. } = self;
        let all = [connections, handshakes_full, handshakes_resumed, handshakes_failed];
        for count in all.into_iter().chain([late_answers, late_us, late_us_most]) {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Counts a connection in, and out again when it is dropped in whatever way.
pub(super) struct Open(Simulator);

impl Open {
    pub(super) fn count(simulator: Simulator) -> Self {
        add(&simulator.shared.counts.connections, 1);
        add(&simulator.shared.counts.connections_open, 1);
        Self(simulator)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shared.counts.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
