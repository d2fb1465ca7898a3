//! Text of other systems, made safe to look at: control characters command a terminal, and format characters (the bidi
//! controls, for instance) make text look like other text.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Writes text with each character that [`is_harmful`] escaped as in Rust: `\n`, `\u{1b}`.
#[derive(Debug)]
pub struct Printable<W>(pub W);

/// The text on one line, without what commands a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    Printable(&mut safe).write_str(text).expect("a String takes everything");
    Cow::Owned(safe)
}

/// Whether a character is of one of Unicode's categories Cc, Cf, Zl and Zp (as of Unicode 17).
#[rustfmt::skip]
pub fn is_harmful(character: char) -> bool {
    match character {
        ' '..='~' => false,
        '\0'..='\u{9f}' => true,
        _ => matches!(
            character,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}'
        ),
    }
}

impl<W: Write> Write for Printable<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all text is visible ASCII, which a pass over its bytes finds out.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        let mut rest = text;
        while let Some(at) = rest.find(is_harmful) {
            let (safe, from) = rest.split_at(at);
            let harmful = from.chars().next().expect("one was found");
            self.0.write_str(safe)?;
            match harmful {
                '\n' => self.0.write_str("\\n")?,
                '\r' => self.0.write_str("\\r")?,
                '\t' => self.0.write_str("\\t")?,
                _ => write!(self.0, "\\u{{{:x}}}", harmful as u32)?,
            }
            rest = &from[harmful.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_or_turns_text_around_is_escaped() {
        for (text, expected) in [
            ("plain \"text\" \\ 手机号 é 🙂 e\u{301}", "plain \"text\" \\ 手机号 é 🙂 e\u{301}"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("two\r\nlines\ttab", "two\\r\\nlines\\ttab"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}cba\u{2066}\u{200e}\u{61c}", "\\u{202e}cba\\u{2066}\\u{200e}\\u{61c}"),
            ("a\u{200b}b\u{feff}\u{2028}\u{e0041}\u{ad}", "a\\u{200b}b\\u{feff}\\u{2028}\\u{e0041}\\u{ad}"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn all_that_std_does_not_show_as_it_is_and_can_be_a_control_is_escaped() {
        for character in ('\0'..=char::MAX).filter(|character| character.is_control()) {
            assert!(is_harmful(character), "{:x}", character as u32);
        }
    }
}
