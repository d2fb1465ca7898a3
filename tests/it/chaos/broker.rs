//! What RabbitMQ itself does to a fleet: it stands still, dies, raises alarms, closes channels and connections, and loses
//! a queue to an operator.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::support::fleet::{Fleet, Ground, Plan, eventually};
use crate::support::logins::{Account, Load};
use crate::support::rabbit::{Alarm, Broker};

const LOGINS: &str = "quicklogin.logins";
/// So that callers still come when RabbitMQ is hurt, which takes its time on a busy machine.
const LONGER: Duration = Duration::from_secs(5);

/// On a broker that is hurt.
fn plan(broker: &Arc<Broker>) -> Plan {
    Plan { broker: Some(Arc::clone(broker)), workers: 2, by_roads: true, ..Plan::on(Ground::RabbitAndRedis) }
}

/// A fleet that soon notices when its broker is silent.
async fn fleet_on(broker: &Arc<Broker>) -> Fleet {
    Plan { heartbeat_s: Some(1), ..plan(broker) }.start().await
}

/// A fleet on the broker of all tests.
async fn fleet() -> Fleet {
    Plan { workers: 2, ..Plan::on(Ground::RabbitAndRedis) }.start().await
}

fn start() -> Arc<Broker> {
    Arc::new(block_in_place(Broker::start))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_for_a_while_loses_nothing() {
    let broker = start();
    let fleet = fleet_on(&broker).await;
    let trouble = async || {
        block_in_place(|| broker.freeze());
        sleep(Duration::from_secs(4)).await;
        broker.thaw();
    };
    Load::default().through(&fleet, trouble).await.all_succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_started_again_loses_nothing_that_it_has_confirmed() {
    let broker = start();
    let fleet = fleet_on(&broker).await;
    let trouble = async || {
        block_in_place(|| broker.kill());
        sleep(Duration::from_millis(500)).await;
        block_in_place(|| broker.restart());
    };
    let account = Load { over: LONGER, ..Load::default() }.through(&fleet, trouble).await;
    account.all_succeeded();
    assert!(account.refused > 0, "callers were told to come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_an_alarm_callers_are_told_to_come_back_and_what_was_accepted_is_worked_on() {
    let broker = start();
    let fleet = plan(&broker).start().await;
    for alarm in [Alarm::Memory, Alarm::Disk] {
        let trouble = async || {
            block_in_place(|| broker.alarm(alarm, true));
            let refused = async || fleet.queue.check().await.is_err();
            eventually("the gateway knows", refused).await;
            let logins = || block_in_place(|| broker.queue_depths(fleet.vhost())[LOGINS]);
            eventually("what was accepted is acked", async || logins().ready + logins().unacked == 0).await;
            assert!(refused().await, "the alarm is still on");
            sleep(Duration::from_secs(1)).await;
            block_in_place(|| broker.alarm(alarm, false));
        };
        let account = Load { over: LONGER, ..Load::default() }.through(&fleet, trouble).await;
        account.all_succeeded();
        let Account { refused, longest_answer, .. } = account;
        assert!(refused > 0 && longest_answer < Duration::from_secs(5), "{alarm:?}: {refused}, {longest_answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_take_longer_than_the_broker_waits_for_an_ack_are_asked_once() {
    let broker = start();
    block_in_place(|| broker.eval("application:set_env(rabbit, consumer_timeout, 1000)"));
    block_in_place(|| broker.eval("application:set_env(rabbit, channel_tick_interval, 200)"));
    let fleet = fleet_on(&broker).await;
    let before = fleet.roads.consuming().taken();
    let load = Load { logins: 40, wechat_takes_ms: 1300, ..Load::default() };
    load.through(&fleet, async || {}).await.all_succeeded();
    assert!(fleet.roads.consuming().taken() > before, "the broker lost its patience");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_that_the_broker_closes_are_made_again_and_lose_nothing() {
    let fleet = fleet().await;
    let trouble = async || {
        for _ in 0..3 {
            let failed = || block_in_place(|| Broker::shared().fail_channels(fleet.vhost()));
            eventually("there are some, and they fail", async || failed() > 0).await;
            sleep(Duration::from_millis(300)).await;
        }
    };
    Load::default().through(&fleet, trouble).await.all_succeeded();
}

#[tokio::test]
async fn connections_that_the_broker_closes_are_made_again_and_lose_nothing() {
    for whose in ["publishing", "consuming", ""] {
        let fleet = fleet().await;
        let trouble = async || {
            for _ in 0..3 {
                let close = || Broker::shared().close_connections_of(fleet.vhost(), whose);
                eventually(&format!("some {whose:?} are there and closed"), async || close() > 0).await;
                sleep(Duration::from_millis(300)).await;
            }
        };
        Load::default().through(&fleet, trouble).await.all_succeeded();
    }
}

/// What waits in it is gone with it; here everything is in the workers' hands.
#[tokio::test]
async fn a_queue_that_is_deleted_under_load_is_declared_again_and_what_workers_have_in_hand_is_finished() {
    let fleet = fleet().await;
    let trouble = async || {
        let nothing_waits = || Broker::shared().queue_depths(fleet.vhost())[LOGINS].ready == 0;
        eventually("all are in hand", async || nothing_waits()).await;
        Broker::shared().delete_queue(fleet.vhost(), LOGINS);
    };
    Load::default().through(&fleet, trouble).await.all_succeeded();
    let consumers = || Broker::shared().queue_depths(fleet.vhost())[LOGINS].consumers;
    eventually("both workers consume it", async || consumers() == 2).await;
}
