//! From keys to the plain values that everything below the commands is passed, checked on the way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::config::{BadSettings, Settings, hosts};
use crate::login::SealingKey;
use crate::queue::RabbitSettings;
use crate::secret::Secret;
use crate::store::RedisSettings;
use crate::token::{KeptSecret, check_secret};
use crate::wechat::{self, ClientSettings};
use crate::worker::{Limits, OutboxKey};

const SECRET_HINT: &str = "a secret is one line of visible ASCII characters; its file holds it alone";
/// More queues than any broker has cores for.
const MOST_SHARDS: u16 = 64;

/// Thirty days.
const RESULT_TTL_S_MOST: u64 = 30 * 24 * 3600;
const TIMEOUT_MS_MOST: u64 = 60_000;
/// The pool looks for idle connections once in so long, and so closes one at twice that at the latest: before WeChat does.
const POOL_IDLE_S_MOST: u64 = 9;

impl Settings {
    pub(super) fn check(&self) -> Result<(), BadSettings> {
        let zero = [
            ("worker.slots", u64::from(self.worker.slots)),
            ("gateway.max_connections", self.gateway.max_connections as u64),
            ("login.code_life_s", self.login.code_life_s),
            ("login.patience_s", self.login.patience_s),
            ("result.ttl_s", self.result.ttl_s),
            ("wechat.timeout_ms", self.wechat.timeout_ms),
            ("wechat.connect_timeout_ms", self.wechat.connect_timeout_ms),
            ("wechat.pool_idle_s", self.wechat.pool_idle_s),
            ("redis.timeout_ms", self.redis.timeout_ms),
            ("redis.connect_timeout_ms", self.redis.connect_timeout_ms),
            ("rabbitmq.max_length", u64::from(self.rabbitmq.max_length)),
            ("rabbitmq.dead_max_length", u64::from(self.rabbitmq.dead_max_length)),
        ];
        if let Some((key, _)) = zero.iter().find(|(_, value)| *value == 0) {
            return Err(BadSettings::new(format!("{key} is 0"), "give it at least 1"));
        }
        self.check_most()?;
        if !(1..=MOST_SHARDS).contains(&self.rabbitmq.shards) {
            return Err(BadSettings::new(
                format!("rabbitmq.shards is not 1 to {MOST_SHARDS}"),
                "about as many as the broker has cores are worth something",
            ));
        }
        if self.gateway.keys.iter().any(|key| key.expose().trim().is_empty()) {
            return Err(BadSettings::new("gateway.keys has an empty key", "leave it out: anybody could guess it"));
        }
        self.check_apps()?;
        self.check_platforms()?;
        let hint = "see rabbitmq.url and redis.url in config/default.toml";
        self.backend()?.check().map_err(|bad| BadSettings::new(bad.to_string(), hint))?;
        self.wechat()?;
        Ok(())
    }

    /// Larger ones are mistakes: of a unit, or of a digit.
    fn check_most(&self) -> Result<(), BadSettings> {
        let code_life = "WeChat's codes live five minutes from the tap; stay below that";
        let pool_idle = "WeChat drops idle connections at about 20 s, and ours are closed after up to twice this";
        let (wait, ttl) =
            ("nobody waits so long for a login; is the unit right?", "results are for picking up, not for keeping");
        let most = [
            ("login.code_life_s", self.login.code_life_s, 300, code_life),
            ("login.patience_s", self.login.patience_s, 300, wait),
            ("result.ttl_s", self.result.ttl_s, RESULT_TTL_S_MOST, ttl),
            ("wechat.timeout_ms", self.wechat.timeout_ms, TIMEOUT_MS_MOST, wait),
            ("wechat.connect_timeout_ms", self.wechat.connect_timeout_ms, TIMEOUT_MS_MOST, wait),
            ("wechat.pool_idle_s", self.wechat.pool_idle_s, POOL_IDLE_S_MOST, pool_idle),
            ("redis.timeout_ms", self.redis.timeout_ms, TIMEOUT_MS_MOST, wait),
            ("redis.connect_timeout_ms", self.redis.connect_timeout_ms, TIMEOUT_MS_MOST, wait),
        ];
        match most.into_iter().find(|(_, value, most, _)| value > most) {
            Some((key, _, most, hint)) => Err(BadSettings::new(format!("{key} is more than {most}"), hint)),
            None => Ok(()),
        }
    }

    /// What the process stands on.
    pub fn backend(&self) -> Result<Backend, BadSettings> {
        match (&self.rabbitmq.url, &self.redis.url) {
            (None, None) => Ok(Backend::Embedded),
            (Some(rabbitmq_url), Some(redis_url)) => Ok(Backend::Fleet {
                rabbitmq: Box::new(self.rabbit_settings(rabbitmq_url)),
                redis: self.redis_settings(redis_url),
            }),
            (Some(_), None) => Err(BadSettings::new(
                "rabbitmq.url is set, and redis.url is not",
                "a fleet needs both; with neither, everything runs in one process",
            )),
            (None, Some(_)) => Err(BadSettings::new(
                "redis.url is set, and rabbitmq.url is not",
                "a fleet needs both; with neither, everything runs in one process",
            )),
        }
    }

    fn rabbit_settings(&self, url: &Secret) -> RabbitSettings {
        let from = &self.rabbitmq;
        RabbitSettings {
            url: url.clone(),
            exchange: from.exchange.clone(),
            routing_key: from.routing_key.clone(),
            queue: from.queue.clone(),
            shards: from.shards,
            dead_queue: from.dead_queue.clone(),
            results_queue: from.results_queue.clone(),
            declare: from.declare,
            max_length: from.max_length,
            dead_max_length: from.dead_max_length,
            delivery_limit: from.delivery_limit,
            connection_name: "quicklogin".into(),
        }
    }

    pub(super) fn redis_settings(&self, url: &Secret) -> RedisSettings {
        RedisSettings {
            url: url.clone(),
            prefix: self.redis.prefix.clone(),
            connect_timeout: Duration::from_millis(self.redis.connect_timeout_ms),
            timeout: Duration::from_millis(self.redis.timeout_ms),
        }
    }

    /// How WeChat is reached.
    pub fn wechat(&self) -> Result<ClientSettings, BadSettings> {
        let from = &self.wechat;
        let base_url = hosts::base_url("wechat.base_url", &from.base_url)?;
        let timeout = Duration::from_millis(from.timeout_ms);
        Ok(ClientSettings {
            hosts: hosts::after(&base_url, &from.hosts)?,
            base_url,
            connect_timeout: Duration::from_millis(from.connect_timeout_ms).min(wechat::longest_connect(timeout)),
            timeout,
            pool_idle: Duration::from_secs(from.pool_idle_s),
        })
    }

    /// How long logins may take.
    pub fn limits(&self) -> Limits {
        Limits {
            code_life: Duration::from_secs(self.login.code_life_s),
            patience: Duration::from_secs(self.login.patience_s),
            result_ttl: Duration::from_secs(self.result.ttl_s),
        }
    }

    /// The key that results are sealed with, where they are.
    pub fn sealing(&self) -> Result<Option<Arc<SealingKey>>, BadSettings> {
        let from = &self.result;
        if !from.encryption {
            return Ok(None);
        }
        let key = read_secret("result.key", from.key.as_ref(), from.key_file.as_deref())?;
        let hint = "make one with: openssl rand -base64 32";
        let key =
            SealingKey::new(&from.key_name, &key).map_err(|e| BadSettings::new(format!("result.key: {e}"), hint))?;
        Ok(Some(Arc::new(key)))
    }

    /// The key that results are authenticated with on their way from one worker to another, if it is none of the apps'.
    pub fn outbox_key(&self) -> Result<Option<OutboxKey>, BadSettings> {
        let (text, file) = (self.result.outbox_key.as_ref(), self.result.outbox_key_file.as_deref());
        if text.is_none() && file.is_none() {
            return Ok(None);
        }
        let key = read_secret("result.outbox_key", text, file)?;
        let hint = "make one with: openssl rand -base64 32";
        OutboxKey::new(&key).map(Some).map_err(|e| BadSettings::new(format!("result.outbox_key: {e}"), hint))
    }

    /// Refuses to serve strangers by mistake.
    pub fn check_gateway(&self) -> Result<(), BadSettings> {
        let gateway = &self.gateway;
        if gateway.listen.ip().is_loopback() || !gateway.keys.is_empty() || gateway.open {
            return Ok(());
        }
        Err(BadSettings::new(
            "gateway.listen is not a loopback address, and gateway.keys is empty",
            "set gateway.keys, listen on 127.0.0.1, or say gateway.open = true where something else guards it",
        ))
    }
}

/// A secret that is read once, from text or a file.
pub(super) fn read_secret(name: &str, text: Option<&Secret>, file: Option<&Path>) -> Result<Secret, BadSettings> {
    let read = kept_secret(name, text, file)?.read();
    read.map_err(|error| BadSettings::new(format!("{name} cannot be read from {error}"), SECRET_HINT))
}

/// Text, or a file that can be read now and may be read again later.
pub(super) fn kept_secret(name: &str, text: Option<&Secret>, file: Option<&Path>) -> Result<KeptSecret, BadSettings> {
    match (text, file) {
        (Some(text), None) if !text.expose().is_empty() => {
            check_secret(text.expose())
                .map_err(|problem| BadSettings::new(format!("{name} {problem}"), SECRET_HINT))?;
            Ok(KeptSecret::Text(text.clone()))
        }
        (None, Some(file)) => {
            let secret = KeptSecret::File(file.to_owned());
            let bad = |error| BadSettings::new(format!("{name} cannot be read from {error}"), SECRET_HINT);
            secret.read().map_err(bad)?;
            Ok(secret)
        }
        (Some(_), Some(_)) => Err(BadSettings::new(format!("{name} is given twice"), "keep one of text and file")),
        _ => Err(BadSettings::new(format!("{name} is missing"), "give it as text or, better, in a file")),
    }
}
