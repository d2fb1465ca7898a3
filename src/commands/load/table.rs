//! The live table on stderr: a row each second, in 80 columns, and below it what did not succeed.

use tokio::time::Instant;

use crate::commands::load::account::Account;
use crate::commands::load::figures::{cell, counts};
use crate::commands::output::wrapped;
use crate::telemetry::say;

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
            let head = ["s", "sent", "succeeded", "others", "in flight", "queued", "p50 ms", "p99 ms", "p99.9", "late"];
            say(format_args!("{}", line(head)));
        }
        self.rows += 1;
        let recent = account.take_recent();
        let queued = queued.map_or_else(|| "-".into(), |queued| queued.to_string());
        let (elapsed_s, troubles) = (self.begun.elapsed().as_secs_f64(), counts(account.troubles()));
        say(format_args!(
            "{}",
            line([
                &format!("{elapsed_s:.1}"),
                &account.sent.to_string(),
                &account.succeeded.to_string(),
                &account.not_succeeded().to_string(),
                &account.in_flight().to_string(),
                &queued,
                &cell(recent.ms_at(0.5)),
                &cell(recent.ms_at(0.99)),
                &cell(recent.ms_at(0.999)),
                &cell(account.late.ms_at(0.99)),
            ])
        ));
        if !troubles.is_empty() {
            wrapped(&troubles, "      ", "      ").lines().for_each(|line| say(format_args!("{line}")));
        }
    }
}

fn line([s, sent, succeeded, others, in_flight, queued, p50, p99, p99_9, late]: [&str; 10]) -> String {
    format!(
        "{s:>5} {sent:>7} {succeeded:>9} {others:>6} {in_flight:>9} {queued:>6} {p50:>7} {p99:>7} {p99_9:>7} {late:>6}"
    )
}
