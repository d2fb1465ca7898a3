//! The store where it is no single Redis: a master that sentinels replace, a cluster whose slots and nodes come and go.
//!
//! What any store promises is in `promises`, and is run over a cluster too.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use quicklogin::login::{LoginRequest, Outcome, RequestId};
use quicklogin::simulator::{Mint, Minted, Step};
use quicklogin::store::{Claim, FinishedResult, Recorded};
use quicklogin::worker::Limits;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::support::fleet::{APP, Fleet, Ground, Plan, eventually, id, request, settings_at};
use crate::support::program::status;
use crate::support::topologies::{Cluster, MASTER, Replicated, slot_of};

/// From the end of a master to writing again, on a busy machine: sentinels and clusters themselves take some two seconds.
const RECOVERED: Duration = Duration::from_secs(40);
const LEASE: Duration = Duration::from_secs(5);

async fn fleet_on(url: &str, workers: usize) -> Fleet {
    let plan = Plan::on(Ground::RabbitAndRedis);
    let limits = Limits { patience: Duration::from_secs(10), ..plan.limits };
    Plan { workers, limits, store: Some(settings_at(url)), ..plan }.start().await
}

/// Starting servers blocks.
async fn started<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(start).await.expect("they start")
}

fn slow_taps(fleet: &Fleet, count: usize) -> Vec<Minted> {
    let slow = Mint::of(APP).script([Step::normal().late_ms(100)]);
    fleet.simulator.mint_many(&slow, count).expect("the simulator knows the app")
}

/// Requests whose keys are in these slots.
fn requests_in(slots: Range<u16>, taps: &[Minted]) -> Vec<LoginRequest> {
    let ids = (0..).map(|n: u32| n.to_string()).filter(|id| slots.contains(&slot_of(id)));
    taps.iter().zip(ids).map(|(tap, name)| LoginRequest { request_id: id(&name), ..request(&tap.code) }).collect()
}

/// Some of the logins are asked, and more are to come.
async fn is_under_way(fleet: &Fleet) {
    let asked = fleet.asked_for_phones();
    eventually("some are asked", async || fleet.asked_for_phones() >= asked + 5).await;
}

/// Publishes logins one after the other while `trouble` happens; then every one must succeed with its own number.
async fn all_succeed_through(fleet: &Fleet, slots: Range<u16>, trouble: impl Future<Output = ()>) {
    let taps = slow_taps(fleet, 100);
    let requests = requests_in(slots, &taps);
    let trickle = async {
        for request in &requests {
            fleet.publish(request).await;
            sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::join!(trickle, trouble);
    for (tap, request) in taps.iter().zip(&requests) {
        let result = fleet.result(&request.request_id).await;
        let Outcome::Succeeded(phone) = result.outcome else { panic!("{result:?}") };
        assert_eq!(phone.phone_number, tap.phone_number);
    }
    assert_eq!(fleet.simulator.asked_without_codes().codes_asked_more_than_once, 0);
}

async fn is_ready(fleet: &Fleet) -> bool {
    status(&format!("{}/readyz", fleet.url)).await == 200
}

/// How long it takes until the store takes writes, and readiness says so.
async fn recovers(fleet: &Fleet) -> Duration {
    let began = Instant::now();
    eventually("it is ready again", async || is_ready(fleet).await).await;
    fleet.store.check_writable().await.expect("readiness tells the truth");
    began.elapsed()
}

const ALL: Range<u16> = 0..16_384;

#[tokio::test]
async fn a_master_that_is_killed_is_replaced_and_no_login_is_lost() {
    let redis = started(Replicated::start).await;
    let fleet = fleet_on(&redis.url(), 2).await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    all_succeed_through(&fleet, ALL, async {
        is_under_way(&fleet).await;
        // A majority of the sentinels is enough.
        redis.kill_a_sentinel();
        redis.master.kill();
        fleet.store.check_writable().await.expect_err("the master is gone");
        assert!(!is_ready(&fleet).await);
        let took = recovers(&fleet).await;
        assert!(took < RECOVERED, "{took:?}");
    })
    .await;
    assert!(redis.replica.cli(&["ROLE"]).starts_with("master"));
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_hand_is_followed() {
    let redis = started(Replicated::start).await;
    let fleet = fleet_on(&redis.url(), 2).await;
    all_succeed_through(&fleet, ALL, async { block_in_place(|| redis.fail_over()) }).await;
    eventually("the old master is a replica", async || redis.master.cli(&["ROLE"]).starts_with("slave")).await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
}

#[tokio::test]
async fn a_master_demoted_behind_the_sentinels_backs_is_left_until_it_is_one_again() {
    let redis = started(Replicated::start).await;
    let fleet = fleet_on(&redis.url(), 1).await;
    redis.master.cli(&["REPLICAOF", "127.0.0.1", &redis.replica.port().to_string()]);
    let mut said = String::new();
    eventually("the connection to it is given up", async || {
        let away = fleet.store.check_writable().await.expect_err("nobody takes writes").to_string();
        let left = away.contains("not connected");
        said.push_str(&away);
        left
    })
    .await;
    assert!(said.contains("READONLY") || said.contains("read only"), "it was refused first: {said}");
    for _ in 0..50 {
        let away = fleet.store.check_writable().await.expect_err("nobody takes writes").to_string();
        assert!(away.contains("not connected"), "the sentinels still name it, and it is not taken: {away}");
        sleep(Duration::from_millis(20)).await;
    }
    redis.master.cli(&["REPLICAOF", "NO", "ONE"]);
    assert!(recovers(&fleet).await < RECOVERED);
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_master_that_has_not_heard_of_it_is_left() {
    let redis = started(Replicated::start_with_a_deaf_master).await;
    let fleet = fleet_on(&redis.url(), 1).await;
    block_in_place(|| redis.fail_over());
    eventually("the replica is a master too", async || redis.replica.cli(&["ROLE"]).starts_with("master")).await;
    let fleet_writes_to_the_new = async || {
        let claimed = fleet.store.claim(&RequestId::generate(), "o", LEASE, LEASE).await;
        claimed.is_ok() && !redis.replica.keys("quicklogin:claim:*").is_empty()
    };
    eventually("the fleet has gone over", fleet_writes_to_the_new).await;
    assert!(redis.master.cli(&["ROLE"]).starts_with("master"), "it never heard that {MASTER} is another");
}

#[tokio::test]
async fn a_master_that_falls_silent_is_replaced() {
    let redis = started(Replicated::start).await;
    let fleet = fleet_on(&redis.url(), 2).await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    all_succeed_through(&fleet, ALL, async {
        is_under_way(&fleet).await;
        redis.master.freeze();
        assert!(!is_ready(&fleet).await);
        let took = recovers(&fleet).await;
        assert!(took < RECOVERED, "{took:?}");
    })
    .await;
}

#[tokio::test]
async fn results_are_read_from_many_slots_at_once() {
    let fleet = Plan { workers: 0, ..Plan::on(Ground::RabbitAndCluster) }.start().await;
    let ids: Vec<_> = (0..300).map(|n| id(&format!("r-{n}"))).collect();
    let json = |id: &RequestId| format!(r#"{{"request_id":"{id}","status":"succeeded"}}"#);
    for id in ids.iter().step_by(2) {
        let Ok(Claim::Mine(claimed)) = fleet.store.claim(id, "o", LEASE, LEASE).await else { panic!("{id} is free") };
        let result = FinishedResult { json: json(id).into(), succeeded: true, ttl: LEASE * 4 };
        assert_eq!(fleet.store.record(id, &claimed, &result).await, Ok(Recorded::Written));
    }
    let found = fleet.store.results(&ids).await.expect("the store answers");
    let found: Vec<_> = found.into_iter().map(|json| json.map(|json| json.to_vec())).collect();
    let expected = ids.iter().enumerate().map(|(n, id)| (n % 2 == 0).then(|| json(id).into_bytes()));
    assert_eq!(found, expected.collect::<Vec<_>>());
    assert_eq!(fleet.store.results(&[]).await, Ok(vec![]));
}

#[tokio::test]
async fn a_slot_that_moves_under_load_loses_no_login() {
    let cluster = Arc::new(started(Cluster::start).await);
    let fleet = fleet_on(&cluster.url(), 2).await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    let slot = 100;
    all_succeed_through(&fleet, slot..slot + 1, async {
        let cluster = cluster.clone();
        let moving = spawn_blocking(move || {
            for [from, to] in [[0, 1], [1, 2], [2, 0], [0, 1]] {
                cluster.move_slot(slot, from, to, Duration::from_millis(300));
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        while !moving.is_finished() {
            assert!(is_ready(&fleet).await, "a slot that moves is served all the time");
            sleep(Duration::from_millis(50)).await;
        }
        moving.await.expect("the slot moves");
    })
    .await;
}

#[tokio::test]
async fn only_the_slots_of_a_node_that_is_away_wait_for_it() {
    let cluster = started(Cluster::start).await;
    let fleet = fleet_on(&cluster.url(), 2).await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    let away = Cluster::home_of(slot_of(APP)).wrapping_add(1) % 3;
    cluster.nodes[away].kill();
    let taps = slow_taps(&fleet, 30);
    let requests: Vec<_> = taps.iter().map(|tap| request(&tap.code)).collect();
    let (waiting, going_on): (Vec<_>, Vec<_>) = taps
        .iter()
        .zip(&requests)
        .partition(|(_, request)| Cluster::home_of(slot_of(request.request_id.as_str())) == away);
    assert!(!waiting.is_empty() && !going_on.is_empty());
    for request in &requests {
        fleet.publish(request).await;
    }
    for (_, request) in &going_on {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
    }
    let ids: Vec<_> = requests.iter().map(|request| request.request_id.clone()).collect();
    let found = fleet.store.results(&ids).await.expect("some of it answers");
    assert_eq!(found.iter().flatten().count(), going_on.len(), "one node says nothing of the others");
    for (tap, request) in &waiting {
        let one = std::slice::from_ref(&request.request_id);
        let asked = Instant::now();
        fleet.store.results(one).await.expect_err("it is away");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(fleet.simulator.asked_of(&tap.code).asked, 0, "without a claim nobody is asked");
    }
    cluster.nodes[away].restart();
    for (_, request) in &waiting {
        let result = fleet.result(&request.request_id).await;
        assert_eq!((result.outcome.as_str(), result.attempts), ("succeeded", 1));
    }
}

#[tokio::test]
async fn a_node_that_falls_silent_and_is_replaced_is_left() {
    let cluster = started(|| {
        let cluster = Cluster::start();
        cluster.replicate_the_first();
        cluster
    })
    .await;
    let fleet = fleet_on(&cluster.url(), 2).await;
    assert_eq!(fleet.login(&fleet.tap().code).await.outcome.as_str(), "succeeded");
    all_succeed_through(&fleet, 0..5461, async {
        is_under_way(&fleet).await;
        cluster.nodes[0].freeze();
        let of_the_first = requests_in(0..5461, &[fleet.tap()]).remove(0).request_id;
        let began = Instant::now();
        eventually("its slots are served again", async || fleet.store.is_accepted(&of_the_first).await.is_ok()).await;
        assert!(began.elapsed() < RECOVERED, "{:?}", began.elapsed());
    })
    .await;
}
