//! The answer that nearly every exchange gets, a success in the shape that WeChat documents, read in one pass. Whatever is
//! not exactly that is not judged here: `super` reads it as leniently as it takes, and would read this one just the same.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::phone;
use crate::login::{PhoneInfo, Watermark};

/// Every field that such an answer has; another one may be one that counts for more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Success {
    errcode: i64,
    #[serde(default, rename = "errmsg")]
    _errmsg: IgnoredAny,
    #[serde(deserialize_with = "Documented::deserialize")]
    phone_info: PhoneInfo,
}

/// As WeChat sends it. A `countryCode` that is a number is in its documents only.
#[derive(Deserialize)]
#[serde(remote = "PhoneInfo", rename_all = "camelCase")]
struct Documented {
    phone_number: String,
    pure_phone_number: Option<String>,
    country_code: Option<String>,
    watermark: Option<Watermark>,
}

/// The phone number, if this is such an answer.
pub(super) fn read_phone(text: &[u8]) -> Option<PhoneInfo> {
    // An array of the same values would be read as an object is.
    let text = std::str::from_utf8(text).ok().filter(|text| text.starts_with('{') && !text.contains('['))?;
    let success: Success = serde_json::from_str(text).ok()?;
    (success.errcode == 0 && phone::is_plain(&success.phone_info)).then_some(success.phone_info)
}
