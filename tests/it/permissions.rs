//! RabbitMQ users with exactly the permissions that `docs/security.md` gives them: the fleet works, and more is refused.

use std::collections::BTreeMap;

use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use quicklogin::clock;
use serde_json::{Value, json};

use crate::support::amqp::{Outcome, Publisher};
use crate::support::fleet::{APP, SECRET, eventually};
use crate::support::program::{LISTENING, Servers, Site, app, get, post};
use crate::support::rabbit::Broker;

const SECURITY: &str = include_str!("../../docs/security.md");
const LOGINS: &str = "quicklogin.logins";
const RESULTS: &str = "quicklogin.results";
const DEAD: &str = "quicklogin.dead";
const QUEUES: [&str; 3] = [LOGINS, RESULTS, DEAD];

/// The users of a fleet, each with its URL.
struct Users(BTreeMap<&'static str, String>);

impl Users {
    /// Makes the users of the page's block of this number.
    fn make(servers: &Servers, block: usize) -> Self {
        let block = SECURITY.split("```").filter(|block| block.contains("set_permissions")).nth(block);
        let lines = block.expect("the page has it").lines().filter(|line| line.contains("set_permissions"));
        let user = |line: &'static str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let [_, _, "-p", "/", name, configure, write, read] = words[..] else { panic!("{line} is a command") };
            let permissions = [configure, write, read].map(|pattern| pattern.trim_matches('\''));
            (name, Broker::shared().user(&servers.vhost, name, permissions))
        };
        Self(lines.map(user).collect())
    }

    fn url(&self, name: &str) -> &str {
        &self.0[name]
    }

    /// The variable that makes a process this user.
    fn is<'a>(&'a self, name: &str) -> [(&'static str, &'a str); 1] {
        [("QUICKLOGIN__RABBITMQ__URL", self.url(name))]
    }
}

/// A channel each, since a refusal closes it.
struct Acts {
    connection: Connection,
}

impl Acts {
    async fn of(url: &str) -> Self {
        Self { connection: Connection::connect(url, ConnectionProperties::default()).await.expect("it may connect") }
    }

    /// RabbitMQ says 403 to this.
    async fn refused<T>(&self, what: &str, act: impl AsyncFnOnce(Channel) -> lapin::Result<T>) {
        let channel = self.connection.create_channel().await.expect("it is connected");
        let error = act(channel).await.err().unwrap_or_else(|| panic!("{what} is refused"));
        assert!(error.to_string().contains("ACCESS-REFUSED"), "{what}: {error}");
    }

    async fn cannot_publish(&self, exchange: &str, routing_key: &str) {
        self.refused(&format!("publishing to {exchange:?} {routing_key}"), async |channel| {
            channel.confirm_select(Default::default()).await?;
            let (exchange, key, body) = (exchange.into(), routing_key.into(), b"{}");
            channel.basic_publish(exchange, key, Default::default(), body, Default::default()).await?.await
        })
        .await;
    }

    async fn cannot_read(&self, queue: &str) {
        self.refused(&format!("reading {queue}"), async |channel| {
            channel.basic_get(queue.into(), BasicGetOptions::default()).await
        })
        .await;
        self.refused(&format!("consuming {queue}"), async |channel| {
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            channel.basic_consume(queue.into(), "".into(), options, arguments).await.map(drop)
        })
        .await;
        self.refused(&format!("purging {queue}"), async |channel| {
            channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await
        })
        .await;
    }

    async fn cannot_change(&self, queue: &str) {
        self.refused(&format!("deleting {queue}"), async |channel| {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await
        })
        .await;
        self.refused(&format!("binding {queue}"), async |channel| {
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            channel.queue_bind(queue.into(), "quicklogin".into(), "mine".into(), options, arguments).await
        })
        .await;
    }

    async fn cannot_declare(&self) {
        for queue in ["mine", "quicklogin.mine", RESULTS] {
            self.refused(&format!("declaring {queue}"), async |channel| {
                let options = QueueDeclareOptions::durable();
                channel.queue_declare(queue.into(), options, FieldTable::default()).await.map(drop)
            })
            .await;
        }
        self.refused("declaring an exchange", async |channel| {
            let (options, arguments) = (ExchangeDeclareOptions::default(), FieldTable::default());
            channel.exchange_declare("mine".into(), ExchangeKind::Fanout, options, arguments).await
        })
        .await;
    }
}

/// A fleet whose processes are these users.
struct Ground {
    servers: Servers,
    site: Site,
    users: Users,
}

impl Ground {
    fn with(declare: bool) -> Self {
        let servers = Servers::start();
        let settings = |declare: bool, more: &str| {
            servers.settings(&format!("rabbitmq.declare = {declare}\n{more}\n{}", app(APP, SECRET)))
        };
        if !declare {
            // The operator declares, once.
            drop(Site::with(&settings(true, "")).worker());
        }
        let site = Site::with(&settings(declare, "worker.drain_s = 3"));
        let users = Users::make(&servers, usize::from(declare));
        Self { servers, site, users }
    }

    fn depth(&self, queue: &str) -> u64 {
        let depth = Broker::shared().queue_depths(&self.servers.vhost)[queue];
        depth.ready + depth.unacked
    }

    async fn code(&self, script: Value) -> String {
        let codes = format!("{}/sim/codes", self.servers.simulator_url());
        let minted = post(&codes, &json!({"appid": APP, "script": script})).await;
        minted["code"].as_str().expect("a code").to_owned()
    }

    /// The status in a result, as soon as it is there.
    async fn status(&self, request_id: &str) -> Value {
        let key = format!("quicklogin:result:{{{request_id}}}");
        eventually(&format!("{request_id} has a result"), async || self.servers.redis.get(&key).is_some()).await;
        let result: Value = serde_json::from_str(&self.servers.redis.get(&key).expect("a result")).expect("JSON");
        result["status"].clone()
    }

    /// As a gateway in another language.
    async fn publish(&self, publisher: &Publisher, request_id: &str, body: &Value) {
        let properties = Publisher::properties(request_id);
        let sent = publisher.publish("quicklogin", "login", body.to_string().as_bytes(), properties).await;
        assert_eq!(sent.expect("it may publish"), Outcome::Taken);
    }

    /// Each way that a login, a dead letter and a held result go.
    async fn all_works(&self) {
        let _simulator = self.site.simulator();
        let mut worker = self.site.worker_with(&self.users.is("worker"));
        let _gateway = self.site.start_with(&["gateway"], &self.users.is("gateway"), LISTENING);
        let logins = format!("{}/v1/logins", self.servers.gateway_url());
        let pending = post(&logins, &json!({"code": self.code(json!([])).await})).await;
        let id = pending["request_id"].as_str().unwrap_or_else(|| panic!("the gateway takes it: {pending}"));
        assert_eq!(get(&format!("{logins}/{id}?wait=20")).await["status"], "succeeded");
        assert_eq!(get(&format!("{}/readyz", self.servers.gateway_url())).await, json!({"ready": true}));

        let publisher = Publisher::connect(self.users.url("publisher")).await;
        let body = json!({"request_id": "by-queue", "code": self.code(json!([])).await});
        self.publish(&publisher, "by-queue", &body).await;
        assert_eq!(self.status("by-queue").await, "succeeded");

        self.publish(&publisher, "no-id", &json!({"code": "c"})).await;
        eventually("it is a dead letter", async || self.depth(DEAD) == 1).await;

        let slow = json!([{"delay_ms": 2000}]);
        let body = json!({"request_id": "held", "code": self.code(slow).await, "issued_at": clock::now_ms()});
        self.publish(&publisher, "held", &body).await;
        let counts = format!("{}/sim/asked", self.servers.simulator_url());
        eventually("it is asked", async || get(&counts).await["phone"]["calls"] == 3).await;
        self.servers.redis.kill();
        worker.terminate();
        eventually("its result is handed over", async || self.depth(RESULTS) == 1).await;
        self.servers.redis.restart();
        let another = self.site.worker_with(&self.users.is("worker"));
        assert_eq!(self.status("held").await, "succeeded");
        eventually("all is settled", async || self.depth(RESULTS) + self.depth(LOGINS) == 0).await;
        // A dead letter without its reason went by rejection: its worker may not publish.
        assert!(!another.said().contains("ACCESS_REFUSED") && !worker.said().contains("by rejection"));
    }
}

#[tokio::test]
async fn a_fleet_that_declares_nothing_works_with_the_least_permissions() {
    let ground = Ground::with(false);
    ground.all_works().await;
    // An operator looks at the one dead letter, and publishes another one again.
    let guest = Publisher::connect(ground.servers.vhost.url()).await;
    let login = json!({"request_id": "again", "code": "0123456789", "issued_at": clock::now_ms()}).to_string();
    let sent = guest.publish("", DEAD, login.as_bytes(), Publisher::properties("again")).await;
    assert_eq!(sent.expect("it is connected"), Outcome::Taken);
    let replayed = ground.site.run_with(&["dead", "replay", "--all"], &ground.users.is("operator"));
    assert_eq!(replayed.stderr.trim(), "replayed 1, refused 1 (without a request id 1), left 1");

    for user in ["publisher", "gateway"] {
        let acts = Acts::of(ground.users.url(user)).await;
        acts.cannot_declare().await;
        for queue in QUEUES {
            acts.cannot_publish("", queue).await;
            acts.cannot_read(queue).await;
            acts.cannot_change(queue).await;
        }
    }
    let worker = Acts::of(ground.users.url("worker")).await;
    worker.cannot_declare().await;
    worker.cannot_publish("quicklogin", "login").await;
    worker.cannot_read(DEAD).await;
    let operator = Acts::of(ground.users.url("operator")).await;
    operator.cannot_declare().await;
    operator.cannot_publish("", RESULTS).await;
    for queue in [LOGINS, RESULTS] {
        operator.cannot_read(queue).await;
        worker.cannot_change(queue).await;
    }
}

#[tokio::test]
async fn a_fleet_that_declares_everything_works_with_the_least_permissions() {
    let ground = Ground::with(true);
    ground.all_works().await;
    let publisher = Acts::of(ground.users.url("publisher")).await;
    publisher.cannot_declare().await;
    for queue in QUEUES {
        publisher.cannot_publish("", queue).await;
        publisher.cannot_read(queue).await;
        publisher.cannot_change(queue).await;
    }
    for user in ["gateway", "worker"] {
        let acts = Acts::of(ground.users.url(user)).await;
        acts.cannot_read(DEAD).await;
        acts.refused("declaring another queue", async |channel| {
            let options = QueueDeclareOptions::durable();
            channel.queue_declare("mine".into(), options, FieldTable::default()).await.map(drop)
        })
        .await;
    }
    Acts::of(ground.users.url("gateway")).await.cannot_read(RESULTS).await;
    Acts::of(ground.users.url("worker")).await.cannot_publish("quicklogin", "login").await;
}
