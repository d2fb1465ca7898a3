//! What Redis says of itself: its clock, and whether it keeps what it is given. It may not tell, and that does no harm.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value};

use crate::clock;
use crate::store::redis::Redis;
use crate::store::redis::link::Borrowed;

/// A clock is not compared over a slower answer.
const SLOWEST: Duration = Duration::from_secs(1);
/// From here on memory is nearly full.
const NEARLY_FULL_PERCENT: u64 = 90;

impl Redis {
    /// By how much the clock of this machine is ahead of Redis'.
    pub(in crate::store) async fn clock_ahead_ms(&self) -> Option<i64> {
        let asked_ms = clock::now_ms();
        let (seconds, micros): (i64, i64) = self.told(&redis::cmd("TIME")).await?;
        let heard_ms = clock::now_ms();
        let took_ms = heard_ms.checked_sub(asked_ms).filter(|took| u128::from(*took) <= SLOWEST.as_millis())?;
        Some((asked_ms + took_ms / 2) as i64 - (seconds * 1000 + micros / 1000))
    }

    pub(in crate::store) async fn warnings(&self) -> Vec<String> {
        let (nodes, configured, save) = tokio::join!(
            self.texts(&["INFO", "memory"]),
            self.texts(&["CONFIG", "GET", "maxmemory-policy"]),
            self.texts(&["CONFIG", "GET", "save"]),
        );
        let of_nodes = nodes.iter().filter_map(|node| field(node, "maxmemory_policy"));
        let named = configured.into_iter().filter(|text| text != "maxmemory-policy");
        let policies: Vec<String> = of_nodes.chain(named).collect();
        let mut warnings = vec![];
        if let Some(policy) = policies.iter().find(|policy| *policy != "noeviction") {
            let policy = self.link.text(policy);
            warnings.push(format!(
                "Redis has maxmemory-policy {policy}: it may delete results, claims and refresh tokens before their time; \
                 set maxmemory-policy to noeviction"
            ));
        }
        if nodes.iter().any(|node| is_nearly_full(node)) {
            warnings.push(format!(
                "Redis uses more than {NEARLY_FULL_PERCENT} % of its maxmemory; when it is full, no login is served: \
                 raise maxmemory"
            ));
        }
        let saves_nothing = save == ["save", ""];
        if saves_nothing && self.texts(&["CONFIG", "GET", "appendonly"]).await == ["appendonly", "no"] {
            warnings.push(
                "Redis keeps nothing on disk (no appendonly, no save): if it restarts, claims, results and merchants' \
                 refresh tokens are lost"
                    .into(),
            );
        }
        warnings
    }

    /// All texts of an answer; none if it may not be asked for.
    async fn texts(&self, words: &[&str]) -> Vec<String> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let mut found = vec![];
        if let Some(told) = self.told::<Value>(&command).await {
            texts(&told, &mut found);
        }
        found
    }

    /// None if it may not be asked for, or cannot be read.
    async fn told<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let Borrowed { mut connection, .. } = self.link.borrow().ok()?;
        connection.query(command).await.ok()
    }
}

/// All texts of an answer, which is one for each node of a cluster.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::BulkString(text) => into.push(String::from_utf8_lossy(text).into_owned()),
        Value::SimpleString(text) => into.push(text.clone()),
        Value::VerbatimString { text, .. } => into.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, into)),
        Value::Map(pairs) => pairs.iter().for_each(|(name, value)| {
            texts(name, into);
            texts(value, into);
        }),
        _ => {}
    }
}

fn field(info: &str, name: &str) -> Option<String> {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned())
}

fn is_nearly_full(info: &str) -> bool {
    let number = |name| field(info, name).and_then(|text| text.parse::<u64>().ok());
    match (number("used_memory"), number("maxmemory")) {
        (Some(used), Some(most)) if most > 0 => used / (most / 100).max(1) >= NEARLY_FULL_PERCENT,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_redis_says_of_itself() {
        let info = "# Memory\r\nused_memory:95\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(field(info, "maxmemory_policy").as_deref(), Some("allkeys-lru"));
        assert!(is_nearly_full(info));
        assert!(
            !is_nearly_full("used_memory:95\r\nmaxmemory:0\r\n") && !is_nearly_full("used_memory:5\r\nmaxmemory:100")
        );
    }

    #[test]
    fn every_node_of_a_cluster_is_read() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let mut all = vec![];
        texts(&Value::Map(vec![(bulk("one:1"), bulk("a")), (bulk("two:2"), bulk("b"))]), &mut all);
        assert_eq!(all, ["one:1", "a", "two:2", "b"]);
    }
}
