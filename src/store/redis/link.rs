//! The connection to Redis: made, watched and remade for ever by one background loop.
//!
//! The redis crate never reconnects on a time-out or on `READONLY`, and a time-out must not kill a worker; so the loop
//! pings every second and whoever meets a fatal error says so. In between, verbs fail at once with [`StoreAway`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError, RedisResult,
    ServerErrorKind,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::secret::Secret;
use crate::store::StoreAway;

/// So many time-outs in a row mean that the connection is dead, not slow.
const DEAD_AFTER_TIMEOUTS: u32 = 3;
const PING_EVERY: Duration = Duration::from_secs(1);
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };

/// Where Redis is and how our keys are named there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// `redis://` or `rediss://`, with user, password and database where needed.
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
        client(self).map(drop)
    }
}

/// The URL of the store cannot be used. Says why, without the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadStoreUrl(String);

#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    connection: ArcSwapOption<Connected>,
    timeouts: AtomicU32,
    broken: Notify,
}

/// One connection, told apart from those before and after it.
struct Connected {
    connection: MultiplexedConnection,
    number: u64,
}

/// A connection for one command, and which one it is.
pub(super) struct Borrowed {
    pub(super) connection: MultiplexedConnection,
    pub(super) number: u64,
}

impl Link {
    pub(super) fn open(
        settings: &RedisSettings,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, BadStoreUrl> {
        let client = client(settings)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.timeout))
            .set_pipeline_buffer_size(1024);
        let link = Self(Arc::new(Shared {
            connection: ArcSwapOption::empty(),
            timeouts: AtomicU32::new(0),
            broken: Notify::new(),
        }));
        let keeper = link.clone();
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keeper.keep(&client, &config) => {}
            }
        });
        Ok(link)
    }

    /// The connection of the moment.
    pub(super) fn borrow(&self) -> Result<Borrowed, StoreAway> {
        let connected = self.0.connection.load();
        let Connected { connection, number } = connected.as_deref().ok_or_else(|| StoreAway("not connected".into()))?;
        Ok(Borrowed { connection: connection.clone(), number: *number })
    }

    /// Takes note of how a command went. What went wrong on an earlier connection does not count against this one.
    pub(super) fn observe<T>(&self, number: u64, answer: RedisResult<T>) -> Result<T, StoreAway> {
        match answer {
            Ok(value) => {
                self.0.timeouts.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Err(error) => {
                if error.is_timeout() {
                    self.0.timeouts.fetch_add(1, Ordering::Relaxed);
                }
                let current = self.0.connection.load().as_ref().is_some_and(|current| current.number == number);
                if current && self.is_fatal(&error) {
                    self.0.broken.notify_one();
                }
                Err(StoreAway(error.to_string()))
            }
        }
    }

    fn is_fatal(&self, error: &RedisError) -> bool {
        error.is_unrecoverable_error()
            || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
            || self.0.timeouts.load(Ordering::Relaxed) >= DEAD_AFTER_TIMEOUTS
    }

    /// Connects, watches, connects again.
    async fn keep(&self, client: &Client, config: &AsyncConnectionConfig) {
        let (mut failures, mut told) = (0, false);
        for number in 0.. {
            match client.get_multiplexed_async_connection_with_config(config).await {
                Ok(connection) => {
                    info!("Redis is connected");
                    (failures, told) = (0, false);
                    self.0.timeouts.store(0, Ordering::Relaxed);
                    // A complaint about the last connection, left lying.
                    let _ = timeout(Duration::ZERO, self.0.broken.notified()).await;
                    self.0.connection.store(Some(Arc::new(Connected { connection, number })));
                    self.watch().await;
                    self.0.connection.store(None);
                    warn!("Redis is lost; connecting again");
                }
                Err(error) if !told => {
                    warn!(at = %client.get_connection_info().addr(), %error, "no Redis; connecting again, for ever");
                    told = true;
                }
                Err(_) => {}
            }
            sleep(RECONNECT.pause(failures, fastrand::f64())).await;
            failures += 1;
        }
    }

    /// Returns when the connection is no longer any good.
    async fn watch(&self) {
        loop {
            if timeout(PING_EVERY, self.0.broken.notified()).await.is_ok() {
                return;
            }
            let Ok(Borrowed { mut connection, number }) = self.borrow() else { return };
            let pong: RedisResult<()> = redis::cmd("PING").query_async(&mut connection).await;
            // A failed ping counts like any other command; whether it was fatal is told through `broken`.
            let _ = self.observe(number, pong);
        }
    }
}

fn client(settings: &RedisSettings) -> Result<Client, BadStoreUrl> {
    let url = settings.url.expose();
    let scheme = url.split("://").next().unwrap_or_default();
    match scheme {
        "redis" | "rediss" => {}
        "redis+sentinel" | "redis+cluster" => {
            return Err(BadStoreUrl(format!("{scheme}:// is not supported yet; use redis:// or rediss://")));
        }
        _ => return Err(BadStoreUrl("redis.url must begin with redis:// or rediss://".into())),
    }
    // The kind alone: the detail may repeat the URL.
    let bad = |error: RedisError| BadStoreUrl(format!("redis.url cannot be read: {:?}", error.kind()));
    let info = url.into_connection_info().map_err(bad)?;
    let info = info
        .clone()
        .set_tcp_settings(TcpSettings::default().set_nodelay(true))
        .set_redis_settings(info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3));
    Client::open(info).map_err(bad)
}
