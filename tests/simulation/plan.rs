//! What happens in a simulation: a pure function of its seed, by the dice in `dice`. Nothing is done here.

mod dice;

use quicklogin::simulator::{Step, Then};

pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    pub(crate) rates: Rates,
    pub(crate) logins: Vec<PlannedLogin>,
    /// When messages that are nobody's are published, in ms.
    pub(crate) garbage: Vec<u64>,
    /// In the order of their times, in ms.
    pub(crate) happenings: Vec<(u64, Happening)>,
    /// From then on there is no trouble.
    pub(crate) heals_at: u64,
}

pub(crate) struct Setup {
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    pub(crate) apps: usize,
    pub(crate) hosts: usize,
    pub(crate) timeout_ms: u64,
    pub(crate) patience_ms: u64,
    pub(crate) code_life_ms: u64,
    pub(crate) stable_tokens: bool,
    pub(crate) may_force: bool,
    /// How wrong the clocks of workers may be.
    pub(crate) skew_ms: u64,
}

/// How often something befalls a single call or verb, in a thousand; and how long the ways are.
#[derive(Default)]
pub(crate) struct Rates {
    /// The verb does not arrive, or its answer does not.
    pub(crate) store_lost: u32,
    pub(crate) store_slow: u32,
    pub(crate) store_ms: u64,
    pub(crate) wire_unreachable: u32,
    /// The call or its answer is lost, and nobody says so.
    pub(crate) wire_lost: u32,
    pub(crate) wire_cut: u32,
    pub(crate) wire_late: u32,
    pub(crate) wire_ms: u64,
    /// The login's own code panics.
    pub(crate) panics: u32,
}

#[derive(Clone)]
pub(crate) struct PlannedLogin {
    pub(crate) kind: Kind,
    pub(crate) app: usize,
    pub(crate) tapped_at: u64,
    /// When it is published: once, and perhaps again.
    pub(crate) copies: Vec<u64>,
    pub(crate) deadline: Option<u64>,
    /// Whether the request says when it was tapped.
    pub(crate) is_dated: bool,
    pub(crate) script: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    /// WeChat's five minutes are over, and nobody knows.
    Stale,
    /// WeChat has never seen the code.
    Unknown,
    UnknownApp,
    /// It has an id, and no code.
    Malformed,
}

#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// Of the worker, after so many polls of whatever it runs.
    Crash {
        worker: usize,
        polls: u64,
    },
    Freeze {
        worker: usize,
        polls: u64,
        lasts: u64,
    },
    /// Softly, and hard after so long.
    Stop {
        worker: usize,
        drain: u64,
    },
    StoreAway {
        lasts: u64,
    },
    /// The answer of the next verb of this name takes so long.
    Slow {
        verb: &'static str,
        ms: u64,
    },
    /// For one worker alone.
    Partition {
        worker: usize,
        lasts: u64,
    },
    WechatAway {
        lasts: u64,
    },
    FirstHostAway {
        lasts: u64,
    },
    Mood {
        step: Step,
        of_tokens: bool,
        lasts: u64,
    },
    TokensEnd {
        expired: bool,
    },
}

impl Plan {
    /// One in which nothing goes wrong, and nobody taps yet.
    pub(crate) fn calm() -> Self {
        let setup = Setup {
            workers: 1,
            slots: 8,
            apps: 1,
            hosts: 1,
            timeout_ms: 1000,
            patience_ms: 4000,
            code_life_ms: 60_000,
            stable_tokens: true,
            may_force: false,
            skew_ms: 0,
        };
        let rates = Rates { store_ms: 5, wire_ms: 100, ..Rates::default() };
        Self { seed: 0, setup, rates, logins: vec![], garbage: vec![], happenings: vec![], heals_at: 20_000 }
    }

    /// Whether nothing goes wrong at all.
    pub(crate) fn is_calm(&self) -> bool {
        let Rates { store_lost, store_slow, wire_unreachable, wire_lost, wire_cut, wire_late, panics, .. } = self.rates;
        let rates = [store_lost, store_slow, wire_unreachable, wire_lost, wire_cut, wire_late, panics];
        let no_scripts = self.logins.iter().all(|login| login.script.is_empty());
        self.happenings.is_empty() && no_scripts && self.setup.skew_ms == 0 && rates.iter().all(|rate| *rate == 0)
    }

    /// Whether verbs of the store may take long.
    pub(crate) fn has_store_trouble(&self) -> bool {
        let outage = |happening: &Happening| {
            matches!(happening, Happening::StoreAway { .. } | Happening::Partition { .. } | Happening::Slow { .. })
        };
        self.rates.store_lost + self.rates.store_slow > 0 || self.happenings.iter().any(|(_, one)| outage(one))
    }

    /// Whether WeChat is to do this at some time.
    pub(crate) fn scripts(&self, is_it: impl Fn(&Then) -> bool) -> bool {
        let scripts = self.logins.iter().flat_map(|login| &login.script);
        let moods = self.happenings.iter().filter_map(|(_, happening)| match happening {
            Happening::Mood { step, .. } => Some(step),
            _ => None,
        });
        scripts.chain(moods).any(|step| is_it(&step.then))
    }
}

impl PlannedLogin {
    /// A good one, tapped and published then.
    pub(crate) fn at(tapped_at: u64) -> Self {
        let (kind, copies) = (Kind::Good, vec![tapped_at]);
        Self { kind, app: 0, tapped_at, copies, deadline: None, is_dated: true, script: vec![] }
    }
}
