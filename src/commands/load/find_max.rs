//! The highest rate that keeps a p99: doubled until it does not, then halved in between, to 5 %. One
//! miss is none.
//!
//! A rate that the sender itself could not keep is not held against the line: the search goes on below it, and says so.

mod search;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::CommandError;
use crate::commands::load::args::Through;
use crate::commands::load::figures;
use crate::commands::load::stretch::{Finished, Load};
use crate::commands::load::summary::{self, LATE_MOST};
use crate::commands::output::{print, print_json, wrapped};
use crate::telemetry::say;
use search::{Limit, Search, Shown};

/// Before what belongs to the line above.
const INDENT: &str = "           ";

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

pub(super) async fn run(load: &Arc<Load>, wanted: Wanted, through: Through, json: bool) -> Result<(), CommandError> {
    let mut search = Search::new(wanted.first, wanted.rate_most);
    let mut steps: Vec<Value> = Vec::new();
    while let Some(rate) = search.next() {
        let finished = load.run(rate, wanted.step, None).await?;
        if finished.stopped {
            break;
        }
        summary::check_worth(&finished)?;
        let shown = judge(&finished, wanted.p99);
        if steps.is_empty() {
            tell(&columns(["a second", "p50 ms", "p99 ms", "p99.9", "late p99", "result"]), json)?;
        }
        tell(&line(&finished, shown), json)?;
        let mut step = finished.to_json();
        step["shown"] = shown.as_str().into();
        steps.push(step);
        search.learn(rate, shown);
    }
    let stopped = load.stop.soft.is_cancelled();
    end(&search, wanted, through, &steps, stopped, json)
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

fn line(finished: &Finished, shown: Shown) -> String {
    let account = &finished.account;
    let row = columns([
        &finished.schedule.rate.to_string(),
        &figures::cell(account.latency.ms_at(0.5)),
        &figures::cell(account.latency.ms_at(0.99)),
        &figures::cell(account.latency.ms_at(0.999)),
        &figures::cell(account.late.ms_at(0.99)),
        &shown.as_str().replace('_', " "),
    ]);
    let troubles = figures::counts(account.troubles());
    if troubles.is_empty() { row } else { format!("{row}\n{}", wrapped(&troubles, INDENT, INDENT)) }
}

fn columns([rate, p50, p99, p99_9, late, shown]: [&str; 6]) -> String {
    format!("{rate:>8} {p50:>8} {p99:>8} {p99_9:>8} {late:>8}  {shown}")
}

/// A step, as soon as it is over: on stdout, unless that is for one JSON object.
fn tell(step: &str, json: bool) -> Result<(), CommandError> {
    if !json {
        return print(step);
    }
    step.lines().for_each(|line| say(format_args!("{line}")));
    Ok(())
}

fn end(
    search: &Search,
    wanted: Wanted,
    through: Through,
    steps: &[Value],
    stopped: bool,
    json: bool,
) -> Result<(), CommandError> {
    let p99_ms = wanted.p99.as_millis() as u64;
    let limit = if stopped { Limit::Stopped } else { search.limit() };
    if json {
        let whole = json!({
            "through": through.to_string(), "p99_ms": p99_ms, "rate": search.kept, "limit": limit.as_str(), "steps": steps,
        });
        print_json(whole)?;
    }
    let Some(rate) = search.kept else {
        let what = format!("no rate that was tried keeps a p99 of {p99_ms} ms with every login succeeding");
        return Err(CommandError::at_run_time(what).with_hint(format!("what limits it: {}", limit.told())));
    };
    if !json {
        let told = limit.told();
        let found =
            format!("{rate} logins a second through the {through} keep a p99 of {p99_ms} ms; what limits it: {told}");
        print(format_args!("\n{}", wrapped(&found, "", "  ")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::load::account::{Account, Fate};
    use crate::commands::load::pace::Schedule;

    /// What a step shows whose one login had this fate after so long, sent so late, where a p99 of 200 ms is to be kept.
    fn shown(fate: Fate, after_ms: u64, late_ms: u64, unsent: u64) -> Shown {
        let mut account = Account::new();
        account.sent(Duration::from_millis(late_ms));
        account.ended(fate, Duration::from_millis(after_ms));
        let schedule = Schedule { rate: 1, duration: Duration::from_secs(1) };
        let finished = Finished { schedule, account, unsent, stopped: false, fault: None };
        judge(&finished, Duration::from_millis(200))
    }

    #[test]
    fn a_line_is_blamed_for_what_it_missed_and_not_for_a_late_sender() {
        assert_eq!(shown(Fate::Succeeded, 190, 1, 0), Shown::Kept);
        assert_eq!(shown(Fate::Succeeded, 190, 100, 0), Shown::Kept, "in time although it was sent late");
        assert_eq!(shown(Fate::Succeeded, 210, 1, 0), Shown::TooSlow);
        assert_eq!(shown(Fate::Succeeded, 210, 100, 0), Shown::SenderLate);
        assert_eq!(shown(Fate::Succeeded, 190, 1, 1), Shown::SenderLate, "one was not sent at all");
        assert_eq!(shown(Fate::Failed("throttled"), 190, 1, 0), Shown::NotAll);
        assert_eq!(shown(Fate::Unanswered, 190, 1, 0), Shown::NotAll);
    }
}
