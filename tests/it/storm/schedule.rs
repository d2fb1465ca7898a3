//! Which faults happen when: a pure function of a seed and a length. Nothing is done here; `faults` does it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

pub(super) const WORKERS: usize = 4;
/// Between two faults.
const GAP_MS: RangeInclusive<u64> = 300..=1200;
/// So often is the dice thrown for a fault that is possible now; the last seconds of a storm leave little.
const THROWS: usize = 50;

/// One fault of a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// From the storm's begin.
    pub(super) at: Duration,
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    WorkerKilled(usize),
    WorkerDrained(usize),
    WorkerFrozen(usize),
    BrokerKilled,
    BrokerFrozen,
    BrokerClosesConnections,
    BrokerAlarmed,
    StoreKilled,
    StoreFrozen,
    StoreClosesConnections,
    GatewayKilled,
    TokensRevoked,
    TokensExpired,
    Mood(Mood),
}

/// How WeChat may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mood {
    Busy,
    BadGateway,
    Late,
    Throttling,
    CutBefore,
    CutAfter,
    HangBefore,
    HangAfter,
    NoTokens,
}

/// In these it answers each call, and takes no code.
const HEARD_MOODS: [Mood; 3] = [Mood::Busy, Mood::BadGateway, Mood::Throttling];
const MOODS_OF_PHONES: [Mood; 8] = [
    Mood::Busy,
    Mood::BadGateway,
    Mood::Late,
    Mood::Throttling,
    Mood::CutBefore,
    Mood::CutAfter,
    Mood::HangBefore,
    Mood::HangAfter,
];

/// What a fault befalls: one fault at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Worker(usize),
    Broker,
    Store,
    Gateway,
    Wechat,
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Everything.
    Storm,
    /// Broker, store and tokens, and a WeChat that says that it did nothing; no worker is hurt, and no answer goes astray.
    Gusts,
}

/// The faults of a storm, in the order of their begin; all are over at its end.
pub(super) fn plan(seed: u64, length: Duration, weather: Weather) -> Vec<Planned> {
    let mut dice = Rng::with_seed(seed);
    let mut free_from = BTreeMap::<Victim, Duration>::new();
    let (mut plan, mut at) = (Vec::new(), Duration::ZERO);
    loop {
        at += Duration::from_millis(dice.u64(GAP_MS));
        if at >= length {
            return plan;
        }
        let throws = (0..THROWS).map(|_| throw(&mut dice, weather, at));
        let possible = throws.into_iter().find(|planned| {
            let free_from = free_from.get(&planned.fault.victim()).copied().unwrap_or_default();
            free_from <= at && planned.over() <= length
        });
        if let Some(planned) = possible {
            free_from.insert(planned.fault.victim(), planned.over());
            plan.push(planned);
        }
    }
}

fn throw(dice: &mut Rng, weather: Weather, at: Duration) -> Planned {
    let faults = weather.faults(dice.usize(..WORKERS));
    let total: u32 = faults.iter().map(|(_, weight)| weight).sum();
    let mut left = dice.u32(..total);
    let heavy = faults.into_iter().find(|(_, weight)| {
        let found = left < *weight;
        left = left.saturating_sub(*weight);
        found
    });
    let (fault, _) = heavy.expect("less than the total is left");
    Planned { at, fault, lasts: Duration::from_millis(dice.u64(fault.lasts_ms())) }
}

impl Weather {
    /// With their weights.
    fn faults(self, worker: usize) -> Vec<(Fault, u32)> {
        let mut faults = vec![
            (Fault::BrokerKilled, 3),
            (Fault::BrokerFrozen, 3),
            (Fault::BrokerClosesConnections, 4),
            (Fault::BrokerAlarmed, 2),
            (Fault::StoreKilled, 4),
            (Fault::StoreFrozen, 4),
            (Fault::StoreClosesConnections, 3),
            (Fault::TokensRevoked, 3),
            (Fault::TokensExpired, 2),
            (Fault::Mood(Mood::NoTokens), 2),
        ];
        if self == Self::Gusts {
            faults.extend(HEARD_MOODS.map(|mood| (Fault::Mood(mood), 2)));
        }
        if self == Self::Storm {
            faults.extend(MOODS_OF_PHONES.map(|mood| (Fault::Mood(mood), 2)));
            faults.push((Fault::GatewayKilled, 4));
            faults.push((Fault::WorkerKilled(worker), 8));
            faults.push((Fault::WorkerDrained(worker), 6));
            faults.push((Fault::WorkerFrozen(worker), 7));
        }
        faults
    }
}

impl Fault {
    pub(super) fn victim(self) -> Victim {
        match self {
            Self::WorkerKilled(worker) | Self::WorkerDrained(worker) | Self::WorkerFrozen(worker) => {
                Victim::Worker(worker)
            }
            Self::BrokerKilled | Self::BrokerFrozen | Self::BrokerClosesConnections | Self::BrokerAlarmed => {
                Victim::Broker
            }
            Self::StoreKilled | Self::StoreFrozen | Self::StoreClosesConnections => Victim::Store,
            Self::GatewayKilled => Victim::Gateway,
            Self::TokensRevoked | Self::TokensExpired | Self::Mood(_) => Victim::Wechat,
        }
    }

    /// How long it is this way; how long a restart takes comes on top.
    fn lasts_ms(self) -> RangeInclusive<u64> {
        match self {
            Self::WorkerFrozen(_) => 500..=8000,
            Self::BrokerKilled | Self::StoreKilled | Self::GatewayKilled => 0..=1500,
            Self::BrokerFrozen => 1000..=6000,
            Self::BrokerAlarmed => 1000..=3000,
            Self::StoreFrozen => 500..=4000,
            Self::Mood(_) => 500..=2000,
            _ => 0..=0,
        }
    }

    /// What the victim needs to be itself again.
    fn recovers_in(self) -> Duration {
        Duration::from_millis(match self {
            Self::BrokerKilled => 7000,
            Self::WorkerKilled(_) | Self::WorkerDrained(_) | Self::GatewayKilled => 1000,
            _ => 500,
        })
    }
}

impl Planned {
    fn over(&self) -> Duration {
        self.at + self.lasts + self.fault.recovers_in()
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, fault, lasts } = self;
        write!(f, "{:>7.2} s  {fault:?}", at.as_secs_f64())?;
        if lasts.is_zero() { Ok(()) } else { write!(f, ", {:.1} s", lasts.as_secs_f64()) }
    }
}

#[test]
fn a_seed_is_a_storm_in_which_each_victim_suffers_one_fault_at_a_time_and_is_healed_at_the_end() {
    let length = Duration::from_secs(60);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let storm = plan(seed, length, Weather::Storm);
        assert_eq!(storm, plan(seed, length, Weather::Storm));
        assert!(storm.iter().all(|planned| planned.over() <= length));
        assert!(storm.len() >= 40, "one in a second and a half, or more: {}", storm.len());
        for (n, one) in storm.iter().enumerate() {
            let same = storm[..n].iter().filter(|other| other.fault.victim() == one.fault.victim());
            assert!(same.into_iter().all(|other| other.over() <= one.at), "{one}");
            seen.insert(one.fault);
        }
    }
    assert_ne!(plan(1, length, Weather::Storm), plan(2, length, Weather::Storm));
    assert_eq!(seen.len(), 10 + MOODS_OF_PHONES.len() + 1 + 3 * WORKERS, "every fault, every worker: {seen:?}");
}

#[test]
fn gusts_hurt_no_worker_and_lose_no_answer() {
    let gusts = plan(1, Duration::from_secs(600), Weather::Gusts);
    let harmless = |planned: &Planned| !matches!(planned.fault.victim(), Victim::Worker(_) | Victim::Gateway);
    assert!(gusts.len() > 300 && gusts.iter().all(harmless));
    let heard = |mood| mood == Mood::NoTokens || HEARD_MOODS.contains(&mood);
    assert!(gusts.iter().all(|planned| !matches!(planned.fault, Fault::Mood(mood) if !heard(mood))));
}
