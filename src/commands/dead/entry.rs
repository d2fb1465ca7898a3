//! A dead letter as an operator sees it: whose it was, and whether it can still become a result.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::commands::dead::lines;
use crate::commands::dead::redact::masked;
use crate::login::{AppId, LoginRequest, MAX_BODY_BYTES, RequestId, Undecodable, UnixMs};
use crate::queue::DeadLetter;
use crate::verdict;
use crate::worker::WORN_OUT;

/// A letter, and what could be read of it.
pub(super) struct Entry {
    /// Which one it is, from 1, among those that are there now.
    pub(super) position: u64,
    pub(super) letter: DeadLetter,
    pub(super) appid: Option<AppId>,
    /// From the body, or else what its publisher called it.
    pub(super) request_id: Option<RequestId>,
    /// Why it is not to be replayed.
    pub(super) refusal: Option<Refusal>,
}

/// Why a letter is not replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its time is up: the code is worth nothing any more, or nobody waits.
    Expired,
    /// It is no login request.
    Unreadable,
    /// No result could be keyed.
    WithoutId,
    /// It is a result, and not a login request, whatever its body looks like.
    IsResult,
    /// A worker has concluded it, and only wants people to look at it.
    HasResult,
}

impl Refusal {
    pub(super) const ALL: [Self; 5] =
        [Self::Expired, Self::Unreadable, Self::WithoutId, Self::IsResult, Self::HasResult];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Unreadable => "unreadable",
            Self::WithoutId => "without a request id",
            Self::IsResult => "from the result outbox",
            Self::HasResult => "has its result",
        }
    }
}

impl Entry {
    /// `results_queue`: whose letters are no login requests.
    pub(super) fn new(position: u64, letter: DeadLetter, code_life: Duration, results_queue: &str) -> Self {
        let decoded = LoginRequest::decode(&letter.body);
        let object = object(&letter.body);
        let refusal = match &decoded {
            _ if letter.queue.as_deref() == Some(results_queue) => Some(Refusal::IsResult),
            Ok(request) if is_over(request, &letter, code_life) => Some(Refusal::Expired),
            Ok(_) => (letter.reason.as_deref() == Some(WORN_OUT)).then_some(Refusal::HasResult),
            Err(Undecodable::Unkeyed { .. }) if object.is_some() => Some(Refusal::WithoutId),
            Err(_) => Some(Refusal::Unreadable),
        };
        let named = |text: &str| RequestId::try_from(text).ok();
        let (request_id, appid) = match decoded {
            Ok(request) => (Some(request.request_id), request.appid),
            Err(Undecodable::Invalid { request_id, .. }) => (Some(request_id), appid_of(object.as_ref())),
            Err(Undecodable::Unkeyed { .. }) => {
                (letter.message_id.as_deref().and_then(named), appid_of(object.as_ref()))
            }
        };
        Self { position, letter, appid, request_id, refusal }
    }

    /// One line of the list, as JSON.
    pub(super) fn to_json(&self) -> Value {
        let Self { position, letter, appid, request_id, .. } = self;
        json!({
            "position": position,
            "dead_at": letter.dead_at,
            "reason": letter.reason.as_deref().map(masked),
            "deliveries": letter.deliveries,
            "appid": appid,
            "request_id": request_id,
            "bytes": letter.body.len(),
        })
    }

    /// A line of the list, for people, under `headings`. A reason that does not fit has a line of its own.
    pub(super) fn listed(&self) -> String {
        let dead_at = self.letter.dead_at.map_or_else(|| "-".into(), |at| clock::utc(at)[..16].replace('T', " "));
        let row = lines::cut(&format!("{:>4}  {dead_at:<16}  {:<36}", self.position, self.id()));
        let reason = self.reason();
        let line = format!("{row}  {reason}");
        if lines::fits(&line) {
            line
        } else {
            format!("{}\n{}", row.trim_end(), lines::cut(&format!("      {reason}")))
        }
    }

    /// A line that says what was done to it.
    pub(super) fn after(&self, what: &str) -> String {
        lines::cut(&format!("{what}: {}  {}  {}", self.position, self.id(), self.reason()))
    }

    fn id(&self) -> &str {
        self.request_id.as_ref().map_or("-", RequestId::as_str)
    }

    fn reason(&self) -> String {
        self.letter.reason.as_deref().map_or_else(|| "-".into(), masked)
    }
}

/// What stands above the lines of the list.
pub(super) fn headings() -> String {
    format!("{:>4}  {:<16}  {:<36}  REASON", "NO", "DEAD SINCE (UTC)", "REQUEST ID")
}

/// A letter was there when it died, so its code is no younger than that.
fn is_over(request: &LoginRequest, letter: &DeadLetter, code_life: Duration) -> bool {
    let now_ms: UnixMs = clock::now_ms();
    verdict::time_up_at(request, letter.timestamp.or(letter.dead_at), now_ms, code_life) <= now_ms
}

fn object(body: &[u8]) -> Option<serde_json::Map<String, Value>> {
    (body.len() <= MAX_BODY_BYTES).then(|| serde_json::from_slice(body).ok())?
}

fn appid_of(object: Option<&serde_json::Map<String, Value>>) -> Option<AppId> {
    AppId::try_from(object?.get("appid")?.as_str()?).ok()
}
