//! The table at the end of a storm, and what outcome a login may have had in it.

use std::collections::BTreeMap;
use std::fmt;

use quicklogin::simulator::Asked;

use crate::storm::faults::Happened;
use crate::storm::ledger::{Login, Pages};

/// The table at the end.
#[derive(Default)]
pub(super) struct Account {
    pub(super) confirmed: usize,
    /// `succeeded`, and the reasons.
    pub(super) by_outcome: BTreeMap<String, usize>,
    pub(super) queued: u64,
    pub(super) dead: usize,
    pub(super) lost: usize,
    pub(super) not_accepted: u64,
    pub(super) served_unconfirmed: usize,
    pub(super) failures_replaced: u64,
    pub(super) told: u64,
    pub(super) handed_over: usize,
    pub(super) asked_twice: u64,
    pub(super) asked_again: usize,
    pub(super) once_more: usize,
    pub(super) garbage: usize,
    pub(super) slowest_ms: u64,
    pub(super) late: usize,
}

impl Account {
    /// Counts every login, and complains of those that are lost or should have ended otherwise.
    pub(super) fn count(&mut self, pages: &mut Pages, asked: &Asked, happened: &[Happened]) {
        self.not_accepted = pages.not_accepted;
        self.told = pages.told;
        self.failures_replaced = pages.failures_replaced;
        self.asked_twice = asked.codes_asked_more_than_once;
        let mut complaints = Vec::new();
        for (id, login) in &pages.logins {
            self.count_one(login);
            let wrong = match login.outcome() {
                Some(outcome) => wrong(login, &outcome, happened),
                None => login.accepted.then(|| "it has no result".to_owned()),
            };
            if let Some(what) = wrong {
                complaints.push((id.clone(), format!("{what}; WeChat was asked: {:?}", asked.codes.get(&login.code))));
            }
        }
        for (id, what) in complaints {
            pages.complain(Some(&id), what);
        }
    }

    fn count_one(&mut self, login: &Login) {
        let outcome = login.outcome();
        match (login.accepted, &outcome) {
            (true, Some(outcome)) => *self.by_outcome.entry(outcome.clone()).or_default() += 1,
            (true, None) => self.lost += 1,
            (false, Some(_)) => self.served_unconfirmed += 1,
            (false, None) => {}
        }
        self.confirmed += usize::from(login.accepted);
        if let Some(told_ms) = login.told_ms() {
            self.slowest_ms = self.slowest_ms.max(told_ms.saturating_sub(login.issued_at));
            self.late += usize::from(told_ms > login.deadline);
        }
    }
}

/// What is wrong with this outcome, if anything is.
fn wrong(login: &Login, outcome: &str, happened: &[Happened]) -> Option<String> {
    let result = login.read().unwrap_or_default();
    let told_ms = login.told_ms().unwrap_or(0);
    let doubtful =
        || happened.iter().any(|one| one.planned.fault.casts_doubt() && one.touches(login.issued_at, told_ms));
    match outcome {
        "succeeded" if result["phone_info"]["phoneNumber"].as_str() != login.phone.as_deref() => {
            Some("it has another's phone number".into())
        }
        "invalid_request" if login.phone.is_none() => None,
        _ if login.phone.is_none() => Some(format!("it cannot be served, and is {outcome}")),
        "succeeded" | "unavailable" | "throttled" => None,
        "token_unavailable" if result["error"]["advice"] == "try_later" => None,
        "expired" if told_ms >= login.deadline => None,
        "in_doubt" if doubtful() => None,
        _ => Some(format!("it is {outcome} without a cause")),
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: &dyn fmt::Display| writeln!(f, "  {name:<34}{count:>8}");
        row("confirmed", &self.confirmed)?;
        for (outcome, count) in &self.by_outcome {
            row(&format!("= {outcome}"), count)?;
        }
        row("+ dead", &self.dead)?;
        row("+ still queued", &self.queued)?;
        row("lost", &self.lost)?;
        row(&format!("asked again after success, of {}", self.once_more), &self.asked_again)?;
        row("asked more than once in all", &self.asked_twice)?;
        row("failures replaced by a success", &self.failures_replaced)?;
        row("told by the gateway", &self.told)?;
        row("handed over by stopped workers", &self.handed_over)?;
        row("not accepted", &self.not_accepted)?;
        row("served though never confirmed", &self.served_unconfirmed)?;
        row("garbage among the dead letters", &self.garbage)?;
        row("slowest, ms", &self.slowest_ms)?;
        row("later than their deadline", &self.late)
    }
}
