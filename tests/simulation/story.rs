//! What happened, to whom, in order: noted as it happens, put into words only when somebody wants to read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use crate::plan::{Happening, Plan};

/// What became of a verb that did not arrive.
pub(crate) const AWAY: &str = "the store is away";

/// A worker, and which of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) worker: usize,
    pub(crate) life: usize,
}

#[derive(Default)]
pub(crate) struct Story(Vec<(u64, Event)>);

pub(crate) enum Event {
    Published { login: usize, copy: usize, taken: bool },
    Garbage,
    Happens(Happening),
    Healed,
    Again,
    Begins { who: Name, skew_ms: i64 },
    Crashes(Name),
    Freezes(Name),
    Thaws(Name),
    Ends { who: Name, well: bool },
    Said { who: Name, verb: &'static str, key: String, became: &'static str },
    Asks { who: Name, login: usize, asking: usize },
    AsksForToken(Name),
    Arrives { asking: usize, spends: bool },
    Answered { asking: usize, status: u16 },
    Hears { who: Name, asking: usize, what: &'static str },
    GivesUp { who: Name, asking: usize },
    Panics { who: Name },
    Result { login: usize, outcome: &'static str, attempts: u32 },
    Broken(String),
}

impl Story {
    pub(crate) fn note(&mut self, at: u64, event: Event) {
        self.0.push((at, event));
    }

    /// Where crashes and freezes came, and how logins ended: what this story was about.
    pub(crate) fn sights(&self) -> BTreeSet<String> {
        let mut last = BTreeMap::new();
        let mut sights = BTreeSet::new();
        for (_, event) in &self.0 {
            match event {
                Event::Crashes(who) => sights.extend(last.get(who).map(|step| format!("a crash after {step}"))),
                Event::Freezes(who) => sights.extend(last.get(who).map(|step| format!("a freeze after {step}"))),
                Event::Panics { .. } => drop(sights.insert("a panic".to_owned())),
                Event::Result { outcome, .. } => drop(sights.insert(format!("the result {outcome}"))),
                other => last.extend(other.step()),
            }
        }
        sights
    }

    pub(crate) fn tell(&self, plan: &Plan) -> String {
        let mut text = plan.to_string();
        for (at, event) in &self.0 {
            writeln!(text, "{:>8}.{:03}  {event}", at / 1000, at % 1000).expect("text takes it all");
        }
        text
    }
}

impl Event {
    /// What a worker has just done.
    fn step(&self) -> Option<(Name, &'static str)> {
        match self {
            Self::Begins { who, .. } => Some((*who, "begins")),
            Self::Said { who, verb, became, .. } if *became != AWAY => Some((*who, verb)),
            Self::Said { who, .. } => Some((*who, AWAY)),
            Self::Asks { who, .. } => Some((*who, "asks")),
            Self::AsksForToken(who) => Some((*who, "asks for a token")),
            Self::Hears { who, .. } => Some((*who, "hears")),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}.{}", self.worker, self.life)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { login, copy, taken: true } => write!(f, "login {login} is published, copy {copy}"),
            Self::Published { login, .. } => write!(f, "login {login} finds the queue full"),
            Self::Garbage => write!(f, "a message that is nobody's is published"),
            Self::Happens(happening) => write!(f, "** {happening:?}"),
            Self::Healed => write!(f, "** all is well from now on"),
            Self::Again => write!(f, "** every login comes once more, and fresh ones come"),
            Self::Begins { who, skew_ms } => write!(f, "{who} begins, its clock {skew_ms} ms ahead"),
            Self::Crashes(who) => write!(f, "{who} crashes"),
            Self::Freezes(who) => write!(f, "{who} freezes"),
            Self::Thaws(who) => write!(f, "{who} thaws"),
            Self::Ends { who, well: true } => write!(f, "{who} has ended"),
            Self::Ends { who, well: false } => write!(f, "{who} has ended, and leaves something undone"),
            Self::Said { who, verb, key, became } => write!(f, "{who}: {verb} {key}: {became}"),
            Self::Asks { who, login, asking } => write!(f, "{who} asks for login {login}: asking {asking}"),
            Self::AsksForToken(who) => write!(f, "{who} asks for a token"),
            Self::Arrives { asking, spends: true } => write!(f, "WeChat hears asking {asking}, and the code is spent"),
            Self::Arrives { asking, .. } => write!(f, "WeChat hears asking {asking}"),
            Self::Answered { asking, status } => write!(f, "the answer of asking {asking} is there, HTTP {status}"),
            Self::Hears { who, asking, what } => write!(f, "{who} hears of asking {asking}: {what}"),
            Self::GivesUp { who, asking } => write!(f, "{who} hears no more of asking {asking}"),
            Self::Panics { who } => write!(f, "{who} panics in a call"),
            Self::Result { login, outcome, attempts } => {
                write!(f, "login {login} has its result: {outcome}, attempts {attempts}")
            }
            Self::Broken(what) => write!(f, "!! {what}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, setup, rates, logins, heals_at, .. } = self;
        writeln!(
            f,
            "seed {seed}: {} workers of {} slots, {} apps, {} hosts, calls of {} ms, patience {} ms, codes live {} ms, {} \
             tokens{}, clocks wrong by up to {} ms; all is well from {heals_at} ms on",
            setup.workers,
            setup.slots,
            setup.apps,
            setup.hosts,
            setup.timeout_ms,
            setup.patience_ms,
            setup.code_life_ms,
            if setup.stable_tokens { "stable" } else { "classic" },
            if setup.may_force { ", forced" } else { "" },
            setup.skew_ms,
        )?;
        writeln!(
            f,
            "in a thousand: store lost {}, slow {}; wire unreachable {}, lost {}, cut {}, late {}; panics {}",
            rates.store_lost,
            rates.store_slow,
            rates.wire_unreachable,
            rates.wire_lost,
            rates.wire_cut,
            rates.wire_late,
            rates.panics
        )?;
        for (index, login) in logins.iter().enumerate() {
            let dated = if login.is_dated { "" } else { ", undated" };
            let deadline = login.deadline.map_or_else(|| "none".to_owned(), |deadline| format!("{deadline} ms"));
            let steps: Vec<_> =
                login.script.iter().map(|step| format!("{:?} +{} ms", step.then, step.delay_ms)).collect();
            writeln!(
                f,
                "login {index}: {:?} of app {}, tapped at {} ms, deadline {deadline}{dated}; WeChat: {steps:?}",
                login.kind, login.app, login.tapped_at
            )?;
        }
        Ok(())
    }
}
