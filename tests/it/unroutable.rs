//! Exchange, bindings and queues that are removed while a gateway publishes: it declares them again, or says that it is
//! not ready.

use futures_util::future::join_all;
use lapin::options::{ExchangeDeleteOptions, QueueBindOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use quicklogin::login::LoginRequest;
use quicklogin::queue::{HeldResult, PublishFault, Queue, RabbitSettings};
use quicklogin::traceparent::Traceparent;
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::support::amqp::Publisher;
use crate::support::fleet::{APP, SECRET, eventually, id, rabbit_settings, request};
use crate::support::program::{Servers, Site, app, get, post, status};
use crate::support::rabbit::{Broker, Vhost};

struct Removing {
    vhost: Vhost,
    queue: Queue,
    publisher: Publisher,
}

impl Removing {
    async fn from(change: impl FnOnce(RabbitSettings) -> RabbitSettings) -> Self {
        let vhost = Broker::shared().vhost();
        let queue = |settings| Queue::rabbit(settings, &TaskTracker::new()).expect("good settings");
        let settings = rabbit_settings(&vhost, 1000);
        let changed = change(settings.clone());
        queue(RabbitSettings { declare: true, ..changed.clone() }).check().await.expect("it declares them");
        let publisher = Publisher::connect(vhost.url()).await;
        let removing = Self { queue: queue(changed), vhost, publisher };
        removing.queue.check().await.expect("all is there");
        removing
    }

    async fn publish(&self, login: &LoginRequest) -> Result<(), PublishFault> {
        self.queue.publish(login, &Traceparent::generate()).await
    }

    async fn unbind(&self, queue: &str, key: &str) {
        let channel = self.publisher.channel();
        let unbound = channel.queue_unbind(queue.into(), "quicklogin".into(), key.into(), FieldTable::default());
        unbound.await.expect("both are there");
    }

    async fn bind(&self, queue: &str, key: &str) {
        let (channel, options) = (self.publisher.channel(), QueueBindOptions::default());
        let bound = channel.queue_bind(queue.into(), "quicklogin".into(), key.into(), options, FieldTable::default());
        bound.await.expect("both are there");
    }

    async fn delete_exchange(&self) {
        let deleted = self.publisher.channel().exchange_delete("quicklogin".into(), ExchangeDeleteOptions::default());
        deleted.await.expect("it is there");
    }

    async fn delete_queue(&self, queue: &str) {
        let deleted = self.publisher.channel().queue_delete(queue.into(), QueueDeleteOptions::default());
        deleted.await.expect("it is there");
    }

    fn ready(&self, queue: &str) -> u64 {
        Broker::shared().queue_depths(&self.vhost)[queue].ready
    }
}

#[tokio::test]
async fn what_was_removed_is_declared_again_by_the_next_publish() {
    let removing = Removing::from(|settings| settings).await;
    for n in 0..3 {
        match n {
            0 => removing.unbind("quicklogin.logins", "login").await,
            1 => removing.delete_exchange().await,
            _ => removing.delete_queue("quicklogin.logins").await,
        }
        let publish = async |m| removing.publish(&request(&format!("code-{n}-{m}"))).await;
        for published in join_all((0..50).map(publish)).await {
            published.expect("it is declared again");
        }
        let expected = if n == 2 { 50 } else { (n + 1) * 50 };
        assert_eq!(removing.ready("quicklogin.logins"), expected, "each once");
    }
}

#[tokio::test]
async fn a_shard_that_loses_its_binding_gets_it_back() {
    let removing = Removing::from(|settings| RabbitSettings { shards: 3, ..settings }).await;
    for queue in ["quicklogin.logins", "quicklogin.logins.1", "quicklogin.logins.2"] {
        removing.unbind(queue, &queue.replace("quicklogin.logins", "login")).await;
    }
    for n in 0..30 {
        removing.publish(&LoginRequest { request_id: id(&format!("r-{n}")), ..request("code") }).await.expect("taken");
    }
    let ready = ["quicklogin.logins", "quicklogin.logins.1", "quicklogin.logins.2"].map(|queue| removing.ready(queue));
    assert_eq!(ready.iter().sum::<u64>(), 30, "{ready:?}");
    assert!(ready.iter().all(|ready| *ready > 0), "{ready:?}");
}

#[tokio::test]
async fn a_queue_of_results_that_was_deleted_is_declared_again() {
    let removing = Removing::from(|settings| settings).await;
    removing.delete_queue("quicklogin.results").await;
    let held = HeldResult { request_id: id("r"), owner: "some worker".into(), mac: "none".into(), json: "{}".into() };
    removing.queue.hand_over(&held).await.expect("it is declared again");
    assert_eq!(removing.ready("quicklogin.results"), 1);
}

#[tokio::test]
async fn what_is_not_ours_to_declare_makes_the_gateway_unready_until_it_is_restored() {
    let removing = Removing::from(|settings| RabbitSettings { declare: false, ..settings }).await;
    removing.publish(&request("before")).await.expect("all is there");
    removing.unbind("quicklogin.logins", "login").await;
    for told in [removing.publish(&request("code")).await, removing.queue.check().await] {
        let Err(PublishFault::Away(why)) = told else { panic!("{told:?}") };
        assert!(why.contains("no queue is bound to the exchange quicklogin with the routing key login"), "{why}");
    }
    removing.bind("quicklogin.logins", "login").await;
    removing.publish(&request("code")).await.expect("it is restored");
    removing.queue.check().await.expect("it is ready again");
    assert_eq!(removing.ready("quicklogin.logins"), 2);
}

#[tokio::test]
async fn a_gateway_that_cannot_publish_says_so_and_why() {
    let servers = Servers::start();
    let site = Site::with(&servers.settings(&format!("rabbitmq.declare = false\n{}", app(APP, SECRET))));
    let declared = Queue::rabbit(rabbit_settings(&servers.vhost, 1000), &TaskTracker::new()).expect("good settings");
    declared.check().await.expect("it declares them");
    let _gateway = site.gateway();
    let (logins, ready) = (format!("{}/v1/logins", servers.gateway_url()), format!("{}/readyz", servers.gateway_url()));
    eventually("it is ready", async || status(&ready).await == 200).await;
    let channel = Publisher::connect(servers.vhost.url()).await;
    let (queue, exchange) = ("quicklogin.logins", "quicklogin");
    let unbound = channel.channel().queue_unbind(queue.into(), exchange.into(), "login".into(), FieldTable::default());
    unbound.await.expect("both are there");
    assert_eq!(post(&logins, &json!({"code": "one"})).await["status"], 503);
    assert_eq!(status(&ready).await, 503);
    let said = get(&ready).await;
    assert_eq!(said["missing"], json!(["queue"]), "{said}");
    assert!(said["detail"].as_str().is_some_and(|why| why.contains("no queue is bound")), "{said}");
    let options = QueueBindOptions::default();
    let bound =
        channel.channel().queue_bind(queue.into(), exchange.into(), "login".into(), options, FieldTable::default());
    bound.await.expect("both are there");
    assert_eq!(post(&logins, &json!({"code": "one"})).await["status"], "pending");
    assert_eq!(status(&ready).await, 200);
}
