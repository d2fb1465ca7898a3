//! Claims as Redis keeps them: the key's own expiry keeps the time of a lease, and claims of workers that were started
//! before claims were texts are understood while a fleet is upgraded. What both stores promise is in `promises`.

use std::time::Duration;

use bytes::Bytes;
use quicklogin::clock;
use quicklogin::store::{Claim, Claimed, FinishedResult, Recorded, Unclaimed};
use tokio::time::sleep;

use crate::support::fleet::{Fleet, Ground, Plan, eventually, id};

const KEY: &str = "quicklogin:claim:{r}";
const LEASE: Duration = Duration::from_secs(5);
const KEEP: Duration = Duration::from_secs(60);

/// A store without workers.
async fn store() -> Fleet {
    Plan { workers: 0, ..Plan::on(Ground::RabbitAndRedis) }.start().await
}

async fn claim(fleet: &Fleet, owner: &str, lease: Duration, keep: Duration) -> Claim {
    fleet.store.claim(&id("r"), owner, lease, keep).await.expect("the store answers")
}

async fn mine(fleet: &Fleet, owner: &str, lease: Duration, keep: Duration) -> Claimed {
    match claim(fleet, owner, lease, keep).await {
        Claim::Mine(claimed) => claimed,
        other => panic!("it is free to claim: {other:?}"),
    }
}

async fn record(fleet: &Fleet, owner: &str, succeeded: bool) -> Recorded {
    let claimed = Claimed::formerly_of(owner.to_owned());
    fleet.store.record(&id("r"), &claimed, &finished(succeeded)).await.expect("the store answers")
}

fn finished(succeeded: bool) -> FinishedResult {
    let status = if succeeded { "succeeded" } else { "failed" };
    FinishedResult { json: format!(r#"{{"status":"{status}"}}"#).into(), succeeded, ttl: KEEP }
}

async fn stored(fleet: &Fleet) -> Option<Bytes> {
    fleet.store.results(&[id("r")]).await.expect("the store answers").remove(0)
}

/// A claim as older workers wrote it.
fn claim_as_of_old(fleet: &Fleet, owner: &str, lease_left_ms: u64, asked: &str) {
    let until = (clock::now_ms() + lease_left_ms).to_string();
    let fields = ["owner", owner, "until", &until, "asked", asked, "unheard", "0"];
    fleet.redis().cli(&[&["HSET", KEY], &fields[..]].concat());
    fleet.redis().cli(&["PEXPIRE", KEY, "60000"]);
}

fn is_held_for(more_than: Duration, at_most: Duration, claim: &Claim) -> bool {
    matches!(claim, Claim::Held { left } if more_than < *left && *left <= at_most)
}

fn ttl_ms(fleet: &Fleet) -> u64 {
    fleet.redis().ttl_ms(KEY).expect("a claim ends")
}

#[tokio::test]
async fn a_lease_ends_when_it_says_however_long_its_key_is_kept() {
    let fleet = store().await;
    let first = mine(&fleet, "one", Duration::from_millis(200), KEEP).await;
    assert!((50_000..=60_000).contains(&ttl_ms(&fleet)), "{}", ttl_ms(&fleet));
    assert_eq!(fleet.store.extend(&id("r"), &first, 3, Duration::from_secs(4)).await, Ok(true));
    assert!((50_000..=60_000).contains(&ttl_ms(&fleet)), "it is kept as long as before: {}", ttl_ms(&fleet));
    sleep(Duration::from_millis(300)).await;
    let held = claim(&fleet, "two", LEASE, KEEP).await;
    assert!(is_held_for(Duration::ZERO, Duration::from_millis(3700), &held), "{held:?}");
    let mut later = None;
    eventually("the renewed lease runs out", async || {
        later = Some(claim(&fleet, "two", LEASE, KEEP).await);
        matches!(later, Some(Claim::Mine(_)))
    })
    .await;
    assert!(matches!(&later, Some(Claim::Mine(claimed)) if (claimed.asked, claimed.unheard) == (3, true)), "{later:?}");
    assert_eq!(fleet.store.extend(&id("r"), &first, 4, LEASE).await, Ok(false));
}

#[tokio::test]
async fn a_key_is_kept_for_as_long_as_its_lease_and_what_is_given_back_no_longer_than_before() {
    let fleet = store().await;
    let claimed = mine(&fleet, "one", Duration::from_millis(100), Duration::from_secs(1)).await;
    assert_eq!(fleet.store.extend(&id("r"), &claimed, 1, LEASE).await, Ok(true));
    assert!((1001..=5000).contains(&ttl_ms(&fleet)), "{}", ttl_ms(&fleet));
    let held = claim(&fleet, "two", LEASE, KEEP).await;
    assert!(is_held_for(Duration::from_secs(1), LEASE, &held), "{held:?}");
    fleet.store.release(&id("r"), &claimed, 1, true).await.expect("the store answers");
    assert!((501..=5000).contains(&ttl_ms(&fleet)), "{}", ttl_ms(&fleet));
}

#[tokio::test]
async fn an_older_workers_claim_holds_until_its_lease_runs_out_and_leaves_a_doubt() {
    let fleet = store().await;
    claim_as_of_old(&fleet, "old", 3000, "2");
    let held = claim(&fleet, "new", LEASE, KEEP).await;
    assert!(is_held_for(Duration::ZERO, Duration::from_millis(3000), &held), "{held:?}");
    let unclaimed = fleet.store.record_unclaimed(&id("r"), &finished(false)).await;
    assert_eq!((unclaimed, stored(&fleet).await), (Ok(Unclaimed::Claimed), None));
    let stranger = Claimed::formerly_of("new".into());
    assert_eq!(fleet.store.extend(&id("r"), &stranger, 1, LEASE).await, Ok(false));
    assert_eq!(fleet.store.release(&id("r"), &stranger, 0, false).await, Ok(()));
    let mut later = None;
    eventually("its lease runs out", async || {
        later = Some(claim(&fleet, "new", LEASE, KEEP).await);
        matches!(later, Some(Claim::Mine(_)))
    })
    .await;
    let Some(Claim::Mine(claimed)) = later else { unreachable!("it was just looked at") };
    assert_eq!((claimed.asked, claimed.unheard), (2, true));
    assert_eq!(fleet.store.extend(&id("r"), &claimed, 3, LEASE).await, Ok(true), "it is a claim like any other now");
}

#[tokio::test]
async fn a_claim_that_an_older_worker_gave_back_casts_no_doubt() {
    let fleet = store().await;
    claim_as_of_old(&fleet, "", 0, "2");
    let claimed = mine(&fleet, "new", LEASE, KEEP).await;
    assert_eq!((claimed.asked, claimed.unheard), (2, false));
}

#[tokio::test]
async fn a_failure_is_written_in_the_name_of_the_older_worker_that_left_it_and_in_no_other() {
    let fleet = store().await;
    claim_as_of_old(&fleet, "old", 5000, "1");
    assert_eq!((record(&fleet, "new", false).await, stored(&fleet).await), (Recorded::NotMine, None));
    assert_eq!(record(&fleet, "old", false).await, Recorded::Written);
    assert_eq!((stored(&fleet).await, fleet.redis().keys(KEY)), (Some(finished(false).json), vec![]));
}

#[tokio::test]
async fn a_success_is_written_whoever_claims_and_whatever_is_in_its_place() {
    let fleet = store().await;
    claim_as_of_old(&fleet, "old", 5000, "1");
    let result = "quicklogin:result:{r}";
    for other in ["no JSON", "7", r#"{"status":7}"#] {
        fleet.redis().cli(&["SET", result, other]);
        assert_eq!(record(&fleet, "new", true).await, Recorded::Written, "instead of {other}");
        assert_eq!((stored(&fleet).await, fleet.redis().keys(KEY)), (Some(finished(true).json), vec![]));
        assert!(fleet.redis().ttl_ms(result).is_some_and(|ttl| ttl > 50_000));
    }
    assert_eq!(record(&fleet, "new", true).await, Recorded::Kept);
}

#[tokio::test]
async fn a_redis_that_is_full_tells_of_the_result_that_it_has() {
    let fleet = store().await;
    assert_eq!(record(&fleet, "one", true).await, Recorded::Written);
    fleet.redis().cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(record(&fleet, "one", true).await, Recorded::Kept);
    let unclaimed = async |name| fleet.store.record_unclaimed(&id(name), &finished(false)).await;
    assert_eq!(unclaimed("r").await, Ok(Unclaimed::Recorded));
    assert!(unclaimed("other").await.is_err(), "it takes no more");
    let claimed = Claimed::formerly_of("two".to_owned());
    assert!(fleet.store.record(&id("other"), &claimed, &finished(true)).await.is_err(), "nor a success");
}
