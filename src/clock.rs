//! The wall clock, for points in time that go on the wire. What waits uses tokio's clock, which tests can pause.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::login::UnixMs;

/// Now, in Unix ms.
pub fn now_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as UnixMs)
}
