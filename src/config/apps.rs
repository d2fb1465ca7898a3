//! The apps: checked, and where the access token of each comes from.

use std::collections::BTreeSet;

use crate::config::sections::TokenSource;
use crate::config::values::kept_secret;
use crate::config::{AppEntry, BadSettings, ExternalEntry, Settings, secrecy};
use crate::login::AppId;
use crate::secret::Secret;
use crate::store::{KeyKind, RedisSettings};
use crate::token::{
    App, External, ExternalKey, KeptSecret, KeyName, Platform, Preset, Source, TokenServer, ValueFormat,
};

const HINT: &str = "see [[apps]] in config/default.toml";

impl Settings {
    /// What can be judged without reading a file, since a gateway has none of them.
    pub(super) fn check_apps(&self) -> Result<(), BadSettings> {
        let mut seen = BTreeSet::new();
        for (n, app) in self.apps.iter().enumerate() {
            let appid = &app.appid;
            check_appid(&format!("apps[{n}].appid"), appid)?;
            if let Some(platform) = &app.platform {
                check_appid(&format!("apps[{n}].platform"), platform)?;
            }
            if !seen.insert(appid) {
                return Err(BadSettings::new(format!("app {appid} is configured twice"), "keep one [[apps]] of it"));
            }
            app.check()?;
        }
        Ok(())
    }

    /// The ids of the configured apps, which is all that a gateway needs of them.
    pub fn appids(&self) -> BTreeSet<AppId> {
        self.apps.iter().map(|app| app.appid.clone()).collect()
    }

    /// The configured apps, and where the token of each comes from, for a worker. Reads every secret file once.
    pub fn apps(&self) -> Result<Vec<App>, BadSettings> {
        self.apps.iter().map(|entry| Ok(App { appid: entry.appid.clone(), source: self.source(entry)? })).collect()
    }

    /// Whether there are apps that want secrets, and none has one: such settings are a gateway's.
    pub fn lacks_every_secret(&self) -> bool {
        let wanted = self.apps.iter().any(|app| app.token != TokenSource::External);
        let of_platforms =
            self.platforms.iter().any(|platform| platform.secret.is_some() || platform.secret_file.is_some());
        wanted && !of_platforms && !self.apps.iter().any(AppEntry::has_secret)
    }

    fn source(&self, entry: &AppEntry) -> Result<Source, BadSettings> {
        Ok(match entry.token {
            TokenSource::Stable => Source::Stable { secret: entry.secret()?, may_force: entry.force_refresh },
            TokenSource::Classic => Source::Classic { secret: entry.secret()? },
            TokenSource::Authorizer => Source::Authorizer(self.platform_of(entry)?),
            TokenSource::External => {
                let external = entry.external.as_ref().expect("checked before");
                Source::External(self.external(entry, external)?)
            }
        })
    }

    fn platform_of(&self, entry: &AppEntry) -> Result<Platform, BadSettings> {
        let found = self.platform(entry.platform.as_ref().map(AppId::as_str)).ok_or_else(|| {
            let what = format!("the platform of app {} is not configured, or not said", entry.appid);
            BadSettings::new(
                what,
                "token = \"authorizer\" needs [[platforms]], and platform = \"wx…\" where there are several",
            )
        })?;
        Ok(Platform { appid: found.appid.clone(), secret: found.kept_secret()? })
    }

    fn external(&self, entry: &AppEntry, from: &ExternalEntry) -> Result<External, BadSettings> {
        let appid = &entry.appid;
        if let Some(url) = &from.url {
            return from.server(appid, url);
        }
        let redis = from.redis_url.as_ref().map(|url| self.redis_settings(url));
        if let Some(Err(bad)) = redis.as_ref().map(RedisSettings::check) {
            let what = format!("external.redis_url of app {appid}: {}", bad.to_string().replace("redis.url", "it"));
            return Err(BadSettings::new(what, HINT));
        }
        let bad = |problem: &str| BadSettings::new(format!("external of app {appid} {problem}"), HINT);
        let key = match (from.preset, &from.key) {
            (Some(preset), _) => from.preset_key(preset, entry, redis).map_err(bad)?,
            (None, Some(key)) => from.key(key, entry, redis).map_err(bad)?,
            (None, None) => unreachable!("checked before"),
        };
        let external = External::Key(key);
        if external.is_in_fleets_redis() && self.redis.url.is_none() {
            return Err(bad("is a key in Redis, and neither redis.url nor its redis_url is set"));
        }
        Ok(external)
    }
}

/// Before an appid is shown in other errors: it may be a secret, or an id of another kind.
pub(super) fn check_appid(setting: &str, appid: &AppId) -> Result<(), BadSettings> {
    let text = appid.as_str();
    let (problem, hint) = if text.starts_with("gh_") {
        let hint = "WeChat's console shows both: take AppID (开发管理 → 开发设置), which begins with wx, not 原始ID";
        ("is an original id (原始ID), not an appid", hint)
    } else if secrecy::is_hex(text, 32) {
        ("looks like an AppSecret", "the appid begins with wx; the AppSecret belongs in secret or secret_file")
    } else if !text.starts_with("wx") {
        ("is not an appid", "an appid begins with wx, as in wx0123456789abcdef")
    } else {
        return Ok(());
    };
    Err(BadSettings::new(format!("{setting} {problem}"), hint))
}

impl AppEntry {
    fn check(&self) -> Result<(), BadSettings> {
        let bad = |problem: &str| Err(BadSettings::new(format!("app {}: {problem}", self.appid), HINT));
        match (self.token, &self.external) {
            (TokenSource::External, None) => {
                return bad("token is \"external\", and external does not say where it is");
            }
            (TokenSource::External, Some(external)) => {
                external.check().or_else(bad)?;
            }
            (_, Some(_)) => return bad("external is only for token = \"external\""),
            (_, None) => {}
        }
        if self.platform.is_some() && self.token != TokenSource::Authorizer {
            return bad("platform is only for token = \"authorizer\"");
        }
        if self.force_refresh && self.token != TokenSource::Stable {
            return bad("force_refresh is only for token = \"stable\"");
        }
        Ok(())
    }

    pub(super) fn secret(&self) -> Result<KeptSecret, BadSettings> {
        let name = format!("the secret of app {}", self.appid);
        kept_secret(&name, self.secret.as_ref(), self.secret_file.as_deref())
    }

    fn secret_if_any(&self) -> Result<Option<KeptSecret>, &'static str> {
        let secret = self.has_secret().then(|| self.secret());
        secret.transpose().map_err(|_| "has a secret that cannot be read, or cannot be one")
    }

    fn has_secret(&self) -> bool {
        self.secret.is_some() || self.secret_file.is_some()
    }
}

impl ExternalEntry {
    /// One place, and only what belongs to it.
    fn check(&self) -> Result<(), &'static str> {
        let places = [self.preset.is_some(), self.key.is_some(), self.url.is_some()];
        match places.iter().filter(|there| **there).count() {
            0 => Err("external needs a preset, a key or a url"),
            1 if self.url.is_some() && self.redis_url.is_some() => Err("external.redis_url is for keys, not for a url"),
            1 if self.url.is_none() && (self.bearer.is_some() || self.bearer_file.is_some()) => {
                Err("external.bearer is for a url")
            }
            1 if self.key.is_none() && (self.field.is_some() || self.format.is_some()) => {
                Err("external.field and external.format are for a key")
            }
            1 if self.preset.is_none() && self.prefix.is_some() => Err("external.prefix is for a preset"),
            1 => Ok(()),
            _ => Err("external has more than one of preset, key and url"),
        }
    }

    fn key(&self, key: &str, entry: &AppEntry, redis: Option<RedisSettings>) -> Result<ExternalKey, &'static str> {
        let kind = match &self.field {
            Some(field) => KeyKind::Hash { field: field.clone(), ends: None },
            None => KeyKind::Text,
        };
        let format = self.format.unwrap_or(ValueFormat::Plain);
        let name = match key.contains("{secret}") {
            true => {
                let secret = entry.secret_if_any()?.ok_or("has {secret} in its key, and the app has no secret")?;
                KeyName::WithSecret(key.to_owned(), secret)
            }
            false => KeyName::Template(key.to_owned()),
        };
        Ok(ExternalKey { redis, name, kind, format })
    }

    fn preset_key(
        &self,
        preset: Preset,
        entry: &AppEntry,
        redis: Option<RedisSettings>,
    ) -> Result<ExternalKey, &'static str> {
        preset.key(self.prefix.as_deref(), entry.secret_if_any()?, redis)
    }

    fn server(&self, appid: &AppId, url: &Secret) -> Result<External, BadSettings> {
        let hint = "an address such as https://tokens.example/{appid}, which answers {\"access_token\",\"expires_in\"}";
        let bad = |problem: &str| BadSettings::new(format!("external.url of app {appid} {problem}"), hint);
        let url: reqwest::Url =
            url.expose().replace("{appid}", appid.as_str()).parse().map_err(|_| bad("is not a URL"))?;
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
            return Err(bad("is not an https:// or http:// URL"));
        }
        let has_bearer = self.bearer.is_some() || self.bearer_file.is_some();
        let name = format!("external.bearer of app {appid}");
        let bearer = has_bearer.then(|| kept_secret(&name, self.bearer.as_ref(), self.bearer_file.as_deref()));
        Ok(External::Server(TokenServer { url, bearer: bearer.transpose()? }))
    }
}
