//! What a process must be allowed to do in Redis, tried on keys that nothing uses: a missing permission is named before a
//! login meets it. docs/operating.md has the same as ACL rules.

use futures_util::future::try_join_all;
use redis::{Cmd, RedisError, Value};

use crate::store::redis::key::{self, Key};
use crate::store::redis::link::Borrowed;
use crate::store::redis::{Redis, scrubber};
use crate::store::{StoreAway, Uses};

/// Names in as many slots, spread over a cluster: one node of several has only some of them.
const SPREAD: [&str; 16] =
    ["#0", "#1", "#2", "#3", "#4", "#5", "#6", "#7", "#8", "#9", "#a", "#b", "#c", "#d", "#e", "#f"];

/// What scripts do with one kind of key.
struct InScripts {
    kind: &'static str,
    commands: &'static [&'static str],
}

/// SET is the first that writes, so that the key is a text that ends, and HSET and ZADD leave nothing behind.
const OF_SUBMITTING: [InScripts; 2] = [
    InScripts { kind: key::CODE, commands: &["GET", "SET", "PTTL", "PEXPIRE"] },
    InScripts { kind: key::REQUEST, commands: &["GET", "SET", "PTTL", "PEXPIRE"] },
];
const BUDGET: &[&str] = &["SET", "ZREMRANGEBYSCORE", "ZCARD", "ZRANGE", "ZADD", "PEXPIRE", "DEL"];
const OF_WORKING: [InScripts; 8] = [
    InScripts { kind: key::RESULT, commands: &["SET", "GET", "EXISTS", "DEL"] },
    InScripts { kind: key::CLAIM, commands: &["SET", "GET", "EXISTS", "PTTL", "HMGET", "HGET", "DEL"] },
    InScripts { kind: key::TOKEN, commands: &["SET"] },
    InScripts { kind: key::REFRESH, commands: &["SET", "GET", "PTTL", "DEL"] },
    InScripts { kind: key::REFUSAL, commands: &["SET", "DEL"] },
    InScripts { kind: key::AUTHORIZER, commands: &["SET", "HMGET", "HSET", "DEL"] },
    InScripts { kind: key::FORCED, commands: BUDGET },
    InScripts { kind: key::REPLACED, commands: BUDGET },
];

impl Redis {
    /// Whether Redis lets this process do all that it does, and has all keys here.
    pub(in crate::store) async fn check_access(&self, uses: Uses) -> Result<(), StoreAway> {
        let Uses { submits, works } = uses;
        let spread = self.look_around().await;
        let of_submitting = OF_SUBMITTING.iter().filter(|_| submits);
        let of_working = OF_WORKING.iter().filter(|_| works);
        let in_scripts = try_join_all(of_submitting.chain(of_working).map(|tried| self.try_in_script(tried)));
        let commands = self.commands(uses);
        let outside = try_join_all(commands.iter().map(|command| self.try_command(command)));
        let together = async { if works { self.try_keys_together().await } else { Ok(()) } };
        let (in_scripts, outside, together) = tokio::join!(in_scripts, outside, together);
        // A node of a cluster refuses all else too, and this says why.
        if self.link.was_redirected() {
            return Err(StoreAway(
                "redis.url names one server, and it is a node of a Redis cluster, which has other keys elsewhere: write \
                 redis+cluster:// (or rediss+cluster://) in place of redis://"
                    .into(),
            ));
        }
        spread.map_err(|StoreAway(why)| match why.starts_with("NOPERM") {
            true => StoreAway(format!("Redis refuses GET or MGET on keys {}:{}:*: {why}", self.prefix, key::RESULT)),
            false => StoreAway(why),
        })?;
        outside?;
        in_scripts?;
        together
    }

    /// Commands outside of scripts.
    fn commands(&self, Uses { submits, works }: Uses) -> Vec<Cmd> {
        let on = |name: &str, kinds: &[&'static str], more: &[&str]| {
            let mut command = redis::cmd(name);
            for kind in kinds {
                command.arg(self.probe_key(kind));
            }
            command.arg(more);
            command
        };
        let mut commands = vec![];
        if submits {
            commands.push(on("SET", &[key::ACCEPTED], &["1", "PX", "1"]));
            commands.push(on("EXISTS", &[key::ACCEPTED, key::CLAIM], &[]));
        }
        if works {
            commands.push(on("MGET", &[key::TOKEN, key::REFUSAL], &[]));
            commands.push(on("GET", &[key::TICKET], &[]));
            commands.push(on("HMGET", &[key::AUTHORIZER], &["platform", "refresh_token"]));
            commands.push(on("ZCOUNT", &[key::FORCED], &["0", "+inf"]));
            commands.push(on("ZCOUNT", &[key::REPLACED], &["0", "+inf"]));
        }
        commands
    }

    fn probe_key(&self, kind: &'static str) -> Key<'_> {
        self.key(kind, &self.ready)
    }

    /// Reads results of many slots, as they are read for callers that wait.
    async fn look_around(&self) -> Result<(), StoreAway> {
        let keys: Vec<_> = SPREAD.iter().map(|name| self.key(key::RESULT, name)).collect();
        self.get_all(&keys).await.map(drop)
    }

    async fn try_command(&self, command: &Cmd) -> Result<(), StoreAway> {
        let Borrowed { mut connection, number } = self.link.borrow()?;
        match connection.query::<Value>(command).await {
            Ok(_) => Ok(()),
            Err(error) if scrubber::is_wrong_type(&error) => Ok(()),
            Err(error) if scrubber::is_about_several_keys(&error) && !self.link.takes_several_keys() => Ok(()),
            Err(error) => Err(named(command, &error, self.link.fault(number, &error))),
        }
    }

    /// All keys of one login, or of one app, are in one slot, if whatever is between takes heed of their braces.
    async fn try_keys_together(&self) -> Result<(), StoreAway> {
        let mut call = self.scripts.probe.on([key::RESULT, key::CLAIM].map(|kind| self.probe_key(kind)));
        call.arg("EXISTS");
        let Borrowed { mut connection, number } = self.link.borrow()?;
        match call.run::<Value>(&mut connection).await {
            Err(error) if scrubber::is_about_several_keys(&error) => Err(StoreAway(format!(
                "Redis refuses a script on two keys of one login, which share a hash tag in braces; a proxy that ignores hash \
                 tags cannot be used: {}",
                self.link.fault(number, &error).0
            ))),
            answer => self.link.observe(number, answer).map(drop),
        }
    }

    async fn try_in_script(&self, InScripts { kind, commands }: &InScripts) -> Result<(), StoreAway> {
        let mut call = self.scripts.probe.on([self.probe_key(kind)]);
        for command in *commands {
            call.arg(*command);
        }
        let Borrowed { mut connection, number } = self.link.borrow()?;
        match call.run::<Option<(String, String)>>(&mut connection).await {
            Ok(None) => Ok(()),
            Ok(Some((command, text))) => {
                let (prefix, text) = (&self.prefix, self.link.text(&text));
                Err(StoreAway(format!("Redis refuses {command} in a script on keys {prefix}:{kind}:*: {text}")))
            }
            Err(error) => {
                let away = self.link.fault(number, &error);
                let (prefix, StoreAway(why)) = (&self.prefix, &away);
                match error.code() {
                    Some(_) => Err(StoreAway(format!(
                        "Redis refuses a script (EVALSHA, EVAL) on keys {prefix}:{kind}:*: {why}"
                    ))),
                    None => Err(away),
                }
            }
        }
    }
}

/// With the name of the command, if it is about that, and not about the connection.
fn named(command: &Cmd, error: &RedisError, away: StoreAway) -> StoreAway {
    let mut words = command.args_iter().filter_map(|argument| match argument {
        redis::Arg::Simple(word) => Some(String::from_utf8_lossy(word)),
        _ => None,
    });
    let (name, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match error.code() {
        Some(_) => StoreAway(format!("Redis refuses {name} on keys like {key}: {}", away.0)),
        None => away,
    }
}
