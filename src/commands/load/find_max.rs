//! The highest rate that keeps a p99: doubled until it does not, then halved in between, to 5 %.
//!
//! A rate that the sender itself could not keep is not held against the line: the search goes on below it, and says so.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::CommandError;
use crate::commands::load::args::Through;
use crate::commands::load::figures;
use crate::commands::load::stretch::{Finished, Load};
use crate::commands::load::summary::LATE_MOST;

/// The rate found is within this part of the lowest that was too high: a twentieth.
const EXACT_TO: u32 = 20;

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// The rate to begin with.
    pub(super) first: u32,
    pub(super) p99: Duration,
    /// How long each rate is tried.
    pub(super) step: Duration,
    /// No higher rate is tried.
    pub(super) rate_most: u32,
}

/// What a step has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Kept,
    TooSlow,
    /// Not every login succeeded.
    NotAll,
    /// The sender could not keep the rate.
    SenderLate,
}

/// Where the search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Search {
    first: u32,
    most: u32,
    /// The highest rate that was kept.
    kept: Option<u32>,
    /// The lowest that was not.
    missed: Option<(u32, Shown)>,
}

pub(super) async fn run(load: &Arc<Load>, wanted: Wanted, through: Through, json: bool) -> Result<(), CommandError> {
    let mut search = Search { first: wanted.first, most: wanted.rate_most, kept: None, missed: None };
    let mut steps: Vec<Value> = Vec::new();
    while let Some(rate) = search.next() {
        let finished = load.run(rate, wanted.step, None).await?;
        if finished.stopped {
            break;
        }
        if let Some(fault) = finished.fault {
            return Err(CommandError::at_run_time(format!("ended early: {fault}")));
        }
        if finished.account.wrong_numbers > 0 {
            let what = format!("{} logins brought another number than their own", finished.account.wrong_numbers);
            return Err(CommandError::at_run_time(what));
        }
        let shown = judge(&finished, wanted.p99);
        tell(&line(&finished, shown), json);
        let mut step = finished.to_json();
        step["shown"] = shown.as_str().into();
        steps.push(step);
        search.learn(rate, shown);
    }
    let stopped = load.stop.soft.is_cancelled();
    end(&search, wanted, through, &steps, stopped, json)
}

impl Search {
    /// The rate to try now. None: it is found, or there is none.
    fn next(&self) -> Option<u32> {
        match (self.kept, self.missed) {
            (None, None) => Some(self.first),
            (Some(kept), None) => (kept < self.most).then(|| kept.saturating_mul(2).min(self.most)),
            (None, Some((missed, _))) => (missed > 1).then_some(missed / 2),
            (Some(kept), Some((missed, _))) => {
                let apart = missed - kept;
                (apart > (missed / EXACT_TO).max(1)).then_some(kept + apart / 2)
            }
        }
    }

    fn learn(&mut self, rate: u32, shown: Shown) {
        match shown {
            Shown::Kept => self.kept = Some(rate),
            missed => self.missed = Some((rate, missed)),
        }
    }

    /// What keeps it from being higher.
    fn limit(&self) -> &'static str {
        match self.missed {
            None => "what may be in flight here; shorten --grace to try more",
            Some((_, Shown::SenderLate)) => {
                "this sender, not the line: it could not send more, so the line may do more"
            }
            Some(_) => "the line",
        }
    }
}

fn judge(finished: &Finished, p99: Duration) -> Shown {
    let account = &finished.account;
    let in_time = account.latency.ms_at(0.99).is_some_and(|ms| ms <= p99.as_secs_f64() * 1000.0);
    let (all, sent_all) = (account.not_succeeded() == 0, finished.unsent == 0);
    if in_time && all && sent_all {
        Shown::Kept
    } else if !finished.kept_pace(LATE_MOST.min(p99 / 4)) {
        Shown::SenderLate
    } else if !all {
        Shown::NotAll
    } else {
        Shown::TooSlow
    }
}

impl Shown {
    fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::TooSlow => "too_slow",
            Self::NotAll => "not_all_succeeded",
            Self::SenderLate => "sender_late",
        }
    }
}

fn line(finished: &Finished, shown: Shown) -> String {
    let account = &finished.account;
    let row = format!(
        "{:>7} a second   p50 {:>7}  p99 {:>7}  p99.9 {:>7} ms   sender p99 {:>5} ms late   {}   {}",
        finished.schedule.rate,
        figures::cell(account.latency.ms_at(0.5)),
        figures::cell(account.latency.ms_at(0.99)),
        figures::cell(account.latency.ms_at(0.999)),
        figures::cell(account.late.ms_at(0.99)),
        shown.as_str().replace('_', " "),
        figures::counts(account.troubles()),
    );
    row.trim_end().to_owned()
}

/// A step, as soon as it is over: on stdout, unless that is for one JSON object.
#[expect(clippy::print_stdout, reason = "the steps are what the command is for")]
fn tell(step: &str, json: bool) {
    if json { eprintln!("{step}") } else { println!("{step}") }
}

#[expect(clippy::print_stdout, reason = "the rate is what the command is for")]
fn end(
    search: &Search,
    wanted: Wanted,
    through: Through,
    steps: &[Value],
    stopped: bool,
    json: bool,
) -> Result<(), CommandError> {
    let p99_ms = wanted.p99.as_millis() as u64;
    let limit = if stopped { "the search was ended early" } else { search.limit() };
    if json {
        let whole = json!({
            "through": through.to_string(), "p99_ms": p99_ms, "rate": search.kept, "limit": limit, "stopped": stopped,
            "steps": steps,
        });
        println!("{whole}");
    }
    let Some(rate) = search.kept else {
        let what = format!("no rate that was tried keeps a p99 of {p99_ms} ms with every login succeeding");
        return Err(CommandError::at_run_time(what).with_hint(format!("what limits it: {limit}")));
    };
    if !json {
        println!("\n{rate} logins a second through the {through} keep a p99 of {p99_ms} ms; what limits it: {limit}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates that are tried where all up to `highest` are kept, and the one found.
    fn searched(first: u32, most: u32, highest: u32) -> (Vec<u32>, Option<u32>) {
        let mut search = Search { first, most, kept: None, missed: None };
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            assert!(tried.len() < 40, "it ends: {tried:?}");
            search.learn(rate, if rate <= highest { Shown::Kept } else { Shown::TooSlow });
        }
        (tried, search.kept)
    }

    #[test]
    fn a_rate_is_doubled_until_it_is_too_high_and_then_closed_in_on() {
        let (tried, found) = searched(100, 10_000, 730);
        assert_eq!(tried, [100, 200, 400, 800, 600, 700, 750, 725]);
        assert_eq!(found, Some(725));
    }

    #[test]
    fn the_rate_found_is_within_a_twentieth_of_the_highest() {
        for highest in (1..2000).chain([4_999, 9_999]) {
            let (_, found) = searched(100, 10_000, highest);
            let found = found.expect("one a second is always kept here");
            assert!(found <= highest && f64::from(highest) <= f64::from(found) * 1.056 + 1.0, "{highest}: {found}");
        }
    }

    #[test]
    fn a_search_ends_where_nothing_or_everything_is_kept() {
        assert_eq!(searched(100, 10_000, 0), (vec![100, 50, 25, 12, 6, 3, 1], None));
        let (tried, found) = searched(100, 1000, u32::MAX);
        assert_eq!((tried.last(), found), (Some(&1000), Some(1000)));
    }
}
