//! Several queues instead of one: logins are spread over them, and whatever one queue withstands, several do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use quicklogin::clock;
use quicklogin::login::LoginRequest;
use quicklogin::queue::{Consumer, Delivery, PublishFault, Queue, RabbitSettings, Settlement};
use quicklogin::simulator::{Mint, Step};
use quicklogin::traceparent::Traceparent;
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::amqp::{Outcome, Publisher};
use crate::support::fleet::{APP, Fleet, Ground, Plan, SECRET, SOON, eventually, id, rabbit_settings, request};
use crate::support::line::Line;
use crate::support::logins::{Load, nothing_is_left};
use crate::support::program::{LISTENING, Servers, Site, app, post};
use crate::support::rabbit::{Broker, Depth, Vhost};

const QUEUES: [&str; 3] = ["quicklogin.logins", "quicklogin.logins.1", "quicklogin.logins.2"];
const DEAD: &str = "quicklogin.dead";
/// The variable of a fleet of processes.
const THREE: (&str, &str) = ("QUICKLOGIN__RABBITMQ__SHARDS", "3");

/// How many of `login-0` to `login-59` are in each of three shards, and some of each; by Python's `zlib.crc32`.
const SIXTY: [u64; 3] = [14, 19, 27];
const NUMBERS: [[usize; 5]; 3] = [[3, 5, 6, 14, 19], [0, 1, 7, 10, 11], [2, 4, 8, 9, 15]];

fn plan() -> Plan {
    Plan { shards: 3, ..Plan::on(Ground::RabbitAndRedis) }
}

/// A fleet in which nobody works yet.
async fn fleet() -> Fleet {
    Plan { workers: 0, ..plan() }.start().await
}

fn three(vhost: &Vhost) -> RabbitSettings {
    RabbitSettings { shards: 3, ..rabbit_settings(vhost, 1_000_000) }
}

fn queue(settings: RabbitSettings) -> Queue {
    Queue::rabbit(settings, &TaskTracker::new()).expect("good settings")
}

/// The login of a fresh code, under a name whose shard is known.
fn named(fleet: &Fleet, number: usize) -> LoginRequest {
    LoginRequest { request_id: id(&format!("login-{number}")), ..request(&fleet.tap().code) }
}

async fn publish_sixty(fleet: &Fleet) -> Vec<LoginRequest> {
    let requests: Vec<_> = (0..60).map(|n| named(fleet, n)).collect();
    for request in &requests {
        fleet.publish(request).await;
    }
    requests
}

fn depths(vhost: &Vhost) -> [Depth; 3] {
    let depths = Broker::shared().queue_depths(vhost);
    QUEUES.map(|queue| depths[queue])
}

fn ready(vhost: &Vhost) -> [u64; 3] {
    depths(vhost).map(|queue| queue.ready)
}

async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(SOON, consumer.next()).await.expect("in time").expect("a delivery")
}

#[tokio::test]
async fn logins_are_spread_as_any_gateway_would_and_a_worker_takes_them_from_all_shards_in_one_session() {
    let mut fleet = Plan { workers: 0, by_roads: true, ..plan() }.start().await;
    let requests = publish_sixty(&fleet).await;
    assert_eq!(ready(fleet.vhost()), SIXTY);
    fleet.add_worker();
    for request in &requests {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
    }
    nothing_is_left(&fleet).await;
    assert_eq!(fleet.asked_for_phones(), 60, "each once");
    assert_eq!(fleet.roads.consuming().taken(), 2, "for logins and for results; no ack has ended a session");
}

#[tokio::test]
async fn each_delivery_is_settled_by_itself_whatever_the_order() {
    let fleet = fleet().await;
    publish_sixty(&fleet).await;
    let (stop, mut dice) = (CancellationToken::new(), fastrand::Rng::with_seed(4));
    let mut consumer = fleet.queue.consume(64, stop.clone());
    let mut deliveries = vec![];
    while deliveries.len() < 60 {
        deliveries.push(next(&mut consumer).await);
    }
    dice.shuffle(&mut deliveries);
    let mut given_back = BTreeSet::new();
    for (n, delivery) in deliveries.into_iter().enumerate() {
        match n % 3 {
            0 => given_back.extend([delivery.body.clone()]),
            _ => delivery.settle(Settlement::Ack).await,
        }
    }
    for _ in 0..20 {
        let again = next(&mut consumer).await;
        assert!(given_back.remove(&again.body) && again.redelivered, "only what was given back comes again");
        again.settle(Settlement::Ack).await;
    }
    assert!(consumer.close(SOON).await);
    assert_eq!(depths(fleet.vhost()), [Depth::default(); 3]);
}

#[tokio::test]
async fn so_much_of_each_shard_is_in_hand_and_all_of_it_goes_back_at_the_stop() {
    let fleet = fleet().await;
    publish_sixty(&fleet).await;
    let stop = CancellationToken::new();
    let mut consumer = fleet.queue.consume(8, stop.clone());
    let in_hand = next(&mut consumer).await;
    eventually("all is sent ahead", async || depths(fleet.vhost()).map(|queue| queue.unacked) == [8; 3]).await;
    stop.cancel();
    consumer.give_back();
    let all_but_it = async || ready(fleet.vhost()).iter().sum::<u64>() == 59;
    eventually("all the rest is back while one is in hand", all_but_it).await;
    in_hand.settle(Settlement::Ack).await;
    assert!(consumer.close(SOON).await);
    assert!(all_but_it().await && depths(fleet.vhost()).iter().all(|queue| (queue.unacked, queue.consumers) == (0, 0)));
}

/// Divided by the shards, what RabbitMQ hands out would leave slots idle.
#[tokio::test]
async fn who_knows_the_contracts_routing_key_alone_is_served_and_fills_all_slots() {
    const SLOTS: usize = 256;
    let fleet = Plan { slots: SLOTS, call_timeout: SOON * 2, ..plan() }.start().await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let publish = async |requests: &[LoginRequest]| {
        let message = |login: &LoginRequest| (login.encode(), Publisher::properties(login.request_id.as_str()));
        let outcomes = publisher.publish_many("quicklogin", "login", requests.iter().map(message)).await;
        assert!(outcomes.expect("it is connected").iter().all(|outcome| *outcome == Outcome::Taken));
    };
    let one = request(&fleet.tap().code);
    publish(std::slice::from_ref(&one)).await;
    assert_eq!(fleet.result(&one.request_id).await.outcome.as_str(), "succeeded");
    let slow = Mint::of(APP).script([Step::normal().late_ms(SOON.as_millis() as u64)]);
    let taps = fleet.simulator.mint_many(&slow, SLOTS).expect("the simulator knows the app");
    publish(&taps.iter().map(|tap| request(&tap.code)).collect::<Vec<_>>()).await;
    eventually("all slots are taken", async || fleet.asked_for_phones() == 1 + SLOTS as u64).await;
    assert_eq!(depths(fleet.vhost()).map(|queue| queue.unacked), [SLOTS as u64, 0, 0], "none was answered yet");
}

#[tokio::test]
async fn a_full_shard_refuses_and_the_others_do_not() {
    let mut fleet = Plan { workers: 0, max_length: 3, ..plan() }.start().await;
    let mut accepted = vec![];
    let mut told = Ok(());
    for request in NUMBERS[1].map(|n| named(&fleet, n)) {
        told = fleet.queue.publish(&request, &Traceparent::generate()).await;
        accepted.extend(told.is_ok().then_some(request));
    }
    assert_eq!(told, Err(PublishFault::Full), "{} were taken", accepted.len());
    for number in [NUMBERS[0][0], NUMBERS[2][0]] {
        let request = named(&fleet, number);
        fleet.publish(&request).await;
        accepted.push(request);
    }
    fleet.add_worker();
    for request in accepted {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_and_channels_that_the_broker_closes_lose_nothing() {
    let fleet = Plan { workers: 2, ..plan() }.start().await;
    let trouble = async || {
        Broker::shared().close_connections(fleet.vhost());
        let failed = || block_in_place(|| Broker::shared().fail_channels(fleet.vhost()));
        eventually("there are channels again, and they fail", async || failed() > 0).await;
    };
    Load::default().through(&fleet, trouble).await.all_succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_started_again_loses_nothing() {
    let broker = Arc::new(block_in_place(Broker::start));
    let fleet = Plan { broker: Some(Arc::clone(&broker)), workers: 2, ..plan() }.start().await;
    let trouble = async || {
        block_in_place(|| broker.kill());
        block_in_place(|| broker.restart());
    };
    Load::default().through(&fleet, trouble).await.all_succeeded();
}

#[tokio::test]
async fn one_shard_that_is_deleted_is_declared_and_consumed_again() {
    let fleet = plan().start().await;
    eventually("it consumes", async || depths(fleet.vhost()).iter().all(|queue| queue.consumers == 1)).await;
    let began = Instant::now();
    Broker::shared().delete_queue(fleet.vhost(), QUEUES[2]);
    let is_there = || Broker::shared().queue_depths(fleet.vhost()).get(QUEUES[2]).is_some_and(|it| it.consumers == 1);
    eventually("the queue is there again", async || is_there()).await;
    // Whoever is quiet asks every five seconds, and wants to be told twice.
    assert!(began.elapsed() < Duration::from_secs(9), "before anybody asks how it is: {:?}", began.elapsed());
    let login = named(&fleet, NUMBERS[2][0]);
    fleet.publish(&login).await;
    assert_eq!(fleet.result(&login.request_id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn a_consumer_that_one_shard_has_forgotten_is_found_however_busy_the_others_are() {
    let fleet = plan().start().await;
    eventually("it consumes", async || depths(fleet.vhost()).iter().all(|queue| queue.consumers == 1)).await;
    Broker::shared().forget_consumers(fleet.vhost(), QUEUES[1]);
    let login = named(&fleet, NUMBERS[1][0]);
    fleet.publish(&login).await;
    assert_eq!(ready(fleet.vhost())[1], 1, "nobody hears of it");
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    let others = async {
        loop {
            let login = request(&fleet.tap().code);
            let properties = Publisher::properties(login.request_id.as_str());
            publisher.publish("quicklogin", "login", &login.encode(), properties).await.expect("it is connected");
            sleep(Duration::from_millis(100)).await;
        }
    };
    let result = tokio::select! {
        result = fleet.result(&login.request_id) => result,
        () = others => unreachable!("they go on"),
    };
    assert_eq!(result.outcome.as_str(), "succeeded");
    eventually("it is acked", async || (ready(fleet.vhost())[1], depths(fleet.vhost())[1].unacked) == (0, 0)).await;
}

#[tokio::test]
async fn suspects_go_one_by_one_whatever_shard_they_are_in() {
    let fleet = fleet().await;
    let publisher = Publisher::connect(fleet.vhost().url()).await;
    for numbers in NUMBERS {
        fleet.publish(&named(&fleet, numbers[0])).await;
    }
    for _ in 0..3 {
        for queue in QUEUES {
            publisher.take_and_give_back(queue, 1).await;
        }
        eventually("all are back", async || ready(fleet.vhost()) == [1; 3]).await;
    }
    let mut consumer = fleet.queue.consume(8, CancellationToken::new());
    let first = next(&mut consumer).await;
    assert!(timeout(Duration::from_millis(300), consumer.next()).await.is_err(), "one at a time");
    first.settle(Settlement::Ack).await;
    for _ in 0..2 {
        next(&mut consumer).await.settle(Settlement::Ack).await;
    }
    eventually("all are acked", async || depths(fleet.vhost()).iter().all(|it| it.ready + it.unacked == 0)).await;
}

#[tokio::test]
async fn all_shards_are_checked_where_they_are_not_declared_and_all_are_removed() {
    let vhost = Broker::shared().vhost();
    queue(RabbitSettings { shards: 2, ..three(&vhost) }).check().await.expect("it declares two");
    let undeclared = RabbitSettings { declare: false, ..three(&vhost) };
    assert!(matches!(queue(undeclared.clone()).check().await, Err(PublishFault::Away(_))), "the third is not there");
    let all = queue(three(&vhost));
    all.check().await.expect("it declares three");
    queue(undeclared).check().await.expect("all are there");
    all.remove().await;
    assert!(Broker::shared().queue_depths(&vhost).is_empty());
}

/// Each worker and gateway is restarted with three shards, workers first.
#[tokio::test]
async fn a_fleet_that_grows_under_load_loses_nothing() {
    let line = Line::start("worker.slots = 16").await;
    let mut small = line.worker();
    let mut taps = line.taps(100, &[Step::normal().late_ms(1000)]);
    line.publish_all(&taps).await;
    eventually("some are asked", async || line.calls() > 0).await;
    let large = line.worker_with(&[THREE]);
    assert!(line.calls() < 100, "in the midst of it");
    small.terminate();
    let _gateway = line.site.start_with(&["gateway"], &[THREE], LISTENING);
    for tap in line.taps(30, &[]) {
        let submission = json!({"code": tap.request.code.expose(), "request_id": tap.request.request_id});
        let answer = post(&format!("{}/v1/logins", line.servers.gateway_url()), &submission).await;
        assert_eq!(answer["status"], "pending", "{answer}");
        taps.push(tap);
    }
    line.all_succeed_asked_once(&taps).await;
    assert_eq!(small.end_within(SOON).and_then(|status| status.code()), Some(0), "{}", small.said());
    for queue in QUEUES {
        eventually("all is acked", async || line.depth(queue) == Depth { consumers: 1, ..Depth::default() }).await;
    }
    assert!(!large.said().contains("other arguments"), "the first shard is as it was: {}", large.said());
}

#[tokio::test]
async fn a_dead_letter_is_replayed_to_its_shard() {
    let servers = Servers::start();
    queue(three(&servers.vhost)).check().await.expect("it is there");
    let login = LoginRequest { request_id: id(&format!("login-{}", NUMBERS[2][1])), ..request("code") };
    let mut headers = FieldTable::default();
    headers.insert("x-quicklogin-reason".into(), AMQPValue::LongString("tired".into()));
    let properties = Publisher::properties("any").with_headers(headers).with_timestamp(clock::now_ms() / 1000);
    let publisher = Publisher::connect(servers.vhost.url()).await;
    publisher.publish("", DEAD, &login.encode(), properties).await.expect("it is connected");
    let site = Site::with(&servers.settings(&format!("rabbitmq.shards = 3\n{}", app(APP, SECRET))));
    let ended = site.run(&["dead", "replay", "--all"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ready(&servers.vhost), [0, 0, 1], "{}", ended.stderr);
}

#[test]
fn a_number_of_shards_that_cannot_be_ends_with_2_and_a_hint() {
    for shards in ["0", "65", "-1", "70000"] {
        let ended = Site::with(&format!("rabbitmq.shards = {shards}")).run(&["config", "check"]);
        assert_eq!(ended.code, Some(2), "{shards}: {}", ended.stderr);
        let said = ended.stderr.contains("rabbitmq.shards") && ended.stderr.contains("\nhint: ");
        assert!(said, "{shards}: {}", ended.stderr);
    }
    assert_eq!(Site::with("rabbitmq.shards = 64").run(&["config", "check"]).code, Some(0));
}
