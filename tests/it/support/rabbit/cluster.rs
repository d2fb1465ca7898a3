//! Three nodes that are one RabbitMQ.

use std::sync::Arc;
use std::thread;

use super::launch::Node;
use super::{Broker, Vhost};
use crate::support::process::folder;

impl Broker {
    /// Three nodes, for one test that kills some of them. Takes some ten seconds.
    pub(crate) fn start_cluster() -> [Arc<Self>; 3] {
        let first = Self::start();
        let beside = || {
            let folder = folder("rabbit-");
            let node = Node::lay_out(folder.path(), first.node.epmd_port);
            Self::start_node(node, None, folder)
        };
        let (second, third) = thread::scope(|scope| {
            let starting = [scope.spawn(beside), scope.spawn(beside)];
            let [second, third] = starting.map(|starting| starting.join().expect("it starts"));
            (second, third)
        });
        for other in [&second, &third] {
            other.eval(&format!(
                "rabbit:stop(), ok = rabbit_mnesia:join_cluster('{}', disc), ok = rabbit:start()",
                first.node.name
            ));
        }
        [first, second, third].map(Arc::new)
    }

    /// Whether the leader of a quorum queue is this node.
    pub(crate) fn leads(&self, vhost: &Vhost, queue: &str) -> bool {
        let vhost = &vhost.name;
        let leader = self.eval(&format!(
            r#"{{ok, Q}} = rabbit_amqqueue:lookup({{resource, <<"{vhost}">>, queue, <<"{queue}">>}}),
               element(2, amqqueue:get_pid(Q))"#
        ));
        leader.trim_matches('\'') == self.node.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.node.port
    }
}
