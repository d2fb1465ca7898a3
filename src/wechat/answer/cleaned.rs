//! Text of WeChat's, made fit for results and logs: nothing invisible, no secret, and a bounded length.
//!
//! Invisible characters go first, since one of them inside a secret would hide it from the search. A secret is also found
//! when blanks or percent-encoding are in it, in another case, and if only a part of it is there.

use crate::printable::is_harmful;

/// The longest text that is kept, in characters.
const KEPT_MOST: usize = 300;
/// The longest text that is searched for secrets, in characters. What is behind that is dropped.
const SEARCHED_MOST: usize = 4000;
/// A part of a secret this long, in characters, is a secret too.
const PART: usize = 8;
const REDACTED: &str = "***";

/// A text without invisible characters and without these secrets; not yet of a bounded length.
pub(super) fn redacted(text: &str, secrets: &[&str]) -> String {
    let visible = visible(text).take(SEARCHED_MOST);
    let mut letters = Letters::of(&visible.collect::<Vec<char>>());
    for secret in secrets {
        letters.redact(secret);
    }
    letters.into_text()
}

/// A text of a bounded length.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(KEPT_MOST).collect()
}

/// The characters of a text that can be seen. Each other blank becomes a space.
pub(super) fn visible(text: &str) -> impl Iterator<Item = char> {
    let without = text.chars().filter(|c| !is_invisible(*c));
    without.map(|c| if c.is_whitespace() { ' ' } else { c })
}

/// What is harmful to look at, and what else shows nothing: fillers, variation selectors, private use.
pub(super) fn is_invisible(c: char) -> bool {
    is_harmful(c)
        || matches!(c,
            '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

/// A text, and beside it the same without blanks and percent-encoding: what is found there is redacted here.
struct Letters {
    text: Vec<char>,
    /// Each letter and where it stands in the text, from and to.
    plain: Vec<(char, usize, usize)>,
    is_secret: Vec<bool>,
}

impl Letters {
    fn of(text: &[char]) -> Self {
        let mut plain = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let (letter, length) = decoded(&text[at..]);
            if letter != ' ' {
                plain.push((letter.to_ascii_lowercase(), at, at + length));
            }
            at += length;
        }
        Self { text: text.to_vec(), plain, is_secret: vec![false; text.len()] }
    }

    fn redact(&mut self, secret: &str) {
        let secret: Vec<char> = secret.chars().filter(|c| *c != ' ').map(|c| c.to_ascii_lowercase()).collect();
        if secret.is_empty() {
            return;
        }
        let part = secret.len().min(PART);
        // By first letter: nearly no place of the text needs to be compared with more than a few places of the secret.
        let mut starts: Vec<usize> = (0..=secret.len() - part).collect();
        starts.sort_unstable_by_key(|start| secret[*start]);
        let mut from = 0;
        while from + part <= self.plain.len() {
            let letter = self.plain[from].0;
            let first = starts.partition_point(|start| secret[*start] < letter);
            let same = starts[first..].iter().take_while(|start| secret[**start] == letter);
            let found = same.map(|start| self.common(from, &secret[*start..])).max();
            match found.filter(|length| *length >= part) {
                Some(length) => {
                    let (first, last) = (self.plain[from].1, self.plain[from + length - 1].2);
                    self.is_secret[first..last].fill(true);
                    from += length;
                }
                None => from += 1,
            }
        }
    }

    /// How many letters are the same from there on.
    fn common(&self, from: usize, secret: &[char]) -> usize {
        self.plain[from..].iter().zip(secret).take_while(|((letter, ..), of_secret)| letter == *of_secret).count()
    }

    fn into_text(self) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut was_secret = false;
        for (c, is_secret) in self.text.into_iter().zip(self.is_secret) {
            match (was_secret, is_secret) {
                (false, true) => text.push_str(REDACTED),
                (_, true) => {}
                (_, false) => text.push(c),
            }
            was_secret = is_secret;
        }
        text
    }
}

/// The letter that a text begins with, and how long it is: three for a percent-encoded one, also if the percent sign is
/// itself encoded.
fn decoded(text: &[char]) -> (char, usize) {
    let digits = match text {
        ['%', '2', '5', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => [*high, *low],
        ['%', high, low, ..] => [*high, *low],
        [letter, ..] => return (*letter, 1),
        [] => return (' ', 1),
    };
    let byte = u8::from_str_radix(&String::from_iter(digits), 16).ok().filter(|byte| byte.is_ascii_graphic());
    match (byte, text) {
        (Some(byte), ['%', '2', '5', high, ..]) if high.is_ascii_hexdigit() => (char::from(byte), 5),
        (Some(byte), _) => (char::from(byte), 3),
        (None, _) => (text[0], 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "92_aB+c/d=e_0123456789abcdefghij";

    fn clean(text: &str) -> String {
        redacted(text, &[TOKEN, "", "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144"])
    }

    #[test]
    fn a_secret_is_found_however_it_is_dressed() {
        let forms = [
            TOKEN.to_owned(),
            format!("{}\u{1}{}", &TOKEN[..9], &TOKEN[9..]),
            format!("{}\u{200b}{}\u{202e}{}", &TOKEN[..4], &TOKEN[4..9], &TOKEN[9..]),
            format!("{} \r\n\t{}", &TOKEN[..20], &TOKEN[20..]),
            TOKEN.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D"),
            TOKEN.replace('+', "%252B").replace('/', "%252F").replace('=', "%253D"),
            TOKEN.bytes().map(|b| format!("%{b:02x}")).collect(),
            TOKEN.to_uppercase(),
            TOKEN[..12].to_owned(),
            TOKEN[20..].to_owned(),
            TOKEN[10..20].to_owned(),
        ];
        for form in forms {
            assert_eq!(clean(&format!("bad [{form}] rid: 65f3e9f7-77cf1a1c")), "bad [***] rid: 65f3e9f7-77cf1a1c");
        }
        assert_eq!(clean("code e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144."), "code ***.");
    }

    #[test]
    fn a_short_secret_is_found_whole_and_what_is_none_stays() {
        assert_eq!(redacted("TOKEN with CO\u{0}DE is 100% TOK", &["TOKEN", "CODE"]), "*** with *** is 100% TOK");
        let kept = "invalid credential, access_token is invalid or not latest rid: 6949fe38-2c1f7a31-2b4b7e1a %";
        assert_eq!(clean(kept), kept);
        assert_eq!(clean("无效的凭证"), "无效的凭证");
    }

    #[test]
    fn nothing_invisible_is_left() {
        let odd = "a\u{0}b\u{7f}c\u{85}d\u{9b}e\u{ad}f\u{200d}g\u{202e}h\u{2066}i\u{feff}j\u{e0041}k\u{2028}l\u{3164}m";
        assert_eq!(redacted(odd, &[]), "abcdefghijklm");
        assert_eq!(clean("a\u{a0}b\u{3000}c"), "a b c");
    }
}
