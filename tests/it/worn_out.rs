//! Logins that come back again and again: each has a result before its queue loses it, and none is lost that was only
//! near when workers ended.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use quicklogin::login::{LoginRequest, LoginResult, Outcome, RequestId};
use quicklogin::store::{Claim, Claimed, FinishedResult};

use crate::support::amqp::Publisher;
use crate::support::fleet::{Fleet, Ground, Plan, eventually, request};
use crate::support::rabbit::{Broker, Vhost};

const LOGINS: &str = "quicklogin.logins";
const DEAD: &str = "quicklogin.dead";
const LEASE: Duration = Duration::from_millis(1);
const KEEP: Duration = Duration::from_secs(60);

/// A fleet in which nobody works yet.
async fn fleet() -> Fleet {
    Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await
}

/// A queue of an operator's, who lets requests come back so often.
async fn declare(vhost: &Vhost, delivery_limit: i64) {
    let publisher = Publisher::connect(vhost.url()).await;
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(delivery_limit));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(100_000));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(DEAD));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    let declared = publisher.channel().queue_declare(LOGINS.into(), QueueDeclareOptions::durable(), arguments);
    declared.await.expect("nobody has declared it before");
}

/// The login of a fresh code, after it has come back so often.
async fn came_back(fleet: &Fleet, times: usize) -> LoginRequest {
    let login = request(&fleet.tap().code);
    fleet.publish(&login).await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    for _ in 0..times {
        publisher.take_and_give_back(LOGINS, 1).await;
        eventually("it is back", async || ready(fleet, LOGINS) == 1).await;
    }
    login
}

/// Somebody claims it, and is never heard of again.
async fn begin(fleet: &Fleet, id: &RequestId) -> Claimed {
    let mut begun = None;
    eventually("the lease before has run out", async || {
        let owner = RequestId::generate().to_string();
        let claim = fleet.store.claim(id, &owner, LEASE, KEEP).await.expect("the store answers");
        begun = if let Claim::Mine(claimed) = claim { Some(claimed) } else { None };
        begun.is_some()
    })
    .await;
    begun.expect("it is claimed")
}

fn ready(fleet: &Fleet, queue: &str) -> u64 {
    Broker::shared().queue_depths(fleet.vhost())[queue].ready
}

async fn nothing_is_left(fleet: &Fleet) {
    let logins = || Broker::shared().queue_depths(fleet.vhost())[LOGINS];
    eventually("the queue is empty", async || (logins().ready, logins().unacked) == (0, 0)).await;
}

fn reason(result: &LoginResult) -> &'static str {
    let Outcome::Failed(failure) = &result.outcome else { return "none" };
    assert!(failure.detail.as_ref().is_some_and(|detail| detail.contains("workers ended")), "{failure:?}");
    failure.reason.as_str()
}

/// It was concluded without asking, and people find it among the dead letters.
async fn is_laid_aside(fleet: &Fleet, login: &LoginRequest, deliveries: i64) {
    nothing_is_left(fleet).await;
    eventually("there is a letter", async || ready(fleet, DEAD) == 1).await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let (body, headers) = publisher.get(DEAD).await.expect("a letter");
    let header = |name: &str| headers.inner().get(name).cloned();
    let why = AMQPValue::LongString(quicklogin::worker::WORN_OUT.into());
    assert_eq!((body, header("x-quicklogin-reason")), (login.encode(), Some(why)));
    assert_eq!(header("x-quicklogin-deliveries"), Some(AMQPValue::LongLongInt(deliveries)));
    assert_eq!(header("x-death"), None, "RabbitMQ had no part in it");
    assert_eq!(fleet.asked_for_phones(), 0);
}

#[tokio::test]
async fn a_login_that_worker_after_worker_began_and_none_finished_is_in_doubt_and_laid_aside() {
    let mut fleet = fleet().await;
    let login = came_back(&fleet, 20).await;
    for _ in 0..3 {
        begin(&fleet, &login.request_id).await;
    }
    fleet.add_worker();
    let result = fleet.result(&login.request_id).await;
    assert_eq!((reason(&result), result.attempts), ("in_doubt", 3));
    is_laid_aside(&fleet, &login, 21).await;
}

#[tokio::test]
async fn a_login_that_came_back_as_often_and_was_hardly_begun_is_asked() {
    let mut fleet = fleet().await;
    let login = came_back(&fleet, 20).await;
    begin(&fleet, &login.request_id).await;
    fleet.add_worker();
    assert_eq!(fleet.result(&login.request_id).await.outcome.as_str(), "succeeded");
    nothing_is_left(&fleet).await;
    assert_eq!(ready(&fleet, DEAD), 0);
}

#[tokio::test]
async fn a_result_that_is_there_stays_and_the_login_is_only_acked() {
    let mut fleet = fleet().await;
    let login = came_back(&fleet, 20).await;
    for _ in 0..3 {
        begin(&fleet, &login.request_id).await;
    }
    let claimed = begin(&fleet, &login.request_id).await;
    let json = format!(r#"{{"request_id":"{}","status":"succeeded"}}"#, login.request_id);
    let finished = FinishedResult { json: json.clone().into(), succeeded: true, ttl: KEEP };
    fleet.store.record(&login.request_id, &claimed, &finished).await.expect("the store answers");
    fleet.add_worker();
    nothing_is_left(&fleet).await;
    assert_eq!(fleet.result_json(&login.request_id).await, json);
    assert_eq!((ready(&fleet, DEAD), fleet.asked_for_phones()), (0, 0));
}

#[tokio::test]
async fn in_an_operators_queue_the_last_delivery_is_concluded_and_the_one_before_it_asked() {
    for (times, expected) in [(4, "none"), (5, "unavailable")] {
        let vhost = Broker::shared().vhost();
        declare(&vhost, 5).await;
        let mut fleet = Plan { workers: 0, vhost: Some(vhost), ..Plan::on(Ground::RabbitAndRedis) }.start().await;
        let login = came_back(&fleet, times).await;
        fleet.add_worker();
        let result = fleet.result(&login.request_id).await;
        assert_eq!(reason(&result), expected, "{result:?}");
        if expected == "unavailable" {
            is_laid_aside(&fleet, &login, 6).await;
        }
    }
}

#[tokio::test]
async fn a_queue_whose_limit_nobody_tells_is_taken_for_one_of_the_ordinary_limit() {
    let vhost = Broker::shared().vhost();
    declare(&vhost, 20).await;
    let mut fleet =
        Plan { workers: 0, vhost: Some(vhost), max_length: 7, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let login = came_back(&fleet, 18).await;
    fleet.add_worker();
    let result = fleet.result(&login.request_id).await;
    assert_eq!((reason(&result), result.attempts), ("unavailable", 0));
    is_laid_aside(&fleet, &login, 19).await;
}

#[tokio::test]
async fn what_came_back_as_often_as_the_queue_of_our_making_lets_it_is_concluded() {
    let mut fleet = Plan { workers: 0, delivery_limit: 1, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let login = came_back(&fleet, 10).await;
    fleet.add_worker();
    assert_eq!(reason(&fleet.result(&login.request_id).await), "unavailable");
    is_laid_aside(&fleet, &login, 11).await;
}
