//! A cluster of three RabbitMQ nodes, of which one is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::block_in_place;

use crate::support::fleet::{Ground, Plan, eventually};
use crate::support::logins::Load;
use crate::support::rabbit::Broker;

const LOGINS: &str = "quicklogin.logins";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_leads_the_queue_is_killed_and_nothing_that_was_confirmed_is_lost() {
    let nodes = block_in_place(Broker::start_cluster);
    let [.., third] = &nodes;
    let vhost = block_in_place(|| third.vhost());
    let urls: Vec<_> = nodes.iter().map(|node| format!("{}?heartbeat=2", vhost.url_at(node.port()))).collect();
    let plan = Plan { broker: Some(Arc::clone(third)), vhost: Some(vhost), ..Plan::on(Ground::RabbitAndRedis) };
    let fleet = Plan { workers: 3, broker_url: Some(urls.join(",")), ..plan }.start().await;
    let leader = nodes.iter().find(|node| block_in_place(|| node.leads(fleet.vhost(), LOGINS))).expect("one leads");
    assert!(!Arc::ptr_eq(leader, third), "the queue is declared at the first node");
    let trouble = async || {
        block_in_place(|| leader.kill());
        let is_led = || block_in_place(|| third.queue_depths(fleet.vhost())).contains_key(LOGINS);
        eventually("it is led again", async || is_led()).await;
    };
    Load { logins: 300, over: Duration::from_secs(4), ..Load::default() }
        .through(&fleet, trouble)
        .await
        .all_succeeded();
    let consumers = || block_in_place(|| third.queue_depths(fleet.vhost())).get(LOGINS).map(|queue| queue.consumers);
    eventually("all workers consume it", async || consumers() == Some(3)).await;
}
