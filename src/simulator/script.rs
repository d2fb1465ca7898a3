//! What can be made to happen to one request: a [`Step`]. A code's script is a list of them, a mood
//! repeats one. Only the saying and reading of steps is here; `model.rs` acts them out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

/// What happens to one request. As JSON either a name (`"cut_after"`) or fields, of which all but
/// one kind may be left out:
/// `{"errcode":-1,"consume":true}`, `{"status":502,"body":"…"}`, `{"body":"…"}` (status 200),
/// `{"body_base64":"H4sI…","headers":{"content-encoding":"gzip"}}` (any bytes, with any status),
/// `{"huge_body":50000000}`, `{"then":"cut_after"}`, each with `"delay_ms"` where wanted;
/// `{"delay_ms":500}` alone is a normal answer that comes late.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Step {
    /// How long the answer, the cut or the refusal waits, in milliseconds. The request itself is
    /// looked at on arrival: a client that leaves meanwhile has spent its code, as with WeChat.
    pub delay_ms: u64,
    /// What then happens.
    pub then: Then,
}

/// The kinds of thing that can happen. Those with `consume` treat the request normally first, so
/// that the code is spent (or the token minted), and only then say something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// What WeChat would do.
    Normal,
    /// An answer of this errcode in WeChat's own shape.
    Errcode {
        /// The number answered.
        errcode: i64,
        /// Whether the code is spent all the same.
        consume: bool,
    },
    /// An answer as written here, with any status: bad gateways, unreadable bodies.
    Http {
        /// The HTTP status.
        status: u16,
        /// The body, byte for byte.
        body: String,
        /// Whether the code is spent all the same.
        consume: bool,
    },
    /// An answer of any bytes, with headers of its own: what a middlebox may make of WeChat's.
    Raw {
        /// The HTTP status.
        status: u16,
        /// Names and values; without a `content-type` among them, that is JSON's.
        headers: Vec<(String, String)>,
        /// The body, byte for byte.
        body: Vec<u8>,
        /// Whether the code is spent all the same.
        consume: bool,
    },
    /// Status 200 and a body of this many bytes, sent in chunks with no length announced.
    Huge {
        /// Size of the body.
        bytes: u64,
        /// Whether the code is spent all the same.
        consume: bool,
    },
    /// The connection is dropped without an answer, the code not spent.
    CutBefore,
    /// The code is spent, then the connection is dropped without an answer.
    CutAfter,
    /// The code is spent, headers and half of the answer are sent, then the connection is dropped.
    CutInBody,
    /// The code is spent, headers and half of the answer are sent, then nothing more for ever.
    HangInBody,
    /// No answer for ever, the code not spent.
    HangBefore,
    /// The code is spent, then no answer for ever.
    HangAfter,
}

impl Then {
    /// Whether the request is treated normally before this happens, so that its code is spent.
    pub(super) fn consumes(&self) -> bool {
        match self {
            Self::Normal | Self::CutAfter | Self::CutInBody | Self::HangInBody | Self::HangAfter => true,
            Self::CutBefore | Self::HangBefore => false,
            Self::Errcode { consume, .. } | Self::Http { consume, .. } => *consume,
            Self::Raw { consume, .. } | Self::Huge { consume, .. } => *consume,
        }
    }
}

impl From<Then> for Step {
    fn from(then: Then) -> Self {
        Self { delay_ms: 0, then }
    }
}

impl Step {
    /// An answer as WeChat would give it.
    #[must_use]
    pub fn normal() -> Self {
        Then::Normal.into()
    }

    /// This errcode, the code not spent.
    #[must_use]
    pub fn errcode(errcode: i64) -> Self {
        Then::Errcode { errcode, consume: false }.into()
    }

    /// This HTTP status and body, the code not spent.
    #[must_use]
    pub fn http(status: u16, body: impl Into<String>) -> Self {
        Then::Http { status, body: body.into(), consume: false }.into()
    }

    /// Status 200, these headers and these bytes, the code not spent.
    #[must_use]
    pub fn raw(headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Then::Raw { status: 200, headers, body: body.into(), consume: false }.into()
    }

    /// A body of this many bytes, the code not spent.
    #[must_use]
    pub fn huge(bytes: u64) -> Self {
        Then::Huge { bytes, consume: false }.into()
    }

    /// The same, but the code is spent first, for the kinds that leave the choice.
    #[must_use]
    pub fn consuming(mut self) -> Self {
        match &mut self.then {
            Then::Errcode { consume, .. }
            | Then::Http { consume, .. }
            | Then::Raw { consume, .. }
            | Then::Huge { consume, .. } => *consume = true,
            _ => {}
        }
        self
    }

    /// The same, so many milliseconds late.
    #[must_use]
    pub fn late_ms(mut self, delay_ms: u64) -> Self {
        self.delay_ms = delay_ms;
        self
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a step is a name such as \"cut_after\", or fields such as {\"errcode\":-1,\"consume\":true}"
)]
enum Wire {
    Name(Name),
    Fields(Fields),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Normal,
    CutBefore,
    CutAfter,
    CutInBody,
    HangInBody,
    HangBefore,
    HangAfter,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    delay_ms: u64,
    then: Option<Name>,
    errcode: Option<i64>,
    status: Option<u16>,
    body: Option<String>,
    body_base64: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    huge_body: Option<u64>,
    consume: Option<bool>,
}

impl TryFrom<Wire> for Step {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let fields = match wire {
            Wire::Name(name) => return Ok(Then::from(name).into()),
            Wire::Fields(fields) => fields,
        };
        let consume = fields.consume.unwrap_or(false);
        if fields.body_base64.is_some() || fields.headers.is_some() {
            return Ok(Self { delay_ms: fields.delay_ms, then: fields.raw(consume)? });
        }
        let then = match (fields.then, fields.errcode, fields.status, fields.body, fields.huge_body) {
            (None, Some(errcode), None, None, None) => Then::Errcode { errcode, consume },
            (None, None, None, None, Some(bytes)) => Then::Huge { bytes, consume },
            (None, None, None, Some(body), None) => Then::Http { status: 200, body, consume },
            (None, None, Some(status), body, None) if (200..=599).contains(&status) => {
                Then::Http { status, body: body.unwrap_or_default(), consume }
            }
            (None, None, Some(_), _, None) => return Err("a step's status is 200 to 599"),
            (name, None, None, None, None) if fields.consume.is_none() => name.map_or(Then::Normal, Then::from),
            (_, None, None, None, None) => {
                return Err("consume goes with errcode, status, body or huge_body only");
            }
            _ => {
                return Err("a step is one of then, errcode, status with body, body, or huge_body");
            }
        };
        Ok(Self { delay_ms: fields.delay_ms, then })
    }
}

impl Fields {
    /// A response of any bytes, which headers go with, too.
    fn raw(self, consume: bool) -> Result<Then, &'static str> {
        if self.then.is_some() || self.errcode.is_some() || self.huge_body.is_some() {
            return Err("body_base64 and headers go with status and consume only, and headers with body too");
        }
        let body = match (self.body_base64, self.body) {
            (Some(_), Some(_)) => return Err("a step has body or body_base64, not both"),
            (Some(base64), None) => STANDARD.decode(base64).map_err(|_| "body_base64 is not base64")?,
            (None, body) => body.unwrap_or_default().into_bytes(),
        };
        let status = self.status.unwrap_or(200);
        if !(200..=599).contains(&status) {
            return Err("a step's status is 200 to 599");
        }
        let headers: Vec<_> = self.headers.unwrap_or_default().into_iter().collect();
        let is_header = |(name, value): &(String, String)| {
            HeaderName::try_from(name.as_str()).is_ok() && HeaderValue::try_from(value.as_str()).is_ok()
        };
        if !headers.iter().all(is_header) {
            return Err("a header's name or value is none of HTTP's");
        }
        Ok(Then::Raw { status, headers, body, consume })
    }
}

impl From<Name> for Then {
    fn from(name: Name) -> Self {
        match name {
            Name::Normal => Self::Normal,
            Name::CutBefore => Self::CutBefore,
            Name::CutAfter => Self::CutAfter,
            Name::CutInBody => Self::CutInBody,
            Name::HangInBody => Self::HangInBody,
            Name::HangBefore => Self::HangBefore,
            Name::HangAfter => Self::HangAfter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Step> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn every_kind_of_step_can_be_said_in_json() {
        let said = [
            (r#""normal""#, Step::normal()),
            (r#"{"delay_ms":500}"#, Step::normal().late_ms(500)),
            (r#"{"errcode":45011}"#, Step::errcode(45011)),
            (r#"{"errcode":-1,"consume":true}"#, Step::errcode(-1).consuming()),
            (r#"{"status":502}"#, Step::http(502, "")),
            (r#"{"status":502,"body":"gone","consume":true}"#, Step::http(502, "gone").consuming()),
            (r#"{"body":"<html>"}"#, Step::http(200, "<html>")),
            (
                r#"{"body_base64":"H4s=","headers":{"content-encoding":"gzip"},"consume":true}"#,
                Step::raw(&[("content-encoding", "gzip")], [0x1f, 0x8b]).consuming(),
            ),
            (
                r#"{"body":"x","headers":{"content-type":"text/html"}}"#,
                Step::raw(&[("content-type", "text/html")], "x"),
            ),
            (r#"{"huge_body":9000000}"#, Step::huge(9_000_000)),
            (r#""cut_before""#, Then::CutBefore.into()),
            (r#""cut_after""#, Then::CutAfter.into()),
            (r#"{"then":"cut_in_body","delay_ms":5}"#, Step::from(Then::CutInBody).late_ms(5)),
            (r#""hang_in_body""#, Then::HangInBody.into()),
            (r#""hang_before""#, Then::HangBefore.into()),
            (r#""hang_after""#, Then::HangAfter.into()),
        ];
        for (text, step) in said {
            assert_eq!(read(text), Some(step), "{text}");
        }
    }

    #[test]
    fn a_step_that_says_two_things_or_nonsense_is_refused() {
        let nonsense = [
            r#""explode""#,
            r#"{"errcode":1,"status":500}"#,
            r#"{"then":"cut_after","consume":true}"#,
            r#"{"consume":true}"#,
            r#"{"status":99}"#,
            r#"{"errcod":1}"#,
            r#"{"body_base64":"?"}"#,
            r#"{"body_base64":"H4s=","body":"x"}"#,
            r#"{"headers":{"a b":"c"},"body":"x"}"#,
            r#"{"headers":{"a":"b"},"errcode":1}"#,
        ];
        for text in nonsense {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
