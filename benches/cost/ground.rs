//! What both run on: a RabbitMQ, a Redis and a simulated WeChat, each a process of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use quicklogin::clock;
use quicklogin::queue::{Queue, RabbitSettings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::login::{Login, routing_key};
use crate::plan::Plan;
use crate::processes::Used;
use crate::support::amqp::{Outcome, Publisher};
use crate::support::process::{Process, folder, free_port};
use crate::support::rabbit::{Broker, Vhost};
use crate::support::redis::Redis;

pub(crate) const APP: &str = "wx0123456789abcdef";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// So many in one call; the simulator would allow some more.
const MINTED_AT_ONCE: usize = 20_000;

/// Three servers, and what is needed to talk to them.
pub(crate) struct Ground {
    pub(crate) broker: Broker,
    pub(crate) redis: Redis,
    /// Where WeChat is.
    pub(crate) wechat: String,
    simulator: Process,
    /// The simulator's certificate, where it has one.
    certificate: Option<PathBuf>,
    client: reqwest::Client,
    folder: TempDir,
}

/// A vhost and an empty Redis for one contestant.
pub(crate) struct Run<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) vhost: Vhost,
    pub(crate) shards: u16,
    publisher: Publisher,
    log: PathBuf,
}

impl Ground {
    pub(crate) async fn lay(plan: &Plan) -> Self {
        let (broker, redis, folder) = (Broker::start(), Redis::start(), folder("bench-"));
        let port = free_port();
        let certificate = plan.tls.then(|| certify(&folder));
        let mut client = reqwest::Client::builder().no_proxy();
        let mut command = Command::new(env!("CARGO_BIN_EXE_quicklogin"));
        command.env_clear().args(["simulate", "--listen", &format!("127.0.0.1:{port}")]);
        command.env("QUICKLOGIN__SIMULATOR__LATENCY_MS", Plan::WECHAT_TAKES.as_millis().to_string());
        command.env("QUICKLOGIN__SIMULATOR__JITTER_MS", "0");
        if let Some(pem) = &certificate {
            command.arg("--tls-cert").arg(pem).arg("--tls-key").arg(folder.path().join("key.pem"));
            let pem = fs::read(pem).expect("it was just written");
            client = client.tls_certs_only([reqwest::Certificate::from_pem(&pem).expect("a certificate")]);
        }
        let log = folder.path().join("simulator.log");
        let mut simulator = Process::spawn("the simulator", command, &log);
        let ready = || fs::read_to_string(&log).is_ok_and(|said| said.contains("a WeChat for"));
        simulator.ready_within(Duration::from_secs(20), ready).unwrap_or_else(|error| panic!("{error}"));
        let scheme = if plan.tls { "https" } else { "http" };
        let wechat = format!("{scheme}://127.0.0.1:{port}");
        let client = client.build().expect("a client");
        Self { broker, redis, wechat, simulator, certificate, client, folder }
    }

    /// A vhost with quicklogin's queues, `shards` of them for logins, an empty Redis with a token in it, and a record of
    /// nothing.
    pub(crate) async fn run(&self, name: &str, shards: u16) -> Run<'_> {
        let vhost = self.broker.vhost();
        let queue = Queue::rabbit(settings(&vhost, shards), &TaskTracker::new()).expect("a good URL");
        queue.check().await.expect("RabbitMQ runs");
        self.redis.cli(&["FLUSHALL"]);
        self.share_token().await;
        let asked = self.client.delete(format!("{}/sim/asked", self.wechat)).send().await.expect("the simulator runs");
        assert!(asked.status().is_success());
        let log = self.folder.path().join(format!("{name}.log"));
        Run { ground: self, publisher: Publisher::connect(vhost.url()).await, vhost, shards, log }
    }

    async fn share_token(&self) {
        let ask = json!({"grant_type": "client_credential", "appid": APP, "secret": SECRET});
        let grant = self.post("/cgi-bin/stable_token", &ask).await;
        let life_ms = grant["expires_in"].as_u64().expect("a life") * 1000;
        let now = clock::now_ms();
        let token = json!({"access_token": grant["access_token"], "expires_at": now + life_ms, "fetched_at": now});
        let key = format!("quicklogin:token:{{{APP}}}");
        self.redis.cli(&["SET", &key, &token.to_string(), "PX", &life_ms.to_string()]);
    }

    /// Taps so many buttons.
    pub(crate) async fn mint(&self, count: usize) -> Vec<Login> {
        let mut logins = Vec::with_capacity(count);
        while logins.len() < count {
            let some = (count - logins.len()).min(MINTED_AT_ONCE);
            let minted = self.post("/sim/codes", &json!({"appid": APP, "count": some})).await;
            logins.extend(minted.as_array().expect("a list").iter().map(Login::of));
        }
        logins
    }

    /// What the simulator was asked since the run began.
    pub(crate) async fn asked(&self) -> Value {
        let asked = self.client.get(format!("{}/sim/asked?codes=false", self.wechat)).send().await.expect("an answer");
        serde_json::from_slice(&asked.bytes().await.expect("a body")).expect("JSON")
    }

    /// CPU time of the three servers so far.
    pub(crate) fn used(&self) -> Used {
        Used::now(self.simulator.id())
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.wechat)).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.expect("the simulator runs");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }
}

impl Run<'_> {
    pub(crate) fn queue_url(&self) -> &str {
        self.vhost.url()
    }

    pub(crate) fn log(&self) -> &PathBuf {
        &self.log
    }

    /// What makes a contestant trust the simulator.
    pub(crate) fn trust(&self) -> Option<(&'static str, PathBuf)> {
        self.ground.certificate.clone().map(|pem| ("SSL_CERT_FILE", pem))
    }

    /// All at once, and confirmed.
    pub(crate) async fn publish(&self, logins: &[Login], deadline_ms: Option<u64>) {
        for some in logins.chunks(2000) {
            for shard in 0..self.shards {
                let of_shard = some.iter().filter(|login| login.shard(self.shards) == shard);
                let messages = of_shard.map(|login| (login.body(deadline_ms), Publisher::properties(&login.id)));
                let key = routing_key(shard);
                let taken = self.publisher.publish_many("quicklogin", &key, messages).await.expect("RabbitMQ runs");
                assert!(taken.iter().all(|outcome| *outcome == Outcome::Taken));
            }
        }
    }

    /// One, confirmed.
    pub(crate) async fn publish_one(&self, login: &Login) {
        let properties = Publisher::properties(&login.id);
        let outcome = self.publisher.publish("quicklogin", "login", &login.body(None), properties).await;
        assert_eq!(outcome.expect("RabbitMQ runs"), Outcome::Taken);
    }

    /// Whether somebody consumes.
    pub(crate) fn is_consumed(&self) -> bool {
        self.ground.broker.queue_depths(&self.vhost)["quicklogin.logins"].consumers > 0
    }

    /// Whether every queue is empty, and nothing in hand.
    pub(crate) fn is_done(&self) -> bool {
        let depths = self.ground.broker.queue_depths(&self.vhost);
        depths.values().all(|queue| queue.ready + queue.unacked == 0)
    }

    /// Panics unless each has its number, which is the right one.
    pub(crate) async fn assert_all_succeeded(&self, logins: &[Login]) {
        for (login, found) in logins.iter().zip(self.results(logins).await) {
            let found: Value = serde_json::from_slice(&found.expect("there is a result")).expect("JSON");
            assert_eq!(found["phone_info"]["phoneNumber"], login.phone_number, "{found}");
        }
    }

    /// Panics unless each is expired.
    pub(crate) async fn assert_all_expired(&self, logins: &[Login]) {
        for found in self.results(logins).await {
            let found: Value = serde_json::from_slice(&found.expect("there is a result")).expect("JSON");
            assert_eq!(found["error"]["reason"], "expired", "{found}");
        }
    }

    async fn results(&self, logins: &[Login]) -> Vec<Option<Vec<u8>>> {
        let client = redis::Client::open(self.ground.redis.url()).expect("a URL");
        let mut store = client.get_multiplexed_async_connection().await.expect("Redis runs");
        let mut results = vec![];
        for some in logins.chunks(1000) {
            let mut ask = redis::cmd("MGET");
            ask.arg(some.iter().map(|login| format!("quicklogin:result:{{{}}}", login.id)).collect::<Vec<_>>());
            let found: Vec<Option<Vec<u8>>> = ask.query_async(&mut store).await.expect("Redis runs");
            results.extend(found);
        }
        results
    }
}

fn settings(vhost: &Vhost, shards: u16) -> RabbitSettings {
    RabbitSettings {
        url: vhost.url().into(),
        exchange: "quicklogin".into(),
        routing_key: "login".into(),
        queue: "quicklogin.logins".into(),
        shards,
        dead_queue: "quicklogin.dead".into(),
        results_queue: "quicklogin.results".into(),
        declare: true,
        max_length: 1_000_000,
        dead_max_length: 100_000,
        delivery_limit: 20,
        connection_name: "bench".into(),
    }
}

/// A certificate for this machine, and its key beside it.
fn certify(folder: &TempDir) -> PathBuf {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let path = folder.path().join("certificate.pem");
    fs::write(&path, made.cert.pem()).expect("the folder is ours");
    fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("the folder is ours");
    path
}
