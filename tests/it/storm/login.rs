//! One login as the ledger keeps it. An hour of them has to fit into memory, so a result is read once, and only what the
//! account will want to know of it stays.

use std::hash::{DefaultHasher, Hash, Hasher};

use quicklogin::simulator::CodeAsked;
use serde_json::Value;

pub(super) struct Login {
    pub(super) code: String,
    /// The number that belongs to the code; none where the request itself cannot be served.
    pub(super) phone: Option<String>,
    pub(super) issued_at: u64,
    pub(super) deadline: u64,
    pub(super) accepted: bool,
    /// The result that was seen last.
    pub(super) result: Option<Seen>,
    /// How often WeChat was asked, as far as it was looked up.
    pub(super) asked: CodeAsked,
}

/// What a result says.
pub(super) struct Seen {
    /// `succeeded`, or the reason.
    pub(super) outcome: Box<str>,
    pub(super) phone: Option<Box<str>>,
    pub(super) advice: Option<Box<str>>,
    /// When the result was made, in Unix ms.
    pub(super) finished_at: u64,
    /// When these eyes saw it first, in Unix ms.
    pub(super) seen_at: u64,
    /// Of the whole text.
    digest: u64,
}

impl Seen {
    pub(super) fn read(json: &str, seen_at: u64) -> Self {
        let result: Value = serde_json::from_str(json).unwrap_or(Value::Null);
        let text = |value: &Value| value.as_str().map(Box::from);
        let word = if result["status"] == "failed" { &result["error"]["reason"] } else { &result["status"] };
        Self {
            outcome: text(word).unwrap_or_else(|| "unreadable".into()),
            phone: text(&result["phone_info"]["phoneNumber"]),
            advice: text(&result["error"]["advice"]),
            finished_at: result["finished_at"].as_u64().unwrap_or(0),
            seen_at,
            digest: digest(json),
        }
    }

    /// Whether this is still what it was read from.
    pub(super) fn is(&self, json: &str) -> bool {
        self.digest == digest(json)
    }

    pub(super) fn succeeded(&self) -> bool {
        &*self.outcome == "succeeded"
    }
}

impl Login {
    pub(super) fn succeeded(&self) -> bool {
        self.result.as_ref().is_some_and(Seen::succeeded)
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
