//! What a platform asks, read as WeChat reads it.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::asks::read_object;

/// The body of any call of `/cgi-bin/component/…`: each names its own part of this.
#[derive(Deserialize)]
pub(super) struct ComponentAsk<'a> {
    #[serde(borrow, default)]
    pub(super) component_appid: Option<Cow<'a, str>>,
    /// As `api_component_token` calls the secret.
    #[serde(borrow, default)]
    pub(super) component_appsecret: Option<Cow<'a, str>>,
    /// As `api_start_push_ticket` calls it.
    #[serde(borrow, default)]
    pub(super) component_secret: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) component_verify_ticket: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) authorizer_appid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) authorizer_refresh_token: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) offset: Option<usize>,
    #[serde(default)]
    pub(super) count: Option<usize>,
}

impl<'a> ComponentAsk<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, i64> {
        read_object(body)
    }

    /// Whom a mood may mean: the platform, and the merchant where one is named.
    pub(super) fn about(&self) -> Vec<&str> {
        [&self.component_appid, &self.authorizer_appid].into_iter().filter_map(Option::as_deref).collect()
    }
}
