//! What is connected to: one Redis, the master that sentinels name, or a cluster.

use futures_util::future::join;
use redis::{AsyncConnectionConfig, RedisResult};

use super::RedisSettings;
use super::address::{Address, BadStoreUrl};
use super::cluster::Cluster;
use super::connection::Connection;
use super::dial::Server;
use super::sentinels::Sentinels;
use crate::store::redis::scrubber::Scrubber;

pub(super) struct Topology {
    hosts: String,
    scrubber: Scrubber,
    kind: Kind,
}

enum Kind {
    One(Server, AsyncConnectionConfig),
    Sentinels(Sentinels),
    Cluster(Cluster),
}

/// What is seen when nobody has complained.
pub(super) struct Look {
    /// Of the connection itself.
    pub(super) answer: RedisResult<()>,
    /// It may answer well, and another is due all the same.
    pub(super) moved: bool,
}

impl Topology {
    pub(super) fn open(settings: &RedisSettings) -> Result<Self, BadStoreUrl> {
        let RedisSettings { connect_timeout, timeout, .. } = *settings;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(Some(timeout))
            .set_pipeline_buffer_size(1024);
        let address = Address::parse(settings.url.expose())?;
        let (hosts, scrubber) = (address.hosts(), Scrubber::new(address.credentials()));
        let kind = match address {
            Address::One(info) => Kind::One(Server::new(info)?, config),
            Address::Sentinels { sentinels, name, login, tls } => {
                let sentinels = sentinels.into_iter().map(Server::new).collect::<Result<_, _>>()?;
                Kind::Sentinels(Sentinels::new(sentinels, name, login, tls, config))
            }
            Address::Cluster(nodes) => Kind::Cluster(Cluster::new(nodes, connect_timeout, timeout)?),
        };
        Ok(Self { hosts, scrubber, kind })
    }

    /// Where it is looked for, for people.
    pub(super) fn hosts(&self) -> &str {
        &self.hosts
    }

    /// What may be printed of an error of this Redis.
    pub(super) fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    pub(super) async fn connect(&mut self) -> RedisResult<Connection> {
        match &mut self.kind {
            Kind::One(server, config) => server.dial(config).await.map(Connection::One),
            Kind::Sentinels(sentinels) => sentinels.connect().await.map(Connection::One),
            Kind::Cluster(cluster) => cluster.connect().await.map(Connection::Cluster),
        }
    }

    pub(super) async fn look(&mut self, connection: &mut Connection) -> Look {
        match &mut self.kind {
            Kind::One(..) => Look { answer: ping(connection).await, moved: false },
            Kind::Sentinels(sentinels) => {
                let (answer, moved) = join(ping(connection), sentinels.have_failed_over()).await;
                Look { answer, moved }
            }
            Kind::Cluster(cluster) => Look { answer: Ok(()), moved: cluster.has_changed(connection).await },
        }
    }
}

async fn ping(connection: &mut Connection) -> RedisResult<()> {
    redis::cmd("PING").query_async(connection).await
}
