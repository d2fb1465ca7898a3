//! A connection for commands, to one Redis or to a cluster. Nothing above the link asks which, but for commands on keys
//! of many slots.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisFuture, RedisResult, Value, from_redis_value};

/// Cheap to clone; commands of all clones share it.
#[derive(Clone)]
pub(in crate::store::redis) enum Connection {
    One(MultiplexedConnection),
    /// Follows the slots by itself, wherever they go.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Whether keys may be apart, so that a command on several of them is none.
    pub(in crate::store::redis) fn has_slots(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Sends a command and reads its answer. Unlike the trait's way, it puts nothing into a box where there is one Redis.
    pub(in crate::store::redis) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        let answer = match self {
            Self::One(one) => one.send_packed_command(command).await?,
            Self::Cluster(cluster) => cluster.req_packed_command(command).await?,
        };
        Ok(from_redis_value(answer.extract_error()?)?)
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
