//! The fleet that stands in the storm: a RabbitMQ and a Redis of its own, and the program itself in several processes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::storm::faults::{self, Drained};
use crate::storm::schedule::{Victim, WORKERS};
use crate::support::fleet::{APP, SECRET};
use crate::support::process::{Process, free_port};
use crate::support::program::{Servers, Site};
use crate::support::rabbit::{Broker, Depth};
use crate::support::redis::Redis;

const PATIENCE_S: u64 = 10;
const DRAIN_S: u64 = 4;

pub(super) struct Processes {
    pub(super) workers: [Mutex<Process>; WORKERS],
    pub(super) gateway: Mutex<Process>,
    _simulator: Process,
    site: Mutex<Site>,
    pub(super) servers: Servers,
    pub(super) broker: Broker,
    /// Held by a fault for as long as it lasts; a worker is held by itself.
    hurting: [Mutex<()>; 4],
}

impl Processes {
    /// `keep` is how long results stay; `call_ms` how long WeChat may take to answer.
    pub(super) fn start(keep: Duration, call_ms: u64) -> Arc<Self> {
        let broker = Broker::start();
        let (wechat_port, gateway_port) = (free_port(), free_port());
        let servers = Servers { vhost: broker.vhost(), redis: Redis::start_durable(), wechat_port, gateway_port };
        let site = Site::with(&servers.settings(&format!(
            "log.filter = \"info,quicklogin=debug\"\nlogin.patience_s = {PATIENCE_S}\nwechat.timeout_ms = {call_ms}\n\
             worker.drain_s = {DRAIN_S}\nresult.ttl_s = {}\n[[apps]]\nappid = \"{APP}\"\nsecret = \"{SECRET}\"",
            keep.as_secs()
        )));
        let simulator = site.simulator();
        let gateway = Mutex::new(site.gateway());
        let workers = [(); WORKERS].map(|()| Mutex::new(site.worker()));
        let (site, hurting) = (Mutex::new(site), Default::default());
        Arc::new(Self { workers, gateway, _simulator: simulator, site, servers, broker, hurting })
    }

    /// For one fault at a time.
    pub(super) fn alone_with(&self, victim: Victim) -> Option<MutexGuard<'_, ()>> {
        let number = match victim {
            Victim::Worker(_) => return None,
            Victim::Broker => 0,
            Victim::Store => 1,
            Victim::Gateway => 2,
            Victim::Wechat => 3,
        };
        Some(locked(&self.hurting[number]))
    }

    /// Another one of these. RabbitMQ or Redis may be away, so nothing is waited for.
    pub(super) fn another(&self, command: &str) -> Process {
        locked(&self.site).start(&[command], "")
    }

    /// Names of those that have ended by themselves, or cannot be told from such.
    pub(super) fn asleep(&self) -> Vec<String> {
        let named = (0..WORKERS).map(|n| (format!("worker {n}"), &self.workers[n]));
        let all = named.chain([("gateway".to_owned(), &self.gateway)]);
        all.filter(|(_, process)| !locked(process).is_awake()).map(|(name, _)| name).collect()
    }

    /// Tells each of these to stop, and sees how it ends.
    pub(super) fn end_all(&self) -> Vec<Drained> {
        let all = self.workers.iter().chain([&self.gateway]);
        all.map(|process| faults::stop(&mut locked(process))).collect()
    }

    /// Where is written what every process has said.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        locked(&self.site).log_files()
    }

    pub(super) fn depth(&self, queue: &str) -> Depth {
        self.broker.queue_depths(&self.servers.vhost).get(queue).copied().unwrap_or_default()
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
