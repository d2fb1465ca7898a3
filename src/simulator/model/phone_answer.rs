//! The success answer of the phone endpoint, in every shape that WeChat may give it.

use serde::Serialize;

use super::mint::{CountryCodeAs, Mint, Watermark};

/// The whole answer of a code with this number, unless something special is said of it.
pub(super) fn phone_body(number: u64, issued_at_ms: u64, special: Option<&Mint>, appid: &str) -> Vec<u8> {
    let numbered;
    let phone_number = match special.and_then(|special| special.phone_number.as_deref()) {
        Some(given) => given,
        None => {
            numbered = number.to_string();
            &numbered
        }
    };
    let country_code = special.and_then(|special| special.country_code.as_deref()).unwrap_or("86");
    let info = PhoneInfo {
        phone_number,
        pure_phone_number: special
            .and_then(|special| special.pure_phone_number.as_deref())
            .unwrap_or_else(|| without_country_code(phone_number, country_code)),
        country_code: match special.map_or(CountryCodeAs::String, |special| special.country_code_as) {
            CountryCodeAs::String => Some(CountryCode::Text(country_code)),
            CountryCodeAs::Number => {
                Some(country_code.parse().map_or(CountryCode::Text(country_code), CountryCode::Number))
            }
            CountryCodeAs::Absent => None,
        },
        watermark: match special.map(|special| &special.watermark) {
            None | Some(Watermark::Right) => Some(appid),
            Some(Watermark::Missing) => None,
            Some(Watermark::Names(other)) => Some(other.as_str()),
        }
        .map(|appid| Stamp { timestamp: issued_at_ms / 1000, appid }),
    };
    serde_json::to_vec(&Answer { errcode: 0, errmsg: "ok", phone_info: info })
        .expect("plain strings and numbers are always JSON")
}

fn without_country_code<'a>(phone_number: &'a str, country_code: &str) -> &'a str {
    let plain = phone_number.strip_prefix('+').and_then(|rest| rest.strip_prefix(country_code));
    plain.map_or(phone_number, |rest| rest.trim_start_matches([' ', '-']))
}

#[derive(Serialize)]
struct Answer<'a> {
    errcode: i64,
    errmsg: &'static str,
    phone_info: PhoneInfo<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhoneInfo<'a> {
    phone_number: &'a str,
    pure_phone_number: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_code: Option<CountryCode<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watermark: Option<Stamp<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CountryCode<'a> {
    Text(&'a str),
    Number(u64),
}

#[derive(Serialize)]
struct Stamp<'a> {
    timestamp: u64,
    appid: &'a str,
}
