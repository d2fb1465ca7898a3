//! Redis with sentinels, and a cluster, each of private processes.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use super::{process::wait_until, redis::Redis};

/// What the sentinels call the master.
pub(crate) const MASTER: &str = "mymaster";
const SOON: Duration = Duration::from_secs(60);
const SLOTS: u16 = 16_384;

/// A master, its replica, and three sentinels that replace it within some two seconds.
pub(crate) struct Replicated {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    sentinels: Vec<Redis>,
}

impl Replicated {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The master goes on as a master whatever the sentinels say, as if they could not reach it.
    pub(crate) fn start_with_a_deaf_master() -> Self {
        Self::start_with(&["--rename-command", "SLAVEOF", "", "--rename-command", "REPLICAOF", ""])
    }

    fn start_with(of_master: &[&str]) -> Self {
        let quick = ["--repl-diskless-sync-delay", "0"];
        // Sentinels name the new master a second or more after they have made it one. Until then the old one would take
        // writes, and lose them.
        let safe = ["--min-replicas-to-write", "1"];
        let master = Redis::start_with(None, &[quick.as_slice(), &safe, of_master].concat());
        let port = master.port().to_string();
        let replica = Redis::start_with(None, &[quick.as_slice(), &["--replicaof", "127.0.0.1", &port]].concat());
        let config = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {port} 2\nsentinel down-after-milliseconds {MASTER} 300\n\
             sentinel failover-timeout {MASTER} 3000\n"
        );
        let sentinels = (0..3).map(|_| Redis::start_with(Some(&config), &["--sentinel"])).collect();
        let started = Self { master, replica, sentinels };
        soon("the sentinels know each other and the replica", || {
            started.sentinels.iter().all(|sentinel| {
                let known = sentinel.cli(&["SENTINEL", "MASTER", MASTER]);
                let known: Vec<_> = known.lines().collect();
                let has = |field: &[&str]| known.windows(2).any(|pair| pair == field);
                has(&["num-slaves", "1"]) && has(&["num-other-sentinels", "2"])
            })
        });
        soon("the replica has what the master has", || {
            started.replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
        });
        started
    }

    pub(crate) fn url(&self) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/{MASTER}", sentinels.join(","))
    }

    /// Makes the replica the master. The sentinels first want to have seen it for some seconds.
    pub(crate) fn fail_over(&self) {
        soon("the sentinels know the replica well enough", || {
            self.sentinels[0].try_cli(&["SENTINEL", "FAILOVER", MASTER]).is_some()
        });
    }

    /// One sentinel less.
    pub(crate) fn kill_a_sentinel(&self) {
        self.sentinels[0].kill();
    }
}

/// Three masters that share all slots, and serve theirs when another is away.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// One for all tests that leave it whole.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Cluster::start)
    }

    /// Keeps what it has confirmed when it is killed.
    pub(crate) fn start() -> Self {
        let arguments = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
        let durable = ["--appendonly", "yes", "--appendfsync", "always"];
        let quick = ["--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"];
        let node = || {
            let bus = super::process::free_port().to_string();
            let bus = ["--cluster-port", &bus];
            Redis::start_with(None, &[arguments.as_slice(), &durable, &quick, &bus].concat())
        };
        let cluster = Self { nodes: (0..4).map(|_| node()).collect() };
        let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for ((first, last), node) in ranges.into_iter().zip(&cluster.nodes) {
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        for (n, node) in cluster.nodes.iter().enumerate() {
            // Nodes that meet must not claim to be equally new.
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            let bus = node.cli(&["CONFIG", "GET", "cluster-port"]);
            let bus = bus.lines().nth(1).expect("name and value");
            cluster.nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus]);
        }
        soon("the nodes know each other", || cluster.every_node_says("cluster_known_nodes:4"));
        soon("all slots are served", || {
            cluster.every_node_says("cluster_state:ok") && cluster.every_node_says("cluster_slots_ok:16384")
        });
        cluster
    }

    fn every_node_says(&self, line: &str) -> bool {
        self.nodes.iter().all(|node| node.cli(&["CLUSTER", "INFO"]).lines().any(|said| said.trim_end() == line))
    }

    /// Makes the fourth node the replica of the first.
    pub(crate) fn replicate_the_first(&self) {
        let [first, .., fourth] = self.nodes.as_slice() else { panic!("there are four") };
        fourth.cli(&["CLUSTER", "REPLICATE", &id(first)]);
        soon("the replica has what its master has", || {
            fourth.cli(&["INFO", "replication"]).contains("master_link_status:up")
        });
        soon("all know the replica", || {
            self.nodes.iter().all(|node| node.cli(&["CLUSTER", "SLOTS"]).contains(&id(fourth)))
        });
    }

    pub(crate) fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes[..3].iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// Which of the first three nodes has a slot, as long as none has moved.
    pub(crate) fn home_of(slot: u16) -> usize {
        usize::from(slot >= 5461) + usize::from(slot >= 10923)
    }

    /// Moves a slot with its keys, and gives clients time to meet it on its way.
    pub(crate) fn move_slot(&self, slot: u16, from: usize, to: usize, half_way: Duration) {
        let (from, to, slot) = (&self.nodes[from], &self.nodes[to], slot.to_string());
        to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
        from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
        thread::sleep(half_way);
        loop {
            let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "5"]);
            let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let port = to.port().to_string();
            let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "1000", "KEYS"];
            from.cli(&[migrate.as_slice(), &keys].concat());
        }
        for node in [to, from] {
            node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
        }
    }
}

/// The slot of whatever has this in braces.
pub(crate) fn slot_of(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % SLOTS
}

fn id(node: &Redis) -> String {
    node.cli(&["CLUSTER", "MYID"])
}

#[track_caller]
fn soon(fact: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    assert!(wait_until(SOON, &mut is_so), "{fact}, within {:?}", began.elapsed());
}
