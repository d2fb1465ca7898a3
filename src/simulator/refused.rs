//! What the simulator says to whoever uses it wrongly; what it says to WeChat's callers is `errcodes.rs`.

use std::fmt;

/// Why the simulator would not do what its user asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    what: &'static str,
    hint: &'static str,
}

impl Refused {
    pub(super) fn new(what: &'static str, hint: &'static str) -> Self {
        Self { what, hint }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Refused {}
