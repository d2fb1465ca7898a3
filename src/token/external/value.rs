//! How other systems name the key of a token, and what they write into it.
//!
//! Sources of the presets: WxJava 4.7.2, silenceper/wechat 2.1, PowerWeChat 3.2, wechatpy 1.8 and 2.0.

use md5::{Digest, Md5};
use serde::Deserialize;

use crate::clock;
use crate::login::AppId;
use crate::store::{FoundKey, KeyKind, RedisSettings};
use crate::token::KeptSecret;
use crate::wechat::AccessToken;

/// What is taken for a token at the end of a value that some codec has written: WeChat's are above 100 characters.
const SHORTEST_IN_BINARY: usize = 64;
/// WeChat wants room for 512 characters. What is much longer is something else, and no URL could carry it: calls that
/// cannot be sent would look as if WeChat were away, and stop the logins of all apps.
const LONGEST: usize = 4096;

/// Another system's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalKey {
    /// Where it is; in the fleet's own Redis when not said.
    pub redis: Option<RedisSettings>,
    /// What it is called.
    pub name: KeyName,
    /// What sort of key it is.
    pub kind: KeyKind,
    /// What is in it.
    pub format: ValueFormat,
}

/// What another system calls its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyName {
    /// A text in which `{appid}` stands for the appid.
    Template(String),
    /// PowerWeChat's: it goes by the MD5 of appid and AppSecret.
    PowerWechat(KeptSecret),
}

/// What another system writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueFormat {
    /// The token alone: as text, as a JSON string, or at the end of what a binary codec has written.
    Plain,
    /// A JSON object with `access_token`.
    Json,
}

/// The keys of well-known SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// WxJava: `WxMaRedisBetterConfigImpl`, and the Spring Boot starter with jedis or redistemplate.
    Wxjava,
    /// WxJava: `WxMaRedissonConfigImpl`, and the starter with redisson.
    WxjavaRedisson,
    /// WxJava: `WxMaRedisConnectionConfigImpl`, whose hash has no appid in its name.
    WxjavaHash,
    /// silenceper/wechat.
    Silenceper,
    /// silenceper/wechat with `UseStableAK`.
    SilenceperStable,
    /// PowerWeChat; wants the AppSecret too, since it is part of the name.
    Powerwechat,
    /// wechatpy.
    Wechatpy,
}

impl Preset {
    /// The key, with the prefix that is said instead of the SDK's own. `secret` is for PowerWeChat's name.
    pub fn key(
        self,
        prefix: Option<&str>,
        secret: Option<KeptSecret>,
        redis: Option<RedisSettings>,
    ) -> Result<ExternalKey, &'static str> {
        let template = |own: &str, rest: &str| KeyName::Template(format!("{}{rest}", prefix.unwrap_or(own)));
        let name = match self {
            Self::Wxjava => template("wa", ":access_token:{appid}"),
            Self::WxjavaRedisson => template("wa", ":wechat_ma_access_token_key:{appid}"),
            Self::WxjavaHash => template("maConfig", ":accessToken"),
            Self::Silenceper => template("gowechat_miniprogram_", "_access_token_{appid}"),
            Self::SilenceperStable => template("gowechat_miniprogram_", "_stable_access_token_{appid}"),
            Self::Powerwechat if prefix.is_some() => return Err("has a prefix, and PowerWeChat's keys have none"),
            Self::Powerwechat => {
                KeyName::PowerWechat(secret.ok_or("needs secret or secret_file: the key's name has it")?)
            }
            Self::Wechatpy => template("wechatpy", ":{appid}_access_token"),
        };
        let kind = match self {
            Self::WxjavaHash => KeyKind::Hash { field: "value".into(), ends: Some("expire".into()) },
            _ => KeyKind::Text,
        };
        let format = if self == Self::Powerwechat { ValueFormat::Json } else { ValueFormat::Plain };
        Ok(ExternalKey { redis, name, kind, format })
    }
}

impl ExternalKey {
    /// The key's name. The error says which secret file cannot be read.
    pub(super) fn name(&self, appid: &AppId) -> Result<String, String> {
        match &self.name {
            KeyName::Template(template) => Ok(template.replace("{appid}", appid.as_str())),
            KeyName::PowerWechat(secret) => {
                let sum = Md5::new().chain_update(appid.as_str()).chain_update(secret.read()?.expose()).finalize();
                Ok(sum.iter().fold("powerwechat.access_token.".to_owned(), |name, byte| format!("{name}{byte:02x}")))
            }
        }
    }

    /// The key's name for people: without what is made of a secret.
    pub(super) fn shown_name(&self, appid: &AppId) -> String {
        match &self.name {
            KeyName::Template(template) => template.replace("{appid}", appid.as_str()),
            KeyName::PowerWechat(_) => "powerwechat.access_token.***".into(),
        }
    }

    /// The token in what was found. The error says what is wrong with the key, without what is in it.
    pub(super) fn read(&self, found: &FoundKey) -> Result<AccessToken, &'static str> {
        if found.ends_at_ms.is_some_and(|ends_at| ends_at <= clock::now_ms()) {
            return Err("holds a token whose time is up");
        }
        let token = match self.format {
            ValueFormat::Plain => plain(&found.value.0).ok_or("holds no text that could be a token")?,
            ValueFormat::Json => json(&found.value.0).ok_or("holds no JSON object with an access_token")?,
        };
        if token.len() > LONGEST {
            return Err("holds what is too long to be a token");
        }
        Ok(token.into())
    }
}

fn plain(value: &[u8]) -> Option<String> {
    let text = match serde_json::from_slice::<String>(value) {
        Ok(text) => text,
        Err(_) => std::str::from_utf8(value).unwrap_or_default().to_owned(),
    };
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'{' | b'\\')) {
        return Some(text.to_owned());
    }
    let tail =
        value.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
    let token = std::str::from_utf8(&value[value.len() - tail..]).expect("ASCII is UTF-8");
    (tail >= SHORTEST_IN_BINARY).then(|| token.to_owned())
}

fn json(value: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        access_token: String,
    }
    let body: Body = serde_json::from_slice(value).ok()?;
    Some(body.access_token).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ExternalValue;

    const TOKEN: &str =
        "92_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_abcdefghijklmnopqrstuvwxyz0123456789";

    fn key(preset: Preset) -> ExternalKey {
        let secret = KeptSecret::Text("0123456789abcdef0123456789abcdef".into());
        preset.key(None, Some(secret), None).expect("a good preset")
    }

    fn found(value: impl Into<Vec<u8>>) -> FoundKey {
        FoundKey { value: ExternalValue(value.into()), ends_at_ms: None }
    }

    #[test]
    fn the_keys_of_well_known_sdks() {
        let appid = AppId::try_from("wx0123456789abcdef").expect("a good appid");
        let rows = [
            (Preset::Wxjava, "wa:access_token:wx0123456789abcdef"),
            (Preset::WxjavaRedisson, "wa:wechat_ma_access_token_key:wx0123456789abcdef"),
            (Preset::WxjavaHash, "maConfig:accessToken"),
            (Preset::Silenceper, "gowechat_miniprogram__access_token_wx0123456789abcdef"),
            (Preset::SilenceperStable, "gowechat_miniprogram__stable_access_token_wx0123456789abcdef"),
            (Preset::Powerwechat, "powerwechat.access_token.9dd2ec3e8fe48143541c4ddbfd61b06a"),
            (Preset::Wechatpy, "wechatpy:wx0123456789abcdef_access_token"),
        ];
        for (preset, name) in rows {
            assert_eq!(key(preset).name(&appid).as_deref(), Ok(name));
        }
        assert_eq!(key(Preset::Powerwechat).shown_name(&appid), "powerwechat.access_token.***");
        let multi = Preset::Wxjava.key(Some("wx:ma:multi"), None, None).expect("a good preset");
        assert_eq!(multi.name(&appid).as_deref(), Ok("wx:ma:multi:access_token:wx0123456789abcdef"));
        assert!(Preset::Powerwechat.key(None, None, None).is_err());
    }

    #[test]
    fn a_token_is_read_from_whatever_an_sdk_has_written() {
        let coded = |before: &[u8]| [before, TOKEN.as_bytes()].concat();
        let plain = key(Preset::Wxjava);
        for value in [
            TOKEN.as_bytes().to_vec(),
            format!("{TOKEN}\n").into_bytes(),
            format!("\"{TOKEN}\"").into_bytes(),
            // Redisson's codecs: Kryo5, JBoss Marshalling, FST.
            coded(&[0x03, 0xe9, 0x01]),
            coded(&[0x04, 0x3e, 0x88]),
            coded(&[0xfc, 0x80, 0x88, 0x00]),
        ] {
            assert_eq!(plain.read(&found(value)).expect("a token").expose(), TOKEN);
        }
        let object = format!(r#"{{"access_token":"{TOKEN}","expires_in":7200}}"#);
        assert_eq!(key(Preset::Powerwechat).read(&found(object)).expect("a token").expose(), TOKEN);
    }

    #[test]
    fn what_is_no_token_is_told_without_being_repeated() {
        for value in [&b""[..], b"\"\"", b"{}", b"a b", b"\x03\xc9\x02short", b"\"", br#"{"access_token":"x"}"#] {
            assert!(key(Preset::Wxjava).read(&found(value)).is_err(), "{value:?}");
        }
        for value in ["", "text", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#] {
            assert!(key(Preset::Powerwechat).read(&found(value)).is_err(), "{value:?}");
        }
        let too_long = "x".repeat(LONGEST + 1);
        assert!(key(Preset::Wxjava).read(&found(&too_long[1..])).is_ok());
        for value in [too_long.clone().into_bytes(), [b"\x03", too_long.as_bytes()].concat()] {
            assert!(key(Preset::Wxjava).read(&found(value)).is_err());
        }
        let over = FoundKey { ends_at_ms: Some(0), ..found(TOKEN) };
        assert!(key(Preset::WxjavaHash).read(&over).is_err(), "WxJava ends a token by setting its end to 0");
    }
}
