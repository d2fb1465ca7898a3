//! What the parts of a simulation tell of what they do: noted in the story and in the ledger, and held against the rules.

use std::sync::Arc;

use futures_util::FutureExt as _;
use quicklogin::login::{LoginResult, Outcome};

use super::{World, request_id};
use crate::ledger::{Asking, End, Told};
use crate::machine::SimulatedMachine;
use crate::rules;
use crate::story::Event;

impl World {
    /// The store has carried out a worker's verb.
    pub(crate) fn carried_out(
        &self,
        machine: &Arc<SimulatedMachine>,
        verb: &'static str,
        key: &str,
        became: &'static str,
    ) {
        self.note(Event::Said { who: machine.name, verb, key: key.to_owned(), became });
        let Some(login) = self.ledger().login_of(key) else { return };
        match (verb, became) {
            ("claim", "Mine") | ("extend", "true") => {
                let now = self.now();
                let mut ledger = self.ledger();
                ledger.leases.insert((machine.name, login), now);
                ledger.logins[login].claimed_at.get_or_insert(now);
                let claimed_by = &mut ledger.logins[login].claimed_by;
                if !claimed_by.iter().any(|earlier| earlier.name == machine.name) {
                    claimed_by.push(Arc::clone(machine));
                }
            }
            ("record" | "record_unclaimed", _) => {
                if became == "Written" {
                    rules::on_writing(self, login, machine, verb);
                }
                self.look_at_result(login);
            }
            _ => {}
        }
    }

    fn look_at_result(&self, login: usize) {
        let told = self.result_of(login);
        let before = self.ledger().logins[login].result().cloned();
        if before.as_ref().map(|told| (told.outcome, &told.phone))
            == told.as_ref().map(|told| (told.outcome, &told.phone))
        {
            return;
        }
        if let Some(told) = &told {
            let (outcome, attempts) = (told.outcome, told.attempts);
            self.note(Event::Result { login, outcome, attempts });
        }
        rules::on_result(self, login, before.as_ref(), told.as_ref());
        self.ledger().logins[login].results.extend(told);
        self.recorded.notify_one();
    }

    /// Whether the store has a success of this login's.
    pub(crate) fn succeeded(&self, login: usize) -> bool {
        self.result_of(login).is_some_and(|told| told.phone.is_some())
    }

    fn result_of(&self, login: usize) -> Option<Told> {
        let ids = [request_id(login)];
        let found = self.store.results(&ids).now_or_never().expect("it is near").expect("it is there");
        let json = found.into_iter().flatten().next()?;
        Some(self.told(LoginResult::from_json(&json, None).expect("a result of the contract's")))
    }

    fn told(&self, result: LoginResult) -> Told {
        let outcome = result.outcome.as_str();
        let phone = match result.outcome {
            Outcome::Succeeded(phone) => Some(phone.phone_number),
            Outcome::Failed(_) => None,
        };
        Told { at: self.now(), outcome, phone, attempts: result.attempts }
    }

    /// A worker sends a code to WeChat. None where the code is nobody's.
    pub(crate) fn asks(&self, machine: &Arc<SimulatedMachine>, code: &str) -> Option<usize> {
        let login = *self.codes.lock().expect("nobody panicked with it").get(code)?;
        let asking = self.ledger().askings.len();
        self.note(Event::Asks { who: machine.name, login, asking });
        rules::on_asking(self, login, machine);
        self.ledger().askings.push(Asking {
            login,
            machine: Arc::clone(machine),
            began: self.now(),
            arrived: None,
            spent: false,
            answer_is_there_since: None,
            end: None,
            ended: None,
        });
        Some(asking)
    }

    pub(crate) fn arrives(&self, asking: usize, spends: bool) {
        self.note(Event::Arrives { asking, spends });
        let now = self.now();
        let mut ledger = self.ledger();
        ledger.askings[asking].arrived = Some(now);
        ledger.askings[asking].spent = spends;
    }

    pub(crate) fn answer_is_there(&self, asking: usize, status: u16) {
        self.note(Event::Answered { asking, status });
        self.ledger().askings[asking].answer_is_there_since = Some(self.now());
    }

    pub(crate) fn hears(&self, machine: &SimulatedMachine, asking: usize, end: End) {
        self.note(Event::Hears { who: machine.name, asking, what: end.as_str() });
        self.ends(asking, end);
    }

    pub(crate) fn gives_up(&self, machine: &SimulatedMachine, asking: usize) {
        self.note(Event::GivesUp { who: machine.name, asking });
        self.ends(asking, End::GivenUp);
        rules::on_giving_up(self, machine, asking);
    }

    fn ends(&self, asking: usize, end: End) {
        let now = self.now();
        let asking = &mut self.ledger().askings[asking];
        (asking.end, asking.ended) = (Some(end), Some(now));
    }

    pub(crate) fn complain(&self, login: Option<usize>, what: String) {
        let what = match login {
            Some(login) => format!("login {login}: {what}"),
            None => what,
        };
        self.note(Event::Broken(what.clone()));
        self.ledger().broken.push(what);
    }

    pub(crate) fn note(&self, event: Event) {
        self.story.lock().expect("nobody panicked with it").note(self.now(), event);
    }
}
