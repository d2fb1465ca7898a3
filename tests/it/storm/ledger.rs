//! What was handed in and what became of it, as a caller sees it. Knows neither processes nor faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use quicklogin::clock;
use quicklogin::simulator::Asked;

use crate::storm::login::{Login, Seen};

/// How many concluded logins are looked at again in one look.
const AGAIN: usize = 200;

/// Shared by those who publish, those who look, and the accounting.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Pages>);

/// The ledger, opened.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) logins: BTreeMap<String, Login>,
    /// What no result can be keyed for, and whether RabbitMQ has confirmed it.
    pub(super) garbage: BTreeMap<String, bool>,
    /// Access tokens that were shared meanwhile.
    pub(super) tokens: BTreeSet<String>,
    /// What must not have happened.
    pub(super) complaints: Vec<Complaint>,
    /// Handed in, and nobody took responsibility.
    pub(super) not_accepted: u64,
    /// A failure that a success replaced, as it may.
    pub(super) failures_replaced: u64,
    /// Results that the gateway has told.
    pub(super) told: u64,
    /// Accepted, and without a result so far.
    waiting: BTreeSet<String>,
    /// In the order in which they were.
    concluded: Vec<String>,
    next: usize,
}

pub(super) struct Complaint {
    pub(super) what: String,
    pub(super) request_id: Option<String>,
}

impl Ledger {
    pub(super) fn open(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

impl Pages {
    pub(super) fn complain(&mut self, request_id: Option<&str>, what: impl Into<String>) {
        self.complaints.push(Complaint { what: what.into(), request_id: request_id.map(str::to_owned) });
    }

    /// Once accepted is accepted: one that was confirmed before may also be refused later.
    pub(super) fn write_down(&mut self, id: &str, login: Login) {
        let accepted = login.accepted;
        let login = self.logins.entry(id.to_owned()).or_insert(login);
        login.accepted |= accepted;
        if login.accepted && login.result.is_none() {
            self.waiting.insert(id.to_owned());
        }
    }

    /// How many are accepted and have no result.
    pub(super) fn pending(&self) -> usize {
        self.waiting.len()
    }

    /// All that are accepted and have no result, and in turn those that have.
    pub(super) fn next_look(&mut self) -> Vec<String> {
        let from = self.next % self.concluded.len().max(1);
        let again = self.concluded.iter().cycle().skip(from).take(AGAIN.min(self.concluded.len()));
        let ids = self.waiting.iter().chain(again).cloned().collect();
        self.next = from + AGAIN;
        ids
    }

    /// Takes in what a caller was told. Only a success is sure to be the last word, also where others have seen more.
    pub(super) fn hear(&mut self, id: &str, result: String) {
        self.told += 1;
        if result.contains(r#""status":"succeeded""#) {
            self.see(id, Some(result), clock::now_ms());
        }
    }

    /// Takes in what stood in the store when somebody looked, from then on. Written once; a success stays, and a failure
    /// gives way to a success only.
    pub(super) fn see(&mut self, id: &str, found: Option<String>, looked_from: u64) {
        let Some(login) = self.logins.get_mut(id) else { return };
        // Other eyes have been quicker: this look may have been before theirs. The next one will tell.
        if login.result.as_ref().is_some_and(|seen| seen.seen_at >= looked_from) {
            return;
        }
        let Some(json) = found else {
            if login.result.is_some() {
                self.complain(Some(id), "a result is gone again");
            }
            return;
        };
        if login.result.as_ref().is_some_and(|seen| seen.is(&json)) {
            return;
        }
        let now = Seen::read(&json, clock::now_ms());
        let (after, succeeded) = (now.outcome.clone(), now.succeeded());
        match login.result.replace(now) {
            None => {
                self.waiting.remove(id);
                self.concluded.push(id.to_owned());
            }
            Some(before) if succeeded && !before.succeeded() => self.failures_replaced += 1,
            Some(before) => self.complain(Some(id), format!("{} was replaced by {after}", before.outcome)),
        }
    }

    /// Takes in how often WeChat was asked; it forgets codes after ten minutes, and then says nothing of them.
    pub(super) fn note_asked(&mut self, asked: &Asked) {
        for login in self.logins.values_mut() {
            if let Some(asked) = asked.codes.get(&login.code) {
                login.asked = *asked;
            }
        }
    }
}

#[test]
fn a_ledger_complains_of_a_success_that_changes_or_goes_and_of_nothing_else() {
    let mut pages = Pages::default();
    let login = |accepted| Login {
        code: "c".into(),
        phone: None,
        issued_at: 0,
        deadline: 0,
        accepted,
        result: None,
        asked: Default::default(),
    };
    pages.write_down("r", login(false));
    assert_eq!((pages.pending(), pages.next_look().len()), (0, 0));
    pages.write_down("r", login(true));
    pages.write_down("r", login(false));
    assert_eq!((pages.pending(), pages.next_look().len()), (1, 1));
    let failed = |reason: &str| Some(format!(r#"{{"status":"failed","error":{{"reason":"{reason}"}}}}"#));
    let succeeded = || Some(r#"{"status":"succeeded"}"#.to_owned());
    let later = || clock::now_ms() + 1000;
    for result in [None, failed("in_doubt"), failed("in_doubt"), succeeded(), succeeded()] {
        pages.see("r", result, later());
    }
    for result in [None, failed("unavailable")] {
        pages.see("r", result, 0);
    }
    assert_eq!((pages.complaints.len(), pages.failures_replaced, pages.pending()), (0, 1, 0));
    assert_eq!(pages.next_look(), ["r"], "it is looked at again");
    for result in [None, failed("in_doubt"), failed("unavailable")] {
        pages.see("r", result, later());
    }
    let told: Vec<_> = pages.complaints.iter().map(|complaint| complaint.what.as_str()).collect();
    assert_eq!(
        told,
        ["a result is gone again", "succeeded was replaced by in_doubt", "in_doubt was replaced by unavailable"]
    );
}
