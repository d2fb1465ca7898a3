//! Draining: many logins wait, and a worker is started.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::contestant::{Contestant, Kind};
use crate::ground::{Ground, Run};
use crate::login::Login;
use crate::plan::Plan;
use crate::processes::{Used, each_us};

/// Nothing takes longer, or it has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was seen.
pub(crate) struct Drain {
    pub(crate) a_second: f64,
    /// Of the whole process, start included.
    pub(crate) cpu_us: f64,
    pub(crate) peak_memory: u64,
    /// What the servers took for each login, in µs.
    pub(crate) rabbitmq_us: f64,
    pub(crate) redis_us: f64,
    pub(crate) simulator_us: f64,
    /// New connections to WeChat for each thousand logins.
    pub(crate) connections: f64,
    /// TLS handshakes for each thousand logins; none over plain HTTP.
    pub(crate) handshakes: f64,
    /// How late the simulator was with its answers, on average.
    pub(crate) simulator_late_ms: f64,
}

pub(crate) async fn measure(ground: &Ground, plan: &Plan, kind: Kind) -> Drain {
    let logins = ground.mint(plan.logins).await;
    let run = ground.run(kind.name(), 1).await;
    run.publish(&logins, None).await;
    let before = ground.used();
    let contestant = kind.start(&run, plan.slots);
    let a_second = pace(ground, plan.logins).await;
    let cpu = cpu_when_done(&run, &contestant).await;
    let used = ground.used() - before;
    run.assert_all_succeeded(&logins).await;
    seen(ground, &logins, a_second, cpu, used, contestant.peak_memory()).await
}

async fn seen(ground: &Ground, logins: &[Login], a_second: f64, cpu: Duration, used: Used, peak_memory: u64) -> Drain {
    let asked = ground.asked().await;
    let number = |of: &Value| of.as_f64().expect("a number");
    let of_1000 = |count: f64| count * 1000.0 / logins.len() as f64;
    let each_us = |time| each_us(time, logins.len() as u64);
    let shaken = &asked["handshakes"];
    assert_eq!(shaken["failed"], 0, "{asked}");
    Drain {
        a_second,
        cpu_us: each_us(cpu),
        peak_memory,
        rabbitmq_us: each_us(used.rabbitmq),
        redis_us: each_us(used.redis),
        simulator_us: each_us(used.simulator),
        connections: of_1000(number(&asked["connections"])),
        handshakes: of_1000(number(&shaken["full"]) + number(&shaken["resumed"])),
        simulator_late_ms: number(&asked["late"]["mean_us"]) / 1e3,
    }
}

/// How many a second, from the first tenth to the last.
async fn pace(ground: &Ground, logins: usize) -> f64 {
    let tenth = logins as u64 / 10;
    let (began, from) = when_asked(ground, tenth).await;
    let (ended, to) = when_asked(ground, tenth * 9).await;
    (to - from) as f64 / (ended - began).as_secs_f64()
}

/// The moment when WeChat was asked so often, and how often exactly.
pub(crate) async fn when_asked(ground: &Ground, at_least: u64) -> (Instant, u64) {
    let began = Instant::now();
    loop {
        let (now, asked) = (Instant::now(), ground.asked().await["phone"]["calls"].as_u64().expect("a number"));
        if asked >= at_least {
            return (now, asked);
        }
        assert!(began.elapsed() < LIMIT, "it goes on; asked {asked} times");
        sleep(LOOK_EVERY).await;
    }
}

/// Its CPU time when the last login is acked.
pub(crate) async fn cpu_when_done(run: &Run<'_>, contestant: &Contestant) -> Duration {
    let began = Instant::now();
    while !run.is_done() {
        assert!(began.elapsed() < LIMIT, "it ends");
        sleep(LOOK_EVERY).await;
    }
    contestant.cpu()
}
