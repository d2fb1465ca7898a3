//! W3C trace context: which trace a login belongs to, carried from the gateway's caller to the worker's log.

use std::fmt;

/// A `traceparent` of version 00: `00-{trace id}-{parent id}-{flags}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traceparent(Box<str>);

impl Traceparent {
    /// Reads a header; none when it is not of version 00's form.
    pub fn parse(header: &str) -> Option<Self> {
        let parts: Vec<&str> = header.split('-').collect();
        let ["00", trace, parent, flags] = parts[..] else { return None };
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let known = |text: &str| text.bytes().any(|b| b != b'0');
        let fits = hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && known(trace) && known(parent);
        fits.then(|| Self(header.into()))
    }

    /// A new trace, for a caller that brought none.
    pub fn generate() -> Self {
        let (trace, parent) = (fastrand::u128(1..), fastrand::u64(1..));
        Self(format!("00-{trace:032x}-{parent:016x}-00").into())
    }

    /// The header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 hex digits that a trace is found by.
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_taken_when_it_is_of_version_00() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed = Traceparent::parse(header).expect("the example of the standard");
        assert_eq!((parsed.as_str(), parsed.trace_id()), (header, "4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in [
            "",
            "00-4bf9-00f0-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_generated_one_reads_back() {
        let made = Traceparent::generate();
        assert_eq!(Traceparent::parse(made.as_str()), Some(made));
    }
}
