//! The names a login carries: request id, appid, code, openid. Each is checked when it is made.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::login::UnixMs;
use crate::secret::Secret;

/// Why a text is not the name it should be; says the rule, never the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(&'static str);

/// What a result is keyed by: 1 to 128 of `A-Z a-z 0-9 . _ - ~`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id that sorts by time (UUID version 7).
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When an id of version 7 was made, in Unix ms; none for ids of any other form.
    pub fn generated_at(&self) -> Option<UnixMs> {
        let id = uuid::Uuid::try_parse(self.as_str()).ok()?;
        let (seconds, nanos) = (id.get_version_num() == 7).then(|| id.get_timestamp())??.to_unix();
        Some(seconds * 1000 + u64::from(nanos) / 1_000_000)
    }
}

impl TryFrom<&str> for RequestId {
    type Error = BadName;

    fn try_from(text: &str) -> Result<Self, BadName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~');
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(BadName("must be 1 to 128 of A-Z a-z 0-9 . _ - ~"))
        }
    }
}

impl TryFrom<String> for RequestId {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::try_from(text.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which mini program: 1 to 64 of `A-Z a-z 0-9 _ -`, in practice `wx` and 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct AppId(Arc<str>);

impl AppId {
    /// The appid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for AppId {
    type Error = BadName;

    fn try_from(text: &str) -> Result<Self, BadName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(BadName("must be 1 to 64 of A-Z a-z 0-9 _ -"))
        }
    }
}

impl TryFrom<String> for AppId {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::try_from(text.as_str())
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The dynamic code of the phone-number button: worth one phone number, so it prints as `***`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Code(Secret);

impl Code {
    /// The code itself, for the body of the exchange and for hashing.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl TryFrom<&str> for Code {
    type Error = BadName;

    fn try_from(text: &str) -> Result<Self, BadName> {
        visible_ascii(text, 512).map(Self).ok_or(BadName("must be 1 to 512 visible ASCII characters"))
    }
}

/// The user that the code should belong to, as WeChat names them within one app; personal, so it prints as `***`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OpenId(Secret);

impl OpenId {
    /// The openid itself, for the body of the exchange.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl TryFrom<&str> for OpenId {
    type Error = BadName;

    fn try_from(text: &str) -> Result<Self, BadName> {
        visible_ascii(text, 128).map(Self).ok_or(BadName("must be 1 to 128 visible ASCII characters"))
    }
}

fn visible_ascii(text: &str, max_bytes: usize) -> Option<Secret> {
    let fits = (1..=max_bytes).contains(&text.len());
    (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.into())
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for OpenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_one_to_128_unreserved_characters() {
        for good in ["a", "0199c0de-7a11-7000-8000-000000000001", "A.b_c-d~9", &"x".repeat(128)] {
            assert!(RequestId::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "{a}", "é", "a\n", &"x".repeat(129)] {
            assert!(RequestId::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_generated_id_knows_when_it_was_made() {
        let id = RequestId::generate();
        assert!(id.generated_at().is_some_and(|at| at > 1_700_000_000_000), "{id}");
        assert_eq!(RequestId::try_from("t-001").expect("a good id").generated_at(), None);
    }

    #[test]
    fn codes_and_openids_print_as_stars() {
        let code = Code::try_from("e31968a7").expect("a good code");
        let openid = OpenId::try_from("oABC").expect("a good openid");
        assert_eq!(format!("{code:?} {openid:?}"), "*** ***");
    }

    #[test]
    fn a_code_is_visible_ascii() {
        for bad in ["", " ", "a b", "ü", "a\u{7f}", &"c".repeat(513)] {
            assert!(Code::try_from(bad).is_err(), "{bad:?}");
        }
    }
}
