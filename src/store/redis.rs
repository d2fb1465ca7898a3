//! The store of a fleet: one multiplexed connection, one script or command a verb.
//!
//! The connection is made, watched and remade by [`link`]; here are only keys, scripts and their answers. The braces
//! in a key are part of it: all keys of one login, or of one app, share a cluster slot. The verbs about tokens are in
//! [`tokens`].

mod key;
mod link;
mod script;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use key::Key;
use link::Borrowed;
pub use link::{BadStoreUrl, RedisSettings};
use script::{Call, Script};

use crate::login::RequestId;
use crate::store::{Bound, Claim, Claimed, CodeDigest, FinishedResult, Recorded, Reserved, StoreAway, Unclaimed};

/// How long the key stays that readiness is tried with.
const READY_KEY_MS: u64 = 10_000;

/// A handle on the fleet's store; cheap to clone.
#[derive(Clone)]
pub struct Redis {
    link: link::Link,
    prefix: Arc<str>,
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
}

impl Redis {
    pub(super) fn open(
        settings: &RedisSettings,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, BadStoreUrl> {
        let link = link::Link::open(settings, tracker, stop)?;
        let scripts = Scripts {
            claim: Script::new(include_str!("redis/claim.lua")),
            extend: Script::new(include_str!("redis/extend.lua")),
            release: Script::new(include_str!("redis/release.lua")),
            record_success: Script::new(include_str!("redis/record_success.lua")),
            record_failure: Script::new(include_str!("redis/record_failure.lua")),
            record_unclaimed: Script::new(include_str!("redis/record_unclaimed.lua")),
            set_once: Script::new(include_str!("redis/set_once.lua")),
            lead_refresh: Script::new(include_str!("redis/lead_refresh.lua")),
            share_token: Script::new(include_str!("redis/share_token.lua")),
            end_refresh: Script::new(include_str!("redis/end_refresh.lua")),
            spend: Script::new(include_str!("redis/spend.lua")),
            keep_ticket: Script::new(include_str!("redis/keep_ticket.lua")),
        };
        Ok(Self { link, prefix: settings.prefix.as_str().into(), scripts: Arc::new(scripts) })
    }

    pub(super) async fn check_writable(&self) -> Result<(), StoreAway> {
        let mut command = redis::cmd("SET");
        command.arg(format!("{}:ready", self.prefix)).arg(1).arg("PX").arg(READY_KEY_MS);
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
        let earlier: Option<(String, u64, bool)> = self.run(&call).await?;
        let Some((kind, number, unheard)) = earlier else { return Ok(mine(0, false)) };
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
        if self.link.has_slots() {
            return self.results_one_by_one(ids).await;
        }
        let mut command = redis::cmd("MGET");
        for id in ids {
            command.arg(self.key(key::RESULT, id.as_str()));
        }
        let found: Vec<Option<Vec<u8>>> = self.ask(&command).await?;
        Ok(found.into_iter().map(|json| json.map(Bytes::from)).collect())
    }

    /// All at once, each from its own slot. One that is away says nothing of the others: its result is not there yet.
    async fn results_one_by_one(&self, ids: &[RequestId]) -> Result<Vec<Option<Bytes>>, StoreAway> {
        let result = async |id: &RequestId| {
            let found: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(self.key(key::RESULT, id.as_str()))).await?;
            Ok(found.map(Bytes::from))
        };
        let found = join_all(ids.iter().map(result)).await;
        if found.iter().all(Result::is_err) {
            return found.into_iter().collect();
        }
        Ok(found.into_iter().map(Result::unwrap_or_default).collect())
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
        let mut command = redis::cmd("EXISTS");
        command.arg(self.key(key::ACCEPTED, id.as_str())).arg(self.key(key::CLAIM, id.as_str()));
        let found: u32 = self.ask(&command).await?;
        Ok(found > 0)
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
        let answer = call.run(&mut connection).await;
        self.link.observe(number, answer)
    }
}

fn ms(duration: Duration) -> u64 {
    (duration.as_millis() as u64).max(1)
}
