//! The wall clock, for points in time that go on the wire, and how people read them. What waits uses tokio's clock, which
//! tests can pause.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::login::UnixMs;
use crate::machine;

/// Now, in Unix ms.
pub fn now_ms() -> UnixMs {
    let real = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as UnixMs);
    machine::simulated_now_ms().unwrap_or_else(real)
}

/// A point in time for people: UTC, to the second, as in `2021-11-24T08:57:54Z`.
pub fn utc(at: UnixMs) -> String {
    // Whatever is later than the year 9999 is a mistake, and nobody is to wait for its year.
    let at = at.min(253_402_300_799_999);
    let (mut days, second) = (at / 86_400_000, at / 1000 % 86_400);
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let february = if days_of_year(year) == 366 { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

fn days_of_year(year: u64) -> u64 {
    let leaps = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leaps { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_read_as_utc() {
        for (at, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (951_868_799_999, "2000-02-29T23:59:59Z"),
            (1_637_744_274_123, "2021-11-24T08:57:54Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(at), expected);
        }
    }
}
