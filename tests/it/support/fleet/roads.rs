//! The ways of a fleet to RabbitMQ, Redis and WeChat: straight, or by roads on which a test lets things happen.

use std::net::{Ipv4Addr, SocketAddr};

use quicklogin::queue::RabbitSettings;
use quicklogin::store::RedisSettings;

use super::{Plan, rabbit_settings, redis_settings, settings_at};
use crate::support::rabbit::Vhost;
use crate::support::redis::Redis;
use crate::support::road::Road;

/// The roads of a fleet, as far as its plan wants any.
#[derive(Default)]
pub(crate) struct Roads {
    /// One for each host of WeChat's.
    pub(crate) wechat: Vec<Road>,
    servers: Option<[Road; 3]>,
}

/// Who is on the way to RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Gateway,
    Worker,
}

impl Roads {
    /// WeChat is at `wechat`; RabbitMQ and Redis are where they are.
    pub(super) async fn of(plan: &Plan, wechat: SocketAddr, servers: Option<&(Vhost, Option<Redis>)>) -> Self {
        let hosts = if plan.by_roads { plan.wechat_hosts.max(1) } else { plan.wechat_hosts };
        let wechat = Road::several_to(wechat, hosts).await;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let servers = match servers.filter(|_| plan.by_roads) {
            Some((vhost, Some(redis))) => {
                let (rabbit, redis) = (at(vhost.port()), at(redis.port()));
                Some([Road::to(rabbit).await, Road::to(rabbit).await, Road::to(redis).await])
            }
            _ => None,
        };
        Self { wechat, servers }
    }

    /// What the gateway publishes on.
    pub(crate) fn publishing(&self) -> &Road {
        &self.servers()[0]
    }

    /// What the workers consume on, and publish dead letters on.
    pub(crate) fn consuming(&self) -> &Road {
        &self.servers()[1]
    }

    /// To Redis, for all of the fleet.
    pub(crate) fn store(&self) -> &Road {
        &self.servers()[2]
    }

    fn servers(&self) -> &[Road; 3] {
        self.servers.as_ref().expect("the plan wants roads")
    }

    pub(super) fn rabbit_settings(&self, plan: &Plan, vhost: &Vhost, who: Who) -> RabbitSettings {
        let port = self.servers.as_ref().map_or(vhost.port(), |roads| roads[who as usize].port());
        let query = plan.heartbeat_s.map(|seconds| format!("?heartbeat={seconds}")).unwrap_or_default();
        let url = plan.broker_url.clone().unwrap_or_else(|| format!("{}{query}", vhost.url_at(port)));
        RabbitSettings {
            url: url.into(),
            shards: plan.shards,
            delivery_limit: plan.delivery_limit,
            ..rabbit_settings(vhost, plan.max_length)
        }
    }

    pub(super) fn redis_settings(&self, plan: &Plan, redis: Option<&Redis>) -> RedisSettings {
        match (&self.servers, redis) {
            (Some([.., road]), Some(_)) => settings_at(&format!("redis://127.0.0.1:{}", road.port())),
            (None, Some(redis)) => redis_settings(redis),
            (_, None) => plan.store.clone().expect("started, or in the plan"),
        }
    }
}
