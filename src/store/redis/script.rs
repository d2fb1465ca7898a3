//! A script and a call of it.
//!
//! Unlike the crate's own, a call that finds the script unknown brings it along, to the node that was asked: the crate
//! would first bring it to all masters of a cluster, and fail while one of them is away.

use std::fmt::Display;

use redis::{Arg, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, RedisWrite, ServerErrorKind, ToRedisArgs};

use super::link::Connection;

/// Most calls of a login have so many arguments beside the keys, and so many bytes in all: their buffers need not grow.
const USUAL_ARGUMENTS: usize = 7;
const USUAL_BYTES: usize = 640;

pub(super) struct Script {
    code: &'static str,
    digest: String,
}

/// A script with its keys and arguments.
pub(super) struct Call<'a> {
    command: Cmd,
    code: &'a str,
}

/// The error with which a script says that it has replaced a key that held something else. All else it has done, and it
/// would have answered nothing.
const ODD_KEY: &str = "ODDKEY";

/// Whether it is that error.
pub(super) fn is_odd_key(error: &RedisError) -> bool {
    error.code() == Some(ODD_KEY)
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        Self { code, digest: redis::Script::new(code).get_hash().to_owned() }
    }

    /// A call on these keys. They share a slot, or a cluster refuses it.
    pub(super) fn on<const N: usize>(&self, keys: [impl ToRedisArgs; N]) -> Call<'_> {
        let mut command = Cmd::with_capacity(N + USUAL_ARGUMENTS, USUAL_BYTES);
        command.arg("EVALSHA").arg(&self.digest).arg(N);
        for key in keys {
            command.arg(key);
        }
        Call { command, code: self.code }
    }
}

impl Call<'_> {
    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// An argument that is written as it prints.
    pub(super) fn text(&mut self, argument: impl Display) -> &mut Self {
        self.command.write_arg_fmt(argument);
        self
    }

    /// The kind of its first key, for people.
    pub(super) fn kind(&self) -> String {
        let key = match self.command.args_iter().nth(3) {
            Some(Arg::Simple(key)) => String::from_utf8_lossy(key).into_owned(),
            _ => String::new(),
        };
        let before_name = key.split_once(":{").map_or(key.as_str(), |(before, _)| before);
        before_name.rsplit(':').next().unwrap_or_default().to_owned()
    }

    pub(super) async fn run<T: FromRedisValue>(&self, connection: &mut Connection) -> RedisResult<T> {
        match connection.query(&self.command).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                // In a box, since it is rare, and every call would carry it.
                let whole = self.with_code();
                Box::pin(connection.query(&whole)).await
            }
            answer => answer,
        }
    }

    /// The same with the script itself in the place of its digest.
    fn with_code(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.code);
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_with_the_script_itself_has_the_same_keys_and_arguments() {
        let script = Script::new("return 1");
        let mut call = script.on(["one", "two"]);
        call.text("a").arg(7);
        let words = |command: &Cmd| String::from_utf8(command.get_packed_command()).expect("text");
        let (by_digest, whole) = (words(&call.command), words(&call.with_code()));
        assert!(by_digest.contains(&script.digest) && !whole.contains(&script.digest));
        let rest = |words: &str| words.split("\r\n").skip(5).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(rest(&whole), ["$1", "2", "$3", "one", "$3", "two", "$1", "a", "$1", "7", ""]);
        assert_eq!(rest(&by_digest), rest(&whole));
        assert_eq!(script.on(["a:b:code:{x:{y}"]).kind(), "code");
    }
}
