//! The name of a key, written into a command without being put together before.

use std::io::Write;

use redis::{RedisWrite, ToRedisArgs};

/// `PREFIX:KIND:{NAME}`. The braces are part of it.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) prefix: &'a str,
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
}

impl ToRedisArgs for Key<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut key = out.writer_for_next_arg();
        for part in [self.prefix, ":", self.kind, ":{", self.name, "}"] {
            key.write_all(part.as_bytes()).expect("a command in memory takes all");
        }
    }
}

// The kinds. ARCHITECTURE.md says of each what is in it, and for how long; those of budgets are named by whom they are of.
pub(super) const RESULT: &str = "result";
pub(super) const CLAIM: &str = "claim";
pub(super) const CODE: &str = "code";
pub(super) const ACCEPTED: &str = "accepted";
pub(super) const REQUEST: &str = "request";
pub(super) const TOKEN: &str = "token";
pub(super) const REFRESH: &str = "refresh";
pub(super) const REFUSAL: &str = "refusal";
pub(super) const TICKET: &str = "ticket";
pub(super) const AUTHORIZER: &str = "authorizer";
pub(super) const FORCED: &str = "forced";
pub(super) const REPLACED: &str = "replaced";
pub(super) const WORKER: &str = "worker";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_argument_and_keeps_its_braces() {
        let key = Key { prefix: "quicklogin", kind: "result", name: "r-1" };
        assert_eq!(key.to_redis_args(), [b"quicklogin:result:{r-1}"]);
        assert_eq!(redis::cmd("GET").arg(key).arg("next").args_iter().len(), 3);
    }
}
