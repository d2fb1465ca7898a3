//! Every key there is, as serde reads it. What a key means stands in `config/default.toml`.
#![expect(missing_docs, reason = "config/default.toml documents every key")]

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::login::AppId;
use crate::secret::Secret;
use crate::token::{Preset, ValueFormat};

/// All settings. `config/default.toml` says what each is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub rabbitmq: Rabbitmq,
    pub redis: Redis,
    pub wechat: Wechat,
    #[serde(default)]
    pub apps: Vec<AppEntry>,
    #[serde(default)]
    pub platforms: Vec<PlatformEntry>,
    pub worker: Worker,
    pub login: Login,
    pub result: ResultSettings,
    pub gateway: Gateway,
    pub ops: Ops,
    pub simulator: SimulatorSettings,
    pub log: Log,
    /// What an operator should know of these settings, although they can be used.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Whether the settings file itself holds secrets.
    #[serde(skip)]
    pub(super) file_holds_secrets: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rabbitmq {
    pub url: Option<Secret>,
    pub exchange: String,
    pub routing_key: String,
    pub queue: String,
    pub shards: u16,
    pub dead_queue: String,
    pub results_queue: String,
    pub declare: bool,
    pub max_length: u32,
    pub dead_max_length: u32,
    pub delivery_limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    pub url: Option<Secret>,
    pub prefix: String,
    pub connect_timeout_ms: u64,
    pub timeout_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wechat {
    pub base_url: String,
    pub hosts: Vec<String>,
    pub connect_timeout_ms: u64,
    pub timeout_ms: u64,
    pub pool_idle_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppEntry {
    pub appid: AppId,
    pub secret: Option<Secret>,
    pub secret_file: Option<PathBuf>,
    #[serde(default)]
    pub token: TokenSource,
    #[serde(default)]
    pub force_refresh: bool,
    pub external: Option<ExternalEntry>,
    pub platform: Option<AppId>,
}

/// Who gives out an app's access token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    #[default]
    Stable,
    Classic,
    External,
    Authorizer,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalEntry {
    pub preset: Option<Preset>,
    pub prefix: Option<String>,
    pub key: Option<String>,
    pub field: Option<String>,
    pub format: Option<ValueFormat>,
    pub redis_url: Option<Secret>,
    pub url: Option<Secret>,
    pub bearer: Option<Secret>,
    pub bearer_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformEntry {
    pub appid: AppId,
    pub secret: Option<Secret>,
    pub secret_file: Option<PathBuf>,
    pub message_token: Option<Secret>,
    pub message_token_file: Option<PathBuf>,
    pub message_key: Option<Secret>,
    pub message_key_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub slots: u16,
    pub drain_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub code_life_s: u64,
    pub patience_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultSettings {
    pub ttl_s: u64,
    pub encryption: bool,
    pub key_name: String,
    pub key: Option<Secret>,
    pub key_file: Option<PathBuf>,
    pub outbox_key: Option<Secret>,
    pub outbox_key_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub listen: SocketAddr,
    pub keys: Vec<Secret>,
    pub open: bool,
    pub max_waiting: usize,
    pub max_connections: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ops {
    pub listen: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorSettings {
    pub listen: SocketAddr,
    pub latency_ms: u64,
    pub jitter_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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
