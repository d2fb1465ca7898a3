//! Sentinels: who the master is, and whether another has taken its place.
//!
//! They do not agree at once. The answer of the highest epoch is the last failover's, and a majority of them cannot all
//! have missed it for long; so a majority is heard where there is one.

use std::collections::HashMap;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisResult,
    Role,
};

use super::address::tcp;
use super::dial::Server;

/// The sentinels, with a connection to each that answers.
pub(super) struct Sentinels {
    sentinels: Vec<Sentinel>,
    name: String,
    login: RedisConnectionInfo,
    tls: bool,
    config: AsyncConnectionConfig,
    /// The failover that made our master.
    epoch: u64,
}

struct Sentinel {
    server: Server,
    connection: Option<MultiplexedConnection>,
}

/// What a sentinel answers.
struct Master {
    host: String,
    port: u16,
    /// Counts failovers.
    epoch: u64,
}

impl Sentinels {
    pub(super) fn new(
        sentinels: Vec<Server>,
        name: String,
        login: RedisConnectionInfo,
        tls: bool,
        config: AsyncConnectionConfig,
    ) -> Self {
        let sentinels = sentinels.into_iter().map(|server| Sentinel { server, connection: None }).collect();
        Self { sentinels, name, login, tls, config, epoch: 0 }
    }

    /// A connection to the master. A node that is named master and says that it is none is not taken.
    pub(super) async fn connect(&mut self) -> RedisResult<MultiplexedConnection> {
        let Master { host, port, epoch } = self.ask().await?;
        let address = match self.tls {
            false => ConnectionAddr::Tcp(host, port),
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let info = address.into_connection_info()?.set_redis_settings(self.login.clone()).set_tcp_settings(tcp());
        let mut connection = Server::new(info)?.dial(&self.config).await?;
        match redis::cmd("ROLE").query_async(&mut connection).await? {
            Role::Primary { .. } => {
                self.epoch = epoch;
                Ok(connection)
            }
            _ => Err(RedisError::from((ErrorKind::Client, "the sentinels' master says that it is none"))),
        }
    }

    /// Whether there was a failover since we connected. An old master that we can still reach may not have heard of it.
    pub(super) async fn have_failed_over(&mut self) -> bool {
        let connected_to = self.epoch;
        self.ask().await.is_ok_and(|master| master.epoch > connected_to)
    }

    /// What a majority knows, or as many as answer.
    async fn ask(&mut self) -> RedisResult<Master> {
        let majority = self.sentinels.len() / 2 + 1;
        let (name, config) = (self.name.as_str(), &self.config);
        let mut asked: FuturesUnordered<_> =
            self.sentinels.iter_mut().map(|sentinel| sentinel.ask(name, config)).collect();
        let (mut answered, mut newest, mut fault) = (0, None::<Master>, None);
        while answered < majority {
            match asked.next().await {
                None => break,
                Some(Err(error)) => fault = Some(error),
                Some(Ok(master)) => {
                    answered += 1;
                    newest = newest.filter(|newest| newest.epoch >= master.epoch).or(Some(master));
                }
            }
        }
        newest.ok_or_else(|| fault.expect("there is a sentinel, and it answered or failed"))
    }
}

impl Sentinel {
    async fn ask(&mut self, name: &str, config: &AsyncConnectionConfig) -> RedisResult<Master> {
        let mut connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => {
                let connection = self.server.dial(config).await?;
                self.connection.insert(connection).clone()
            }
        };
        let mut command = redis::cmd("SENTINEL");
        command.arg("MASTER").arg(name);
        let facts: RedisResult<HashMap<String, String>> = command.query_async(&mut connection).await;
        if facts.is_err() {
            self.connection = None;
        }
        let facts = facts?;
        Master::read(&facts)
            .ok_or_else(|| RedisError::from((ErrorKind::UnexpectedReturnType, "a sentinel does not say who is master")))
    }
}

impl Master {
    fn read(facts: &HashMap<String, String>) -> Option<Self> {
        let epoch = facts.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Some(Self { host: facts.get("ip")?.clone(), port: facts.get("port")?.parse().ok()?, epoch })
    }
}
