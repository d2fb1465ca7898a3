//! The dice that make a plan. Each seed has some kinds of trouble and not others, so that each kind is also seen without
//! the rest.

use std::ops::RangeInclusive;

use fastrand::Rng;
use quicklogin::simulator::{Step, Then};

use super::{Happening, Kind, Plan, PlannedLogin, Rates, Setup};

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let troubles = Troubles::throw(&mut dice);
        let heals_at = dice.u64(500..=10_000);
        let setup = Setup::throw(&mut dice, &troubles);
        let mut happenings = happenings(&mut dice, &troubles, &setup, heals_at);
        happenings.sort_by_key(|(at, _)| *at);
        let logins = dice.usize(1..=6);
        let mut logins: Vec<_> = (0..logins).map(|_| login(&mut dice, &troubles, &setup, heals_at)).collect();
        logins.sort_by_key(|login| login.tapped_at);
        let garbage = if troubles.oddities { vec![dice.u64(..heals_at)] } else { vec![] };
        Self { seed, rates: Rates::throw(&mut dice, &troubles), setup, logins, garbage, happenings, heals_at }
    }
}

/// A kind of trouble, with the odds that a seed has it, in percent.
struct Troubles {
    crashes: bool,
    freezes: bool,
    stops: bool,
    store_outages: bool,
    store_losses: bool,
    wechat_outages: bool,
    wire_losses: bool,
    scripts: bool,
    tokens: bool,
    skew: bool,
    panics: bool,
    duplicates: bool,
    oddities: bool,
}

impl Troubles {
    fn throw(dice: &mut Rng) -> Self {
        let calm = dice.u32(..100) < 8;
        let mut has = |percent: u32| dice.u32(..100) < percent && !calm;
        Self {
            crashes: has(45),
            freezes: has(35),
            stops: has(30),
            store_outages: has(25),
            store_losses: has(30),
            wechat_outages: has(25),
            wire_losses: has(35),
            scripts: has(40),
            tokens: has(25),
            skew: has(20),
            panics: has(8),
            duplicates: dice.u32(..100) < 65,
            oddities: dice.u32(..100) < 25,
        }
    }
}

impl Setup {
    fn throw(dice: &mut Rng, troubles: &Troubles) -> Self {
        Self {
            workers: dice.usize(1..=3),
            slots: if dice.u32(..100) < 5 { dice.usize(1..=2) } else { dice.usize(10..=24) },
            apps: if dice.u32(..100) < 70 { 1 } else { 2 },
            hosts: dice.usize(1..=2),
            timeout_ms: dice.u64(800..=2500),
            patience_ms: dice.u64(1500..=6000),
            code_life_ms: dice.u64(60..=240) * 1000,
            stable_tokens: dice.u32(..100) < 75,
            may_force: dice.bool(),
            skew_ms: if troubles.skew { 30_000 } else { 0 },
        }
    }
}

impl Rates {
    fn throw(dice: &mut Rng, troubles: &Troubles) -> Self {
        let mut rates = Self { store_ms: dice.u64(1..=8), wire_ms: dice.u64(5..=250), ..Self::default() };
        let some = 20..=250;
        if troubles.store_losses {
            rates.store_lost = dice.u32(some.clone());
            rates.store_slow = dice.u32(0..=60);
        }
        if troubles.wire_losses {
            rates.wire_unreachable = dice.u32(0..=200);
            rates.wire_lost = dice.u32(0..=200);
            rates.wire_cut = dice.u32(0..=200);
            rates.wire_late = dice.u32(0..=200);
        }
        if troubles.panics {
            rates.panics = dice.u32(some);
        }
        rates
    }
}

fn login(dice: &mut Rng, troubles: &Troubles, setup: &Setup, heals_at: u64) -> PlannedLogin {
    // Early enough for something to happen to it.
    let tapped_at = dice.u64(..heals_at / 2);
    let mut copies = vec![tapped_at + dice.u64(0..=50)];
    if troubles.duplicates && dice.u32(..100) < 50 {
        let latest = if dice.bool() { 100 } else { 9000 };
        copies.extend((0..dice.usize(1..=2)).map(|_| tapped_at + dice.u64(0..=latest)));
    }
    let kind = match dice.u32(..100) {
        _ if !troubles.oddities => Kind::Good,
        0..60 => Kind::Good,
        60..70 => Kind::Stale,
        70..80 => Kind::Unknown,
        80..90 => Kind::UnknownApp,
        _ => Kind::Malformed,
    };
    let steps = if troubles.scripts && dice.u32(..100) < 60 { dice.usize(1..=3) } else { 0 };
    PlannedLogin {
        kind,
        app: dice.usize(..setup.apps),
        tapped_at,
        copies,
        deadline: (dice.u32(..100) < 50).then(|| tapped_at + dice.u64(1000..=20_000)),
        is_dated: dice.u32(..100) < 90,
        script: (0..steps).map(|_| step(dice)).collect(),
    }
}

/// What becomes of one call.
fn step(dice: &mut Rng) -> Step {
    let step = match dice.u32(..100) {
        0..15 => Step::errcode(-1),
        15..20 => Step::errcode(45009),
        20..25 => Step::errcode(45011),
        25..32 => Step::errcode(40001),
        32..33 => Step::errcode(48001),
        33..38 => Step::http(502, "bad gateway"),
        38..41 => Step::http(429, "slowly"),
        41..45 => Step::http(504, "gateway time-out"),
        45..51 => Step::http(504, "gateway time-out").consuming(),
        51..53 => Step::http(200, "garbage").consuming(),
        53..60 => Then::CutBefore.into(),
        60..70 => Then::CutAfter.into(),
        70..75 => Then::CutInBody.into(),
        75..80 => Then::HangBefore.into(),
        80..87 => Then::HangAfter.into(),
        _ => Step::normal(),
    };
    let late_ms = if dice.u32(..100) < 30 { dice.u64(0..=3500) } else { 0 };
    step.late_ms(late_ms)
}

fn happenings(dice: &mut Rng, troubles: &Troubles, setup: &Setup, heals_at: u64) -> Vec<(u64, Happening)> {
    let mut happenings = vec![];
    let mut add = |dice: &mut Rng, often: RangeInclusive<usize>, make: &dyn Fn(&mut Rng, u64) -> Happening| {
        for _ in 0..dice.usize(often) {
            let at = dice.u64(..heals_at);
            happenings.push((at, make(dice, heals_at - at)));
        }
    };
    let workers = setup.workers;
    if troubles.crashes {
        add(dice, 1..=5, &|dice, _| Happening::Crash { worker: dice.usize(..workers), polls: dice.u64(..25) });
    }
    if troubles.freezes {
        add(dice, 1..=3, &|dice, left| {
            let (worker, polls) = (dice.usize(..workers), dice.u64(..25));
            Happening::Freeze { worker, polls, lasts: dice.u64(100..=12_000).min(left) }
        });
    }
    if troubles.stops {
        add(dice, 1..=3, &|dice, _| {
            let drain = if dice.bool() { dice.u64(..=200) } else { dice.u64(..=6000) };
            Happening::Stop { worker: dice.usize(..workers), drain }
        });
    }
    if troubles.store_outages {
        add(dice, 0..=2, &|dice, left| Happening::StoreAway { lasts: dice.u64(50..=6000).min(left) });
        add(dice, 0..=2, &|dice, left| Happening::Partition {
            worker: dice.usize(..workers),
            lasts: dice.u64(50..=6000).min(left),
        });
    }
    if troubles.wechat_outages {
        add(dice, 0..=2, &|dice, left| Happening::WechatAway { lasts: dice.u64(50..=6000).min(left) });
        add(dice, 0..=1, &|dice, left| Happening::FirstHostAway { lasts: dice.u64(50..=8000).min(left) });
        add(dice, 0..=2, &|dice, left| Happening::Mood {
            step: step(dice),
            of_tokens: false,
            lasts: dice.u64(50..=4000).min(left),
        });
    }
    if troubles.tokens {
        add(dice, 1..=3, &|dice, _| Happening::TokensEnd { expired: dice.bool() });
        add(dice, 0..=1, &|dice, left| Happening::Mood {
            step: step(dice),
            of_tokens: true,
            lasts: dice.u64(50..=3000).min(left),
        });
    }
    happenings
}
