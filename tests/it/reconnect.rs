//! A broker or a store that goes away comes back, and the fleet with it; nothing is lost meanwhile.

use std::time::Duration;

use quicklogin::simulator::{Mint, Step};
use quicklogin::worker::Limits;
use tokio::time::sleep;

use crate::support::fleet::{APP, Fleet, Ground, Plan, request};
use crate::support::rabbit::Broker;

async fn fleet() -> Fleet {
    let plan = Plan::on(Ground::RabbitAndRedis);
    let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
    Plan { workers: 2, limits, durable_store: true, ..plan }.start().await
}

/// Publishes so many logins that take a while, and lets `trouble` happen in the midst of them; then every one must
/// succeed with its own number, asked once.
async fn all_succeed_through(fleet: &Fleet, trouble: impl AsyncFnOnce()) {
    let slow = Mint::of(APP).script([Step::normal().late_ms(200)]);
    let taps = fleet.simulator.mint_many(&slow, 200).expect("the simulator knows the app");
    let requests: Vec<_> = taps.iter().map(|tap| request(&tap.code)).collect();
    for request in &requests {
        fleet.publish(request).await;
    }
    trouble().await;
    for (tap, request) in taps.iter().zip(&requests) {
        let result = fleet.result(&request.request_id).await;
        let quicklogin::login::Outcome::Succeeded(phone) = result.outcome else { panic!("{result:?}") };
        assert_eq!(phone.phone_number, tap.phone_number);
    }
    assert_eq!(fleet.simulator.asked_without_codes().codes_asked_more_than_once, 0);
}

#[tokio::test]
async fn connections_closed_by_the_broker_are_made_again() {
    let fleet = fleet().await;
    all_succeed_through(&fleet, async || {
        for _ in 0..3 {
            sleep(Duration::from_millis(150)).await;
            Broker::shared().close_connections(fleet.vhost());
        }
    })
    .await;
}

#[tokio::test]
async fn a_deleted_queue_is_declared_and_consumed_again() {
    let fleet = fleet().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    Broker::shared().delete_queue(fleet.vhost(), "quicklogin.logins");
    crate::support::fleet::eventually("the queue is there again", async || {
        Broker::shared().queue_depths(fleet.vhost()).get("quicklogin.logins").is_some_and(|queue| queue.consumers == 2)
    })
    .await;
    all_succeed_through(&fleet, async || {}).await;
}

#[tokio::test]
async fn a_store_that_is_killed_and_comes_back_loses_nothing() {
    let fleet = fleet().await;
    all_succeed_through(&fleet, async || {
        fleet.redis().kill();
        sleep(Duration::from_millis(1500)).await;
        fleet.redis().restart();
    })
    .await;
}

#[tokio::test]
async fn nobody_is_asked_while_the_store_is_away() {
    let fleet = fleet().await;
    fleet.redis().freeze();
    let tap = fleet.tap();
    let request = request(&tap.code);
    fleet.publish(&request).await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(fleet.simulator.asked_of(&tap.code).asked, 0);
    fleet.redis().thaw();
    assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
}
