//! A tolerant JSON reader, for responses that a strict one refuses: bytes in, an object of loosely typed values out.
//!
//! It reads on where JSON forbids it, as long as what it reads is certain: a string without its closing quote and a
//! number without an end are dropped, and an object says whether its closing brace was there.

mod parser;
mod text;

use parser::Parser;

/// Objects at this many places of a text are tried: what precedes the response may hold a brace too.
const PLACES_MOST: usize = 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Text(String),
    /// A number, `true`, `null`, or any other word without quotes.
    Bare(String),
    Array(Vec<Json>),
    Object(Object),
}

/// An object's fields in the order of the text, repeated ones too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object {
    fields: Vec<(String, Json)>,
    /// Whether its closing brace was read. If not, more fields may have been lost.
    pub(super) whole: bool,
}

impl Object {
    /// The first object in a body that has one of these fields. Not one of the objects inside of it.
    pub(super) fn find(body: &[u8], known: &[&str]) -> Option<Self> {
        let mut damaged = None;
        for text in text::readings(body) {
            let text = Parser::new(&text).quoted().unwrap_or(text);
            for (at, _) in text.match_indices('{').take(PLACES_MOST) {
                let mut parser = Parser::at(&text, at);
                let Some(Json::Object(object)) = parser.value() else { continue };
                if !known.iter().any(|name| object.has(name)) {
                    continue;
                }
                if parser.is_clean() && object.whole {
                    return Some(object);
                }
                damaged = damaged.or(Some(object));
                break;
            }
        }
        damaged
    }

    /// All values of a field, the one that counts most first: those of exactly this name before those whose name differs
    /// in case and underscores, and the last of a repeated one before the others.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Json> {
        let exactly = self.fields.iter().rev().filter(move |(key, _)| key == name);
        let loosely = self.fields.iter().rev().filter(move |(key, _)| key != name && is_alike(key, name));
        exactly.chain(loosely).map(|(_, value)| value)
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

impl Json {
    /// The text of a string, and a number as text. Of an array with one element, that element's.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Bare(word) if word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) => {
                Some(Decimal::read(word).filter(|number| number.is_whole).map_or_else(|| word.clone(), |n| n.to_text()))
            }
            Self::Array(items) => only(items)?.text(),
            Self::Bare(_) | Self::Object(_) => None,
        }
    }

    /// A number, or a string that holds one.
    pub(super) fn number(&self) -> Option<Decimal> {
        match self {
            Self::Text(text) | Self::Bare(text) => Decimal::read(text.trim()),
            Self::Array(items) => only(items)?.number(),
            Self::Object(_) => None,
        }
    }

    /// An object, or a string that holds one.
    pub(super) fn object(&self) -> Option<Object> {
        match self {
            Self::Object(object) => Some(object.clone()),
            Self::Array(items) => only(items)?.object(),
            Self::Text(text) => match Parser::new(text.trim_start()).value()? {
                Json::Object(object) => Some(object),
                _ => None,
            },
            Self::Bare(_) => None,
        }
    }

    /// An array, or a string that holds one.
    pub(super) fn array(&self) -> Option<Vec<Json>> {
        match self {
            Self::Array(items) => Some(items.clone()),
            Self::Text(text) => match Parser::new(text.trim_start()).value()? {
                Json::Array(items) => Some(items),
                _ => None,
            },
            Self::Bare(_) | Self::Object(_) => None,
        }
    }

    /// Whether it says that there is nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Bare(word) if word == "null")
    }
}

fn only(items: &[Json]) -> Option<&Json> {
    match items {
        [one] => Some(one),
        _ => None,
    }
}

fn is_alike(key: &str, name: &str) -> bool {
    let plain = |text: &str| text.trim().replace('_', "").to_ascii_lowercase();
    plain(key) == plain(name)
}

/// A number as it is written, without the loss of a floating-point number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    is_negative: bool,
    /// The digits in front of the point.
    integer: String,
    /// Whether there is nothing but zeros behind the point.
    pub(super) is_whole: bool,
}

impl Decimal {
    /// Neither is more than this many digits long. No number of WeChat's is.
    const DIGITS_MOST: usize = 40;

    fn read(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{integer}{fraction}");
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        let exponent: i32 = exponent.parse().ok()?;
        let point = i32::try_from(integer.len()).ok()?.checked_add(exponent)?;
        if !is_number || digits.len() > Self::DIGITS_MOST || point.unsigned_abs() as usize > Self::DIGITS_MOST {
            return None;
        }
        let split = (point.max(0) as usize).min(digits.len());
        let (integer, fraction) = digits.split_at(split);
        let zeros = "0".repeat((point.max(0) as usize) - split);
        Some(Self {
            is_negative,
            integer: format!("{integer}{zeros}"),
            is_whole: fraction.bytes().all(|digit| digit == b'0'),
        })
    }

    /// Its whole part.
    pub(super) fn to_i64(&self) -> Option<i64> {
        let sign = if self.is_negative { "-" } else { "" };
        format!("{sign}{}", if self.integer.is_empty() { "0" } else { &self.integer }).parse().ok()
    }

    fn to_text(&self) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        format!("{sign}{}", if self.integer.is_empty() { "0" } else { &self.integer })
    }
}

#[cfg(test)]
mod tests;
