//! The table at the end of a storm: each confirmed login is in it once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::storm::causes;
use crate::storm::faults::Happened;
use crate::storm::ledger::Pages;
use crate::storm::login::{Login, Seen};

/// The table.
#[derive(Default)]
pub(super) struct Account {
    pub(super) confirmed: usize,
    pub(super) succeeded: usize,
    /// Those with another reason than the two that follow.
    pub(super) failed: usize,
    pub(super) expired: usize,
    pub(super) in_doubt: usize,
    /// Without a result, and among the dead letters.
    pub(super) dead: usize,
    /// Without a result, and still in a queue.
    pub(super) queued: usize,
    /// Neither here nor there.
    pub(super) lost: usize,
    pub(super) asked_again: usize,
    /// In doubt, and the code is still good: a doubt that was worth nothing.
    pub(super) unspent: usize,
    pub(super) failed_by_reason: BTreeMap<String, usize>,
    pub(super) once_more: usize,
    pub(super) not_accepted: u64,
    pub(super) served_unconfirmed: usize,
    pub(super) failures_replaced: u64,
    pub(super) told: u64,
    pub(super) handed_over: usize,
    pub(super) unclean_stops: usize,
    pub(super) garbage: usize,
    pub(super) slowest_ms: u64,
    pub(super) late: usize,
}

/// Which logins are where no result is, by their ids.
#[derive(Default)]
pub(super) struct Elsewhere {
    pub(super) dead: BTreeSet<String>,
    pub(super) queued: BTreeSet<String>,
}

impl Account {
    /// Counts every login, and complains of those that are lost or should have ended otherwise.
    pub(super) fn of(pages: &mut Pages, elsewhere: &Elsewhere, happened: &[Happened]) -> Self {
        let mut account = Self {
            not_accepted: pages.not_accepted,
            failures_replaced: pages.failures_replaced,
            told: pages.told,
            unclean_stops: happened
                .iter()
                .filter(|one| one.drained.as_ref().is_some_and(|end| end.code != Some(0)))
                .count(),
            ..Self::default()
        };
        let mut complaints = Vec::new();
        for (id, login) in &pages.logins {
            let wrong = account.count(id, login, elsewhere, happened);
            let again = causes::asked_after_success(login, happened);
            account.asked_again += usize::from(again);
            let again = again.then(|| "WeChat was asked again after a success".to_owned());
            let asked = format!("WeChat was asked: {:?}", login.asked);
            complaints.extend(wrong.into_iter().chain(again).map(|what| (id.clone(), format!("{what}; {asked}"))));
        }
        for (id, what) in complaints {
            pages.complain(Some(&id), what);
        }
        account
    }

    /// What is wrong with it, if anything is.
    fn count(&mut self, id: &str, login: &Login, elsewhere: &Elsewhere, happened: &[Happened]) -> Option<String> {
        self.confirmed += usize::from(login.accepted);
        if let Some(seen) = &login.result {
            self.count_result(login, seen);
            return causes::wrong_outcome(login, seen, happened);
        }
        let (place, what) = match login.accepted {
            false => return None,
            true if elsewhere.dead.contains(id) => (&mut self.dead, "it is a dead letter and has no result"),
            true if elsewhere.queued.contains(id) => (&mut self.queued, "it is still queued"),
            true => (&mut self.lost, "it is lost"),
        };
        *place += 1;
        Some(what.to_owned())
    }

    fn count_result(&mut self, login: &Login, seen: &Seen) {
        self.slowest_ms = self.slowest_ms.max(seen.finished_at.saturating_sub(login.issued_at));
        self.late += usize::from(seen.finished_at > login.deadline);
        let place = match &*seen.outcome {
            _ if !login.accepted => &mut self.served_unconfirmed,
            "succeeded" => &mut self.succeeded,
            "expired" => &mut self.expired,
            "in_doubt" => {
                self.unspent += usize::from(!login.asked.used);
                &mut self.in_doubt
            }
            reason => {
                *self.failed_by_reason.entry(reason.to_owned()).or_default() += 1;
                &mut self.failed
            }
        };
        *place += 1;
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { confirmed, succeeded, failed, expired, in_doubt, dead, queued, lost, asked_again, .. } = self;
        writeln!(
            f,
            "confirmed {confirmed} = succeeded {succeeded} + failed {failed} + expired {expired} + in_doubt {in_doubt} \
             + dead {dead} + queued {queued}; lost = {lost}; asked again after success = {asked_again}"
        )?;
        let mut row = |name: &str, count: &dyn fmt::Display| writeln!(f, "  {name:<42}{count:>8}");
        for (reason, count) in &self.failed_by_reason {
            row(&format!("failed, {reason}"), count)?;
        }
        row("in doubt, and the code is not spent", &self.unspent)?;
        row("published once more after their success", &self.once_more)?;
        row("failures replaced by a success", &self.failures_replaced)?;
        row("told by the gateway", &self.told)?;
        row("handed over by stopped workers", &self.handed_over)?;
        row("stopped while RabbitMQ or Redis was away", &self.unclean_stops)?;
        row("not accepted", &self.not_accepted)?;
        row("served though never confirmed", &self.served_unconfirmed)?;
        row("garbage among the dead letters", &self.garbage)?;
        row("slowest, ms", &self.slowest_ms)?;
        row("later than their deadline", &self.late)
    }
}
