//! The network between a fleet and Redis.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::fleet::{Fleet, Ground, Plan, eventually};
use crate::support::logins::Load;
use crate::support::road::{Road, Way};

async fn fleet() -> Fleet {
    Plan { workers: 2, by_roads: true, ..Plan::on(Ground::RabbitAndRedis) }.start().await
}

async fn all_succeed_when(happens: impl AsyncFnOnce(&Road)) {
    let fleet = fleet().await;
    let road = fleet.roads.store();
    let before = road.taken();
    Load::default().through(&fleet, async || happens(road).await).await.all_succeeded();
    eventually("connections are made again", async || road.taken() > before).await;
}

#[tokio::test]
async fn a_network_to_redis_that_is_slow_and_cuts_everything_into_pieces_loses_nothing() {
    let fleet = fleet().await;
    let road = fleet.roads.store();
    road.slice(7);
    road.delay(Duration::from_millis(40), Duration::from_millis(30));
    road.narrow(100_000);
    Load::default().through(&fleet, async || {}).await.all_succeeded();
}

#[tokio::test]
async fn connections_to_redis_that_are_cut_or_reset_lose_nothing() {
    for ends in [Road::cut as fn(&Road), Road::reset] {
        all_succeed_when(async |road| {
            for _ in 0..3 {
                ends(road);
                sleep(Duration::from_millis(300)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn connections_to_redis_that_swallow_everything_are_noticed_and_lose_nothing() {
    for way in [Way::There, Way::Back] {
        all_succeed_when(async |road| {
            road.swallow(way);
            sleep(Duration::from_millis(1500)).await;
            road.mend();
        })
        .await;
    }
}

#[tokio::test]
async fn a_network_to_redis_that_stands_still_for_a_while_loses_nothing() {
    let fleet = fleet().await;
    let road = fleet.roads.store();
    let trouble = async || {
        road.stall();
        sleep(Duration::from_millis(2500)).await;
        road.mend();
    };
    Load::default().through(&fleet, trouble).await.all_succeeded();
}

#[tokio::test]
async fn a_redis_that_refuses_connections_for_a_while_loses_nothing() {
    all_succeed_when(async |road| {
        road.shut().await;
        sleep(Duration::from_millis(1500)).await;
        road.open().await;
    })
    .await;
}
