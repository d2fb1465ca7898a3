//! How often something may happen in a minute or a day. How much is enough, the callers know.

use super::{DAY_MS, HOUR_MS, MINUTE_MS};

/// How often something happened in the present minute or day.
#[derive(Default)]
pub(super) struct Window {
    span: u64,
    taken: u32,
}

impl Window {
    /// Counts one in `span`, unless that would be more than `most`.
    pub(super) fn take(&mut self, span: u64, most: u32) -> bool {
        if self.span != span {
            *self = Self { span, taken: 0 };
        }
        let free = self.taken < most;
        self.taken += u32::from(free);
        free
    }
}

pub(super) fn minute(now_ms: u64) -> u64 {
    now_ms / MINUTE_MS
}

/// WeChat's day turns at midnight in China.
pub(super) fn day(now_ms: u64) -> u64 {
    (now_ms + 8 * HOUR_MS) / DAY_MS
}
