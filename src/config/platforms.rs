//! The third-party platforms: checked, what a gateway reads their pushes with, and their secrets for whoever fetches
//! tokens.

use std::collections::BTreeSet;

use crate::config::apps::check_appid;
use crate::config::values::{kept_secret, read_secret};
use crate::config::{BadSettings, PlatformEntry, Settings};
use crate::secret::Secret;
use crate::token::KeptSecret;
use crate::wechat::push::{BadMessageKey, MessageKey, MessageKeys};

impl Settings {
    /// What can be judged without reading a file, since a worker need not have a gateway's.
    pub(super) fn check_platforms(&self) -> Result<(), BadSettings> {
        let apps = self.appids();
        let mut seen = BTreeSet::new();
        for (n, platform) in self.platforms.iter().enumerate() {
            let appid = &platform.appid;
            check_appid(&format!("platforms[{n}].appid"), appid)?;
            if !seen.insert(appid) {
                let what = format!("platform {appid} is configured twice");
                return Err(BadSettings::new(what, "keep one [[platforms]] of it"));
            }
            if apps.contains(appid) {
                let what = format!("{appid} is configured as an app and as a platform");
                return Err(BadSettings::new(
                    what,
                    "a platform's appid is the component_appid, never a mini program's",
                ));
            }
            platform.check()?;
        }
        Ok(())
    }

    /// The configured platform of this appid; without one, the only configured platform.
    pub fn platform(&self, appid: Option<&str>) -> Option<&PlatformEntry> {
        match (appid, self.platforms.as_slice()) {
            (Some(appid), platforms) => platforms.iter().find(|platform| platform.appid.as_str() == appid),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// What the pushes of each platform are read with, where WeChat pushes to us. Reads files.
    pub fn message_keys(&self) -> Result<Vec<MessageKeys>, BadSettings> {
        self.platforms.iter().filter(|platform| platform.has_token()).map(PlatformEntry::message_keys).collect()
    }
}

impl PlatformEntry {
    /// Its component_appsecret as it is now. Reads the file.
    pub fn read_secret(&self) -> Result<Secret, BadSettings> {
        read_secret(&self.secret_name(), self.secret.as_ref(), self.secret_file.as_deref())
    }

    /// Its component_appsecret, or where it is kept.
    pub(super) fn kept_secret(&self) -> Result<KeptSecret, BadSettings> {
        kept_secret(&self.secret_name(), self.secret.as_ref(), self.secret_file.as_deref())
    }

    fn secret_name(&self) -> String {
        format!("the secret of platform {}", self.appid)
    }

    fn has_token(&self) -> bool {
        self.message_token.is_some() || self.message_token_file.is_some()
    }

    fn has_key(&self) -> bool {
        self.message_key.is_some() || self.message_key_file.is_some()
    }

    fn check(&self) -> Result<(), BadSettings> {
        let (there, missing) = match (self.has_token(), self.has_key()) {
            (true, false) => ("message_token", "message_key"),
            (false, true) => ("message_key", "message_token"),
            _ => return self.message_key.as_ref().map_or(Ok(()), |key| self.parse_key(key).map(drop)),
        };
        let what = format!("platform {} has a {there} and no {missing}", self.appid);
        Err(BadSettings::new(what, "give both as they stand in WeChat's console, or neither"))
    }

    fn message_keys(&self) -> Result<MessageKeys, BadSettings> {
        let name = |key: &str| format!("the {key} of platform {}", self.appid);
        let (token, file) = (self.message_token.as_ref(), self.message_token_file.as_deref());
        let token = read_secret(&name("message_token"), token, file)?;
        let (key, file) = (self.message_key.as_ref(), self.message_key_file.as_deref());
        let key = read_secret(&name("message_key"), key, file)?;
        Ok(MessageKeys { platform: self.appid.clone(), token, key: self.parse_key(&key)? })
    }

    fn parse_key(&self, key: &Secret) -> Result<MessageKey, BadSettings> {
        let hint = "copy 消息加解密Key (EncodingAESKey) from WeChat's console: 43 letters and digits";
        MessageKey::try_from(key).map_err(|bad: BadMessageKey| {
            BadSettings::new(format!("the message_key of platform {} {bad}", self.appid), hint)
        })
    }
}
