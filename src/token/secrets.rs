//! What proves to WeChat that we may act for an app: text, or where it is kept.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// No secret of anybody's is longer; what is longer is another file.
const SECRET_BYTES_MOST: usize = 4096;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The secret of an app or a third-party platform, or the key of a token server; or where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptSecret {
    /// As it stands in the settings.
    Text(Secret),
    /// In a file, read again for each token, so that a corrected secret needs no restart.
    File(PathBuf),
}

impl KeptSecret {
    /// The secret of the moment. The error says which file and what is wrong with it, never what is in it.
    pub fn read(&self) -> Result<Secret, String> {
        let file = match self {
            Self::Text(secret) => return Ok(secret.clone()),
            Self::File(file) => file,
        };
        let mut bytes = Vec::new();
        let opened = File::open(file);
        let read = opened.and_then(|file| file.take(SECRET_BYTES_MOST as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|error| format!("{}: {error}", shown(file)))?;
        secret_in(&bytes).map_err(|problem| format!("{}: it {problem}", shown(file)))
    }
}

/// The secret that a file holds: one line in UTF-8, whose line end and byte order mark are left out.
fn secret_in(bytes: &[u8]) -> Result<Secret, &'static str> {
    if bytes.len() > SECRET_BYTES_MOST {
        return Err("is too long to hold a secret alone");
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        return Err("is UTF-16 or binary: save it as plain text (UTF-8)");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8: save it as plain text")?;
    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
    check_secret(text)?;
    Ok(Secret::from(text))
}

/// Whether a text can be a secret: visible ASCII, as every secret of WeChat's is.
pub fn check_secret(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.contains(['\n', '\r']) {
        return Err("has more than one line");
    }
    if text.contains(char::is_whitespace) {
        return Err("has white space in it");
    }
    if text.starts_with(['"', '\'', '`']) {
        return Err("stands in quotes: leave them out");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has a character that is not visible ASCII, such as a zero-width space");
    }
    Ok(())
}

/// The name of a file for people; stars if it is more likely the secret itself, in the wrong setting.
fn shown(file: &Path) -> String {
    let is_there = |path: &Path| !path.as_os_str().is_empty() && path.exists();
    let text = file.to_string_lossy();
    if is_there(file) || file.parent().is_some_and(is_there) || looks_like_a_file_name(&text) {
        return file.display().to_string();
    }
    "*** (no such file, and it looks like the secret itself: give the name of a file)".into()
}

/// Secrets have digits or capitals, and hardly ever the beginning of a path or an extension.
fn looks_like_a_file_name(text: &str) -> bool {
    let is_word = |word: &str| word.len() <= 24 && word.bytes().all(|b| b.is_ascii_lowercase() || b"_-.".contains(&b));
    let words: Vec<&str> = text.split(['/', '\\']).collect();
    match words.as_slice() {
        [only] => is_word(only),
        // An absolute path of words, whose last may be an appid.
        [directories @ .., last] => {
            directories.iter().all(|word| is_word(word)) && (is_word(last) || last.starts_with("wx"))
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_file_may_begin_with_a_byte_order_mark_and_end_with_a_line_end() {
        for text in ["", "\n", "\r\n", "\n\n", " \n", "\t\r\n"] {
            for mark in ["", "\u{feff}"] {
                let file = format!("{mark}{SECRET}{text}");
                let secret = secret_in(file.as_bytes()).unwrap_or_else(|problem| panic!("{file:?} {problem}"));
                assert_eq!(secret.expose(), SECRET, "{file:?}");
            }
        }
    }

    #[test]
    fn what_wechat_would_refuse_is_refused_with_the_reason() {
        let utf_16 =
            |mark: [u8; 2]| [&mark[..], &SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat();
        let rows: Vec<(Vec<u8>, &str)> = vec![
            (vec![], "empty"),
            (b" \r\n".to_vec(), "empty"),
            ("\u{feff}\n".into(), "empty"),
            (format!("{SECRET}\nold {SECRET}").into(), "more than one line"),
            (format!("{SECRET}\r\n{SECRET}\r\n").into(), "more than one line"),
            (format!("# prod\n{SECRET}").into(), "more than one line"),
            (format!("{SECRET} {SECRET}").into(), "white space"),
            (format!("{SECRET}\u{a0}x").into(), "white space"),
            (format!("{SECRET}\u{200b}").into(), "visible ASCII"),
            (format!("\u{200b}{SECRET}").into(), "visible ASCII"),
            (format!("{SECRET}\u{feff}").into(), "visible ASCII"),
            (format!("01\u{2060}{SECRET}").into(), "visible ASCII"),
            (format!("{SECRET}\u{7f}").into(), "visible ASCII"),
            (format!("\"{SECRET}\"").into(), "quotes"),
            ("密钥".into(), "visible ASCII"),
            (utf_16([0xff, 0xfe]), "UTF-16"),
            (utf_16([0xfe, 0xff]), "UTF-16"),
            (utf_16([b'0', 0]), "UTF-16"),
            (vec![0x80, 0x81], "not UTF-8"),
            (vec![b'a'; SECRET_BYTES_MOST + 1], "too long"),
        ];
        for (file, expected) in rows {
            let problem = secret_in(&file).err().unwrap_or_else(|| panic!("{file:?} is taken"));
            assert!(problem.contains(expected), "{file:?} {problem}");
        }
    }

    #[test]
    fn a_secret_given_as_the_name_of_a_file_is_not_repeated() {
        for secret in [SECRET, "CanarySecret", "c29tZSBzZWNyZXQ/aXMgaGVyZSBvciBub3Q=", "canary-7f3a", "/w9K2/qq8AB+Zz="]
        {
            let said = KeptSecret::File(secret.into()).read().expect_err("no file");
            assert!(!said.contains(secret) && said.contains("***"), "{said}");
        }
        for path in ["nowhere", "/run/secrets/wechat", "secrets/wx0123456789abcdef", "./app.secret", "/tmp/Q7/none"] {
            let shown = KeptSecret::File(path.into()).read().expect_err("no file");
            let is_shown = shown.contains(path);
            assert!(is_shown || path.contains("Q7"), "{shown}");
        }
        let there = std::env::temp_dir().join("WX9-none");
        assert!(KeptSecret::File(there.clone()).read().expect_err("no file").contains(&*there.to_string_lossy()));
    }
}
