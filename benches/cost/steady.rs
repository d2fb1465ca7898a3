//! A steady flow, far from what could be borne: what a login spends in our hands beyond WeChat's own time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::{sleep, sleep_until, timeout};

use crate::contestant::Kind;
use crate::drain::{LIMIT, cpu_when_done};
use crate::ground::Ground;
use crate::login::Login;
use crate::plan::Plan;
use crate::processes::each_us;
use crate::start::Results;

/// Connections and caches are warm after so many.
const WARM_UP: usize = 1000;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was seen.
pub(crate) struct Steady {
    pub(crate) cpu_us: f64,
    /// From the moment when a login should have been published to its result in Redis, less WeChat's time.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
}

pub(crate) async fn measure(ground: &Ground, plan: &Plan, kind: Kind) -> Steady {
    let count = WARM_UP + (plan.steady.as_secs_f64() * f64::from(Plan::STEADY_A_SECOND)) as usize;
    let logins = ground.mint(count).await;
    let run = ground.run(kind.name(), 1).await;
    let mut results = Results::of(ground).await;
    let contestant = kind.start(&run, plan.slots);
    while !run.is_consumed() {
        sleep(LOOK_EVERY).await;
    }
    let began = Instant::now();
    let due = |n: usize| began + Duration::from_secs(1) * n as u32 / Plan::STEADY_A_SECOND;
    let publishing = join_all(logins.iter().enumerate().map(|(n, login)| {
        let run = &run;
        async move {
            sleep_until(due(n).into()).await;
            run.publish_one(login).await;
        }
    }));
    let (_, came) = tokio::join!(publishing, arrivals(&mut results, &logins));
    let cpu = cpu_when_done(&run, &contestant).await;
    run.assert_all_succeeded(&logins).await;
    let mut added: Vec<_> = came.iter().enumerate().map(|(n, came)| *came - due(n)).collect();
    added.drain(..WARM_UP);
    added.sort();
    let at = |share: f64| added[(added.len() as f64 * share) as usize].saturating_sub(Plan::WECHAT_TAKES);
    Steady { cpu_us: each_us(cpu, count as u64), p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}

/// When each result came, in the order of the logins.
async fn arrivals(results: &mut Results, logins: &[Login]) -> Vec<Instant> {
    let numbers: HashMap<_, _> = logins.iter().enumerate().map(|(n, login)| (login.id.as_str(), n)).collect();
    let mut came = vec![None; logins.len()];
    let mut missing = logins.len();
    while missing > 0 {
        let id = timeout(LIMIT, results.next()).await.expect("results go on coming");
        let place = &mut came[numbers[id.as_str()]];
        if place.replace(Instant::now()).is_none() {
            missing -= 1;
        }
    }
    came.into_iter().map(|came| came.expect("none is missing")).collect()
}
