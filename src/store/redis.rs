//! The store of a fleet: one multiplexed connection, one script or command a verb.
//!
//! The connection is made, watched and remade by [`link`]; here are only keys, scripts and their answers. The braces
//! in a key are part of it: all keys of one login, or of one app, share a cluster slot. The verbs about tokens are in
//! [`tokens`].

mod access;
mod facts;
mod key;
mod link;
mod script;
mod scrubber;
mod tokens;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, RedisError, Value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use key::Key;
use link::Borrowed;
pub use link::{BadStoreUrl, RedisSettings};
use script::{Call, Script};

use crate::login::{RequestId, Status};
use crate::store::{Bound, Claim, Claimed, CodeDigest, FinishedResult, Recorded, Reserved, StoreAway, Unclaimed};

/// How long the key stays that readiness is tried with.
const READY_KEY_MS: u64 = 10_000;

/// A handle on the fleet's store; cheap to clone.
#[derive(Clone)]
pub struct Redis {
    link: link::Link,
    prefix: Arc<str>,
    /// The key that is written to see whether Redis takes writes. No request id and no appid has this name.
    ready: Arc<str>,
    scripts: Arc<Scripts>,
}

struct Scripts {
    claim: Script,
    extend: Script,
    release: Script,
    record_success: Script,
    record_failure: Script,
    record_unclaimed: Script,
    set_once: Script,
    lead_refresh: Script,
    share_token: Script,
    end_refresh: Script,
    spend: Script,
    keep_ticket: Script,
    note_worker: Script,
    probe: Script,
}

/// What every result has.
#[derive(serde::Deserialize)]
struct Concluded {
    #[serde(rename = "status")]
    _status: Status,
}

impl Redis {
    pub(super) fn open(
        settings: &RedisSettings,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, BadStoreUrl> {
        let link = link::Link::open(settings, tracker, stop)?;
        let scripts = Scripts {
            claim: Script::new(concat!(include_str!("redis/status_of.lua"), include_str!("redis/claim.lua"))),
            extend: Script::new(include_str!("redis/extend.lua")),
            release: Script::new(include_str!("redis/release.lua")),
            record_success: Script::new(concat!(
                include_str!("redis/status_of.lua"),
                include_str!("redis/record_success.lua")
            )),
            record_failure: Script::new(concat!(
                include_str!("redis/status_of.lua"),
                include_str!("redis/record_failure.lua")
            )),
            record_unclaimed: Script::new(concat!(
                include_str!("redis/status_of.lua"),
                include_str!("redis/record_unclaimed.lua")
            )),
            set_once: Script::new(include_str!("redis/set_once.lua")),
            lead_refresh: Script::new(include_str!("redis/lead_refresh.lua")),
            share_token: Script::new(include_str!("redis/share_token.lua")),
            end_refresh: Script::new(include_str!("redis/end_refresh.lua")),
            spend: Script::new(include_str!("redis/spend.lua")),
            keep_ticket: Script::new(include_str!("redis/keep_ticket.lua")),
            note_worker: Script::new(include_str!("redis/note_worker.lua")),
            probe: Script::new(include_str!("redis/probe.lua")),
        };
        let ready = format!("{}:ready", settings.prefix).into();
        Ok(Self { link, prefix: settings.prefix.as_str().into(), ready, scripts: Arc::new(scripts) })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.link.borrow().is_ok()
    }

    pub(super) async fn check_writable(&self) -> Result<(), StoreAway> {
        let mut command = redis::cmd("SET");
        command.arg(&*self.ready).arg(1).arg("PX").arg(READY_KEY_MS);
        self.ask(&command).await
    }

    pub(super) async fn claim(
        &self,
        id: &RequestId,
        owner: &str,
        lease: Duration,
        keep: Duration,
    ) -> Result<Claim, StoreAway> {
        let mut call = self.login_script(&self.scripts.claim, id);
        let (lease, keep) = (ms(lease), ms(keep));
        call.text(format_args!("1 0 {} {owner}", keep.saturating_sub(lease))).arg(keep);
        let mine = |asked, unheard| Claim::Mine(Claimed { owner: owner.into(), asked, unheard });
        let earlier: Option<(String, u64, bool, String)> = self.run(&call).await?;
        let Some((kind, number, unheard, odd)) = earlier else { return Ok(mine(0, false)) };
        if !odd.is_empty() {
            self.complain_of(&odd);
        }
        Ok(match kind.as_str() {
            "recorded" => Claim::Recorded,
            "held" => Claim::Held { left: Duration::from_millis(number) },
            _ => mine(number as u32, unheard),
        })
    }

    pub(super) async fn extend(
        &self,
        id: &RequestId,
        claimed: &Claimed,
        asked: u32,
        lease: Duration,
    ) -> Result<bool, StoreAway> {
        let mut call = self.login_script(&self.scripts.extend, id);
        call.arg(claimed.owner()).arg(asked).arg(ms(lease));
        self.run(&call).await
    }

    pub(super) async fn release(
        &self,
        id: &RequestId,
        claimed: &Claimed,
        asked: u32,
        unheard: bool,
    ) -> Result<(), StoreAway> {
        let mut call = self.login_script(&self.scripts.release, id);
        call.arg(claimed.owner()).arg(asked).arg(u8::from(unheard));
        self.run(&call).await
    }

    pub(super) async fn record(
        &self,
        id: &RequestId,
        claimed: &Claimed,
        result: &FinishedResult,
    ) -> Result<Recorded, StoreAway> {
        if result.succeeded {
            let mut call = self.login_script(&self.scripts.record_success, id);
            call.arg(ms(result.ttl)).arg(&result.json[..]);
            let is_written: bool = self.run(&call).await?;
            return Ok(if is_written { Recorded::Written } else { Recorded::Kept });
        }
        let mut call = self.login_script(&self.scripts.record_failure, id);
        call.arg(claimed.owner()).arg(ms(result.ttl)).arg(&result.json[..]);
        let said: String = self.run(&call).await?;
        Ok(match said.as_str() {
            "written" => Recorded::Written,
            "kept" => Recorded::Kept,
            _ => Recorded::NotMine,
        })
    }

    pub(super) async fn record_unclaimed(
        &self,
        id: &RequestId,
        failure: &FinishedResult,
    ) -> Result<Unclaimed, StoreAway> {
        let mut call = self.login_script(&self.scripts.record_unclaimed, id);
        call.arg(ms(failure.ttl)).arg(&failure.json[..]);
        let said: Option<String> = self.run(&call).await?;
        Ok(match said.as_deref() {
            None => Unclaimed::Written,
            Some("recorded") => Unclaimed::Recorded,
            Some(_) => Unclaimed::Claimed,
        })
    }

    pub(super) async fn results(&self, ids: &[RequestId]) -> Result<Vec<Option<Bytes>>, StoreAway> {
        let keys: Vec<_> = ids.iter().map(|id| self.key(key::RESULT, id.as_str())).collect();
        let is_result = |json: &Vec<u8>| {
            // As the scripts judge it.
            let is_result = serde_json::from_slice::<Concluded>(json).is_ok();
            if !is_result {
                self.complain_of(key::RESULT);
            }
            is_result
        };
        let found = self.get_all(&keys).await?;
        Ok(found.into_iter().map(|json| json.filter(is_result).map(Bytes::from)).collect())
    }

    /// What is in these keys, in order; nothing for one that holds no text. In one command, unless keys may be apart or
    /// Redis has refused such a command.
    async fn get_all(&self, keys: &[Key<'_>]) -> Result<Vec<Option<Vec<u8>>>, StoreAway> {
        if self.link.takes_several_keys() {
            let Borrowed { mut connection, number } = self.link.borrow()?;
            match connection.query(redis::cmd("MGET").arg(keys)).await {
                Err(error) if scrubber::is_about_several_keys(&error) => self.link.read_one_by_one(&error),
                answer => return self.link.observe(number, answer),
            }
        }
        let found = join_all(keys.iter().map(|key| self.get(*key))).await;
        // One whose part of a cluster is away says nothing of the others: it is not there yet.
        if found.iter().all(Result::is_err) {
            return found.into_iter().collect();
        }
        Ok(found.into_iter().map(Result::unwrap_or_default).collect())
    }

    /// What is in a key; nothing if it holds no text.
    async fn get(&self, key: Key<'_>) -> Result<Option<Vec<u8>>, StoreAway> {
        let Borrowed { mut connection, number } = self.link.borrow()?;
        match connection.query(redis::cmd("GET").arg(key)).await {
            Err(error) if scrubber::is_wrong_type(&error) => {
                self.complain_of(key.kind);
                Ok(None)
            }
            answer => self.link.observe(number, answer),
        }
    }

    /// Logs that a key of ours holds what we have not written.
    fn complain_of(&self, kind: &str) {
        if self.link.is_due(kind) {
            let key = format!("{}:{kind}:{{…}}", self.prefix);
            warn!(%key, "a key holds something that quicklogin has not written; it counts as missing and is replaced");
        }
    }

    pub(super) async fn reserve_id(
        &self,
        id: &RequestId,
        digest: &CodeDigest,
        life: Duration,
    ) -> Result<Reserved, StoreAway> {
        let mut call = self.scripts.set_once.on([self.key(key::REQUEST, id.as_str())]);
        call.text(format_args!("{} {}", digest.code, digest.subject)).arg(ms(life));
        let Some(earlier): Option<String> = self.run(&call).await? else { return Ok(Reserved::Ours) };
        let (code, subject) = earlier.split_once(' ').unwrap_or_default();
        Ok(digest.reserved(&CodeDigest { code: code.to_owned(), subject: subject.to_owned() }))
    }

    pub(super) async fn bind_code(
        &self,
        digest: &CodeDigest,
        id: &RequestId,
        life: Duration,
    ) -> Result<Bound, StoreAway> {
        let mut call = self.scripts.set_once.on([self.key(key::CODE, &digest.code)]);
        call.text(format_args!("{} {id}", digest.subject)).arg(ms(life));
        let Some(earlier): Option<String> = self.run(&call).await? else { return Ok(Bound::First) };
        let earlier = earlier.split_once(' ').and_then(|(subject, id)| Some((subject, RequestId::try_from(id).ok()?)));
        // What cannot be read is nobody's, and so not this caller's.
        Ok(earlier.map_or(Bound::OtherSubject, |(subject, id)| digest.bound(subject, id)))
    }

    pub(super) async fn mark_accepted(&self, id: &RequestId, life: Duration) -> Result<(), StoreAway> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(key::ACCEPTED, id.as_str())).arg(1).arg("PX").arg(ms(life));
        self.ask(&command).await
    }

    pub(super) async fn is_accepted(&self, id: &RequestId) -> Result<bool, StoreAway> {
        let keys = [key::ACCEPTED, key::CLAIM].map(|kind| self.key(kind, id.as_str()));
        let Borrowed { mut connection, number } = self.link.borrow()?;
        match connection.query::<u32>(redis::cmd("EXISTS").arg(&keys)).await {
            Err(error) if scrubber::is_about_several_keys(&error) => {
                let [accepted, claim] = keys.map(|key| {
                    let mut command = redis::cmd("EXISTS");
                    command.arg(key);
                    command
                });
                Ok(self.ask(&accepted).await? || self.ask(&claim).await?)
            }
            answer => Ok(self.link.observe(number, answer)? > 0),
        }
    }

    fn key<'a>(&'a self, kind: &'static str, name: &'a str) -> Key<'a> {
        Key { prefix: &self.prefix, kind, name }
    }

    /// A script on the two keys of a login: its result and its claim.
    fn login_script<'a>(&self, script: &'a Script, id: &RequestId) -> Call<'a> {
        script.on([self.key(key::RESULT, id.as_str()), self.key(key::CLAIM, id.as_str())])
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreAway> {
        let Borrowed { mut connection, number } = self.link.borrow()?;
        let answer = connection.query(command).await;
        self.link.observe(number, answer)
    }

    async fn run<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, StoreAway> {
        let Borrowed { mut connection, number } = self.link.borrow()?;
        match call.run(&mut connection).await {
            Err(error) if script::is_odd_key(&error) => {
                self.complain_of(&call.kind());
                self.link.observe(number, T::from_redis_value(Value::Nil).map_err(RedisError::from))
            }
            answer => self.link.observe(number, answer),
        }
    }
}

fn ms(duration: Duration) -> u64 {
    (duration.as_millis() as u64).max(1)
}
