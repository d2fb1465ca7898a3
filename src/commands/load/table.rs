//! The live table on stderr: a row each second.

use tokio::time::Instant;

use crate::commands::load::account::Account;
use crate::commands::load::figures::{cell, counts};

pub(super) struct Table {
    begun: Instant,
    rows: u32,
}

/// The head comes again after so many rows.
const HEAD_EVERY: u32 = 20;

impl Table {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), rows: 0 }
    }

    /// Counts since the start, latencies since the last row; `queued`: how many wait in the queue, where that is known.
    pub(super) fn row(&mut self, account: &mut Account, queued: Option<u64>) {
        if self.rows.is_multiple_of(HEAD_EVERY) {
            eprintln!(
                "{:>6} {:>9} {:>9} {:>9} {:>9} {:>8}   {:>8} {:>8} {:>8} {:>8}",
                "s", "sent", "succeeded", "others", "in flight", "in queue", "p50 ms", "p99 ms", "p99.9 ms", "late p99"
            );
        }
        self.rows += 1;
        let recent = account.take_recent();
        let queued = queued.map_or_else(|| "-".into(), |queued| queued.to_string());
        let row = format!(
            "{:>6.1} {:>9} {:>9} {:>9} {:>9} {queued:>8}   {:>8} {:>8} {:>8} {:>8}   {}",
            self.begun.elapsed().as_secs_f64(),
            account.sent,
            account.succeeded,
            account.not_succeeded(),
            account.in_flight(),
            cell(recent.ms_at(0.5)),
            cell(recent.ms_at(0.99)),
            cell(recent.ms_at(0.999)),
            cell(account.late.ms_at(0.99)),
            counts(account.troubles()),
        );
        eprintln!("{}", row.trim_end());
    }
}
