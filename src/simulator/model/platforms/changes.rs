//! What a test says of platforms and merchants, and what it can read back: plain nouns.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A third-party platform to add, or what to change about one; what is left out stays as it is.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformChange {
    /// Which platform (`component_appid`).
    pub appid: String,
    /// Its secret; a new platform must have one, as it must have the next two.
    #[serde(default)]
    pub secret: Option<String>,
    /// What pushes are signed with.
    #[serde(default)]
    pub message_token: Option<String>,
    /// What pushes are encrypted with: an EncodingAESKey, 43 characters.
    #[serde(default)]
    pub message_key: Option<String>,
    /// Where pushes go; an empty one takes it away.
    #[serde(default)]
    pub push_url: Option<String>,
    /// Life of the component and authorizer tokens minted from now on; 7200 unless said. The overlap is as that of an
    /// app's tokens.
    #[serde(default)]
    pub token_life_s: Option<u64>,
    /// Caller not on the whitelist: every call of the platform, and in its merchants' names, answers 61004.
    #[serde(default)]
    pub ip_refused: Option<bool>,
}

/// A merchant who authorises a platform, or what to change about one; what is left out stays as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizerChange {
    /// Which platform.
    pub platform: String,
    /// The merchant's mini program. One that is not known here is added, without a secret.
    pub appid: String,
    /// Whether permission set 18, which phone numbers need, is granted; it is unless said. Without it: 61007.
    #[serde(default)]
    pub permission_18: Option<bool>,
    /// Authorisation withdrawn: 61003. Taken back, it is authorised anew, with a refresh token of its own.
    #[serde(default)]
    pub withdrawn: Option<bool>,
    /// Whether each fetch of an authorizer token brings a new refresh token, the former one dead at once.
    #[serde(default)]
    pub rotates_refresh_token: Option<bool>,
    /// Changes the refresh token behind the platform's back, so that the one it has is refused (61023).
    #[serde(default)]
    pub new_refresh_token: bool,
}

/// What the simulated WeChat holds of one platform.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformState {
    /// Which platform.
    pub appid: String,
    /// The newest ticket, if any was pushed.
    pub ticket: Option<String>,
    /// Every merchant who ever authorised it, in the order in which their apps were added.
    pub authorizers: Vec<AuthorizerState>,
}

/// What the simulated WeChat holds of one merchant of a platform.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizerState {
    /// The merchant's mini program.
    pub appid: String,
    /// The one refresh token that is good now.
    pub refresh_token: String,
    /// Whether permission set 18 is granted.
    pub permission_18: bool,
    /// Whether the authorisation is withdrawn.
    pub withdrawn: bool,
}

impl PlatformChange {
    /// A platform with all that a new one must have.
    #[must_use]
    pub fn new(
        appid: impl Into<String>,
        secret: impl Into<String>,
        message_token: impl Into<String>,
        message_key: impl Into<String>,
    ) -> Self {
        Self {
            appid: appid.into(),
            secret: Some(secret.into()),
            message_token: Some(message_token.into()),
            message_key: Some(message_key.into()),
            ..Self::default()
        }
    }
}

impl AuthorizerChange {
    /// A merchant who authorises this platform as usual.
    #[must_use]
    pub fn new(platform: impl Into<String>, appid: impl Into<String>) -> Self {
        Self { platform: platform.into(), appid: appid.into(), ..Self::default() }
    }
}

impl PlatformState {
    /// The refresh token of this merchant that is good now.
    #[must_use]
    pub fn refresh_token(&self, appid: &str) -> Option<&str> {
        let authorizer = self.authorizers.iter().find(|authorizer| authorizer.appid == appid);
        authorizer.map(|authorizer| authorizer.refresh_token.as_str())
    }
}

impl fmt::Debug for PlatformChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformChange").field("appid", &self.appid).finish_non_exhaustive()
    }
}

impl fmt::Debug for PlatformState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PlatformState");
        shown.field("appid", &self.appid).field("authorizers", &self.authorizers).finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthorizerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AuthorizerState");
        shown.field("appid", &self.appid).field("withdrawn", &self.withdrawn).finish_non_exhaustive()
    }
}
