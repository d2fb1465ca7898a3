//! The answer that nearly every exchange gets, a success in the shape that WeChat documents, read in one pass. Whatever is
//! not exactly that is not judged here: `super` reads it piece by piece, as leniently as it takes, and what is read here
//! it would read just the same.

use serde::Deserialize;
use serde::de::IgnoredAny;

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
    // An array of the same values would be read too.
    let text = std::str::from_utf8(text).ok().filter(|text| text.starts_with('{'))?;
    let success: Success = serde_json::from_str(text).ok()?;
    (success.errcode == 0 && !success.phone_info.phone_number.is_empty()).then_some(success.phone_info)
}
