//! What was handed in and what became of it, as a caller sees it. Knows neither processes nor faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

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
    next: usize,
}

pub(super) struct Complaint {
    pub(super) what: String,
    pub(super) request_id: Option<String>,
}

pub(super) struct Login {
    pub(super) code: String,
    /// The number that belongs to the code; none where the request itself cannot be served.
    pub(super) phone: Option<String>,
    pub(super) issued_at: u64,
    pub(super) deadline: u64,
    pub(super) accepted: bool,
    /// The result that was seen last.
    pub(super) result: Option<String>,
}

impl Login {
    /// `succeeded`, or the reason; none without a result.
    pub(super) fn outcome(&self) -> Option<String> {
        let result = self.read()?;
        let word = if result["status"] == "failed" { &result["error"]["reason"] } else { &result["status"] };
        Some(word.as_str().unwrap_or("unreadable").to_owned())
    }

    pub(super) fn read(&self) -> Option<Value> {
        Some(serde_json::from_str(self.result.as_ref()?).unwrap_or(Value::Null))
    }

    /// When its result was made, in Unix ms.
    pub(super) fn told_ms(&self) -> Option<u64> {
        self.read()?["finished_at"].as_u64()
    }

    pub(super) fn succeeded(&self) -> bool {
        self.outcome().as_deref() == Some("succeeded")
    }
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

    pub(super) fn pending(&self) -> usize {
        self.logins.values().filter(|login| login.accepted && login.result.is_none()).count()
    }

    /// All that are accepted and have no result, and in turn those that have.
    pub(super) fn next_look(&mut self) -> Vec<String> {
        let concluded: Vec<_> = self.logins.iter().filter(|(_, login)| login.result.is_some()).collect();
        let from = self.next % concluded.len().max(1);
        let again = concluded.iter().cycle().skip(from).take(AGAIN.min(concluded.len())).map(|(id, _)| (*id).clone());
        let pending = self.logins.iter().filter(|(_, login)| login.accepted && login.result.is_none());
        let ids = pending.map(|(id, _)| id.clone()).chain(again).collect();
        self.next = from + AGAIN;
        ids
    }

    /// Takes in what a caller was told. Only a success is sure to be the last word, also where others have seen more.
    pub(super) fn hear(&mut self, id: &str, result: String) {
        self.told += 1;
        if result.contains(r#""status":"succeeded""#) {
            self.see(id, Some(result));
        }
    }

    /// Takes in what stands in the store now. Written once; a success stays, and a failure gives way to a success only.
    pub(super) fn see(&mut self, id: &str, now: Option<String>) {
        let Some(login) = self.logins.get_mut(id) else { return };
        if login.result == now {
            return;
        }
        let (before, had_succeeded) = (login.outcome(), login.succeeded());
        if let Some(now) = now {
            login.result = Some(now);
        } else {
            return self.complain(Some(id), "a result is gone again");
        }
        let (after, succeeded) = (login.outcome(), login.succeeded());
        match before {
            None => {}
            Some(_) if succeeded && !had_succeeded => self.failures_replaced += 1,
            Some(before) => self.complain(Some(id), format!("{before} was replaced by {}", after.unwrap_or_default())),
        }
    }
}

#[test]
fn a_ledger_complains_of_a_success_that_changes_or_goes_and_of_nothing_else() {
    let mut pages = Pages::default();
    let login = || Login { code: "c".into(), phone: None, issued_at: 0, deadline: 0, accepted: true, result: None };
    pages.logins.insert("r".into(), login());
    let failed = |reason: &str| Some(format!(r#"{{"status":"failed","error":{{"reason":"{reason}"}}}}"#));
    let succeeded = || Some(r#"{"status":"succeeded"}"#.to_owned());
    for result in [None, failed("in_doubt"), failed("in_doubt"), succeeded(), succeeded()] {
        pages.see("r", result);
    }
    assert_eq!((pages.complaints.len(), pages.failures_replaced, pages.pending()), (0, 1, 0));
    pages.see("r", None);
    pages.see("r", failed("in_doubt"));
    pages.see("r", failed("unavailable"));
    let told: Vec<_> = pages.complaints.iter().map(|complaint| complaint.what.as_str()).collect();
    assert_eq!(
        told,
        ["a result is gone again", "succeeded was replaced by in_doubt", "in_doubt was replaced by unavailable"]
    );
}
