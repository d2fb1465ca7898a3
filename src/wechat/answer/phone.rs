//! The phone number in a response, each field read by itself: an odd one costs neither the number nor the check of the
//! app.

use super::cleaned::visible;
use super::json::{Json, Object};
use crate::login::{PhoneInfo, Watermark};

/// The longest phone number, in characters. E.164 has 15 digits; this leaves room for a plus, blanks and hyphens.
const NUMBER_MOST: usize = 32;
/// The longest country code, in characters.
const COUNTRY_CODE_MOST: usize = 8;
/// The longest appid that is kept, in characters: one more than ours can have.
const APPID_MOST: usize = 65;

/// Reads the first usable `phone_info` of a response; else says what is wrong.
pub(super) fn read(response: &Object) -> Result<PhoneInfo, String> {
    let mut problem = None;
    for json in response.all("phone_info").filter(|json| !json.is_null()) {
        let read = match json.object() {
            Some(info) if info.whole => read_info(&info),
            Some(_) => Err("phone_info breaks off".to_owned()),
            None => Err("phone_info is no object".to_owned()),
        };
        match read {
            Ok(phone) => return Ok(phone),
            Err(why) => problem = problem.or(Some(why)),
        }
    }
    Err(problem.unwrap_or_else(|| "there is no phone_info".to_owned()))
}

/// Whether every field is as WeChat writes it, so that none has to be looked at more closely.
pub(super) fn is_plain(phone: &PhoneInfo) -> bool {
    let is_number = |text: &str| {
        let digits = text.strip_prefix('+').unwrap_or(text);
        (1..NUMBER_MOST).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let is_country =
        |text: &str| (1..=COUNTRY_CODE_MOST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let is_appid =
        |text: &str| (1..APPID_MOST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let appid = phone.watermark.as_ref().and_then(|watermark| watermark.appid.as_deref());
    is_number(&phone.phone_number)
        && phone.pure_phone_number.as_deref().is_none_or(is_number)
        && phone.country_code.as_deref().is_none_or(is_country)
        && appid.is_none_or(is_appid)
}

fn read_info(info: &Object) -> Result<PhoneInfo, String> {
    let (mut numbers, mut pures) = (Found::of(info, "phoneNumber"), Found::of(info, "purePhoneNumber"));
    let country_code = info.all("countryCode").filter(|json| !matches!(json, Json::Array(_)));
    let country_code = country_code.filter_map(trimmed).find(|text| is_country_code(text));
    let pure_phone_number = pures.usable.take();
    let phone_number = match (numbers.usable.take(), numbers.unusable, &pure_phone_number) {
        (Some(number), ..) => number,
        (None, Some(length), _) => return Err(not_a_number("phoneNumber", length)),
        (None, None, Some(pure)) => with_country_code(pure, country_code.as_deref()),
        (None, None, None) => match pures.unusable {
            Some(length) => return Err(not_a_number("purePhoneNumber", length)),
            None => return Err("the phone number is empty".to_owned()),
        },
    };
    Ok(PhoneInfo { phone_number, pure_phone_number, country_code, watermark: read_watermark(info) })
}

/// A field that holds a phone number, or does not: then how many characters.
struct Found {
    usable: Option<String>,
    unusable: Option<usize>,
}

impl Found {
    fn of(info: &Object, name: &str) -> Self {
        let mut found = Self { usable: None, unusable: None };
        for text in texts(info, name) {
            if is_phone_number(&text) {
                return Self { usable: Some(text), unusable: None };
            }
            found.unusable = found.unusable.or(Some(text.chars().count()));
        }
        found
    }
}

fn not_a_number(field: &str, length: usize) -> String {
    if length > NUMBER_MOST {
        return format!("{field} has {length} characters, and a phone number at most {NUMBER_MOST}");
    }
    format!("{field} is no phone number")
}

fn is_phone_number(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | ' ' | '(' | ')' | '.');
    text.len() <= NUMBER_MOST && text.chars().all(is_allowed) && text.bytes().any(|b| b.is_ascii_digit())
}

fn is_country_code(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b' ');
    text.len() <= COUNTRY_CODE_MOST && text.bytes().all(is_allowed)
}

/// As WeChat writes a `phoneNumber`: one from abroad carries its country code.
fn with_country_code(pure: &str, country_code: Option<&str>) -> String {
    let code: String = country_code.unwrap_or_default().chars().filter(|c| !matches!(c, '+' | ' ' | '-')).collect();
    let code = code.trim_start_matches('0');
    let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit());
    if is_code && code != "86" && !pure.starts_with('+') { format!("+{code}{pure}") } else { pure.to_owned() }
}

/// None: there is none, or nothing of it can be used.
fn read_watermark(info: &Object) -> Option<Watermark> {
    let watermark = info.all("watermark").find_map(Json::object)?;
    let timestamp = watermark.all("timestamp").find_map(|json| json.number()?.to_i64());
    let appid = watermark.all("appid").find_map(appid);
    let is_there = |name| watermark.all(name).any(|json| !json.is_null());
    let is_useless = timestamp.is_none() && appid.is_none() && (is_there("timestamp") || is_there("appid"));
    (!is_useless).then_some(Watermark { timestamp, appid })
}

/// A number is no appid, and proves nothing.
fn appid(json: &Json) -> Option<String> {
    let text = match json {
        Json::Text(text) => text,
        Json::Array(items) => match items.as_slice() {
            [Json::Text(text)] => text,
            _ => return None,
        },
        _ => return None,
    };
    let text: String = visible(text).collect();
    Some(text.trim().chars().take(APPID_MOST).collect()).filter(|text: &String| !text.is_empty())
}

/// What is not empty, trimmed.
fn texts<'a>(object: &'a Object, name: &'a str) -> impl Iterator<Item = String> {
    object.all(name).filter_map(trimmed)
}

fn trimmed(json: &Json) -> Option<String> {
    let text: String = visible(&json.text()?).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
