//! The summary of one stretch on stdout, and whether all was in order.

use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::CommandError;
use crate::commands::load::args::Through;
use crate::commands::load::figures;
use crate::commands::load::stretch::Finished;
use crate::commands::output::{print, print_json, wrapped};
use crate::telemetry::say;

/// A sender whose p99 is later than this has not kept its rate. A timer alone is late by one or two.
pub(super) const LATE_MOST: Duration = Duration::from_millis(20);

impl Finished {
    /// Whether the sender sent all in time, its p99 no later than `late_most`. Where not, the figures are its own.
    pub(super) fn kept_pace(&self, late_most: Duration) -> bool {
        let late_ms = self.account.late.ms_at(0.99).unwrap_or_default();
        self.unsent == 0 && late_ms <= late_most.as_secs_f64() * 1000.0
    }

    /// How many were due until it was over, or was ended.
    fn due(&self) -> u64 {
        self.account.sent + self.unsent
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let account = &self.account;
        json!({
            "rate": self.schedule.rate,
            "duration_ms": self.schedule.duration.as_millis() as u64,
            "due": self.due(),
            "sent": account.sent,
            "unsent": self.unsent,
            "succeeded": account.succeeded,
            "wrong_numbers": account.wrong_numbers,
            "failed": account.failed,
            "refused": account.refused,
            "unanswered": account.unanswered,
            "latency_ms": figures::json(&account.latency),
            "sender_late_ms": figures::json(&account.late),
            "kept_pace": self.kept_pace(LATE_MOST),
            "stopped": self.stopped,
        })
    }
}

pub(super) fn tell(finished: &Finished, through: Through, json: bool) -> Result<(), CommandError> {
    if !finished.kept_pace(LATE_MOST) {
        not_kept(finished).lines().for_each(|line| say(format_args!("{line}")));
    }
    if json {
        let mut whole = finished.to_json();
        whole["through"] = through.to_string().into();
        print_json(whole)
    } else {
        print(text(finished, through))
    }
}

/// An error where a login was lost, or the figures are worth nothing.
pub(super) fn check(finished: &Finished) -> Result<(), CommandError> {
    check_worth(finished)?;
    if finished.account.unanswered > 0 {
        let what = format!("{} logins have no result", finished.account.unanswered);
        let hint = "are workers running, and enough of them? --grace says how long each login is waited for";
        return Err(CommandError::at_run_time(what).with_hint(hint));
    }
    Ok(())
}

/// An error where a login brought another's number, or the sender could not go on.
pub(super) fn check_worth(finished: &Finished) -> Result<(), CommandError> {
    let wrong_numbers = finished.account.wrong_numbers;
    if wrong_numbers > 0 {
        let what = format!("{wrong_numbers} logins brought another number than their own");
        return Err(CommandError::at_run_time(what));
    }
    match &finished.fault {
        Some(fault) => Err(CommandError::at_run_time(format!("ended early: {fault}"))),
        None => Ok(()),
    }
}

fn text(finished: &Finished, through: Through) -> String {
    let (account, schedule) = (&finished.account, finished.schedule);
    let early = if finished.stopped || finished.fault.is_some() { ", ended early" } else { "" };
    let troubles = account.troubles();
    let others = if troubles.is_empty() { "none".into() } else { figures::counts(troubles) };
    let (rate, duration_s, due, sent) = (schedule.rate, schedule.duration.as_secs_f64(), finished.due(), account.sent);
    let head = format!(
        "{rate} logins a second for {duration_s:.1} s through the {through}{early}: {due} were due, {sent} were sent"
    );
    format!(
        "{}\n\
         \x20 succeeded   {}, each with its own number\n\
         {}\n\
         \x20 latency ms  {}\n\
         \x20 sender ms   {}\n\
         A latency counts from when the login was due; sender ms: how late it was sent.",
        wrapped(&head, "", "  "),
        account.succeeded,
        wrapped(&others, "  others      ", "              "),
        figures::text(&account.latency),
        figures::text(&account.late),
    )
}

/// The sender, not the line, is what these figures tell of.
fn not_kept(finished: &Finished) -> String {
    let late = figures::cell(finished.account.late.ms_at(0.99));
    let (rate, unsent) = (finished.schedule.rate, finished.unsent);
    let what = format!(
        "warning: this sender did not keep {rate} a second (p99 {late} ms late, {unsent} not sent): the latencies are \
         partly its own"
    );
    wrapped(&what, "", "  ")
}
