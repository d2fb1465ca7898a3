//! The fields of a body as they stand, each still to be read, so that one bad field does not hide a good id.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::login::number::{NotWhole, whole_number};
use crate::login::request::{EARLIEST_MS, LoginRequest};
use crate::login::{BadName, RequestId, UnixMs};

/// The values in a body, unread.
#[derive(Default)]
pub(super) struct Fields<'a> {
    request_id: Option<&'a RawValue>,
    appid: Option<&'a RawValue>,
    code: Option<&'a RawValue>,
    openid: Option<&'a RawValue>,
    issued_at: Option<&'a RawValue>,
    deadline: Option<&'a RawValue>,
    /// The first of these that the body has twice.
    repeated: Option<&'static str>,
    /// An ignored field mentions `request_id`: the request is probably inside it.
    is_in_envelope: bool,
}

/// A text, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, &'static str> {
        serde_json::from_str(text).map_err(|_| "the body is not valid JSON")
    }

    /// The id, which has to be there.
    pub(super) fn request_id(&self) -> Result<RequestId, &'static str> {
        if self.repeated == Some("request_id") {
            return Err("the body is not a JSON object with each field once");
        }
        let missing = match self.is_in_envelope {
            true => "request_id is missing at the top level of the body: send the request without an envelope",
            false => "request_id is missing",
        };
        let raw = present(self.request_id).ok_or(missing)?;
        let text = text(raw.get()).ok_or("request_id is not a string")?;
        RequestId::try_from(&*text).map_err(|_| "request_id is not 1 to 128 of A-Z a-z 0-9 . _ - ~")
    }

    /// The id, if there is one.
    pub(super) fn chosen_request_id(&self) -> Result<Option<RequestId>, &'static str> {
        if filled(self.request_id).is_none() { Ok(None) } else { self.request_id().map(Some) }
    }

    pub(super) fn with_id(&self, request_id: RequestId) -> Result<LoginRequest, String> {
        if let Some(field) = self.repeated {
            return Err(format!("{field} is given more than once"));
        }
        Ok(LoginRequest {
            request_id,
            appid: optional("appid", self.appid)?,
            code: name("code", present(self.code).ok_or("code is missing")?)?,
            openid: optional("openid", self.openid)?,
            issued_at: instant("issued_at", self.issued_at)?,
            deadline: instant("deadline", self.deadline)?,
        })
    }

    fn place(&mut self, name: &str) -> Option<(&'static str, &mut Option<&'a RawValue>)> {
        Some(match name {
            "request_id" => ("request_id", &mut self.request_id),
            "appid" => ("appid", &mut self.appid),
            "code" => ("code", &mut self.code),
            "openid" => ("openid", &mut self.openid),
            "issued_at" => ("issued_at", &mut self.issued_at),
            "deadline" => ("deadline", &mut self.deadline),
            _ => return None,
        })
    }

    fn put(&mut self, name: &str, value: &'a RawValue) {
        match self.place(name) {
            None => self.is_in_envelope |= value.get().contains("request_id"),
            Some((_, place @ None)) => *place = Some(value),
            Some((name, Some(_))) => self.repeated = self.repeated.or(Some(name)),
        }
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(Text(name)) = members.next_key()? {
                    fields.put(&name, members.next_value()?);
                }
                Ok(fields)
            }
        }

        from.deserialize_map(Members)
    }
}

/// The value, unless it is `null`.
fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// The value, unless it is `null`, a blank text or the number zero, which is how some languages write an absent one.
fn filled(raw: Option<&RawValue>) -> Option<&RawValue> {
    let is_empty = |raw: &RawValue| match text(raw.get()) {
        Some(text) => text.trim_ascii().is_empty(),
        None => whole_number(raw.get()) == Ok(0),
    };
    present(raw).filter(|raw| !is_empty(raw))
}

fn optional<T>(field: &str, raw: Option<&RawValue>) -> Result<Option<T>, String>
where
    T: for<'t> TryFrom<&'t str, Error = BadName>,
{
    filled(raw).map(|raw| name(field, raw)).transpose()
}

fn name<T>(field: &str, raw: &RawValue) -> Result<T, String>
where
    T: for<'t> TryFrom<&'t str, Error = BadName>,
{
    let text = text(raw.get()).ok_or_else(|| format!("{field} is not a string"))?;
    T::try_from(&text).map_err(|rule| format!("{field} {rule}"))
}

/// A point in time: a number or a text, in any spelling of a whole number.
fn instant(field: &str, raw: Option<&RawValue>) -> Result<Option<UnixMs>, String> {
    let Some(raw) = filled(raw) else { return Ok(None) };
    let problem = match whole_number(&text(raw.get()).unwrap_or(Cow::Borrowed(raw.get()))) {
        Ok(0) => return Ok(None),
        Ok(at) if at >= EARLIEST_MS => return Ok(Some(at)),
        Ok(_) => "is not in milliseconds since 1970",
        Err(NotWhole::NotANumber) => "is not a whole number of milliseconds since 1970",
        Err(NotWhole::Negative) => "is negative, not a number of milliseconds since 1970",
        Err(NotWhole::TooLarge) => "is too large for a number of milliseconds since 1970",
    };
    Err(format!("{field} {problem}"))
}

/// The text of a JSON string.
pub(super) fn text(json: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0)
}
