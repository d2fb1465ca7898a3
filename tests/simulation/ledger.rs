//! What is known of every login and every asking, by somebody who sees both ends of each wire. Nothing is judged here:
//! that is `rules`.

use std::collections::BTreeMap;
use std::sync::Arc;

use quicklogin::wechat::Heard;

use crate::machine::SimulatedMachine;
use crate::plan::Kind;
use crate::story::Name;

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) logins: Vec<Login>,
    pub(crate) askings: Vec<Asking>,
    /// When the store last gave a machine the right to ask for a login.
    pub(crate) leases: BTreeMap<(Name, usize), u64>,
    pub(crate) broken: Vec<String>,
}

pub(crate) struct Login {
    pub(crate) kind: Kind,
    pub(crate) code: String,
    pub(crate) phone: String,
    pub(crate) tapped_at: u64,
    /// When its time is up, where that does not depend on when it is delivered.
    pub(crate) time_up: Option<u64>,
    /// When it is to have its result at the latest.
    pub(crate) due_at: u64,
    /// One that comes when all is well.
    pub(crate) is_probe: bool,
    /// Each result that was there, in order.
    pub(crate) results: Vec<Told>,
    /// Those that had the right to ask for it at some time.
    pub(crate) claimed_by: Vec<Arc<SimulatedMachine>>,
    /// How many of its copies the queue has taken.
    pub(crate) copies: usize,
    /// When it was claimed first.
    pub(crate) claimed_at: Option<u64>,
    /// A claim of it, or the answer to that, was lost or late.
    pub(crate) claim_trouble: bool,
    /// Another verb about it, or its answer, was.
    pub(crate) store_trouble: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) at: u64,
    /// `succeeded`, or the reason.
    pub(crate) outcome: &'static str,
    pub(crate) phone: Option<String>,
    pub(crate) attempts: u32,
}

pub(crate) struct Asking {
    pub(crate) login: usize,
    pub(crate) machine: Arc<SimulatedMachine>,
    pub(crate) began: u64,
    pub(crate) arrived: Option<u64>,
    pub(crate) spent: bool,
    /// The answer has come to the machine, heard or not.
    pub(crate) answer_is_there_since: Option<u64>,
    pub(crate) end: Option<End>,
    pub(crate) ended: Option<u64>,
}

/// How an asking ended, for the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Phone,
    /// An errcode, or a status that says that it was not served.
    Refused,
    /// Somebody on the way says that WeChat did not answer.
    GatewayTimeout,
    Unreadable,
    NotSent,
    Cut,
    /// The worker waited no longer, or is no more.
    GivenUp,
}

impl Ledger {
    pub(crate) fn login_of(&self, key: &str) -> Option<usize> {
        key.strip_prefix("login-").map(|number| number.parse().expect("ids are made here"))
    }

    pub(crate) fn trouble_with_store(&mut self, verb: &str, key: &str) {
        if let Some(login) = self.login_of(key) {
            let login = &mut self.logins[login];
            let trouble = if verb == "claim" { &mut login.claim_trouble } else { &mut login.store_trouble };
            *trouble = true;
        }
    }

    pub(crate) fn askings_of(&self, login: usize) -> impl Iterator<Item = &Asking> {
        self.askings.iter().filter(move |asking| asking.login == login)
    }
}

impl Login {
    pub(crate) fn new(kind: Kind, tapped_at: u64, due_at: u64) -> Self {
        Self {
            kind,
            code: String::new(),
            phone: String::new(),
            tapped_at,
            time_up: None,
            due_at,
            is_probe: false,
            results: vec![],
            claimed_by: vec![],
            copies: 0,
            claimed_at: None,
            claim_trouble: false,
            store_trouble: false,
        }
    }

    /// Whether the queue has taken responsibility for it.
    pub(crate) fn is_accepted(&self) -> bool {
        self.copies > 0
    }

    pub(crate) fn result(&self) -> Option<&Told> {
        self.results.last()
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.result().is_some_and(|told| told.outcome == "succeeded")
    }
}

impl Asking {
    /// Whether WeChat may have taken it without anybody hearing so.
    pub(crate) fn was_missed(&self) -> bool {
        match self.end {
            None | Some(End::GatewayTimeout | End::Unreadable | End::Cut | End::GivenUp) => true,
            Some(End::Phone | End::Refused | End::NotSent) => false,
        }
    }
}

impl End {
    pub(crate) fn of(heard: &Heard) -> Self {
        let text = String::from_utf8_lossy(&heard.text);
        match heard.status {
            504 => Self::GatewayTimeout,
            200 if text.contains("phone_info") => Self::Phone,
            200 if !text.contains("errcode") => Self::Unreadable,
            _ => Self::Refused,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "the phone number",
            Self::Refused => "a refusal",
            Self::GatewayTimeout => "a gateway's time-out",
            Self::Unreadable => "garbage",
            Self::NotSent => "no connection",
            Self::Cut => "a cut",
            Self::GivenUp => "nothing",
        }
    }
}
