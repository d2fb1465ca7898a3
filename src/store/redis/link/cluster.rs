//! A cluster: its connection, and whether that has lost sight of it.
//!
//! The crate's connection follows slots that move and nodes that end. It does not notice a master that has fallen silent
//! and was replaced: its time-outs alone never make it look again. So we look who is master; and where that has changed,
//! a new connection takes the old one's place.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{ConnectionInfo, ProtocolVersion, RedisResult, Value};
use tokio::time::timeout;

use super::address::tcp;

/// The crate asks again so often, within the command's own time-out: for slots on the move, not for nodes that are away.
const RETRIES: u32 = 6;
const RETRY_WAIT_MS: (u64, u64) = (10, 100);
/// One node that is silent may be asked now and then; so many looks in vain mean that we see nothing.
const LOST_AFTER_LOOKS: u32 = 3;

pub(super) struct Cluster {
    client: ClusterClient,
    connect_within: Duration,
    /// The ids of all masters when we connected.
    masters: BTreeSet<Vec<u8>>,
    looked_in_vain: u32,
}

impl Cluster {
    pub(super) fn new(nodes: Vec<ConnectionInfo>, connect_timeout: Duration, timeout: Duration) -> RedisResult<Self> {
        let client = ClusterClient::builder(nodes)
            .use_protocol(ProtocolVersion::RESP2)
            .tcp_settings(tcp())
            // While the crate connects to a node that is silent, commands to all others wait too.
            .connection_timeout(connect_timeout.min(timeout / 2))
            .response_timeout(timeout)
            .overall_response_timeout(Some(timeout))
            .retries(RETRIES)
            .min_retry_wait(RETRY_WAIT_MS.0)
            .max_retry_wait(RETRY_WAIT_MS.1)
            .build()?;
        Ok(Self { client, connect_within: connect_timeout + timeout, masters: BTreeSet::new(), looked_in_vain: 0 })
    }

    pub(super) async fn connect(&mut self) -> RedisResult<ClusterConnection> {
        let connect = async {
            let mut connection = self.client.get_async_connection().await?;
            let masters = masters(&mut connection).await?;
            RedisResult::Ok((connection, masters))
        };
        let (connection, masters) = timeout(self.connect_within, connect).await.map_err(std::io::Error::from)??;
        (self.masters, self.looked_in_vain) = (masters, 0);
        Ok(connection)
    }

    /// Whether a new connection would see what this one does not.
    pub(super) async fn has_changed(&mut self, connection: &mut impl ConnectionLike) -> bool {
        match masters(connection).await {
            Ok(masters) => {
                self.looked_in_vain = 0;
                masters != self.masters
            }
            Err(_) => {
                self.looked_in_vain += 1;
                self.looked_in_vain >= LOST_AFTER_LOOKS
            }
        }
    }
}

/// As any one node knows them. Each range of slots is first, last, master, replicas; and each node host, port, id.
async fn masters(connection: &mut impl ConnectionLike) -> RedisResult<BTreeSet<Vec<u8>>> {
    let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await?;
    let id = |range: Vec<Value>| match range.into_iter().nth(2) {
        Some(Value::Array(master)) => match master.into_iter().nth(2) {
            Some(Value::BulkString(id)) => Some(id),
            _ => None,
        },
        _ => None,
    };
    Ok(ranges.into_iter().filter_map(id).collect())
}
