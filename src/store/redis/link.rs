//! The connection to Redis: made, watched and remade for ever by one background loop.
//!
//! The redis crate never reconnects on a time-out or on `READONLY`, and a time-out must not kill a worker; so the loop
//! looks every second and whoever meets a fatal error says so. In between, verbs fail at once with [`StoreAway`]. What
//! there is to connect to, one Redis, the master that sentinels name, or a cluster, is in [`topology`].

mod address;
mod cluster;
mod connection;
mod dial;
mod sentinels;
mod topology;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use address::BadStoreUrl;
pub(super) use connection::Connection;
use topology::{Look, Topology};

use crate::backoff::Backoff;
use crate::connect_fault;
use crate::fault_log::FaultLog;
use crate::secret::Secret;
use crate::store::StoreAway;
use crate::store::redis::scrubber::{self, Scrubber};

/// So many time-outs in a row mean that the connection is dead, not slow.
const DEAD_AFTER_TIMEOUTS: u32 = 3;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };

/// Where Redis is and how our keys are named there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// `redis://`, `redis+sentinel://` or `redis+cluster://`, or with TLS `rediss…`; with user, password and database
    /// where needed.
    pub url: Secret,
    /// The first part of every key.
    pub prefix: String,
    /// Bound on connecting.
    pub connect_timeout: Duration,
    /// Bound on every command.
    pub timeout: Duration,
}

impl RedisSettings {
    /// Whether the URL can be used, without connecting.
    pub fn check(&self) -> Result<(), BadStoreUrl> {
        Topology::open(self).map(drop)
    }
}

#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    connection: ArcSwapOption<Connected>,
    timeouts: AtomicU32,
    broken: Notify,
    scrubber: Scrubber,
    complaints: FaultLog,
    /// Why the last connection could not be made, while there is none.
    no_connection: ArcSwapOption<String>,
    /// A command on several keys was refused, and each key is read by itself since.
    one_by_one: AtomicBool,
    /// One server was to be there, and it said that a key is on another node.
    redirected: AtomicBool,
}

/// One connection, told apart from those before and after it.
struct Connected {
    connection: Connection,
    number: u64,
}

/// A connection for one command, and which one it is.
pub(super) struct Borrowed {
    pub(super) connection: Connection,
    pub(super) number: u64,
}

impl Link {
    pub(super) fn open(
        settings: &RedisSettings,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, BadStoreUrl> {
        let mut topology = Topology::open(settings)?;
        let link = Self(Arc::new(Shared {
            connection: ArcSwapOption::empty(),
            timeouts: AtomicU32::new(0),
            broken: Notify::new(),
            scrubber: topology.scrubber().clone(),
            complaints: FaultLog::default(),
            no_connection: ArcSwapOption::empty(),
            one_by_one: AtomicBool::new(false),
            redirected: AtomicBool::new(false),
        }));
        let keeper = link.clone();
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keeper.keep(&mut topology) => {}
            }
        });
        Ok(link)
    }

    /// The connection of the moment.
    pub(super) fn borrow(&self) -> Result<Borrowed, StoreAway> {
        let connected = self.0.connection.load();
        let Connected { connection, number } = connected.as_deref().ok_or_else(|| self.not_connected())?;
        Ok(Borrowed { connection: connection.clone(), number: *number })
    }

    fn not_connected(&self) -> StoreAway {
        match self.0.no_connection.load().as_deref() {
            Some(why) => StoreAway(format!("not connected: {why}")),
            None => StoreAway("not connected".into()),
        }
    }

    /// Whether a command may name keys of several slots.
    pub(super) fn takes_several_keys(&self) -> bool {
        let has_slots = self.0.connection.load().as_ref().is_some_and(|connected| connected.connection.has_slots());
        !has_slots && !self.0.one_by_one.load(Ordering::Relaxed)
    }

    /// From now on each key is read by itself.
    pub(super) fn read_one_by_one(&self, error: &RedisError) {
        if !self.0.one_by_one.swap(true, Ordering::Relaxed) {
            let fault = self.words(error);
            warn!(%fault, "Redis refuses a command on several keys: each key is read by itself from now on, which costs more");
        }
    }

    /// Whether the one server that was to be there is a node of a cluster, which has other keys elsewhere.
    pub(super) fn was_redirected(&self) -> bool {
        self.0.redirected.load(Ordering::Relaxed)
    }

    /// What may be printed of an error.
    pub(super) fn words(&self, error: &RedisError) -> String {
        self.0.scrubber.words(error)
    }

    /// What may be printed of an error text that a script returned.
    pub(super) fn text(&self, text: &str) -> String {
        self.0.scrubber.text(text)
    }

    /// Whether a log line about `what` is due.
    pub(super) fn is_due(&self, what: &str) -> bool {
        self.0.complaints.failed(what).is_some()
    }

    /// Takes note of how a command went. What went wrong on an earlier connection does not count against this one.
    pub(super) fn observe<T>(&self, number: u64, answer: RedisResult<T>) -> Result<T, StoreAway> {
        match answer {
            Ok(value) => {
                self.0.timeouts.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Err(error) => Err(self.fault(number, &error)),
        }
    }

    /// Takes note of a command that failed, and logs what a server refuses, or that it is slow: nothing else would say so.
    /// A lost connection is logged by `keep`.
    pub(super) fn fault(&self, number: u64, error: &RedisError) -> StoreAway {
        if error.is_timeout() {
            self.0.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        let current = self.0.connection.load().as_ref().is_some_and(|current| {
            // A cluster's mends itself: what one node says of itself says nothing of the others.
            current.number == number && !current.connection.has_slots()
        });
        if current && scrubber::is_redirect(error) {
            self.0.redirected.store(true, Ordering::Relaxed);
        }
        if current && self.is_fatal(error) {
            self.0.broken.notify_one();
        }
        let fault = self.words(error);
        let is_lost = error.is_io_error() && !error.is_timeout();
        if !is_lost && self.is_due(scrubber::code(error)) {
            warn!(%fault, "Redis does not serve a command");
        }
        StoreAway(fault)
    }

    fn is_fatal(&self, error: &RedisError) -> bool {
        error.is_unrecoverable_error()
            || is_read_only(error)
            || self.0.timeouts.load(Ordering::Relaxed) >= DEAD_AFTER_TIMEOUTS
    }

    /// Connects, watches, connects again.
    async fn keep(&self, topology: &mut Topology) {
        let (mut failures, faults) = (0, FaultLog::default());
        for number in 0.. {
            match topology.connect().await {
                Ok(connection) => {
                    info!("Redis is connected");
                    failures = 0;
                    faults.ended();
                    self.0.timeouts.store(0, Ordering::Relaxed);
                    self.0.redirected.store(false, Ordering::Relaxed);
                    self.0.no_connection.store(None);
                    // A complaint about the last connection, left lying.
                    let _ = timeout(Duration::ZERO, self.0.broken.notified()).await;
                    let stays_in_use = connection.has_slots();
                    self.0.connection.store(Some(Arc::new(Connected { connection, number })));
                    self.watch(topology).await;
                    if stays_in_use {
                        info!("the cluster has other masters, or none answers; connecting anew");
                    } else {
                        self.0.connection.store(None);
                        warn!("Redis is lost; connecting again");
                    }
                }
                Err(error) => {
                    let error = self.words(&error);
                    if let Some(suppressed) = faults.failed(&error) {
                        let (at, hint) = (topology.hosts(), connect_fault::hint(&error));
                        warn!(at, error, hint, suppressed, "no Redis; connecting again, for ever");
                    }
                    self.0.no_connection.store(Some(Arc::new(error)));
                }
            }
            sleep(RECONNECT.pause(failures, fastrand::f64())).await;
            failures += 1;
        }
    }

    /// Returns when the connection is no longer any good.
    async fn watch(&self, topology: &mut Topology) {
        loop {
            if timeout(LOOK_EVERY, self.0.broken.notified()).await.is_ok() {
                return;
            }
            let Ok(Borrowed { mut connection, number }) = self.borrow() else { return };
            let Look { answer, moved } = tokio::select! {
                () = self.0.broken.notified() => return,
                look = topology.look(&mut connection) => look,
            };
            // A look that failed counts like any other command; whether it was fatal is told through `broken`.
            let _ = self.observe(number, answer);
            if moved {
                return;
            }
        }
    }
}

/// A demoted master takes no writes. Before Redis 7, a script told so within an error of its own.
fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.detail().is_some_and(|detail| detail.contains("-READONLY "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demoted_master_is_known_by_its_words_old_and_new() {
        let rows = [
            ("-READONLY You can't write against a read only replica.\r\n", true),
            ("-READONLY You can't write against a read only replica. script: 5f, on @user_script:15.\r\n", true),
            (
                "-ERR Error running script (call to f_5f): @user_script:15: @user_script: 15: -READONLY You can't write \
                 against a read only replica.\r\n",
                true,
            ),
            ("-ERR Error running script (call to f_5f): @user_script:15: unknown command\r\n", false),
            ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", false),
        ];
        for (words, expected) in rows {
            let value = redis::parse_redis_value(words.as_bytes()).expect("an answer");
            let error = value.extract_error().expect_err("an error");
            assert_eq!(is_read_only(&error), expected, "{words}");
        }
    }
}
