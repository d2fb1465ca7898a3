//! More logins than can be served, and logins whose time is up: what is dead is soon out of the way, and no capacity goes
//! to what comes too late.

use std::time::Duration;

use futures_util::future::join_all;
use quicklogin::clock;
use quicklogin::login::LoginRequest;
use quicklogin::simulator::{Mint, Step};
use tokio::time::{Instant, sleep};

use crate::support::fleet::{APP, Fleet, Ground, Plan, eventually, request};

/// What a call of WeChat's takes in these tests.
const CALL: Duration = Duration::from_millis(100);

fn dead() -> LoginRequest {
    LoginRequest { issued_at: Some(clock::now_ms() - 3_600_000), ..request("0123456789abcdef") }
}

async fn publish_all(fleet: &Fleet, requests: &[LoginRequest]) {
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
    let fleet = Plan { slots: 1, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let late = Mint::of(APP).script([Step::normal().late_ms(1000)]);
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
    fleet.publish(&dead).await;
    sleep(Duration::from_millis(300)).await;
    let before = fleet.store.results(std::slice::from_ref(&dead.request_id)).await.expect("the store answers");
    assert_eq!(before, [None], "nobody answers over the head of the one that asks");
}
