//! Logins whose time was up before anybody could ask: how quickly they are out of the way.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::contestant::Kind;
use crate::drain::{LIMIT, cpu_when_done};
use crate::ground::{Ground, now_ms};
use crate::plan::Plan;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What was seen.
pub(crate) struct Expired {
    pub(crate) a_second: f64,
    pub(crate) cpu_us: f64,
}

pub(crate) async fn measure(ground: &Ground, plan: &Plan) -> Expired {
    let logins = ground.mint(plan.logins).await;
    let run = ground.run("expired", 1).await;
    run.publish(&logins, Some(now_ms() - 1000), 1).await;
    let contestant = Kind::Quicklogin.start(&run, plan.slots);
    let a_second = pace(ground, plan.logins).await;
    let cpu = cpu_when_done(&run, &contestant).await;
    run.assert_all_expired(&logins).await;
    assert_eq!(ground.asked().await["phone"]["calls"], 0, "nobody asked");
    Expired { a_second, cpu_us: cpu.as_secs_f64() * 1e6 / plan.logins as f64 }
}

/// How many a second, from the first tenth to the last.
async fn pace(ground: &Ground, logins: usize) -> f64 {
    let (began, from) = when_written(ground, logins / 10).await;
    let (ended, to) = when_written(ground, logins / 10 * 9).await;
    (to - from) as f64 / (ended - began).as_secs_f64()
}

async fn when_written(ground: &Ground, at_least: usize) -> (Instant, usize) {
    let began = Instant::now();
    loop {
        let (now, keys) = (Instant::now(), ground.redis.cli(&["DBSIZE"]).parse().expect("a number"));
        if keys >= at_least {
            return (now, keys);
        }
        assert!(began.elapsed() < LIMIT, "it goes on; {keys} keys");
        sleep(LOOK_EVERY).await;
    }
}
