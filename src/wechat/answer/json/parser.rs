//! Text to values, going on behind what is no JSON.

use super::{Json, Object};
use crate::wechat::answer::cleaned::is_invisible;

/// Deeper values are not read. WeChat's are three deep.
const DEPTH_MOST: usize = 32;

/// Reads one value from some place of a text on.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    is_clean: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self::at(text, 0)
    }

    pub(super) fn at(text: &'a str, at: usize) -> Self {
        Self { text, at, depth: 0, is_clean: true }
    }

    /// Whether nothing had to be skipped so far.
    pub(super) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// The content of a text that is one JSON string.
    pub(super) fn quoted(&mut self) -> Option<String> {
        self.skip_blanks();
        if self.peek() == Some('"') { self.string() } else { None }
    }

    /// None: there is no value, or it is cut.
    pub(super) fn value(&mut self) -> Option<Json> {
        self.skip_blanks();
        match self.peek()? {
            '"' => self.string().map(Json::Text),
            '{' | '[' if self.depth == DEPTH_MOST => None,
            '{' => Some(Json::Object(self.nested(Self::object))),
            '[' => self.nested(Self::array).map(Json::Array),
            ',' | ':' | '}' | ']' => None,
            _ => self.word().map(Json::Bare),
        }
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.depth += 1;
        self.next();
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Object {
        let mut object = Object::default();
        loop {
            self.skip_blanks();
            match self.peek() {
                None => return object,
                Some('}') => {
                    self.next();
                    object.whole = true;
                    return object;
                }
                Some(',') => self.next(),
                Some('"') => match self.field() {
                    Some(field) => object.fields.push(field),
                    None => self.recover(),
                },
                Some(_) => self.recover(),
            }
        }
    }

    fn field(&mut self) -> Option<(String, Json)> {
        let name = self.string()?;
        self.skip_blanks();
        if self.peek() != Some(':') {
            return None;
        }
        self.next();
        let value = self.value()?;
        self.skip_blanks();
        if !matches!(self.peek(), None | Some(',' | '}')) {
            // The string may have had a quote inside. What was read of it stays.
            self.recover();
        }
        Some((name, value))
    }

    /// None: its closing bracket is missing.
    fn array(&mut self) -> Option<Vec<Json>> {
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            match self.peek()? {
                ']' => {
                    self.next();
                    return Some(items);
                }
                ',' => self.next(),
                _ => items.push(self.value()?),
            }
        }
    }

    /// The string that begins here. None: its closing quote is missing.
    fn string(&mut self) -> Option<String> {
        self.next();
        let mut string = String::new();
        loop {
            let c = self.peek()?;
            self.next();
            match c {
                '"' => return Some(string),
                '\\' => string.push(self.escaped()?),
                other => string.push(other),
            }
        }
    }

    /// What a backslash stands for together with what follows. One that means nothing stands for itself.
    fn escaped(&mut self) -> Option<char> {
        let c = self.peek()?;
        let plain = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '"' | '\\' | '/' => c,
            'u' => return Some(self.unicode().unwrap_or('\\')),
            _ => return Some('\\'),
        };
        self.next();
        Some(plain)
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex(self.at + 1)?;
        self.at += 5;
        let second = self.rest().starts_with("\\u").then(|| self.hex(self.at + 2)).flatten();
        match (first, second) {
            (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
                self.at += 6;
                char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
            }
            _ => Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    }

    /// A word without quotes. None: the text ends with it, so that more of it may have been lost.
    fn word(&mut self) -> Option<String> {
        let ends = |c: char| matches!(c, ',' | ':' | '}' | ']' | '{' | '[' | '"') || is_blank(c);
        let Some(length) = self.rest().find(ends) else {
            self.at = self.text.len();
            return None;
        };
        let word = &self.rest()[..length];
        self.at += length;
        Some(word.to_owned())
    }

    /// Goes on where the next field may begin.
    fn recover(&mut self) {
        self.is_clean = false;
        self.at = self.rest().find([',', '}']).map_or(self.text.len(), |length| self.at + length);
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().find(|c| !is_blank(c));
        self.at = blanks.map_or(self.text.len(), |length| self.at + length);
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || is_invisible(c)
}
