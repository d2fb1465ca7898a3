//! The network between a fleet and RabbitMQ.

use std::time::Duration;

use quicklogin::queue::Settlement;
use quicklogin::traceparent::Traceparent;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::fleet::{Fleet, Ground, Plan, Roads, SOON, eventually, request};
use crate::support::logins::Load;
use crate::support::rabbit::Broker;
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
        connections_are_made_again(&fleet, road, before).await;
    }
}

/// For one login more: on a busy machine all others may have gone by before anything happened.
async fn connections_are_made_again(fleet: &Fleet, road: &Road, before: usize) {
    let login = request(&fleet.tap().code);
    eventually("the queue is there again", async || {
        fleet.queue.publish(&login, &Traceparent::generate()).await.is_ok()
    })
    .await;
    assert_eq!(fleet.result(&login.request_id).await.outcome.as_str(), "succeeded");
    eventually("connections are made again", async || road.taken() > before).await;
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

/// Acks that are lost on the way are not told of, and each login comes again.
#[tokio::test]
async fn a_worker_whose_acks_are_lost_acks_again_without_asking_wechat_or_redis() {
    let fleet = Plan { by_roads: true, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
    let depths = || Broker::shared().queue_depths(fleet.vhost());
    let consumers = |queue: &str| depths().get(queue).map_or(0, |queue| queue.consumers);
    let consumes = async || ["quicklogin.logins", "quicklogin.results"].iter().all(|queue| consumers(queue) == 1);
    eventually("it consumes", consumes).await;
    let road = fleet.roads.consuming();
    road.swallow(Way::There);
    let requests: Vec<_> = (0..20).map(|_| request(&fleet.tap().code)).collect();
    for request in &requests {
        fleet.publish(request).await;
    }
    for request in &requests {
        assert_eq!(fleet.result(&request.request_id).await.outcome.as_str(), "succeeded");
        fleet.redis().cli(&["DEL", &format!("quicklogin:result:{{{}}}", request.request_id)]);
    }
    let logins = || depths()["quicklogin.logins"];
    assert_eq!(logins().unacked, 20, "no ack has come");
    fleet.redis().freeze();
    road.mend();
    road.reset();
    eventually("all are acked", async || (logins().ready, logins().unacked) == (0, 0)).await;
    assert_eq!(fleet.asked_for_phones(), 20, "each once");
    fleet.redis().thaw();
}

#[tokio::test]
async fn a_stop_tells_whether_its_last_acks_were_heard() {
    for heard in [true, false] {
        let fleet = Plan { workers: 0, by_roads: true, ..Plan::on(Ground::RabbitAndRedis) }.start().await;
        // The gateway's queue is as good as a worker's.
        let (road, stop) = (fleet.roads.publishing(), CancellationToken::new());
        let mut consumer = fleet.queue.consume(1, stop.clone());
        fleet.publish(&request("code")).await;
        let delivery = timeout(SOON, consumer.next()).await.expect("in time").expect("a delivery");
        if !heard {
            road.swallow(Way::There);
        }
        delivery.settle(Settlement::Ack).await;
        assert_eq!(consumer.close(SOON).await, heard);
        let unacked = || Broker::shared().queue_depths(fleet.vhost())["quicklogin.logins"].unacked;
        assert_eq!(unacked() == 0, heard);
    }
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
        connections_are_made_again(&fleet, road, before).await;
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
