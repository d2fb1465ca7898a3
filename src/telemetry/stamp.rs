//! When a line was written: UTC to the microsecond. Its seconds are worked out once a second, and not for each line.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock;

/// As in `2021-11-24T08:57:54.123456Z`, which is how tracing-subscriber writes it, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp;

/// A stamp, and the second since 1970 that it is of.
#[derive(Clone, Copy)]
struct Stamped {
    second: u64,
    text: [u8; 27],
}

thread_local! {
    static LAST: Cell<Stamped> = const { Cell::new(Stamped { second: u64::MAX, text: [b'Z'; 27] }) };
}

impl Stamp {
    /// Writes what time it is, by the machine's clock, also where a login's clock is simulated.
    pub(super) fn write(self, line: &mut impl fmt::Write) -> fmt::Result {
        // A clock that is set to before 1970 is as wrong as one that says 1970.
        write(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), line)
    }
}

impl FormatTime for Stamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        self.write(writer)
    }
}

fn write(since_1970: Duration, line: &mut impl fmt::Write) -> fmt::Result {
    let Stamped { second, mut text } = LAST.get();
    if second != since_1970.as_secs() {
        text = of_second(since_1970.as_secs());
        LAST.set(Stamped { second: since_1970.as_secs(), text });
    }
    let mut micros = since_1970.subsec_micros();
    for digit in text[20..26].iter_mut().rev() {
        *digit = b'0' + (micros % 10) as u8;
        micros /= 10;
    }
    line.write_str(str::from_utf8(&text).expect("digits and signs are ASCII"))
}

/// The stamp at the beginning of a second.
fn of_second(second: u64) -> [u8; 27] {
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    text[..19].copy_from_slice(&clock::utc(second.saturating_mul(1000)).as_bytes()[..19]);
    text
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt::time::SystemTime as TheirStamp;

    use super::*;

    fn at(since_1970: Duration) -> String {
        let mut line = String::new();
        write(since_1970, &mut line).expect("a String takes everything");
        line
    }

    #[test]
    fn a_stamp_is_of_its_microsecond_whatever_was_stamped_before() {
        for (seconds, nanos, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (1_637_744_274, 123_456_999, "2021-11-24T08:57:54.123456Z"),
            (1_637_744_274, 999_999_999, "2021-11-24T08:57:54.999999Z"),
            (1_637_744_275, 1_000, "2021-11-24T08:57:55.000001Z"),
            (1_637_744_274, 10_000, "2021-11-24T08:57:54.000010Z"),
            (u64::MAX, 0, "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(at(Duration::new(seconds, nanos)), expected);
        }
    }

    #[test]
    fn a_stamp_is_what_the_crate_writes() {
        let stamped = |stamp: &dyn FormatTime| {
            let mut line = String::new();
            stamp.format_time(&mut Writer::new(&mut line)).expect("a String takes everything");
            line
        };
        let (before, theirs, after) = (stamped(&Stamp), stamped(&TheirStamp), stamped(&Stamp));
        assert!(before <= theirs && theirs <= after, "{before} {theirs} {after}");
        assert_eq!((before.len(), theirs.len()), (27, 27));
    }
}
