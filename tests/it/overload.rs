//! More logins than can be served, and logins whose time is up: what is dead is soon out of the way, and no capacity goes
//! to what comes too late.

use std::time::Duration;

use futures_util::future::join_all;
use quicklogin::clock;
use quicklogin::login::LoginRequest;
use quicklogin::simulator::{Mint, Step};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::fleet::{APP, Fleet, Ground, Plan, eventually, request};

/// What a call of WeChat's takes in these tests.
const CALL: Duration = Duration::from_millis(300);

pub(crate) fn dead() -> LoginRequest {
    LoginRequest { issued_at: Some(clock::now_ms() - 3_600_000), ..request("0123456789abcdef") }
}

pub(crate) async fn publish_all(fleet: &Fleet, requests: &[LoginRequest]) {
    for batch in requests.chunks(100) {
        join_all(batch.iter().map(|request| fleet.publish(request))).await;
    }
}

async fn a_dead_backlog(ground: Ground) {
    const SLOTS: usize = 4;
    const DEAD: usize = 4000;
    let mut fleet = Plan { workers: 0, slots: SLOTS, ..Plan::on(ground) }.start().await;
    fleet.simulator.set_latency(CALL.as_millis() as u64, 0);
    let dead: Vec<_> = (0..DEAD).map(|_| dead()).collect();
    let fresh: Vec<_> = (0..40).map(|_| request(&fleet.tap().code)).collect();
    publish_all(&fleet, &dead).await;
    publish_all(&fleet, &fresh).await;
    let began = Instant::now();
    fleet.add_worker();
    eventually("the first fresh one is asked", async || fleet.asked_for_phones() > 0).await;
    let cleared = began.elapsed();
    for request in &fresh {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
    }
    for request in &dead {
        let result = fleet.result(&request.request_id).await;
        assert_eq!((result.outcome.as_str(), result.attempts), ("expired", 0));
    }
    assert_eq!(fleet.asked_for_phones(), fresh.len() as u64, "and nobody else");
    let asking = CALL * DEAD as u32 / SLOTS as u32;
    assert!(cleared * 10 < asking, "{DEAD} dead took {cleared:?}, where asking as many takes {asking:?}");
}

#[tokio::test]
async fn a_backlog_of_dead_logins_is_cleared_at_tens_of_times_the_speed_of_asking() {
    a_dead_backlog(Ground::RabbitAndRedis).await;
}

#[tokio::test]
async fn a_backlog_of_dead_logins_is_cleared_at_tens_of_times_the_speed_of_asking_in_one_process() {
    a_dead_backlog(Ground::Embedded).await;
}

#[tokio::test]
async fn dead_logins_need_no_slot_of_those_that_are_asked() {
    let call_timeout = Duration::from_secs(20);
    let fleet = Plan { slots: 1, call_timeout, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let late = Mint::of(APP).script([Step::normal().late_ms(7000)]);
    let slow = request(&fleet.tap_with(&late).code);
    fleet.publish(&slow).await;
    eventually("it is asked", async || fleet.asked_for_phones() == 1).await;
    let dead: Vec<_> = (0..200).map(|_| dead()).collect();
    publish_all(&fleet, &dead).await;
    for request in &dead {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "expired");
    }
    let before = fleet.store.results(std::slice::from_ref(&slow.request_id)).await.expect("the store answers");
    assert_eq!(before, [None], "the slow one is still asked, or this shows nothing");
    assert_eq!(fleet.result(&slow.request_id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn a_dead_login_that_somebody_asked_for_is_in_doubt() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let dead = dead();
    let (lease, keep) = (Duration::from_millis(1), Duration::from_secs(60));
    fleet.store.claim(&dead.request_id, "a worker that died", lease, keep).await.expect("the store answers");
    sleep(lease * 10).await;
    fleet.publish(&dead).await;
    assert_eq!(fleet.result(&dead.request_id).await.outcome.as_str(), "in_doubt");
    assert_eq!(fleet.asked_for_phones(), 0);
}

#[tokio::test]
async fn a_dead_login_that_somebody_asks_for_now_is_theirs() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let dead = dead();
    let keep = Duration::from_secs(60);
    // Another worker's clock may be behind.
    fleet.store.claim(&dead.request_id, "another worker", Duration::from_secs(5), keep).await.expect("it answers");
    let scripts = || fleet.redis().calls_of("evalsha");
    let before = scripts();
    fleet.publish(&dead).await;
    eventually("the worker has looked at it several times", async || scripts() > before + 3).await;
    let before = fleet.store.results(std::slice::from_ref(&dead.request_id)).await.expect("the store answers");
    assert_eq!(before, [None], "nobody answers over the head of the one that asks");
}

/// What became of the logins of a burst.
struct Burst {
    /// Of what can be asked in the same time, how much succeeded before its deadline while the burst lasted.
    goodput: f64,
    /// How many succeeded too late.
    too_late: usize,
    succeeded: usize,
    /// How long before its time the earliest was given up.
    given_up_early_ms: u64,
}

/// A fleet that asks 50 logins a second, and gets 500 a second, each with a second's time.
async fn burst(ground: Ground) -> Burst {
    const EACH: u64 = 1000;
    const LASTS: u64 = 4000;
    let fleet = Plan { slots: 2, ..Plan::on(ground) }.start().await;
    fleet.simulator.set_latency(40, 0);
    let without_hurry: Vec<_> = (0..100).map(|_| request(&fleet.tap().code)).collect();
    publish_all(&fleet, &without_hurry).await;
    let mut finished = Vec::new();
    for request in &without_hurry {
        finished.push(fleet.result(&request.request_id).await.finished_at);
    }
    finished.sort_unstable();
    let capacity = 99.0 / (finished[99] - finished[0]) as f64;
    let (began, began_ms) = (Instant::now(), clock::now_ms());
    let mut requests = Vec::new();
    for tick in 0..LASTS / 10 {
        sleep_until(began + Duration::from_millis(tick * 10)).await;
        let now = clock::now_ms();
        let of_tick = (0..5).map(|_| LoginRequest { deadline: Some(now + EACH), ..request(&fleet.tap().code) });
        let of_tick: Vec<_> = of_tick.collect();
        publish_all(&fleet, &of_tick).await;
        requests.extend(of_tick);
    }
    let measured = began_ms + EACH + 200..clock::now_ms();
    let (mut in_time, mut too_late, mut succeeded, mut given_up_early_ms) = (0, 0, 0, 0);
    for request in &requests {
        let result = fleet.result(&request.request_id).await;
        let deadline = request.deadline.expect("each has one");
        match result.outcome.as_str() {
            "succeeded" => {
                succeeded += 1;
                too_late += usize::from(result.finished_at > deadline);
                in_time += u64::from(result.finished_at <= deadline && measured.contains(&result.finished_at));
            }
            "expired" => given_up_early_ms = given_up_early_ms.max(deadline.saturating_sub(result.finished_at)),
            other => panic!("{other}"),
        }
    }
    let goodput = in_time as f64 / (measured.end - measured.start) as f64 / capacity;
    Burst { goodput, too_late, succeeded, given_up_early_ms }
}

/// A machine that others use has bad moments, so it is measured up to three times.
async fn is_served_in_a_burst(ground: Ground) {
    let mut seen = String::new();
    for _ in 0..3 {
        let Burst { goodput, too_late, succeeded, given_up_early_ms } = burst(ground).await;
        seen = format!(
            "{seen}\n{goodput:.2} of capacity, {too_late} of {succeeded} too late, the earliest given up \
             {given_up_early_ms} ms before its time"
        );
        if goodput > 0.75 && too_late * 5 < succeeded && given_up_early_ms < 400 {
            return;
        }
    }
    panic!("three times:{seen}");
}

#[tokio::test]
async fn in_a_burst_of_ten_times_too_many_as_many_are_served_in_time_as_can_be() {
    is_served_in_a_burst(Ground::RabbitAndRedis).await;
}

#[tokio::test]
async fn in_a_burst_of_ten_times_too_many_as_many_are_served_in_time_as_can_be_in_one_process() {
    is_served_in_a_burst(Ground::Embedded).await;
}

#[tokio::test]
async fn a_login_with_little_time_is_asked_where_nobody_else_is() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    fleet.simulator.set_latency(1500, 0);
    for _ in 0..3 {
        assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    }
    let hurried = LoginRequest { deadline: Some(clock::now_ms() + 1200), ..request(&fleet.tap().code) };
    fleet.publish(&hurried).await;
    assert_eq!(fleet.result(&hurried.request_id).await.attempts, 1);
}
