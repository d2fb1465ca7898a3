//! What `config check` warns of: settings that work, and let strangers read or guess a secret.

use std::path::Path;

use config::{Value, ValueKind};
use reqwest::Url;

use crate::config::{BadSettings, Settings, hosts};
use crate::login::AppId;
use crate::secret::Secret;

/// A shorter key can be guessed by somebody who may ask often. Not an error: fleets with shorter keys are in use.
const GATEWAY_KEY_CHARS_LEAST: usize = 16;
/// As WeChat makes them: 32 hexadecimal digits.
const APP_SECRET_CHARS: usize = 32;
const READABLE_BY_ALL: u32 = 0o004;

/// Whether a settings file holds a secret itself, rather than the name of the file that does.
pub(super) fn holds_secrets(value: &Value) -> bool {
    let ValueKind::Table(table) = &value.kind else {
        return matches!(&value.kind, ValueKind::Array(values) if values.iter().any(holds_secrets));
    };
    table.iter().any(|(name, value)| match (name.as_str(), &value.kind) {
        ("secret" | "message_token" | "message_key" | "bearer", ValueKind::String(text)) => !text.is_empty(),
        ("url" | "redis_url", ValueKind::String(text)) => has_password(text),
        ("keys", ValueKind::Array(keys)) => !keys.is_empty(),
        ("result", ValueKind::Table(result)) => result.contains_key("key"),
        _ => holds_secrets(value),
    })
}

/// Of several URLs, whether one has a password. Such URLs need not be URLs in the strict sense.
fn has_password(urls: &str) -> bool {
    let user_info = |url: &str| {
        let (_, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        Some(authority.rsplit_once('@')?.0.contains(':'))
    };
    urls.split(',').any(|url| user_info(url) == Some(true)) || urls.contains("password=")
}

impl Settings {
    /// What an operator should change, although the settings can be used. `file` is where they were read from.
    pub fn cautions(&self, file: Option<&Path>) -> Result<Vec<String>, BadSettings> {
        let mut cautions = self.warnings.clone();
        let wechat = self.wechat()?;
        if is_open_to_readers(&wechat.base_url) {
            cautions
                .push("wechat.base_url is http: access tokens, codes and phone numbers can be read on the way".into());
        }
        for app in &self.apps {
            let url = app.external.as_ref().and_then(|external| external.url.as_ref());
            let url = url.and_then(|url| url.expose().replace("{appid}", "wx").parse().ok());
            if url.is_some_and(|url| is_open_to_readers(&url)) {
                cautions.push(format!("external.url of app {} is http: its tokens can be read on the way", app.appid));
            }
        }
        let short = |key: &&Secret| key.expose().chars().count() < GATEWAY_KEY_CHARS_LEAST;
        if self.gateway.keys.iter().any(|key| short(&key)) {
            let advice = "make one with: openssl rand -hex 32";
            cautions
                .push(format!("gateway.keys has a key of less than {GATEWAY_KEY_CHARS_LEAST} characters; {advice}"));
        }
        if let Some(file) = file.filter(|file| self.file_holds_secrets && is_readable_by_all(file)) {
            cautions.push(format!("every user of this machine can read {}, and it holds secrets", file.display()));
        }
        let files = self.secret_files().into_iter().filter(|(_, file)| is_readable_by_all(file));
        cautions.extend(files.map(|(setting, file)| {
            format!("every user of this machine can read {}, the {setting}; chmod 600 helps", file.display())
        }));
        if hosts::is_wechats_own(&wechat.base_url) {
            cautions.extend(self.unlike_wechats());
        }
        Ok(cautions)
    }

    /// Every file that a secret is read from, and which secret that is.
    fn secret_files(&self) -> Vec<(String, &Path)> {
        let mut files = vec![("result.key_file".to_owned(), self.result.key_file.as_deref())];
        for app in &self.apps {
            files.push((format!("secret_file of app {}", app.appid), app.secret_file.as_deref()));
            let bearer = app.external.as_ref().and_then(|external| external.bearer_file.as_deref());
            files.push((format!("bearer_file of app {}", app.appid), bearer));
        }
        for platform in &self.platforms {
            let of = |setting: &str| format!("{setting} of platform {}", platform.appid);
            files.push((of("secret_file"), platform.secret_file.as_deref()));
            files.push((of("message_token_file"), platform.message_token_file.as_deref()));
            files.push((of("message_key_file"), platform.message_key_file.as_deref()));
        }
        files.into_iter().filter_map(|(setting, file)| Some((setting, file?))).collect()
    }

    /// Appids and AppSecrets that WeChat does not make. A simulator may.
    fn unlike_wechats(&self) -> Vec<String> {
        let apps = self.apps.iter().map(|app| ("app", &app.appid, app.secret().ok().and_then(|kept| kept.read().ok())));
        let platforms = self.platforms.iter().map(|platform| {
            let has_secret = platform.secret.is_some() || platform.secret_file.is_some();
            ("platform", &platform.appid, platform.read_secret().ok().filter(|_| has_secret))
        });
        let mut unlike = vec![];
        for (kind, appid, secret) in apps.chain(platforms) {
            if !is_like_wechats(appid) {
                unlike.push(format!("{kind} {appid}: WeChat's appids are wx and 16 hexadecimal digits"));
            }
            if secret.is_some_and(|secret| !is_hex(secret.expose(), APP_SECRET_CHARS)) {
                unlike.push(format!(
                    "the secret of {kind} {appid}: WeChat's AppSecrets are {APP_SECRET_CHARS} hexadecimal digits"
                ));
            }
        }
        unlike
    }
}

fn is_like_wechats(appid: &AppId) -> bool {
    appid.as_str().strip_prefix("wx").is_some_and(|rest| is_hex(rest, 16))
}

/// Whether a text is so many hexadecimal digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a call leaves this machine without TLS.
fn is_open_to_readers(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && !is_loopback && host != "localhost" && !host.ends_with(".localhost")
}

#[cfg(unix)]
fn is_readable_by_all(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & READABLE_BY_ALL != 0)
}

#[cfg(not(unix))]
fn is_readable_by_all(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use config::{Config, File, FileFormat};

    use super::*;

    #[test]
    fn a_file_that_holds_a_secret_is_recognised() {
        let holds = |text: &str| {
            let file = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build().expect("TOML");
            holds_secrets(&file.cache)
        };
        for text in [
            "[[apps]]\nappid = \"wx1\"\nsecret = \"s\"",
            "[[apps]]\nexternal.bearer = \"s\"",
            "[[apps]]\nexternal.redis_url = \"redis://:s@host\"",
            "[[platforms]]\nmessage_token = \"s\"",
            "[[platforms]]\nmessage_key = \"s\"",
            "gateway.keys = [\"k\"]",
            "result.key = \"k\"",
            "redis.url = \"redis://user:s@host/1\"",
            "redis.url = \"redis+sentinel://host/master?sentinel_password=s\"",
            "rabbitmq.url = \"amqp://host,amqp://user:s@host\"",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "",
            "[[apps]]\nappid = \"wx1\"\nsecret_file = \"s\"\nexternal.key = \"k\"",
            "gateway.keys = []",
            "result.key_file = \"k\"",
            "redis.url = \"redis://host:6379/1\"",
            "redis.url = \"redis://user@host:6379\"",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn http_is_open_to_readers_unless_it_stays_on_this_machine() {
        for (url, open) in [
            ("http://api.weixin.qq.com", true),
            ("http://10.0.0.1:8090", true),
            ("http://127.0.0.1.example.com", true),
            ("http://127.0.0.1:8090", false),
            ("http://127.9.9.9", false),
            ("http://[::1]:80", false),
            ("http://localhost:8090", false),
            ("https://api.weixin.qq.com", false),
        ] {
            assert_eq!(is_open_to_readers(&url.parse().expect("a URL")), open, "{url}");
        }
    }
}
