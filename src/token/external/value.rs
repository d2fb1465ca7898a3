//! How other systems name the key of a token, and what they write into it.
//!
//! Sources of the presets: WxJava 4.7.2, silenceper/wechat 2.1, PowerWeChat 3.2, wechatpy 1.8 and 2.0, EasyWeChat 5 and
//! 6.19 with symfony/cache. What stands in a key is read in `coded`.

use md5::{Digest, Md5};
use serde::Deserialize;

use crate::clock;
use crate::login::AppId;
use crate::store::{FoundKey, KeyKind, RedisSettings};
use crate::token::KeptSecret;
use crate::token::external::coded;
use crate::wechat::AccessToken;

/// AppSecrets are 32 hexadecimal digits, and so are MD5s of them.
const HEX_DIGITS_OF_SECRETS: usize = 32;
const NEEDS_SECRET: &str = "needs secret or secret_file: the key's name has it";

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
    /// The same, in which `{secret}` stands for the AppSecret too.
    WithSecret(String, KeptSecret),
    /// PowerWeChat's: it goes by the MD5 of appid and AppSecret.
    PowerWechat(KeptSecret),
    /// EasyWeChat 5's: it goes by the MD5 of what a token is asked for with. The text is in front.
    EasyWechat5(String, KeptSecret),
}

/// What another system writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueFormat {
    /// The token alone: as text, or as JSON, PHP, Java or one of Redisson's codecs have serialised it.
    Plain,
    /// An object with `access_token`: of JSON, or an array of PHP.
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
    /// EasyWeChat 6; wants the AppSecret too, since it is part of the name.
    Easywechat,
    /// EasyWeChat 6 with `use_stable_access_token`; wants the AppSecret too.
    EasywechatStable,
    /// EasyWeChat 4 and 5; wants the AppSecret too.
    Easywechat5,
}

impl Preset {
    /// The key, with the prefix that is said instead of the SDK's own. `secret` is for the names that it is a part of.
    pub fn key(
        self,
        prefix: Option<&str>,
        secret: Option<KeptSecret>,
        redis: Option<RedisSettings>,
    ) -> Result<ExternalKey, &'static str> {
        let template = |own: &str, rest: &str| KeyName::Template(format!("{}{rest}", prefix.unwrap_or(own)));
        let name = match self {
            Self::Wxjava => template("wa", ":access_token:{appid}"),
            Self::WxjavaRedisson => {
                // WxJava's own rule: a blank prefix is none, and one colon stands behind any other.
                let prefix = match prefix.unwrap_or("wa") {
                    blank if blank.trim().is_empty() => String::new(),
                    prefix if prefix.ends_with(':') => prefix.to_owned(),
                    prefix => format!("{prefix}:"),
                };
                KeyName::Template(format!("{prefix}wechat_ma_access_token_key:{{appid}}"))
            }
            Self::WxjavaHash => template("maConfig", ":accessToken"),
            Self::Silenceper => template("gowechat_miniprogram_", "_access_token_{appid}"),
            Self::SilenceperStable => template("gowechat_miniprogram_", "_stable_access_token_{appid}"),
            Self::Powerwechat if prefix.is_some() => return Err("has a prefix, and PowerWeChat's keys have none"),
            Self::Powerwechat => KeyName::PowerWechat(secret.ok_or(NEEDS_SECRET)?),
            Self::Wechatpy => template("wechatpy", ":{appid}_access_token"),
            Self::Easywechat | Self::EasywechatStable => {
                let (prefix, stable) = (prefix.unwrap_or_default(), u8::from(self == Self::EasywechatStable));
                let name = format!("{prefix}mini_app.access_token.{{appid}}.{{secret}}.{stable}");
                KeyName::WithSecret(name, secret.ok_or(NEEDS_SECRET)?)
            }
            Self::Easywechat5 => {
                let name = format!("{}easywechat.kernel.access_token.", prefix.unwrap_or_default());
                KeyName::EasyWechat5(name, secret.ok_or(NEEDS_SECRET)?)
            }
        };
        let kind = match self {
            Self::WxjavaHash => KeyKind::Hash { field: "value".into(), ends: Some("expire".into()) },
            _ => KeyKind::Text,
        };
        let format = match self {
            Self::Powerwechat | Self::Easywechat5 => ValueFormat::Json,
            _ => ValueFormat::Plain,
        };
        Ok(ExternalKey { redis, name, kind, format })
    }
}

impl ExternalKey {
    /// The key's name. The error says which secret file cannot be read.
    pub(super) fn name(&self, appid: &AppId) -> Result<String, String> {
        match &self.name {
            KeyName::Template(template) => Ok(template.replace("{appid}", appid.as_str())),
            KeyName::WithSecret(template, secret) => {
                let name = template.replace("{appid}", appid.as_str());
                Ok(name.replace("{secret}", secret.read()?.expose()))
            }
            KeyName::PowerWechat(secret) => {
                let sum = md5_of(&[appid.as_str(), secret.read()?.expose()]);
                Ok(format!("powerwechat.access_token.{sum}"))
            }
            KeyName::EasyWechat5(prefix, secret) => {
                let secret = secret.read()?;
                let [appid, secret] = [appid.as_str(), secret.expose()].map(in_phps_json);
                let asked_with =
                    ["{\"grant_type\":\"client_credential\",\"appid\":", &appid, ",\"secret\":", &secret, "}"];
                Ok(format!("{prefix}{}", md5_of(&asked_with)))
            }
        }
    }

    /// The key's name for people: without a secret, and without what is made of one.
    pub(super) fn shown_name(&self, appid: &AppId) -> String {
        match &self.name {
            KeyName::Template(template) | KeyName::WithSecret(template, _) => {
                without_secrets(&template.replace("{appid}", appid.as_str()).replace("{secret}", "***"))
            }
            KeyName::PowerWechat(_) => "powerwechat.access_token.***".into(),
            KeyName::EasyWechat5(prefix, _) => format!("{prefix}***"),
        }
    }

    /// The token in what was found. The error says what is wrong with the key, without what is in it.
    pub(super) fn read(&self, found: &FoundKey) -> Result<AccessToken, &'static str> {
        if found.ends_at_ms.is_some_and(|ends_at| ends_at <= clock::now_ms()) {
            return Err("holds a token whose time is up");
        }
        let value = &found.value.0;
        let token = match self.format {
            ValueFormat::Plain => coded::alone(value).ok_or("holds no text that could be a token")?,
            ValueFormat::Json => coded::in_field(value).ok_or("holds no JSON object with an access_token")?,
        };
        Ok(token.into())
    }
}

fn md5_of(parts: &[&str]) -> String {
    let sum = parts.iter().fold(Md5::new(), |md5, part| md5.chain_update(part)).finalize();
    sum.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// As PHP's json_encode writes a text.
fn in_phps_json(text: &str) -> String {
    serde_json::to_string(text).expect("text always serialises").replace('/', "\\/")
}

/// A template may have an AppSecret in it, written out: nothing else in a key's name is that many hexadecimal digits.
fn without_secrets(name: &str) -> String {
    let words = name.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let digits = |word: &str| word.bytes().filter(u8::is_ascii_hexdigit).count();
    let shown = words.map(|word| match digits(word) {
        HEX_DIGITS_OF_SECRETS.. => format!("***{}", word.trim_start_matches(|c: char| c.is_ascii_hexdigit())),
        _ => word.to_owned(),
    });
    shown.collect()
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
            (Preset::Easywechat, "mini_app.access_token.wx0123456789abcdef.0123456789abcdef0123456789abcdef.0"),
            (Preset::EasywechatStable, "mini_app.access_token.wx0123456789abcdef.0123456789abcdef0123456789abcdef.1"),
            // php -r 'echo md5(json_encode(["grant_type" => "client_credential", "appid" => …, "secret" => …]));'
            (Preset::Easywechat5, "easywechat.kernel.access_token.63a7f48fe14d3f4d55882d4d65f3335b"),
        ];
        for (preset, name) in rows {
            assert_eq!(key(preset).name(&appid).as_deref(), Ok(name));
        }
        assert_eq!(key(Preset::Powerwechat).shown_name(&appid), "powerwechat.access_token.***");
        let multi = Preset::Wxjava.key(Some("wx:ma:multi"), None, None).expect("a good preset");
        assert_eq!(multi.name(&appid).as_deref(), Ok("wx:ma:multi:access_token:wx0123456789abcdef"));
        for preset in [Preset::Powerwechat, Preset::Easywechat, Preset::EasywechatStable, Preset::Easywechat5] {
            assert!(preset.key(None, None, None).is_err(), "{preset:?} needs the secret");
        }
        let secret = || Some(KeptSecret::Text("0123456789abcdef0123456789abcdef".into()));
        let laravel = Preset::Easywechat.key(Some("shop_cache_"), secret(), None).expect("a good preset");
        let name = laravel.name(&appid).expect("a name");
        assert!(name.starts_with("shop_cache_mini_app.access_token.wx"), "{name}");
        for (prefix, name) in [
            ("", "wechat_ma_access_token_key:wx0123456789abcdef"),
            ("  ", "wechat_ma_access_token_key:wx0123456789abcdef"),
            ("shop:", "shop:wechat_ma_access_token_key:wx0123456789abcdef"),
            ("shop::", "shop::wechat_ma_access_token_key:wx0123456789abcdef"),
            ("shop", "shop:wechat_ma_access_token_key:wx0123456789abcdef"),
            ("a:b", "a:b:wechat_ma_access_token_key:wx0123456789abcdef"),
        ] {
            let redisson = Preset::WxjavaRedisson.key(Some(prefix), None, None).expect("a good preset");
            assert_eq!(redisson.name(&appid).as_deref(), Ok(name), "{prefix:?}");
        }
    }

    #[test]
    fn no_name_for_people_has_a_secret_in_it() {
        let appid = AppId::try_from("wx0123456789abcdef").expect("a good appid");
        let secret = "0123456789abcdef0123456789abcdef";
        let presets =
            [Preset::Powerwechat, Preset::Easywechat, Preset::EasywechatStable, Preset::Easywechat5, Preset::Wxjava];
        let own = |template: String| ExternalKey { name: KeyName::Template(template), ..key(Preset::Wxjava) };
        let written_out = own(format!("mini_app.access_token.{{appid}}.{secret}.0"));
        for key in presets.map(key).into_iter().chain([written_out, own(format!("x{secret}"))]) {
            let (name, shown) = (key.name(&appid).expect("a name"), key.shown_name(&appid));
            let digest = name.rsplit('.').next().filter(|word| word.len() == 32).unwrap_or(secret);
            assert!(!shown.contains(secret) && !shown.contains(digest), "{shown}");
            let debug = format!("{key:?}");
            assert!(!debug.contains(secret) || matches!(key.name, KeyName::Template(_)), "{debug}");
        }
        assert_eq!(key(Preset::Easywechat).shown_name(&appid), "mini_app.access_token.wx0123456789abcdef.***.0");
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
            // PHP and Java, whose length of 103 is a g.
            format!("s:103:\"{TOKEN}\";").into_bytes(),
            coded(&[0xac, 0xed, 0x00, 0x05, 0x74, 0x00, b'g']),
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
        let too_long = "x".repeat(4097);
        assert!(key(Preset::Wxjava).read(&found(&too_long[1..])).is_ok());
        for value in [too_long.clone().into_bytes(), [b"\x03", too_long.as_bytes()].concat()] {
            assert!(key(Preset::Wxjava).read(&found(value)).is_err());
        }
        let over = FoundKey { ends_at_ms: Some(0), ..found(TOKEN) };
        assert!(key(Preset::WxjavaHash).read(&over).is_err(), "WxJava ends a token by setting its end to 0");
    }
}
