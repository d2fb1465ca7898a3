//! What befalls a Redis under load: no code is asked while results cannot be written, and nothing is lost that Redis itself
//! has not lost. Sentinels and clusters are in `redis_topologies`.

use std::collections::BTreeSet;
use std::time::Duration;

use quicklogin::simulator::Step;
use tokio::time::{Instant, sleep};

use crate::support::fleet::eventually;
use crate::support::line::Line;
use crate::support::process::Process;
use crate::support::program::status;
use crate::support::redis::Redis;

/// What was asked when the fault began is answered.
const ANSWERED: Duration = Duration::from_millis(1500);
/// From Redis' return to being ready again: the link looks every second at the latest, on a busy machine too.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Two workers, and where they tell how they are.
struct Workers([(Process, String); 2]);

impl Workers {
    fn of(line: &Line) -> Self {
        Self([line.worker_with_ops(&[]), line.worker_with_ops(&[])])
    }

    async fn all_say(&self, ready: u16) {
        for (_, ops) in &self.0 {
            let said = async || status(&format!("{ops}/readyz")).await == ready;
            eventually("readiness tells the truth", said).await;
        }
    }

    /// Nobody is ready, and no code is asked, while this lasts.
    async fn nobody_asks_for(&self, lasts: Duration, line: &Line) {
        let began = Instant::now();
        self.all_say(503).await;
        sleep(ANSWERED.saturating_sub(began.elapsed())).await;
        let asked = line.calls();
        sleep(lasts.saturating_sub(began.elapsed())).await;
        assert_eq!(line.calls(), asked, "no code is asked while its result cannot be written");
        self.all_say(503).await;
    }

    async fn are_back_soon(&self) {
        let began = Instant::now();
        self.all_say(200).await;
        assert!(began.elapsed() < BACK_WITHIN, "{:?}", began.elapsed());
    }
}

/// WeChat takes a while, so that many are being asked at any time.
fn slow() -> [Step; 1] {
    [Step::normal().late_ms(100)]
}

/// Returns when WeChat has been asked for more logins.
async fn asked_more(line: &Line) {
    let asked = line.calls();
    eventually("more are asked", async || line.calls() >= asked + 20).await;
}

/// All logins of a load succeed, each asked once, whatever Redis suffers for so long, and comes back from.
async fn all_succeed_through(lasts: Duration, suffer: impl Fn(&Redis), come_back: impl Fn(&Redis)) {
    let line = Line::on(Redis::start_durable(), "").await;
    let workers = Workers::of(&line);
    workers.all_say(200).await;
    let trouble = async {
        asked_more(&line).await;
        suffer(&line.servers.redis);
        workers.nobody_asks_for(lasts, &line).await;
        come_back(&line.servers.redis);
        workers.are_back_soon().await;
        asked_more(&line).await;
    };
    let taps = line.load_while(trouble, &slow()).await;
    line.all_succeed_asked_once(&taps).await;
}

#[tokio::test]
async fn redis_killed_for_four_seconds_under_load_costs_no_login() {
    all_succeed_through(Duration::from_secs(4), Redis::kill, Redis::restart).await;
}

#[tokio::test]
async fn redis_frozen_for_five_seconds_under_load_costs_no_login() {
    all_succeed_through(Duration::from_secs(5), Redis::freeze, Redis::thaw).await;
}

#[tokio::test]
async fn redis_out_of_memory_under_load_costs_no_login() {
    let limit = |redis: &Redis, bytes| assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", bytes]), "OK");
    all_succeed_through(Duration::from_secs(3), |redis| limit(redis, "1"), |redis| limit(redis, "0")).await;
}

#[tokio::test]
async fn redis_read_only_under_load_costs_no_login() {
    let demote = |redis: &Redis| assert_eq!(redis.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    let promote = |redis: &Redis| assert_eq!(redis.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    all_succeed_through(Duration::from_secs(3), demote, promote).await;
}

#[tokio::test]
async fn redis_without_the_replicas_that_it_wants_costs_no_login() {
    let want = |redis: &Redis, replicas| {
        assert_eq!(redis.cli(&["CONFIG", "SET", "min-replicas-to-write", replicas]), "OK");
    };
    all_succeed_through(Duration::from_secs(3), |redis| want(redis, "1"), |redis| want(redis, "0")).await;
}

/// All that is written goes at once, and its results are named.
const FORGET: &str = "local results = redis.call('KEYS', 'quicklogin:result:*') redis.call('FLUSHALL') return results";

#[tokio::test]
async fn redis_that_forgets_all_under_load_loses_the_results_that_it_had_and_no_others() {
    let line = Line::start("").await;
    let _workers = Workers::of(&line);
    let mut forgotten = BTreeSet::new();
    let results = || line.servers.redis.keys("quicklogin:result:*").len();
    let trouble = async {
        eventually("there is something to forget", async || results() > 20).await;
        forgotten.extend(line.servers.redis.cli(&["EVAL", FORGET, "0"]).lines().map(str::to_owned));
        asked_more(&line).await;
    };
    let taps = line.load_while(trouble, &slow()).await;
    line.is_empty().await;
    assert!(forgotten.len() > 10, "it was in mid-load: {forgotten:?}");
    for tap in &taps {
        assert_eq!(line.asked(tap).asked, 1, "forgotten or not, nobody asks twice");
        match forgotten.contains(&format!("quicklogin:result:{{{}}}", tap.request.request_id)) {
            true => assert_eq!(line.result_now(tap), None),
            false => assert_eq!(line.outcome(tap).await, ("succeeded".to_owned(), 1)),
        }
    }
}
