//! Logins whose time was up before anybody could ask: how quickly they are out of the way.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use quicklogin::clock;
use quicklogin::worker::Worker;
use tokio::time::{sleep, timeout};

use crate::contestant::Kind;
use crate::drain::{LIMIT, cpu_when_done};
use crate::ground::{Ground, Run};
use crate::plan::Plan;
use crate::processes::each_us;

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// So many messages of those in hand are acked with one frame; a worker does about as many.
const ACKED_AT_ONCE: usize = 64;

/// What was seen.
pub(crate) struct Expired {
    pub(crate) a_second: f64,
    pub(crate) cpu_us: f64,
    /// What RabbitMQ hands out a second to one who only acks: no worker can be quicker.
    pub(crate) handed_out: f64,
}

pub(crate) async fn measure(ground: &Ground, plan: &Plan) -> Expired {
    let logins = ground.mint(plan.logins).await;
    let run = ground.run("expired", 1).await;
    run.publish(&logins, Some(clock::now_ms() - 1000)).await;
    let contestant = Kind::Quicklogin.start(&run, plan.slots);
    let a_second = pace(ground, plan.logins).await;
    let cpu = cpu_when_done(&run, &contestant).await;
    run.assert_all_expired(&logins).await;
    assert_eq!(ground.asked().await["phone"]["calls"], 0, "nobody asked");
    drop(contestant);
    run.publish(&logins, Some(clock::now_ms() - 1000)).await;
    let handed_out = timeout(LIMIT, handed_out(&run, plan)).await.expect("RabbitMQ hands out");
    Expired { a_second, cpu_us: each_us(cpu, plan.logins as u64), handed_out }
}

/// How many a second, from the first tenth to the last.
async fn handed_out(run: &Run<'_>, plan: &Plan) -> f64 {
    let connection =
        Connection::connect(run.queue_url(), ConnectionProperties::default()).await.expect("RabbitMQ runs");
    let channel = connection.create_channel().await.expect("a channel");
    channel.basic_qos(Worker::prefetch(plan.slots), BasicQosOptions::default()).await.expect("a prefetch");
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consume = channel.basic_consume("quicklogin.logins".into(), "".into(), options, arguments);
    let mut deliveries = consume.await.expect("a consumer");
    let (from, to) = (plan.logins / 10, plan.logins / 10 * 9);
    let mut began = Instant::now();
    for n in 1..=to {
        let delivery = deliveries.next().await.expect("there are more").expect("a delivery");
        if n % ACKED_AT_ONCE.min(usize::from(plan.slots)) == 0 {
            delivery.ack(BasicAckOptions { multiple: true }).await.expect("an ack");
        }
        if n == from {
            began = Instant::now();
        }
    }
    (to - from) as f64 / began.elapsed().as_secs_f64()
}

/// How many a second, from the first tenth to the last.
async fn pace(ground: &Ground, logins: usize) -> f64 {
    let (began, from) = when_written(ground, logins / 10).await;
    let (ended, to) = when_written(ground, logins / 10 * 9).await;
    (to - from) as f64 / (ended - began).as_secs_f64()
}

async fn when_written(ground: &Ground, at_least: usize) -> (Instant, usize) {
    let began = Instant::now();
    loop {
        let (now, keys) = (Instant::now(), ground.redis.cli(&["DBSIZE"]).parse().expect("a number"));
        if keys >= at_least {
            return (now, keys);
        }
        assert!(began.elapsed() < LIMIT, "it goes on; {keys} keys");
        sleep(LOOK_EVERY).await;
    }
}
