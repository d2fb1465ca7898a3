//! Putting a process together from its settings: what several commands need.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::backend::Backend;
use crate::commands::{CommandError, trusted};
use crate::config::Settings;
use crate::fd_limit;
use crate::fleet;
use crate::gateway::{self, AppIds, Keys};
use crate::http::MAX_CLOSING;
use crate::meters::Meters;
use crate::ops::{self, Readiness};
use crate::oversight;
use crate::process_name::process_name;
use crate::queue::{Consumer, Queue};
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::telemetry::say;
use crate::token::{self, App, Tokens};
use crate::wechat::{Client, ClientError, ClientSettings};
use crate::worker::{self, Worker};

/// Results of stopped workers that RabbitMQ sends ahead. Few, since a forged one may be as long as RabbitMQ allows.
const HANDED_OVER_IN_HAND: u16 = 4;
/// File descriptors that are kept for all but the gateway's connections and calls to WeChat: RabbitMQ, the nodes of Redis,
/// log files, and the operators' listener; and connections of both listeners that are closing.
const OTHER_DESCRIPTORS: usize = 64 + ops::MAX_CONNECTIONS + 2 * MAX_CLOSING;
/// File descriptors that a worker needs at least, besides those for its slots: RabbitMQ, Redis, health checks, files, the
/// runtime.
const FEWEST_DESCRIPTORS: u64 = 32;
/// Background work that has not ended in this time after a stop is left behind.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// A process while it runs.
pub(super) struct Process {
    pub(super) settings: Settings,
    /// Where they come from, besides defaults and environment.
    pub(super) settings_file: Option<PathBuf>,
    pub(super) shutdown: Shutdown,
    pub(super) meters: Meters,
}

/// Queue and store, opened.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) queue: Queue,
    pub(super) store: Store,
}

/// Who answers as WeChat, and for which apps.
pub(super) struct Upstream {
    pub(super) client: ClientSettings,
    pub(super) apps: Vec<App>,
    pub(super) simulated: bool,
}

impl Process {
    pub(super) fn new(settings: Settings, settings_file: Option<PathBuf>) -> Self {
        Self { settings, settings_file, shutdown: Shutdown::default(), meters: Meters::new() }
    }

    /// Stops softly and then hard on signals, as the settings say.
    pub(super) fn stop_on_signals(&self) -> Result<(), CommandError> {
        let drain = Duration::from_secs(self.settings.worker.drain_s);
        self.shutdown
            .on_signals(drain)
            .map_err(|error| CommandError::at_run_time(format!("signals cannot be listened to: {error}")))
    }

    /// Ends the background and waits for it, a little.
    pub(super) async fn finish(&self) {
        self.shutdown.finish(FINISH_WITHIN).await;
    }

    pub(super) fn open(&self, backend: Backend) -> Result<Opened, CommandError> {
        let Shutdown { stop, tracker } = &self.shutdown;
        let (queue, store) = backend.open(tracker, &stop.hard).map_err(|bad| {
            CommandError::settings(bad.to_string(), "see rabbitmq.url and redis.url in config/default.toml")
        })?;
        Ok(Opened { queue, store })
    }

    /// WeChat itself, for the configured apps; there must be one.
    pub(super) fn wechat(&self) -> Result<Upstream, CommandError> {
        let apps = self.settings.apps()?;
        if apps.is_empty() {
            return Err(no_app());
        }
        Ok(Upstream { client: self.settings.wechat()?, apps, simulated: false })
    }

    pub(super) fn worker(&self, opened: &Opened, upstream: Upstream) -> Result<Worker, CommandError> {
        let Upstream { client, apps, simulated } = upstream;
        self.check_descriptors()?;
        self.warn_of_risks(&client);
        let client = Client::new(&client).map_err(|error| no_client(&error))?;
        let (store, meters) = (opened.store.clone(), self.meters.clone());
        let tokens = self.tokens(apps, &store, &client);
        let (limits, sealing) = (self.settings.limits(), self.settings.sealing()?);
        let (calls, recent) = (worker::Calls::default(), worker::Recent::default());
        let (queue, outbox_key) = (opened.queue.clone(), self.settings.outbox_key()?);
        let worker = Worker::new(worker::Parts {
            store,
            queue,
            tokens,
            client,
            calls,
            recent,
            limits,
            sealing,
            outbox_key,
            simulated,
            meters,
        });
        worker.warn_of_missing_outbox_keys();
        Ok(worker)
    }

    /// Each slot may have a connection to WeChat.
    fn check_descriptors(&self) -> Result<(), CommandError> {
        let (slots, limit) = (self.settings.worker.slots, fd_limit::raise());
        let needed = u64::from(slots) + FEWEST_DESCRIPTORS;
        if limit >= needed {
            return Ok(());
        }
        let what = format!("worker.slots = {slots} needs {needed} file descriptors, and the limit is {limit}");
        let hint = "raise the hard limit of open files (LimitNOFILE= of systemd, --ulimit nofile of Docker, ulimit -n), or set worker.slots lower";
        Err(CommandError::settings(what, hint))
    }

    /// What is allowed, and yet hardly ever meant.
    fn warn_of_risks(&self, client: &ClientSettings) {
        let loopback = |url: &Url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let mut urls = std::iter::once(&client.base_url).chain(&client.hosts);
        if urls.any(|url| url.scheme() == "http" && !loopback(url)) {
            warn!(
                "wechat.base_url or wechat.hosts is plain http: codes, tokens and phone numbers can be read on the way"
            );
        }
        let (ttl_s, life_s) = (self.settings.result.ttl_s, self.settings.login.code_life_s);
        if ttl_s < life_s {
            warn!(
                ttl_s,
                life_s,
                "result.ttl_s is shorter than login.code_life_s: a request that is delivered again after its result is gone is asked again"
            );
        }
    }

    /// The tokens of `apps`, shared through `store`.
    pub(super) fn tokens(&self, apps: Vec<App>, store: &Store, client: &Client) -> Tokens {
        let Shutdown { stop, tracker } = &self.shutdown;
        let parts = token::Parts {
            store: store.clone(),
            client: client.clone(),
            tracker: tracker.clone(),
            stop: stop.hard.clone(),
            meters: self.meters.clone(),
            name: process_name(),
        };
        Tokens::new(apps, parts)
    }

    /// A consumer with as much in hand as this worker wants.
    pub(super) fn consume(&self, opened: &Opened) -> Consumer {
        opened.queue.consume(Worker::prefetch(self.settings.worker.slots), self.shutdown.stop.soft.clone())
    }

    /// Takes logins until the soft stop, and finishes them.
    pub(super) fn work(
        &self,
        opened: &Opened,
        worker: Worker,
        consumer: Consumer,
    ) -> impl Future<Output = Result<(), CommandError>> + Send + use<> {
        let (slots, stop) = (usize::from(self.settings.worker.slots), self.shutdown.stop.clone());
        let handed_over = opened.queue.consume_handed_over(HANDED_OVER_IN_HAND, stop.soft.clone());
        async move {
            let others = worker.clone();
            let for_others = async {
                if let Some(handed_over) = handed_over {
                    worker::record_handed_over(others, handed_over, &stop).await;
                }
            };
            let (clean, ()) = tokio::join!(worker::work(worker, consumer, slots, &stop), for_others);
            if clean { Ok(()) } else { Err(CommandError::unclean_stop()) }
        }
    }

    /// What a gateway is made of, in a process that has up to `calls` calls to WeChat in flight besides.
    pub(super) fn gateway(
        &self,
        opened: &Opened,
        apps: AppIds,
        readiness: Readiness,
        calls: usize,
    ) -> Result<gateway::Parts, CommandError> {
        let from = &self.settings.gateway;
        Ok(gateway::Parts {
            queue: opened.queue.clone(),
            store: opened.store.clone(),
            apps,
            code_life: self.settings.limits().code_life,
            result_ttl: self.settings.limits().result_ttl,
            keys: Keys::new(&from.keys),
            platforms: self.settings.message_keys()?,
            max_waiting: from.max_waiting,
            max_connections: max_connections(from.max_connections, calls),
            meters: self.meters.clone(),
            readiness,
        })
    }

    /// Serves health and counters on their own listener until the hard stop, if the address is free: several processes on
    /// one machine may share one configuration, and all but the first then do without.
    pub(super) async fn serve_ops(&self, readiness: Readiness) {
        let address = self.settings.ops.listen;
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let stop = self.shutdown.stop.hard.clone();
                self.shutdown.tracker.spawn(ops::serve(readiness, self.meters.clone(), listener, stop));
            }
            Err(error) => warn!(
                %address, %error,
                "ops.listen cannot be listened on: /livez, /readyz and /metrics are not served there; give it another address"
            ),
        }
    }

    /// Serves the gateway until the soft stop has ended its last call, or the hard stop all of them.
    pub(super) async fn serve_gateway(&self, parts: gateway::Parts, listener: TcpListener) {
        let Shutdown { stop, tracker } = &self.shutdown;
        let serving = gateway::serve(parts, listener, tracker.clone(), stop.soft.clone());
        stop.hard.run_until_cancelled(serving).await;
    }

    /// What a process depends on that publishes, or consumes, or both.
    pub(super) fn readiness(&self, opened: &Opened, publishes: bool, consumer: Option<&Consumer>) -> Readiness {
        Readiness {
            store: opened.store.clone(),
            publishes_to: publishes.then(|| opened.queue.clone()),
            consuming: consumer.map(Consumer::consuming),
            stopping: self.shutdown.stop.soft.clone(),
        }
    }

    /// Looks at the store now and then, and logs what an operator has to know of it.
    pub(super) fn oversee(&self, readiness: &Readiness) {
        let looking = oversight::oversee(readiness.clone(), self.meters.clone());
        self.in_background(looking);
    }

    /// Has a worker say every few seconds, in the store, that it runs, and what is wrong with its apps.
    pub(super) fn beat(&self, opened: &Opened, worker: &Worker) {
        let (store, meters) = (opened.store.clone(), self.meters.clone());
        self.in_background(fleet::beat(store, worker.clone(), process_name(), self.settings.worker.slots, meters));
    }

    /// Runs something until the soft stop; from then on only what is in hand counts.
    fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shutdown.stop.soft.clone();
        self.shutdown.tracker.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }

    /// Says once, on stderr, that logins are being taken.
    pub(super) fn announce(&self, consumer: &Consumer) {
        let mut consuming = consumer.consuming();
        let (stop, slots) = (self.shutdown.stop.soft.clone(), self.settings.worker.slots);
        let queue = match &self.settings.rabbitmq {
            rabbitmq if rabbitmq.shards == 1 => rabbitmq.queue.clone(),
            rabbitmq => format!("{} in {} shards", rabbitmq.queue, rabbitmq.shards),
        };
        self.shutdown.tracker.spawn(async move {
            let started = async { consuming.wait_for(|consuming| *consuming).await.is_ok() };
            tokio::select! {
                started = started => if started {
                    say(format_args!("quicklogin worker: consuming {queue}, {slots} slots"));
                },
                () = stop.cancelled() => {}
            }
        });
    }
}

/// The maximum number of the gateway's connections: what the settings say, unless the limit of file descriptors does not
/// leave so many.
fn max_connections(wanted: usize, calls: usize) -> usize {
    let descriptors = usize::try_from(fd_limit::raise()).unwrap_or(usize::MAX);
    let available = descriptors.saturating_sub(OTHER_DESCRIPTORS + calls).max(descriptors / 4);
    if available < wanted {
        info!(
            max_connections = available,
            descriptors,
            "the limit of file descriptors does not allow gateway.max_connections = {wanted}: raise ulimit -n or \
             LimitNOFILE, or lower the setting"
        );
    }
    wanted.min(available)
}

pub(super) fn no_app() -> CommandError {
    CommandError::settings(
        "no app is configured",
        "add [[apps]] with appid and secret_file; only `demo`, `load` and `simulate`, and `serve` on its own, do without",
    )
}

fn no_client(error: &ClientError) -> CommandError {
    let error = CommandError::at_run_time(error.to_string());
    match trusted::variables() {
        Some(variables) => {
            error.with_hint(format!("{variables} is set: it must name PEM files with CA certificates, or not be set"))
        }
        None => error.with_hint("install the system's CA certificates (ca-certificates), or set SSL_CERT_FILE"),
    }
}

/// Listens, or says who to ask.
pub(super) async fn listen(address: SocketAddr, setting: &str) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| {
        CommandError::at_run_time(format!("{setting} {address} cannot be listened on: {error}"))
            .with_hint(format!("is another process using it? Set {setting} to another address"))
    })
}

pub(super) fn address(listener: &TcpListener) -> Result<SocketAddr, CommandError> {
    listener.local_addr().map_err(|error| CommandError::at_run_time(format!("a listener has no address: {error}")))
}
