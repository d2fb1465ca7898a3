//! The verbs about access tokens, in Redis.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisError};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::login::{AppId, UnixMs, WechatAnswer};
use crate::secret::Secret;
use crate::store::redis::link::Borrowed;
use crate::store::redis::{Redis, key, ms, scrubber};
use crate::store::tokens::TICKET_LIFE;
use crate::store::{
    Budget, ExternalValue, FoundKey, KeyKind, NoLook, Renewal, SharedRefusal, SharedState, SharedToken, StoreAway,
};

/// A refusal is remembered for so long: longer than anybody waits before asking again.
const REFUSAL_KEPT_MS: u64 = 120_000;

/// The shared token as the contract writes it, and who fetched it.
#[derive(Serialize, Deserialize)]
struct TokenBody {
    access_token: String,
    expires_at: UnixMs,
    fetched_at: UnixMs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fetched_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RefusalBody {
    id: String,
    credentials: String,
    errcode: i64,
    errmsg: String,
    rid: Option<String>,
    same_token: bool,
    times: u32,
    heard_at: UnixMs,
}

/// A ticket as it is kept. One that was put in by hand need not say when WeChat made it: any push then replaces it.
#[derive(Serialize, Deserialize)]
struct TicketBody {
    ticket: String,
    #[serde(default)]
    created_s: u64,
}

impl Redis {
    pub(in crate::store) async fn shared_token(&self, appid: &AppId) -> Result<SharedState, StoreAway> {
        let keys = [key::TOKEN, key::REFUSAL].map(|kind| self.key(kind, appid.as_str()));
        let mut found = self.get_all(&keys).await?.into_iter();
        let (token, refusal) = (found.next().flatten(), found.next().flatten());
        let token = token.and_then(|json| serde_json::from_slice::<TokenBody>(&json).ok());
        let refusal = refusal.and_then(|json| serde_json::from_slice::<RefusalBody>(&json).ok());
        Ok(SharedState { token: token.map(Into::into), refusal: refusal.map(Into::into) })
    }

    pub(in crate::store) async fn lead_refresh(
        &self,
        appid: &AppId,
        leader: &str,
        lease: Duration,
    ) -> Result<bool, StoreAway> {
        let mut call = self.scripts.lead_refresh.on([self.key(key::REFRESH, appid.as_str())]);
        call.arg(leader).arg(ms(lease));
        let said: u8 = self.run(&call).await?;
        if said == 2 {
            self.complain_of(key::REFRESH);
        }
        Ok(said > 0)
    }

    pub(in crate::store) async fn share_token(
        &self,
        appid: &AppId,
        leader: &str,
        token: &SharedToken,
        renewal: Option<&Renewal>,
    ) -> Result<bool, StoreAway> {
        let life_ms = token.expires_at.saturating_sub(token.fetched_at).max(1);
        let keys = [key::TOKEN, key::REFRESH, key::REFUSAL, key::AUTHORIZER].map(|kind| self.key(kind, appid.as_str()));
        let mut call = self.scripts.share_token.on(keys);
        call.arg(leader).arg(json(&TokenBody::from(token))).arg(life_ms);
        if let Some(Renewal { platform, former, refresh_token }) = renewal {
            let former = former.as_ref().map_or("", Secret::expose);
            call.arg(platform.as_str()).arg(former).arg(refresh_token.expose());
        }
        self.run(&call).await
    }

    pub(in crate::store) async fn end_refresh(
        &self,
        appid: &AppId,
        leader: &str,
        refusal: Option<&SharedRefusal>,
    ) -> Result<(), StoreAway> {
        let keys = [key::REFRESH, key::REFUSAL].map(|kind| self.key(kind, appid.as_str()));
        let mut call = self.scripts.end_refresh.on(keys);
        call.arg(leader);
        if let Some(refusal) = refusal {
            call.arg(json(&RefusalBody::from(refusal))).arg(REFUSAL_KEPT_MS);
        }
        self.run(&call).await
    }

    pub(in crate::store) async fn refresh_token(
        &self,
        appid: &AppId,
        platform: &AppId,
    ) -> Result<Option<Secret>, StoreAway> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.key(key::AUTHORIZER, appid.as_str())).arg("platform").arg("refresh_token");
        let Some((of, token)) = self.unless_wrong(key::AUTHORIZER, &command).await? else { return Ok(None) };
        let (of, token): (Option<String>, Option<String>) = (of, token);
        Ok(token.filter(|_| of.as_deref() == Some(platform.as_str())).map(Secret::from))
    }

    pub(in crate::store) async fn keep_ticket(
        &self,
        platform: &AppId,
        ticket: &Secret,
        created_s: u64,
        latest_s: u64,
    ) -> Result<bool, StoreAway> {
        let body = TicketBody { ticket: ticket.expose().to_owned(), created_s };
        let mut call = self.scripts.keep_ticket.on([self.key(key::TICKET, platform.as_str())]);
        call.arg(json(&body)).arg(created_s).arg(ms(TICKET_LIFE)).arg(latest_s);
        self.run(&call).await
    }

    pub(in crate::store) async fn ticket(&self, platform: &AppId) -> Result<Option<Secret>, StoreAway> {
        let found = self.get(self.key(key::TICKET, platform.as_str())).await?;
        Ok(found.and_then(|json| serde_json::from_slice::<TicketBody>(&json).ok()).map(|body| body.ticket.into()))
    }

    pub(in crate::store) async fn has_left(&self, appid: &AppId, budget: &Budget) -> Result<bool, StoreAway> {
        let since = clock::now_ms().saturating_sub(ms(budget.within));
        let mut command = redis::cmd("ZCOUNT");
        command.arg(self.key(budget.name, appid.as_str())).arg(since).arg("+inf");
        let spent: Option<u64> = self.unless_wrong(budget.name, &command).await?;
        Ok(spent.unwrap_or(0) < u64::from(budget.most))
    }

    pub(in crate::store) async fn spend(&self, appid: &AppId, budget: &Budget) -> Result<bool, StoreAway> {
        let Budget { name, most, within, apart } = *budget;
        let mut call = self.scripts.spend.on([self.key(name, appid.as_str())]);
        let apart_ms = apart.as_millis() as u64;
        call.arg(most).arg(ms(within)).arg(apart_ms).arg(uuid::Uuid::now_v7().simple().to_string());
        call.arg(clock::now_ms());
        self.run(&call).await
    }

    pub(in crate::store) async fn look_at(&self, key: &str, kind: &KeyKind) -> Result<Option<FoundKey>, NoLook> {
        let (value, ends_at): (Option<Vec<u8>>, Option<Vec<u8>>) = match kind {
            KeyKind::Text => (self.look(redis::cmd("GET").arg(key)).await?, None),
            KeyKind::Hash { field, ends: None } => (self.look(redis::cmd("HGET").arg(key).arg(field)).await?, None),
            KeyKind::Hash { field, ends: Some(ends) } => {
                self.look(redis::cmd("HMGET").arg(key).arg(field).arg(ends)).await?
            }
        };
        let ends_at_ms = match (kind, ends_at) {
            (KeyKind::Hash { ends: Some(ends), .. }, Some(text)) => Some(time_in(ends, &text)?),
            _ => None,
        };
        Ok(value.map(|value| FoundKey { value: ExternalValue(value), ends_at_ms }))
    }

    /// Reads a key of ours; nothing if it is of another type.
    pub(super) async fn unless_wrong<T: FromRedisValue>(
        &self,
        kind: &str,
        command: &Cmd,
    ) -> Result<Option<T>, StoreAway> {
        let Borrowed { mut connection, number } = self.link.borrow()?;
        match connection.query(command).await {
            Err(error) if scrubber::is_wrong_type(&error) => {
                self.complain_of(kind);
                Ok(None)
            }
            answer => self.link.observe(number, answer).map(Some),
        }
    }

    /// Reads a key that others write, which may hold anything, and so is taken as bytes: what is wrong with it does not
    /// count against Redis.
    async fn look<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, NoLook> {
        let Borrowed { mut connection, number } = self.link.borrow().map_err(NoLook::Away)?;
        match connection.query(command).await {
            Err(error) if is_about_the_key(&error) => Err(NoLook::Unreadable(self.link.words(&error))),
            answer => self.link.observe(number, answer).map_err(NoLook::Away),
        }
    }
}

fn is_about_the_key(error: &RedisError) -> bool {
    matches!(error.code(), Some("WRONGTYPE" | "NOPERM"))
}

fn time_in(field: &str, text: &[u8]) -> Result<UnixMs, NoLook> {
    let time = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
    time.ok_or_else(|| NoLook::Unreadable(format!("it says no time in {field}")))
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("text and numbers always serialise")
}

impl From<&SharedToken> for TokenBody {
    fn from(token: &SharedToken) -> Self {
        Self {
            access_token: token.access_token.expose().to_owned(),
            expires_at: token.expires_at,
            fetched_at: token.fetched_at,
            fetched_by: token.fetched_by.clone(),
            source: token.source.clone(),
        }
    }
}

impl From<TokenBody> for SharedToken {
    fn from(body: TokenBody) -> Self {
        let TokenBody { access_token, expires_at, fetched_at, fetched_by, source } = body;
        Self { access_token: access_token.into(), expires_at, fetched_at, fetched_by, source }
    }
}

impl From<&SharedRefusal> for RefusalBody {
    fn from(refusal: &SharedRefusal) -> Self {
        let SharedRefusal { id, credentials, answer, same_token, times, heard_at } = refusal.clone();
        let WechatAnswer { errcode, errmsg, rid } = answer;
        Self { id, credentials, errcode, errmsg, rid, same_token, times, heard_at }
    }
}

impl From<RefusalBody> for SharedRefusal {
    fn from(body: RefusalBody) -> Self {
        let RefusalBody { id, credentials, errcode, errmsg, rid, same_token, times, heard_at } = body;
        Self { id, credentials, answer: WechatAnswer { errcode, errmsg, rid }, same_token, times, heard_at }
    }
}
