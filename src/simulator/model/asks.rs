//! What callers ask, read as WeChat reads it.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use super::errcodes::{DATA_FORMAT, EMPTY_BODY};

/// The body of a phone call, read as strictly as WeChat does: these keys and no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PhoneAsk<'a> {
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
    #[serde(default, deserialize_with = "never_null")]
    pub(super) openid: Option<String>,
}

impl<'a> PhoneAsk<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, i64> {
        read_object(body)
    }
}

/// What either token endpoint is asked, from a body or from a query.
#[derive(Deserialize)]
pub(crate) struct TokenAsk<'a> {
    #[serde(borrow, default)]
    pub(crate) grant_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) appid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) secret: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) force_refresh: bool,
}

impl<'a> TokenAsk<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, i64> {
        read_object(body)
    }
}

pub(super) fn read_object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, i64> {
    if body.is_empty() {
        return Err(EMPTY_BODY);
    }
    // serde would also take the fields from a list.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(DATA_FORMAT);
    }
    serde_json::from_slice(body).map_err(|_| DATA_FORMAT)
}

fn never_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}
