//! Settings: compiled-in defaults, then a TOML file, then the environment. Used by commands only; everything below
//! them is passed plain values.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;

use crate::backend::Backend;
use crate::login::{AppId, SealingKey};
use crate::queue::RabbitSettings;
use crate::secret::Secret;
use crate::store::RedisSettings;
use crate::token::App;
use crate::wechat::ClientSettings;
use crate::worker::Limits;

/// The commented reference, which is also where the defaults come from.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// The apps in the environment: one TOML list, since a list cannot be spelled in single variables.
const APPS_VARIABLE: &str = "QUICKLOGIN__APPS";

/// A mistake in the settings: what it is and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct BadSettings {
    what: String,
    hint: String,
}

impl BadSettings {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// All settings. `config/default.toml` says what each is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Settings {
    pub rabbitmq: Rabbitmq,
    pub redis: Redis,
    pub wechat: Wechat,
    #[serde(default)]
    pub apps: Vec<AppEntry>,
    pub worker: Worker,
    pub login: Login,
    pub result: ResultSettings,
    pub gateway: Gateway,
    pub ops: Ops,
    pub simulator: SimulatorSettings,
    pub log: Log,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Rabbitmq {
    pub url: Option<Secret>,
    pub exchange: String,
    pub routing_key: String,
    pub queue: String,
    pub dead_queue: String,
    pub declare: bool,
    pub max_length: u32,
    pub delivery_limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Redis {
    pub url: Option<Secret>,
    pub prefix: String,
    pub connect_timeout_ms: u64,
    pub timeout_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Wechat {
    pub base_url: String,
    pub connect_timeout_ms: u64,
    pub timeout_ms: u64,
    pub pool_idle_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct AppEntry {
    pub appid: AppId,
    pub secret: Option<Secret>,
    pub secret_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Worker {
    pub slots: u16,
    pub drain_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Login {
    pub code_life_s: u64,
    pub patience_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct ResultSettings {
    pub ttl_s: u64,
    pub encryption: bool,
    pub key_name: String,
    pub key: Option<Secret>,
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Gateway {
    pub listen: SocketAddr,
    pub keys: Vec<Secret>,
    pub open: bool,
    pub max_waiting: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Ops {
    pub listen: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct SimulatorSettings {
    pub listen: SocketAddr,
    pub latency_ms: u64,
    pub jitter_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// The settings from `file`, if any, and the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, BadSettings> {
        Self::layered(file, std::env::vars().collect())
    }

    fn layered(file: Option<&Path>, variables: std::collections::HashMap<String, String>) -> Result<Self, BadSettings> {
        let apps = variables.get(APPS_VARIABLE).map(|list| format!("apps = {list}"));
        let rest = variables.into_iter().filter(|(name, _)| name != APPS_VARIABLE).collect();
        let mut layers = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(file) = file {
            if !file.is_file() {
                let what = format!("there is no settings file {}", file.display());
                return Err(BadSettings::new(what, "give --config a readable TOML file"));
            }
            layers = layers.add_source(File::from(file).format(FileFormat::Toml));
        }
        if let Some(apps) = apps {
            layers = layers.add_source(File::from_str(&apps, FileFormat::Toml));
        }
        let environment = Environment::with_prefix("QUICKLOGIN")
            .prefix_separator("__")
            .separator("__")
            .list_separator(",")
            .with_list_parse_key("gateway.keys")
            .try_parsing(true)
            .source(Some(rest));
        let hint =
            "config/default.toml has every key with its meaning; `quicklogin config check` checks without starting";
        let bad = |error: config::ConfigError| BadSettings::new(format!("settings: {}", described(&error)), hint);
        let settings: Self = layers.add_source(environment).build().map_err(bad)?.try_deserialize().map_err(bad)?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), BadSettings> {
        let zero = [
            ("worker.slots", u64::from(self.worker.slots)),
            ("login.code_life_s", self.login.code_life_s),
            ("login.patience_s", self.login.patience_s),
            ("result.ttl_s", self.result.ttl_s),
            ("wechat.timeout_ms", self.wechat.timeout_ms),
            ("wechat.connect_timeout_ms", self.wechat.connect_timeout_ms),
            ("redis.timeout_ms", self.redis.timeout_ms),
            ("redis.connect_timeout_ms", self.redis.connect_timeout_ms),
            ("rabbitmq.max_length", u64::from(self.rabbitmq.max_length)),
        ];
        if let Some((key, _)) = zero.iter().find(|(_, value)| *value == 0) {
            return Err(BadSettings::new(format!("{key} is 0"), "give it at least 1"));
        }
        if self.login.code_life_s > 300 {
            return Err(BadSettings::new(
                "login.code_life_s is more than 300",
                "WeChat's codes live five minutes from the tap; stay below that",
            ));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.apps.iter().find(|app| !seen.insert(&app.appid)) {
            return Err(BadSettings::new(
                format!("app {} is configured twice", twice.appid),
                "keep one [[apps]] of it",
            ));
        }
        self.backend()?;
        self.sealing()?;
        self.wechat()?;
        Ok(())
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
            dead_queue: from.dead_queue.clone(),
            declare: from.declare,
            max_length: from.max_length,
            delivery_limit: from.delivery_limit,
            connection_name: "quicklogin".into(),
        }
    }

    fn redis_settings(&self, url: &Secret) -> RedisSettings {
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
        let hint = "a base URL is scheme and host, as in https://api.weixin.qq.com";
        let base_url: reqwest::Url =
            from.base_url.parse().map_err(|_| BadSettings::new("wechat.base_url is not a URL", hint))?;
        if !matches!(base_url.scheme(), "https" | "http") || base_url.query().is_some() {
            return Err(BadSettings::new("wechat.base_url is not an https:// or http:// URL without query", hint));
        }
        Ok(ClientSettings {
            base_url,
            connect_timeout: Duration::from_millis(from.connect_timeout_ms),
            timeout: Duration::from_millis(from.timeout_ms),
            pool_idle: Duration::from_secs(from.pool_idle_s),
        })
    }

    /// The ids of the configured apps, which is all that a gateway needs of them.
    pub fn appids(&self) -> BTreeSet<AppId> {
        self.apps.iter().map(|app| app.appid.clone()).collect()
    }

    /// The configured apps with their secrets, for a worker.
    pub fn apps(&self) -> Result<Vec<App>, BadSettings> {
        let app = |entry: &AppEntry| {
            let name = format!("the secret of app {}", entry.appid);
            let secret = one_secret(&name, entry.secret.as_ref(), entry.secret_file.as_deref())?;
            Ok(App { appid: entry.appid.clone(), secret })
        };
        self.apps.iter().map(app).collect()
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
        let key = one_secret("result.key", from.key.as_ref(), from.key_file.as_deref())?;
        let hint = "make one with: openssl rand -base64 32";
        let key =
            SealingKey::new(&from.key_name, &key).map_err(|e| BadSettings::new(format!("result.key: {e}"), hint))?;
        Ok(Some(Arc::new(key)))
    }

    /// Refuses to serve strangers by mistake.
    pub fn check_gateway(&self) -> Result<(), BadSettings> {
        let gateway = &self.gateway;
        if gateway.listen.ip().is_loopback() || !gateway.keys.is_empty() || gateway.open {
            return Ok(());
        }
        Err(BadSettings::new(
            format!("gateway.listen is {}, and gateway.keys is empty", gateway.listen),
            "set gateway.keys, listen on 127.0.0.1, or say gateway.open = true where something else guards it",
        ))
    }
}

fn one_secret(name: &str, text: Option<&Secret>, file: Option<&Path>) -> Result<Secret, BadSettings> {
    match (text, file) {
        (Some(text), None) if !text.expose().is_empty() => Ok(text.clone()),
        (None, Some(file)) => {
            let read = std::fs::read_to_string(file).map_err(|error| {
                let what = format!("{name} cannot be read from {}: {error}", file.display());
                BadSettings::new(what, "the file holds the secret alone")
            })?;
            let secret = read.trim();
            if secret.is_empty() {
                return Err(BadSettings::new(
                    format!("{} is empty", file.display()),
                    "the file holds the secret alone",
                ));
            }
            Ok(Secret::from(secret))
        }
        (Some(_), Some(_)) => Err(BadSettings::new(format!("{name} is given twice"), "keep one of text and file")),
        _ => Err(BadSettings::new(format!("{name} is missing"), "give it as text or, better, in a file")),
    }
}

/// The crate's own words, but for those that would repeat a value: it may be a secret in the wrong place.
fn described(error: &config::ConfigError) -> String {
    use config::ConfigError;
    match error {
        ConfigError::Type { origin, expected, key, .. } => {
            let key = key.as_deref().unwrap_or("a value");
            let origin = origin.as_deref().map(|origin| format!(" in {origin}")).unwrap_or_default();
            format!("{key} should be {expected}{origin}")
        }
        ConfigError::At { error, origin, key } => {
            let key = key.as_deref().unwrap_or("a value");
            let origin = origin.as_deref().map(|origin| format!(" in {origin}")).unwrap_or_default();
            format!("{key}: {}{origin}", described(error))
        }
        ConfigError::FileParse { uri, .. } => {
            format!("{} is not TOML", uri.as_deref().unwrap_or(APPS_VARIABLE))
        }
        other => without_quoted(&other.to_string()),
    }
}

/// Texts in double quotes are values; names of fields stand in backticks.
fn without_quoted(text: &str) -> String {
    text.split('"').enumerate().map(|(n, part)| if n % 2 == 0 { part } else { "\"***\"" }).collect()
}
