//! The network between a fleet and RabbitMQ.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::fleet::{Fleet, Ground, Plan, Roads};
use crate::support::logins::Load;
use crate::support::road::{Road, Way};

async fn fleet() -> Fleet {
    let plan = Plan::on(Ground::RabbitAndRedis);
    Plan { workers: 2, by_roads: true, heartbeat_s: Some(1), ..plan }.start().await
}

/// What happens to the roads to RabbitMQ, and how often it does.
async fn all_succeed_when(happens: impl AsyncFn(&Road), times: u32) {
    let fleet = fleet().await;
    let roads = [fleet.roads.publishing(), fleet.roads.consuming()];
    let before = roads.map(Road::taken);
    let account = Load::default()
        .through(&fleet, async || {
            for _ in 0..times {
                for road in roads {
                    happens(road).await;
                }
                sleep(Duration::from_millis(300)).await;
            }
        })
        .await;
    account.all_succeeded();
    for (road, before) in roads.into_iter().zip(before) {
        assert!(road.taken() > before, "connections were made again");
    }
}

#[tokio::test]
async fn connections_to_rabbitmq_that_are_cut_lose_nothing() {
    all_succeed_when(async |road| road.cut(), 3).await;
}

#[tokio::test]
async fn connections_to_rabbitmq_that_are_reset_lose_nothing() {
    all_succeed_when(async |road| road.reset(), 3).await;
}

#[tokio::test]
async fn a_network_to_rabbitmq_that_is_slow_and_cuts_everything_into_pieces_loses_nothing() {
    let fleet = fleet().await;
    for road in [fleet.roads.publishing(), fleet.roads.consuming()] {
        road.slice(7);
        road.delay(Duration::from_millis(40), Duration::from_millis(30));
        road.narrow(100_000);
    }
    Load::default().through(&fleet, async || {}).await.all_succeeded();
}

#[tokio::test]
async fn the_loss_of_only_the_publishing_or_only_the_consuming_connections_loses_nothing() {
    for pick in [Roads::publishing as fn(&Roads) -> &Road, Roads::consuming] {
        let fleet = fleet().await;
        let (road, before) = (pick(&fleet.roads), pick(&fleet.roads).taken());
        let trouble = async || {
            road.shut().await;
            sleep(Duration::from_secs(1)).await;
            road.open().await;
        };
        Load::default().through(&fleet, trouble).await.all_succeeded();
        assert!(road.taken() > before, "connections were made again");
    }
}

#[tokio::test]
async fn connections_to_rabbitmq_that_swallow_everything_are_noticed_and_lose_nothing() {
    for way in [Way::There, Way::Back] {
        all_succeed_when(
            async |road| {
                road.swallow(way);
                sleep(Duration::from_millis(1500)).await;
                road.mend();
            },
            1,
        )
        .await;
    }
}
