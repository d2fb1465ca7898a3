//! A whole fleet in one process: simulator, workers, gateway, on either backend, over real sockets.

mod roads;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use quicklogin::backend::Backend;
use quicklogin::clock;
use quicklogin::gateway::{self, AppIds, Keys};
use quicklogin::login::{AppId, Code, LoginRequest, LoginResult, RequestId, SealingKey};
use quicklogin::meters::Meters;
use quicklogin::ops::Readiness;
use quicklogin::queue::{Queue, RabbitSettings};
use quicklogin::simulator::{AppChange, Mint, Minted, Simulator, SimulatorOptions};
use quicklogin::store::{RedisSettings, Store};
use quicklogin::token::{self, App, KeptSecret, Source, Tokens};
use quicklogin::traceparent::Traceparent;
use quicklogin::wechat::push::MessageKeys;
use quicklogin::wechat::{Client, ClientSettings};
use quicklogin::worker::{self, Limits, OutboxKey, Stop, Worker};

pub(crate) use self::roads::Roads;
use self::roads::Who;
use crate::support::process::free_port;
use crate::support::rabbit::{Broker, Vhost};
use crate::support::redis::Redis;
use crate::support::road::Road;
use crate::support::topologies::Cluster;

/// The app that is configured unless a test says otherwise.
pub(crate) const APP: &str = "wx0123456789abcdef";
/// An app that the simulator knows and the fleet does not.
pub(crate) const SISTER: &str = "wxfedcba9876543210";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Whatever must happen happens in this time, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// What a fleet stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    Embedded,
    RabbitAndRedis,
    /// The one cluster of all tests, under a prefix of its own.
    RabbitAndCluster,
}

/// What a test may want otherwise.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) ground: Ground,
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    pub(crate) apps: Vec<(&'static str, &'static str)>,
    /// Where an app's token comes from.
    pub(crate) source: fn(&AppId, KeptSecret) -> Source,
    pub(crate) limits: Limits,
    /// Bound on a call of WeChat's; unless told otherwise, one that only a call without an answer reaches.
    pub(crate) call_timeout: Duration,
    /// Workers encrypt phone numbers with it.
    pub(crate) sealing: Option<Arc<SealingKey>>,
    /// Workers authenticate results that they hand over with it.
    pub(crate) outbox_key: Option<OutboxKey>,
    pub(crate) keys: Vec<&'static str>,
    /// The platforms that WeChat pushes to.
    pub(crate) platforms: Vec<MessageKeys>,
    pub(crate) max_waiting: usize,
    /// How many queues there are.
    pub(crate) shards: u16,
    /// How many requests each holds.
    pub(crate) max_length: u32,
    /// How often a request may come back.
    pub(crate) delivery_limit: u32,
    /// RabbitMQ, where it is not the broker of all tests.
    pub(crate) broker: Option<Arc<Broker>>,
    /// Where the queue is there already.
    pub(crate) vhost: Option<Vhost>,
    /// The store, where it is none that the fleet is to start.
    pub(crate) store: Option<RedisSettings>,
    /// Redis keeps what it has confirmed when it is killed.
    pub(crate) durable_store: bool,
    /// Nothing answers at WeChat's address.
    pub(crate) wechat_unreachable: bool,
    /// WeChat has so many hosts, each a road to the simulator.
    pub(crate) wechat_hosts: usize,
    /// RabbitMQ, Redis and WeChat are reached by roads.
    pub(crate) by_roads: bool,
    /// How often RabbitMQ and fleet tell each other that they live, in seconds.
    pub(crate) heartbeat_s: Option<u16>,
    /// Where RabbitMQ is, if not at one address.
    pub(crate) broker_url: Option<String>,
}

impl Plan {
    pub(crate) fn on(ground: Ground) -> Self {
        Self {
            ground,
            workers: 1,
            slots: 64,
            apps: vec![(APP, SECRET)],
            source: |_, secret| Source::Stable { secret, may_force: false },
            limits: Limits {
                code_life: Duration::from_secs(240),
                patience: Duration::from_secs(3),
                result_ttl: Duration::from_secs(600),
            },
            call_timeout: Duration::from_secs(5),
            sealing: None,
            outbox_key: None,
            keys: vec![],
            platforms: vec![],
            max_waiting: 1000,
            shards: 1,
            max_length: 100_000,
            delivery_limit: 20,
            broker: None,
            vhost: None,
            store: (ground == Ground::RabbitAndCluster).then(shared_cluster),
            durable_store: false,
            wechat_unreachable: false,
            wechat_hosts: 0,
            by_roads: false,
            heartbeat_s: None,
            broker_url: None,
        }
    }

    pub(crate) async fn start(self) -> Fleet {
        Fleet::start(self).await
    }

    fn broker(&self) -> &Broker {
        self.broker.as_deref().unwrap_or_else(|| Broker::shared())
    }
}

pub(crate) struct Fleet {
    pub(crate) simulator: Simulator,
    pub(crate) queue: Queue,
    pub(crate) store: Store,
    /// Where the gateway listens.
    pub(crate) url: String,
    /// RabbitMQ, and Redis where the fleet has started it.
    pub(crate) servers: Option<(Vhost, Option<Redis>)>,
    pub(crate) meters: Meters,
    /// As far as the plan wants any.
    pub(crate) roads: Roads,
    plan: Plan,
    /// Where WeChat is.
    base_urls: Vec<String>,
    workers: Vec<RunningWorker>,
    stop: Stop,
    tracker: TaskTracker,
}

struct RunningWorker {
    stop: Stop,
    working: JoinHandle<()>,
}

impl Fleet {
    async fn start(plan: Plan) -> Self {
        let simulator = Simulator::new(&SimulatorOptions { latency_ms: 5, ..SimulatorOptions::default() });
        for (appid, secret) in plan.apps.iter().chain(&[(SISTER, SECRET)]) {
            simulator.put_app(AppChange::new(*appid, *secret)).expect("a good app");
        }
        let (stop, tracker) = (Stop::default(), TaskTracker::new());
        let address = if plan.wechat_unreachable {
            (Ipv4Addr::LOCALHOST, free_port()).into()
        } else {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let address = listener.local_addr().expect("it listens");
            tracker.spawn(simulator.clone().serve(listener, stop.hard.clone()));
            address
        };
        let servers = match plan.ground {
            Ground::Embedded => None,
            Ground::RabbitAndRedis | Ground::RabbitAndCluster => {
                let redis = || if plan.durable_store { Redis::start_durable() } else { Redis::start() };
                let vhost = plan.vhost.clone().unwrap_or_else(|| plan.broker().vhost());
                Some((vhost, plan.store.is_none().then(redis)))
            }
        };
        let roads = Roads::of(&plan, address, servers.as_ref()).await;
        let base_urls = match roads.wechat.as_slice() {
            [] => vec![format!("http://{address}")],
            roads => roads.iter().map(Road::url).collect(),
        };
        let (queue, store) = open(&plan, &roads, servers.as_ref(), Who::Gateway, &tracker, &stop);
        let mut fleet = Self {
            simulator,
            queue,
            store,
            url: String::new(),
            servers,
            meters: Meters::new(),
            roads,
            plan,
            base_urls,
            workers: vec![],
            stop,
            tracker,
        };
        eventually("the store answers", async || fleet.store.check_writable().await.is_ok()).await;
        eventually("the queue is there", async || fleet.queue.check().await.is_ok()).await;
        fleet.start_gateway().await;
        for _ in 0..fleet.plan.workers {
            fleet.add_worker();
        }
        fleet
    }

    async fn start_gateway(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        self.url = format!("http://{}", listener.local_addr().expect("it listens"));
        let keys: Vec<_> = self.plan.keys.iter().map(|key| (*key).into()).collect();
        let parts = gateway::Parts {
            queue: self.queue.clone(),
            store: self.store.clone(),
            apps: AppIds::new(self.plan.apps.iter().map(|(appid, _)| app_id(appid)).collect()),
            code_life: self.plan.limits.code_life,
            result_ttl: self.plan.limits.result_ttl,
            keys: Keys::new(&keys),
            platforms: self.plan.platforms.clone(),
            max_waiting: self.plan.max_waiting,
            max_connections: 20_000,
            meters: self.meters.clone(),
            readiness: Readiness {
                store: self.store.clone(),
                publishes_to: Some(self.queue.clone()),
                consuming: None,
                stopping: self.stop.soft.clone(),
            },
        };
        self.tracker.spawn(gateway::serve(parts, listener, self.tracker.clone(), self.stop.soft.clone()));
    }

    /// One more worker; in a real fleet with connections of its own.
    pub(crate) fn add_worker(&mut self) {
        let stop = Stop::default();
        let (queue, store) = match &self.servers {
            None => (self.queue.clone(), self.store.clone()),
            some => open(&self.plan, &self.roads, some.as_ref(), Who::Worker, &self.tracker, &stop),
        };
        let worker = self.worker(queue.clone(), store);
        let consumer = queue.consume(Worker::prefetch(self.plan.slots as u16), stop.soft.clone());
        let (slots, stopping) = (self.plan.slots, stop.clone());
        let (handed_over, others) = (queue.consume_handed_over(4, stop.soft.clone()), worker.clone());
        let working = tokio::spawn(async move {
            let for_others = async {
                if let Some(handed_over) = handed_over {
                    worker::record_handed_over(others, handed_over, &stopping).await;
                }
            };
            tokio::join!(worker::work(worker, consumer, slots, &stopping), for_others);
        });
        self.workers.push(RunningWorker { stop, working });
    }

    fn worker(&self, queue: Queue, store: Store) -> Worker {
        let connect_timeout = Duration::from_secs(2).min(self.plan.call_timeout / 2);
        let settings = client_settings(&self.base_urls, connect_timeout, self.plan.call_timeout);
        let client = Client::new(&settings).expect("a client");
        let app = |(appid, secret): &(&str, &str)| {
            let appid = app_id(appid);
            let source = (self.plan.source)(&appid, KeptSecret::Text((*secret).into()));
            App { appid, source }
        };
        let apps = self.plan.apps.iter().map(app).collect();
        let parts = token::Parts {
            store: store.clone(),
            client: client.clone(),
            tracker: self.tracker.clone(),
            stop: self.stop.hard.clone(),
            meters: self.meters.clone(),
            name: format!("worker {}", self.workers.len()),
        };
        let tokens = Tokens::new(apps, parts);
        Worker::new(worker::Parts {
            store,
            queue,
            tokens,
            client,
            calls: worker::Calls::default(),
            recent: worker::Recent::default(),
            limits: self.plan.limits,
            sealing: self.plan.sealing.clone(),
            outbox_key: self.plan.outbox_key.clone(),
            simulated: false,
            meters: self.meters.clone(),
        })
    }

    /// Stops the gateway softly.
    pub(crate) fn stop_gateway(&mut self) {
        self.stop.soft.cancel();
    }

    /// Stops the first worker softly and waits until it has finished what it had in hand.
    pub(crate) async fn drain_worker(&mut self) {
        let RunningWorker { stop, working } = self.workers.remove(0);
        stop.soft.cancel();
        working.await.expect("a worker does not panic");
    }

    /// Stops the first worker at once: what it had in hand goes back.
    pub(crate) async fn stop_worker_hard(&mut self) {
        let RunningWorker { stop, working } = self.workers.remove(0);
        stop.soft.cancel();
        stop.hard.cancel();
        working.await.expect("a worker does not panic");
    }

    pub(crate) fn tap(&self) -> Minted {
        self.tap_with(&Mint::of(APP))
    }

    pub(crate) fn tap_with(&self, mint: &Mint) -> Minted {
        self.simulator.mint(mint).expect("the simulator knows the app")
    }

    pub(crate) async fn publish(&self, request: &LoginRequest) {
        self.queue.publish(request, &Traceparent::generate()).await.expect("the queue takes it");
    }

    /// Publishes a request for this code, and answers its result.
    pub(crate) async fn login(&self, code: &str) -> LoginResult {
        let request = request(code);
        self.publish(&request).await;
        self.result(&request.request_id).await
    }

    pub(crate) async fn result(&self, id: &RequestId) -> LoginResult {
        let json = self.result_json(id).await;
        LoginResult::from_json(&json, None).expect("a result as the contract says")
    }

    pub(crate) async fn result_json(&self, id: &RequestId) -> Bytes {
        let until = Instant::now() + SOON;
        loop {
            let found = self.store.results(std::slice::from_ref(id)).await.unwrap_or_default();
            if let Some(json) = found.into_iter().flatten().next() {
                return json;
            }
            assert!(Instant::now() < until, "{id} has a result within {SOON:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// How often WeChat was asked for a phone number.
    pub(crate) fn asked_for_phones(&self) -> u64 {
        self.simulator.asked_without_codes().phone.calls
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.plan.broker()
    }

    pub(crate) fn vhost(&self) -> &Vhost {
        &self.servers.as_ref().expect("a fleet on RabbitMQ and Redis").0
    }

    pub(crate) fn redis(&self) -> &Redis {
        let servers = self.servers.as_ref().expect("a fleet on RabbitMQ and Redis");
        servers.1.as_ref().expect("a Redis of its own")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.stop.soft.cancel();
            worker.stop.hard.cancel();
        }
        self.stop.soft.cancel();
        self.stop.hard.cancel();
    }
}

fn open(
    plan: &Plan,
    roads: &Roads,
    servers: Option<&(Vhost, Option<Redis>)>,
    who: Who,
    tracker: &TaskTracker,
    stop: &Stop,
) -> (Queue, Store) {
    let backend = match servers {
        None => Backend::Embedded,
        Some((vhost, redis)) => Backend::Fleet {
            rabbitmq: Box::new(roads.rabbit_settings(plan, vhost, who)),
            redis: roads.redis_settings(plan, redis.as_ref()),
        },
    };
    let (queue, store) = backend.open(tracker, &stop.hard).expect("good settings");
    match plan.ground {
        Ground::Embedded => (Queue::in_memory(plan.max_length as usize), store),
        Ground::RabbitAndRedis | Ground::RabbitAndCluster => (queue, store),
    }
}

/// WeChat at the first of these, and at the others where that cannot be reached.
pub(crate) fn client_settings(base_urls: &[String], connect_timeout: Duration, timeout: Duration) -> ClientSettings {
    let mut hosts = base_urls.iter().map(|url| url.parse().expect("a URL"));
    ClientSettings {
        base_url: hosts.next().expect("a host"),
        hosts: hosts.collect(),
        connect_timeout,
        timeout,
        pool_idle: Duration::from_secs(9),
    }
}

pub(crate) fn rabbit_settings(vhost: &Vhost, max_length: u32) -> RabbitSettings {
    RabbitSettings {
        url: vhost.url().into(),
        exchange: "quicklogin".into(),
        routing_key: "login".into(),
        queue: "quicklogin.logins".into(),
        shards: 1,
        dead_queue: "quicklogin.dead".into(),
        results_queue: "quicklogin.results".into(),
        declare: true,
        max_length,
        dead_max_length: 100_000,
        delivery_limit: 20,
        connection_name: "test".into(),
    }
}

pub(crate) fn redis_settings(redis: &Redis) -> RedisSettings {
    settings_at(&redis.url())
}

fn shared_cluster() -> RedisSettings {
    let prefix = format!("quicklogin-{}", RequestId::generate());
    RedisSettings { prefix, ..settings_at(&Cluster::shared().url()) }
}

pub(crate) fn settings_at(url: &str) -> RedisSettings {
    RedisSettings {
        url: url.into(),
        prefix: "quicklogin".into(),
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
    }
}

pub(crate) fn app_id(text: &str) -> AppId {
    AppId::try_from(text).expect("a good appid")
}

pub(crate) fn id(text: &str) -> RequestId {
    RequestId::try_from(text).expect("a good id")
}

/// A request with an id of its own, tapped now.
pub(crate) fn request(code: &str) -> LoginRequest {
    LoginRequest {
        request_id: RequestId::generate(),
        appid: None,
        code: Code::try_from(code).expect("a good code"),
        openid: None,
        issued_at: Some(clock::now_ms()),
        deadline: None,
    }
}

/// Waits for a fact. A look that blocks leaves as much time to those who are looked at, who may share its thread.
pub(crate) async fn eventually(fact: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + SOON;
    loop {
        let looked = Instant::now();
        if is_so().await {
            return;
        }
        assert!(Instant::now() < until, "{fact} within {SOON:?}");
        sleep(looked.elapsed().clamp(Duration::from_millis(10), Duration::from_secs(1))).await;
    }
}
