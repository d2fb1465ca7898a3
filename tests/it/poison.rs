//! Messages that would do harm stay alone: they end no session, take no neighbours along, and fill no disk.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use quicklogin::queue::{Consumer, Delivery, Queue, Settlement};

use crate::support::amqp::{Outcome, Publisher};
use crate::support::fleet::{Ground, Plan, SOON, eventually, rabbit_settings, request};
use crate::support::rabbit::Broker;

const LOGINS: &str = "quicklogin.logins";
const DEAD: &str = "quicklogin.dead";
/// Nobody hands out a second one for so long: long enough to be handed out, had it been allowed.
const ALONE: Duration = Duration::from_millis(300);

async fn send(publisher: &Publisher, body: &[u8], headers: FieldTable) {
    let properties = BasicProperties::default().with_headers(headers);
    let published = publisher.publish("quicklogin", "login", body, properties).await;
    assert_eq!(published.expect("it is connected"), Outcome::Taken);
}

/// Takes so many deliveries and gives them back, as often as it takes to be suspect.
async fn make_suspect(publisher: &Publisher, vhost: &crate::support::rabbit::Vhost, deliveries: u64) {
    for _ in 0..3 {
        publisher.take_and_give_back(LOGINS, deliveries).await;
        eventually("all are back", async || Broker::shared().queue_depths(vhost)[LOGINS].ready == deliveries).await;
    }
}

async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(SOON, consumer.next()).await.expect("in time").expect("a delivery")
}

#[tokio::test]
async fn what_came_back_three_times_is_handed_out_alone_and_holds_up_nothing_else() {
    let vhost = Broker::shared().vhost();
    let queue = Queue::rabbit(rabbit_settings(&vhost, 1000), &TaskTracker::new()).expect("good settings");
    queue.check().await.expect("it is there");
    let publisher = Publisher::connect(vhost.url()).await;
    for body in [b"a", b"b", b"c"] {
        send(&publisher, body, FieldTable::default()).await;
    }
    make_suspect(&publisher, &vhost, 3).await;
    send(&publisher, b"fresh", FieldTable::default()).await;

    let stop = CancellationToken::new();
    let mut consumer = queue.consume(16, stop.clone());
    let fresh = next(&mut consumer).await;
    assert_eq!(fresh.body, b"fresh", "it is first, though it came last");
    let first = next(&mut consumer).await;
    assert!(timeout(ALONE, consumer.next()).await.is_err(), "one suspect at a time");
    send(&publisher, b"another", FieldTable::default()).await;
    let another = next(&mut consumer).await;
    assert_eq!(another.body, b"another");
    let mut suspects = vec![first.body.clone()];
    first.settle(Settlement::Ack).await;
    for _ in 0..2 {
        let suspect = next(&mut consumer).await;
        suspects.push(suspect.body.clone());
        suspect.settle(Settlement::Ack).await;
    }
    suspects.sort();
    assert_eq!(suspects, [b"a", b"b", b"c"]);
}

#[tokio::test]
async fn suspects_that_nobody_took_go_back_at_the_stop() {
    let vhost = Broker::shared().vhost();
    let queue = Queue::rabbit(rabbit_settings(&vhost, 1000), &TaskTracker::new()).expect("good settings");
    queue.check().await.expect("it is there");
    let publisher = Publisher::connect(vhost.url()).await;
    for body in [b"a", b"b", b"c"] {
        send(&publisher, body, FieldTable::default()).await;
    }
    make_suspect(&publisher, &vhost, 3).await;
    let stop = CancellationToken::new();
    let mut consumer = queue.consume(16, stop.clone());
    let in_hand = next(&mut consumer).await;
    stop.cancel();
    consumer.give_back();
    let ready = || Broker::shared().queue_depths(&vhost)[LOGINS].ready;
    eventually("those that wait are back while one is in hand", async || ready() == 2).await;
    in_hand.settle(Settlement::Ack).await;
    consumer.close(SOON).await;
    assert_eq!(ready(), 2);
}

#[tokio::test]
async fn headers_without_end_end_no_session() {
    let fleet = Plan::on(Ground::RabbitAndRedis).start().await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let mut headers = FieldTable::default();
    headers.insert("long".into(), AMQPValue::LongString("x".repeat(100_000).into()));
    send(&publisher, b"not json", headers.clone()).await;
    let login = request(&fleet.tap().code);
    send(&publisher, &login.encode(), headers).await;
    assert_eq!(fleet.result(&login.request_id).await.outcome.as_str(), "succeeded");
    eventually("it is dead", async || Broker::shared().queue_depths(fleet.vhost())[DEAD].ready == 1).await;
    let (body, headers) = publisher.get(DEAD).await.expect("a letter");
    let deliveries = headers.inner().get("x-quicklogin-deliveries").cloned();
    assert_eq!((body.as_slice(), deliveries), (&b"not json"[..], Some(AMQPValue::LongLongInt(1))));
    assert!(!headers.inner().contains_key("long"), "only what is known goes on");
}

#[tokio::test]
async fn the_dead_letters_are_bounded_and_the_oldest_go() {
    let vhost = Broker::shared().vhost();
    let mut settings = rabbit_settings(&vhost, 1000);
    settings.dead_max_length = 5;
    let queue = Queue::rabbit(settings, &TaskTracker::new()).expect("good settings");
    queue.check().await.expect("it is there");
    let publisher = Publisher::connect(vhost.url()).await;
    for n in 0..8_u8 {
        let published = publisher.publish("", DEAD, &[n], BasicProperties::default()).await;
        assert_eq!(published.expect("it is connected"), Outcome::Taken, "a letter is never refused");
    }
    let mut left = BTreeSet::new();
    while let Some((body, _)) = publisher.get(DEAD).await {
        left.extend(body);
    }
    assert_eq!(left, BTreeSet::from([3, 4, 5, 6, 7]));
    let huge = vec![b'x'; 6 * 16 * 1024];
    for body in [b"small", huge.as_slice(), b"small"] {
        publisher.publish("", DEAD, body, BasicProperties::default()).await.expect("it is connected");
    }
    let (body, _) = publisher.get(DEAD).await.expect("a letter");
    assert_eq!((body.as_slice(), publisher.get(DEAD).await), (&b"small"[..], None), "so many bytes for each, no more");
}
