//! The servers that all other tests stand on do what their controls say.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join};
use lapin::{
    options::BasicConsumeOptions,
    types::{AMQPValue, FieldTable},
};
use tokio::time::{sleep, timeout};

use crate::support::{
    amqp::{Outcome, Publisher},
    fleet::eventually,
    process::{no_child_is_made, wait_until},
    rabbit::{Broker, Depth, Vhost},
    redis::Redis,
};

const SOON: Duration = Duration::from_secs(60);

fn numbered(count: usize) -> impl Iterator<Item = (Vec<u8>, lapin::BasicProperties)> {
    (0..count).map(|n| (n.to_string().into_bytes(), Publisher::properties(&n.to_string())))
}

async fn publish(publisher: &Publisher, queue: &str, body: &[u8]) -> lapin::Result<Outcome> {
    publisher.publish("", queue, body, Publisher::properties("one")).await
}

async fn publisher_with_queue(vhost: &Vhost) -> Publisher {
    let publisher = Publisher::connect(vhost.url()).await;
    publisher.declare("logins").await;
    publisher
}

async fn until(mut fact: impl FnMut() -> bool) {
    let waiting = async {
        while !fact() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, waiting).await.expect("the fact comes true");
}

#[tokio::test]
async fn a_broker_takes_messages_and_gives_them_back() {
    let broker = Broker::shared();
    let vhost = broker.vhost();
    let publisher = publisher_with_queue(&vhost).await;

    assert_eq!(publisher.publish_many("", "logins", numbered(3)).await.expect("it is connected"), [Outcome::Taken; 3]);
    assert_eq!(publish(&publisher, "nowhere", b"x").await.expect("it is connected"), Outcome::Unroutable);
    assert_eq!(broker.queue_depths(&vhost)["logins"], Depth { ready: 3, ..Depth::default() });

    assert_eq!(publisher.get("logins").await.expect("three were put in").0, b"0");
    assert_eq!(publisher.purge("logins").await, 2);

    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString("00-1-2-03".into()));
    let properties = Publisher::properties("traced").with_headers(headers.clone());
    publisher.publish("", "logins", b"traced", properties).await.expect("it is connected");
    // RabbitMQ adds a header of its own, the number of deliveries before this one.
    let (body, got) = publisher.get("logins").await.expect("one was put in");
    assert_eq!(body, b"traced");
    assert_eq!(got.inner().get("traceparent"), headers.inner().get("traceparent"));
    assert_eq!(publisher.get("logins").await, None);
}

#[tokio::test]
async fn a_depth_tells_what_is_held_by_whom() {
    let broker = Broker::shared();
    let vhost = broker.vhost();
    let publisher = publisher_with_queue(&vhost).await;
    publisher.publish_many("", "logins", numbered(3)).await.expect("it is connected");
    let consume = publisher.channel().basic_consume(
        "logins".into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = consume.await.expect("the queue is there");
    consumer.next().await.expect("the consumer lives").expect("the channel lives");
    until(|| broker.queue_depths(&vhost)["logins"] == Depth { ready: 0, unacked: 3, consumers: 1 }).await;

    broker.delete_queue(&vhost, "logins");
    while let Some(delivery) = timeout(SOON, consumer.next()).await.expect("the consumer is told") {
        delivery.expect("the channel lives");
    }
    assert!(broker.queue_depths(&vhost).is_empty());
}

#[tokio::test]
async fn vhosts_of_one_broker_share_nothing() {
    let broker = Broker::shared();
    let (one, other) = (broker.vhost(), broker.vhost());
    let (here, there) = join(publisher_with_queue(&one), Publisher::connect(other.url())).await;
    assert_ne!(one.name(), other.name());
    assert!(broker.queue_depths(&one).contains_key("logins"));
    assert!(broker.queue_depths(&other).is_empty());

    broker.close_connections(&one);
    until(|| !here.is_connected()).await;
    publish(&here, "logins", b"x").await.expect_err("its connection was closed");
    assert_eq!(publish(&there, "logins", b"x").await.expect("its connection was not"), Outcome::Unroutable);
}

#[test]
fn calls_into_one_broker_at_once_do_not_disturb_each_other() {
    let broker = Broker::shared();
    thread::scope(|scope| {
        for n in 0..8 {
            scope
                .spawn(move || (0..20).for_each(|_| assert_eq!(broker.eval(&format!("{n} + 1")), (n + 1).to_string())));
        }
    });
}

#[tokio::test]
async fn a_full_queue_refuses_what_is_published() {
    let broker = Broker::shared();
    let vhost = broker.vhost();
    broker.set_max_length(&vhost, "^log", 2);
    let publisher = publisher_with_queue(&vhost).await;
    // A quorum queue says that it is full when it has been so for a moment: the publish over the limit may still pass.
    for _ in 0..2 {
        assert_eq!(publish(&publisher, "logins", b"x").await.expect("it is connected"), Outcome::Taken);
    }
    let refused = async || publish(&publisher, "logins", b"x").await.expect("it is connected") == Outcome::Refused;
    eventually("it refuses", refused).await;
    assert!(broker.queue_depths(&vhost)["logins"].ready < 20, "soon");
}

#[tokio::test]
async fn a_killed_broker_comes_back_with_its_messages() {
    let broker = Broker::start();
    let vhost = broker.vhost();
    let publisher = publisher_with_queue(&vhost).await;
    assert_eq!(publish(&publisher, "logins", b"kept").await.expect("it is connected"), Outcome::Taken);

    // At once after the declare: the worst moment.
    broker.kill();
    until(|| !publisher.is_connected()).await;
    broker.restart();
    let publisher = Publisher::connect(vhost.url()).await;
    assert_eq!(publisher.get("logins").await.expect("the message is there").0, b"kept");
}

#[tokio::test]
async fn a_broker_can_be_frozen_alarmed_and_swept_of_connections() {
    let broker = Broker::start();
    let publisher = publisher_with_queue(&broker.vhost()).await;

    broker.freeze();
    let held = timeout(Duration::from_millis(300), publish(&publisher, "logins", b"late")).await;
    held.expect_err("a frozen broker confirms nothing");
    broker.thaw();
    assert_eq!(publish(&publisher, "logins", b"x").await.expect("it is thawed"), Outcome::Taken);

    broker.memory_alarm(true);
    // A connection is blocked once it publishes; the second publish is the one that cannot leave.
    let both = async {
        publish(&publisher, "logins", b"x").await?;
        publish(&publisher, "logins", b"x").await
    };
    timeout(Duration::from_millis(300), both).await.expect_err("an alarmed broker confirms nothing");
    broker.memory_alarm(false);
    let freed = timeout(SOON, publish(&publisher, "logins", b"x")).await.expect("the alarm is over");
    assert_eq!(freed.expect("the connection has lived through it"), Outcome::Taken);

    broker.close_all_connections();
    until(|| !publisher.is_connected()).await;
}

#[test]
fn every_redis_is_a_new_one() {
    let (one, other) = (Redis::start(), Redis::start());
    assert_eq!(one.cli(&["SET", "key", "value", "PX", "60000"]), "OK");
    one.cli(&["SET", "another", ""]);
    assert_eq!(one.get("key").as_deref(), Some("value"));
    assert_eq!(one.keys("*"), ["another", "key"]);
    assert!(one.ttl_ms("key").is_some_and(|ttl_ms| (50_000..=60_000).contains(&ttl_ms)));
    assert_eq!(one.ttl_ms("another"), None);
    assert_eq!((other.get("key"), other.keys("*")), (None, Vec::new()));
    assert_ne!(one.url(), other.url());
}

#[test]
fn a_killed_redis_comes_back_with_what_it_was_told_to_keep() {
    for (redis, kept) in [(Redis::start(), None), (Redis::start_durable(), Some("value"))] {
        redis.cli(&["SET", "key", "value"]);
        redis.kill();
        redis.restart();
        assert_eq!(redis.get("key").as_deref(), kept);
    }
}

#[tokio::test]
async fn a_frozen_redis_answers_when_it_is_thawed() {
    let redis = Redis::start();
    let client = redis::Client::open(redis.url()).expect("the url is one");
    let mut connection = client.get_multiplexed_async_connection().await.expect("it runs");
    redis.freeze();
    let asked = tokio::spawn(async move { redis::cmd("PING").query_async::<String>(&mut connection).await });
    sleep(Duration::from_millis(100)).await;
    assert!(!asked.is_finished());
    redis.thaw();
    assert_eq!(asked.await.expect("no panic").expect("it answers"), "PONG");
}

/// Says where this binary, started by the test below, put its server.
const VICTIM: &str = "QUICKLOGIN_TEST_VICTIM";

#[test]
fn a_killed_test_binary_leaves_no_server_behind() {
    if let Ok(file) = std::env::var(VICTIM) {
        let redis = Redis::start();
        std::fs::write(file, redis.url()).expect("the folder is there");
        thread::sleep(SOON);
        panic!("nobody killed this binary");
    }
    let folder = crate::support::process::folder("victim-");
    let file = folder.path().join("url");
    let making = no_child_is_made();
    let mut victim = Command::new(std::env::current_exe().expect("it runs"))
        .args(["--exact", "harness::a_killed_test_binary_leaves_no_server_behind"])
        .env(VICTIM, &file)
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs already");
    drop(making);
    let url = || std::fs::read_to_string(&file).unwrap_or_default();
    assert!(wait_until(SOON, || url().len() > "redis://127.0.0.1:".len()));
    let client = redis::Client::open(url()).expect("the url is one");
    client.get_connection().expect("the server runs");
    victim.kill().expect("it is our child");
    victim.wait().expect("it is our child");
    let killed_at = Instant::now();
    assert!(wait_until(SOON, || client.get_connection().is_err()), "still there {:?} later", killed_at.elapsed());
}
