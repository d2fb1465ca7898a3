//! Connected, but not consuming: RabbitMQ says nothing about it, and the fleet finds out.

use std::time::Duration;

use quicklogin::queue::{Queue, Settlement};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::fleet::{Ground, Plan, SOON, eventually, rabbit_settings, request};
use crate::support::rabbit::Broker;

const LOGINS: &str = "quicklogin.logins";

#[tokio::test]
async fn a_consumer_that_the_queue_has_forgotten_is_made_anew() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    Broker::shared().forget_consumers(fleet.vhost(), LOGINS);
    let logins = || Broker::shared().queue_depths(fleet.vhost())[LOGINS];
    assert_eq!(logins().consumers, 0);
    let login = request(&fleet.tap().code);
    fleet.publish(&login).await;
    assert_eq!(logins().ready, 1, "nobody hears of it");
    assert_eq!(fleet.result(&login.request_id).await.outcome.as_str(), "succeeded");
    eventually("it is acked", async || (logins().ready, logins().unacked, logins().consumers) == (0, 0, 1)).await;
}

#[tokio::test]
async fn one_that_is_forgotten_beside_others_is_made_anew_when_messages_wait() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let queue =
        |limit| Queue::rabbit(rabbit_settings(fleet.vhost(), limit), &TaskTracker::new()).expect("good settings");
    let mut forgotten = queue(100_000).consume(8, CancellationToken::new());
    let logins = || Broker::shared().queue_depths(fleet.vhost())[LOGINS];
    eventually("it consumes", async || logins().consumers == 1).await;
    Broker::shared().forget_consumers(fleet.vhost(), LOGINS);
    // Another has all that it wants, and leaves the rest.
    let mut other = queue(100_000).consume(1, CancellationToken::new());
    for n in 0..2 {
        fleet.publish(&request(&format!("code-{n}"))).await;
    }
    let in_hand = timeout(SOON, other.next()).await.expect("in time").expect("a delivery");
    let delivery = timeout(SOON, forgotten.next()).await.expect("in time").expect("a delivery");
    delivery.settle(Settlement::Ack).await;
    in_hand.settle(Settlement::Ack).await;
    eventually("all are acked", async || (logins().ready, logins().unacked) == (0, 0)).await;
}

#[tokio::test]
async fn who_has_as_much_in_hand_as_it_wants_is_left_in_peace() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let mut consumer = fleet.queue.consume(1, CancellationToken::new());
    for n in 0..2 {
        fleet.publish(&request(&format!("code-{n}"))).await;
    }
    let in_hand = timeout(SOON, consumer.next()).await.expect("in time").expect("a delivery");
    sleep(Duration::from_secs(12)).await;
    in_hand.settle(Settlement::Ack).await;
    let next = timeout(SOON, consumer.next()).await.expect("in time").expect("a delivery");
    assert!(!next.redelivered, "the session has gone on");
    let logins = || Broker::shared().queue_depths(fleet.vhost())[LOGINS];
    eventually("the first is acked", async || (logins().ready, logins().unacked) == (0, 1)).await;
}
