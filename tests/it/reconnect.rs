//! A broker or a store that goes away comes back, and the fleet with it; nothing is lost meanwhile.

use std::time::Duration;

use quicklogin::login::RequestId;
use quicklogin::queue::{Queue, RabbitSettings, Settlement};
use quicklogin::simulator::{Mint, Step, Then};
use quicklogin::store::Claim;
use quicklogin::traceparent::Traceparent;
use quicklogin::worker::Limits;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::fleet::{APP, Fleet, Ground, Plan, SOON, eventually, id, rabbit_settings, request};
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
            let close = || Broker::shared().close_connections_of(fleet.vhost(), "consuming");
            eventually("the workers' are there and closed", async || close() >= 2).await;
        }
        Broker::shared().close_connections(fleet.vhost());
    })
    .await;
}

#[tokio::test]
async fn a_deleted_queue_is_declared_and_consumed_again() {
    let fleet = fleet().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    Broker::shared().delete_queue(fleet.vhost(), "quicklogin.logins");
    eventually("the queue is there again", async || {
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
    eventually("a worker has it", async || {
        Broker::shared().queue_depths(fleet.vhost())["quicklogin.logins"].unacked == 1
    })
    .await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(fleet.simulator.asked_of(&tap.code).asked, 0);
    fleet.redis().thaw();
    assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn a_full_store_refuses_the_claim_and_not_the_result() {
    let fleet = fleet().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    fleet.redis().cli(&["CONFIG", "SET", "maxmemory", "1"]);
    eventually("it is not ready", async || fleet.store.check_writable().await.is_err()).await;
    // A claim that has run out stands there already, and could be deleted without room.
    let tap = fleet.tap();
    let request = request(&tap.code);
    let refused = || {
        let stats = fleet.redis().cli(&["INFO", "errorstats"]);
        let count = stats.lines().find_map(|line| line.trim().strip_prefix("errorstat_OOM:count="));
        count.expect("it has refused us").parse::<u64>().expect("a number")
    };
    let before = refused();
    fleet.publish(&request).await;
    eventually("its claim is refused again and again", async || refused() >= before + 3).await;
    assert_eq!(fleet.simulator.asked_of(&tap.code).asked, 0, "its result could not be written");
    fleet.redis().cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn a_lapsed_claim_is_not_taken_over_in_a_full_store() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let (name, keep) = (id("r"), Duration::from_secs(60));
    let claim = async |lease_ms| {
        fleet.store.claim(&name, &RequestId::generate().to_string(), Duration::from_millis(lease_ms), keep).await
    };
    claim(50).await.expect("there is room");
    fleet.redis().cli(&["CONFIG", "SET", "maxmemory", "1"]);
    // Beyond its lease: a full store refuses before that, too.
    sleep(Duration::from_millis(100)).await;
    claim(50).await.expect_err("there is no room for the result either");
    fleet.redis().cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let claimed = claim(50).await.expect("there is room again");
    assert!(matches!(claimed, Claim::Mine(claimed) if claimed.asked == 1 && claimed.unheard), "nothing was forgotten");
}

#[tokio::test]
async fn a_queue_that_exists_with_other_arguments_is_used_as_it_is() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let changed = rabbit_settings(fleet.vhost(), 7);
    let tracker = TaskTracker::new();
    let queue = Queue::rabbit(changed, &tracker).expect("good settings");
    queue.publish(&request("code"), &Traceparent::generate()).await.expect("the queue takes it");
    let mut consumer = queue.consume(1, CancellationToken::new());
    let delivery = tokio::time::timeout(SOON, consumer.next()).await.expect("in time").expect("a delivery");
    let logins = || Broker::shared().queue_depths(fleet.vhost())["quicklogin.logins"];
    sleep(Duration::from_millis(500)).await;
    assert_eq!((logins().ready, logins().unacked), (0, 1), "the session goes on");
    delivery.settle(Settlement::Ack).await;
    eventually("it is acked", async || (logins().ready, logins().unacked) == (0, 0)).await;
}

/// lapin dials in a thread of its own, which would wait for ever on a peer that accepts and says nothing.
#[tokio::test]
async fn a_dial_that_nobody_waits_for_any_more_is_hung_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("amqp://guest:guest@{}/%2f", silent.local_addr().expect("it listens"));
    let (vhost, tracker) = (Broker::shared().vhost(), TaskTracker::new());
    let settings = RabbitSettings { url: url.as_str().into(), ..rabbit_settings(&vhost, 10) };
    for _ in 0..3 {
        let queue = Queue::rabbit(settings.clone(), &tracker).expect("good settings");
        let stop = CancellationToken::new();
        let _consumer = queue.consume(1, stop.clone());
        let (mut peer, _) = silent.accept().await.expect("it dials");
        let mut heard = vec![0; b"AMQP".len()];
        peer.read_exact(&mut heard).await.expect("it says what it speaks");
        stop.cancel();
        let hung_up = tokio::time::timeout(Duration::from_secs(4), peer.read_to_end(&mut heard)).await;
        hung_up.expect("long before the dial's own bound").expect("hung up in order");
        assert!(heard.starts_with(b"AMQP"));
    }
}

#[tokio::test]
async fn a_store_that_stalls_over_a_claim_does_not_lock_the_worker_out_or_cast_doubt() {
    let fleet = fleet().await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    // A call's time and a bit.
    let lease = Duration::from_millis(6500);
    // The claim times out here, and is carried out all the same when the store goes on.
    fleet.redis().freeze();
    let dead = fleet.tap_with(&Mint::of(APP).script([Step::errcode(40029)]));
    let requests = [request(&dead.code), request(&fleet.tap().code)];
    for request in &requests {
        fleet.publish(request).await;
    }
    sleep(Duration::from_millis(1600)).await;
    fleet.redis().thaw();
    let began = tokio::time::Instant::now();
    let told = [fleet.result(&requests[0].request_id).await, fleet.result(&requests[1].request_id).await];
    assert_eq!(told.each_ref().map(|result| result.outcome.as_str()), ["invalid_code", "succeeded"]);
    assert_eq!(told.each_ref().map(|result| result.attempts), [1, 1]);
    assert!(began.elapsed() < lease, "no lease had to run out: {:?}", began.elapsed());
}

#[tokio::test]
async fn patience_does_not_end_while_the_store_is_away() {
    let plan = Plan { durable_store: true, ..Plan::on(Ground::RabbitAndRedis) };
    let limits = Limits { patience: Duration::from_secs(3), ..plan.limits };
    let fleet = Plan { limits, ..plan }.start().await;
    let tap = fleet.tap_with(&Mint::of(APP).script([Step::errcode(-1), Step::errcode(-1)]));
    let request = request(&tap.code);
    fleet.publish(&request).await;
    eventually("it was asked", async || fleet.simulator.asked_of(&tap.code).asked >= 1).await;
    fleet.redis().freeze();
    sleep(Duration::from_secs(5)).await;
    fleet.redis().thaw();
    assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn a_worker_remembers_an_answer_it_missed_when_the_store_forgets() {
    let plan = Plan { call_timeout: Duration::from_millis(1500), ..Plan::on(Ground::RabbitAndRedis) };
    let fleet = plan.start().await;
    let tap = fleet.tap_with(&Mint::of(APP).script([Then::HangAfter.into()]));
    let request = request(&tap.code);
    fleet.publish(&request).await;
    eventually("it is being asked", async || fleet.simulator.asked_of(&tap.code).asked == 1).await;
    fleet.redis().cli(&["DEL", &format!("quicklogin:claim:{{{}}}", request.request_id)]);
    let result = fleet.result(&request.request_id).await;
    assert_eq!((result.outcome.as_str(), result.attempts), ("in_doubt", 2));
}
