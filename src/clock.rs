//! The wall clock, read in one place. What only measures a span uses tokio's clock, which tests can pause.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::login::UnixMs;

/// Now, in Unix ms.
pub fn now_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as UnixMs)
}
