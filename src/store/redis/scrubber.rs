//! The words of a Redis error that may be printed.
//!
//! A server or proxy may repeat the arguments of a command in its error text: passwords, tokens, results. So no error
//! text of Redis is printed as it is. What stays is the error code and plain words; arguments, quoted text, words with
//! digits and everything that equals a configured credential become `***`.

use std::net::{IpAddr, SocketAddr};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::secret::Secret;

/// A shorter credential is masked only if it is a whole word, or half of the text would be masked.
const SHORTEST_PART: usize = 4;
/// Maximum length of the words that are kept.
const WORDS_MAX: usize = 240;
/// A longer word is no plain word.
const WORD_MAX: usize = 24;
/// More digits than this may be a phone number or a part of a key.
const DIGITS_MAX: usize = 5;
/// The server's arguments follow.
const ARGUMENTS: [&str; 3] = ["with args", "args beginning", "arguments:"];
const QUOTES: [char; 3] = ['\'', '"', '`'];
const CLUSTER_HINT: &str =
    "it is a node of a Redis cluster: write its address as redis+cluster:// (or rediss+cluster://)";

/// Quoted words that are kept: the names of the commands that we send, and what Redis itself quotes.
const KNOWN: [&str; 36] = [
    "auth",
    "client",
    "cluster",
    "config",
    "del",
    "eval",
    "evalsha",
    "exists",
    "expire",
    "get",
    "hello",
    "hget",
    "hmget",
    "hset",
    "info",
    "maxmemory",
    "mget",
    "pexpire",
    "ping",
    "pttl",
    "role",
    "script",
    "select",
    "sentinel",
    "set",
    "time",
    "zadd",
    "zcard",
    "zcount",
    "zrange",
    "zremrangebyscore",
    "config|get",
    "cluster|slots",
    "client|setinfo",
    "sentinel|master",
    "script|load",
];

/// Knows the credentials of one Redis.
#[derive(Clone, Default)]
pub(super) struct Scrubber {
    credentials: Vec<Secret>,
}

impl Scrubber {
    /// Of these credentials, also as they are written in a URL.
    pub(super) fn new(mut credentials: Vec<Secret>) -> Self {
        credentials.retain(|credential| !matches!(credential.expose(), "" | "default"));
        // A credential may be a part of another one.
        credentials.sort_by_key(|credential| std::cmp::Reverse(credential.expose().len()));
        credentials.dedup();
        Self { credentials }
    }

    /// What may be printed of an error.
    pub(super) fn words(&self, error: &RedisError) -> String {
        let words = match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => "its answer cannot be read".into(),
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
                format!("{}: {CLUSTER_HINT}", code(error))
            }
            ErrorKind::Server(_) | ErrorKind::Extension => {
                let code = self.text(code(error));
                match error.detail() {
                    Some(detail) => format!("{code}: {}", self.text(detail)),
                    None => code,
                }
            }
            // Made in this process; only the detail may be the server's.
            _ => {
                let (said, detail) = (error.to_string(), error.detail().unwrap_or_default());
                let ours = said.strip_suffix(detail).unwrap_or_default();
                self.without_credentials(ours) + &self.text(detail)
            }
        };
        words.chars().take(WORDS_MAX).collect()
    }

    /// What may be printed of a server's text.
    pub(super) fn text(&self, text: &str) -> String {
        let lower = text.to_ascii_lowercase();
        let arguments = ARGUMENTS.iter().filter_map(|mark| lower.find(mark)).min();
        let text = arguments.map_or(text, |at| text.get(..at).unwrap_or_default());
        let text = without_quoted(&self.without_credentials(text));
        let words: Vec<_> = text.split_whitespace().map(|word| if is_plain(word) { word } else { "***" }).collect();
        let words = words.join(" ");
        if arguments.is_some() { format!("{} ***", words.trim_end_matches([',', ' '])) } else { words }
    }

    fn without_credentials(&self, text: &str) -> String {
        self.credentials.iter().fold(text.to_owned(), |text, credential| {
            let credential = credential.expose();
            if credential.len() >= SHORTEST_PART {
                return text.replace(credential, "***");
            }
            let is_one = |word: &str| word.trim_matches(|char: char| !char.is_alphanumeric()) == credential;
            let words = text.split(' ').map(|word| if is_one(word) || word == credential { "***" } else { word });
            words.collect::<Vec<_>>().join(" ")
        })
    }
}

/// Whether the server refused a command on several keys because they are apart, or refuses such commands at all.
pub(super) fn is_about_several_keys(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::CrossSlot) => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::Extension => {
            let said = error.detail().unwrap_or_default().to_ascii_lowercase();
            ["crossslot", "cross slot", "cross-slot", "same slot", "same hash", "mget", "unsupported", "not support"]
                .iter()
                .any(|words| said.contains(words))
        }
        _ => false,
    }
}

/// Whether a node of a cluster says that a key is elsewhere.
pub(super) fn is_redirect(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask))
}

/// Whether a key holds another type than its name says.
pub(super) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || error.detail().is_some_and(|detail| detail.contains("WRONGTYPE "))
}

/// The error code, or a word for the kind of the fault.
pub(super) fn code(error: &RedisError) -> &str {
    error.code().unwrap_or_else(|| error.category())
}

/// Quoted text is an argument, unless it is the name of a command. An apostrophe within a word quotes nothing.
fn without_quoted(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = opening(rest) {
        let (before, quoted) = rest.split_at(at);
        kept.push_str(before);
        let Some((inside, after)) = closed(quoted) else {
            kept.push_str("***");
            return kept;
        };
        let is_known = KNOWN.contains(&inside.to_ascii_lowercase().as_str()) || inside == "***";
        kept.push_str(if is_known { &quoted[..inside.len() + 2] } else { "***" });
        rest = after;
    }
    kept + rest
}

/// Where a quote opens: behind nothing, a space or punctuation.
fn opening(text: &str) -> Option<usize> {
    let mut before = ' ';
    for (at, char) in text.char_indices() {
        if QUOTES.contains(&char) && !before.is_alphanumeric() && !QUOTES.contains(&before) {
            return Some(at);
        }
        before = char;
    }
    None
}

/// What a quote at the start holds, and what follows it. It closes in front of a space, punctuation or the end.
fn closed(quoted: &str) -> Option<(&str, &str)> {
    let closes = |(at, char): &(usize, char)| {
        let next = quoted[at + 1..].chars().next();
        QUOTES.contains(char) && next.is_none_or(|next| next.is_whitespace() || ",.;:)]".contains(next))
    };
    let (at, _) = quoted.char_indices().skip(1).find(closes)?;
    Some((&quoted[1..at], &quoted[at + 1..]))
}

/// A word of a sentence, a short number or an address.
fn is_plain(word: &str) -> bool {
    let bare = word.trim_matches(|char: char| ",.;()[]".contains(char));
    if bare.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok() || word == "***" {
        return true;
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let is_sign = |byte: u8| b",.;:!?()[]<>-_/'\"`|*".contains(&byte);
    let rest_is_signs = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_sign(byte));
    rest_is_signs && word.len() <= WORD_MAX && (digits == 0 || (letters == 0 && digits <= DIGITS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(words: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{words}\r\n").as_bytes()).expect("an answer");
        value.extract_error().expect_err("an error")
    }

    fn said(words: &str) -> String {
        let credentials = ["app", "THEPASSWORD", "hunter", "can ary'7", "get7"].map(Secret::from);
        Scrubber::new(credentials.into()).words(&error(words))
    }

    #[test]
    fn no_argument_and_no_credential_is_said_and_the_code_and_plain_words_are() {
        let rows = [
            (
                "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'THEPASSWORD' ",
                "ERR: unknown command 'HELLO' ***",
            ),
            (
                "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `x`, ",
                "ERR: unknown command `HELLO` ***",
            ),
            ("ERR unknown command: HELLO 3 AUTH default THEPASSWORD", "ERR: unknown command: HELLO 3 AUTH default ***"),
            ("ERR bad request [AUTH hunter]", "ERR: bad request [AUTH ***]"),
            ("ERR bad token 92_aBcDeFgH0123456789 for 13800000000", "ERR: bad token *** for ***"),
            ("ERR value 'some secret thing' is bad", "ERR: value *** is bad"),
            ("ERR bad 'can ary'7' here", "ERR: bad '***' here"),
            ("ERR bad 'never closed", "ERR: bad ***"),
            ("ERR user app unknown", "ERR: user *** unknown"),
            ("THEPASSWORD is odd", "***: is odd"),
            (
                "NOPERM this user has no permissions to run the 'eval' command",
                "NOPERM: this user has no permissions to run the 'eval' command",
            ),
            (
                "READONLY You can't write against a read only replica.",
                "READONLY: You can't write against a read only replica.",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "OOM: command not allowed when used memory > 'maxmemory'.",
            ),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                "WRONGPASS: invalid username-password pair or user is disabled.",
            ),
        ];
        for (words, expected) in rows {
            assert_eq!(said(words), expected, "{words}");
        }
        assert!(said("MOVED 1234 10.0.0.1:7001").contains("redis+cluster://"));
    }

    #[test]
    fn a_short_credential_is_masked_as_a_word_and_not_in_all_words() {
        let scrubber = Scrubber::new(vec!["a".into()]);
        assert_eq!(scrubber.words(&error("ERR a bad 'a' argument")), "ERR: *** bad *** argument");
    }

    #[test]
    fn the_reading_of_an_answer_never_repeats_it() {
        let answer = redis::Value::BulkString(b"canary".to_vec());
        let error = RedisError::from(redis::from_redis_value::<u64>(answer).expect_err("no number"));
        assert_eq!(Scrubber::default().words(&error), "its answer cannot be read");
        let detailed = RedisError::from((ErrorKind::Client, "it failed", "x 'THEPASSWORD' 77777777 y".to_owned()));
        assert_eq!(Scrubber::default().words(&detailed), "it failed - Client: x *** *** y");
    }

    #[test]
    fn a_refusal_of_several_keys_is_known_by_its_code_or_its_words() {
        for words in [
            "CROSSSLOT Keys in request don't hash to the same slot",
            "ERR CROSSSLOT no",
            "ERR unsupported command MGET",
        ] {
            assert!(is_about_several_keys(&error(words)), "{words}");
        }
        for words in [
            "NOPERM this user has no permissions to run the 'mget' command",
            "OOM no",
            "ERR max number of clients reached",
        ] {
            assert!(!is_about_several_keys(&error(words)), "{words}");
        }
    }
}
