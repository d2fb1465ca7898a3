//! A login that is to be published: what its message holds, and which number must come of it.

use quicklogin::clock;
use quicklogin::login::RequestId;
use quicklogin::queue::shard_of;
use serde_json::{Value, json};

use crate::ground::APP;

/// A login that is to be published.
pub(crate) struct Login {
    pub(crate) id: String,
    code: String,
    pub(crate) phone_number: String,
}

impl Login {
    pub(crate) fn of(minted: &Value) -> Self {
        let text = |field: &str| minted[field].as_str().expect("text").to_owned();
        let id = RequestId::generate().to_string();
        Self { id, code: text("code"), phone_number: text("phoneNumber") }
    }

    pub(crate) fn body(&self, deadline_ms: Option<u64>) -> Vec<u8> {
        let mut body = json!({"request_id": self.id, "appid": APP, "code": self.code, "issued_at": clock::now_ms()});
        if let Some(deadline_ms) = deadline_ms {
            body["deadline"] = deadline_ms.into();
        }
        body.to_string().into_bytes()
    }

    pub(crate) fn shard(&self, shards: u16) -> u16 {
        shard_of(&self.id, shards)
    }
}

/// Of the queue of this shard.
pub(crate) fn routing_key(shard: u16) -> String {
    if shard == 0 { "login".to_owned() } else { format!("login.{shard}") }
}
