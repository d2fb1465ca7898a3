//! Reading what the processes of a storm have said, one log after the other, since all of an hour are many.

use std::fs;
use std::path::{Path, PathBuf};

use crate::storm::ledger::Pages;

/// So many logins' codes and numbers are looked for, and so many access tokens.
const SAMPLE: usize = 150;

/// A secret, and the login that it belongs to, if it belongs to one.
struct Secret {
    text: String,
    of: Option<String>,
    is_told: bool,
}

/// Complains of secrets and of panics in the logs; answers how many results were handed over.
pub(super) fn search(logs: &[PathBuf], pages: &mut Pages) -> usize {
    let (mut secrets, mut handed_over, mut concluded) = (secrets(pages), 0, 0);
    for log in logs {
        let said = read(log);
        handed_over += said.matches("it was handed over").count();
        concluded += said.matches("login concluded").count();
        for line in said.lines().filter(|line| line.contains("panicked at")) {
            pages.complain(None, line);
        }
        for secret in secrets.iter_mut().filter(|secret| !secret.is_told) {
            secret.is_told = said.contains(&secret.text);
        }
    }
    if concluded == 0 || pages.tokens.is_empty() {
        pages.complain(None, "the logs or the tokens are not there to be searched");
    }
    for secret in secrets.iter().filter(|secret| secret.is_told) {
        pages.complain(secret.of.as_deref(), "a token, or this login's code or number, is in a log");
    }
    handed_over
}

fn secrets(pages: &Pages) -> Vec<Secret> {
    let logins = pages.logins.iter().step_by((pages.logins.len() / SAMPLE).max(1));
    let of_logins = logins.flat_map(|(id, login)| {
        let both = [Some(&login.code), login.phone.as_ref()].into_iter().flatten();
        both.map(|text| Secret { text: text.clone(), of: Some(id.clone()), is_told: false })
    });
    let tokens = pages.tokens.iter().step_by((pages.tokens.len() / SAMPLE).max(1));
    of_logins.chain(tokens.map(|text| Secret { text: text.clone(), of: None, is_told: false })).collect()
}

/// All that was said of a login.
pub(super) fn lines_about(id: &str, logs: &[PathBuf]) -> Vec<String> {
    let mut lines = Vec::new();
    for log in logs {
        let name = log.file_name().unwrap_or_default().to_string_lossy();
        lines.extend(read(log).lines().filter(|line| line.contains(id)).map(|line| format!("{name} {line}")));
    }
    lines
}

fn read(log: &Path) -> String {
    fs::read_to_string(log).expect("a log is text")
}
