//! Randomness that only has to look like WeChat's own: tokens, codes, hints, jitter.
//! Deliberately not cryptographic: nothing here guards anything.

use std::hash::{BuildHasher, RandomState};

const HEX: &[u8; 16] = b"0123456789abcdef";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A keyed counter: SipHash of how many were drawn, under keys that differ from run to run.
pub(super) struct Random {
    keys: RandomState,
    drawn: u64,
}

impl Random {
    pub(super) fn new() -> Self {
        Self { keys: RandomState::new(), drawn: 0 }
    }

    /// One of `0..=most`, near enough to evenly.
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.draw() % most.saturating_add(1) }
    }

    pub(super) fn hex(&mut self, chars: usize) -> String {
        let mut text = String::with_capacity(chars);
        self.push(&mut text, chars, HEX);
        text
    }

    pub(super) fn push_hex(&mut self, text: &mut String, chars: usize) {
        self.push(text, chars, HEX);
    }

    pub(super) fn push_url_safe(&mut self, text: &mut String, chars: usize) {
        self.push(text, chars, URL_SAFE);
    }

    fn push(&mut self, text: &mut String, chars: usize, alphabet: &[u8]) {
        // Eight characters a draw: the alphabets have 16 and 64 letters, so a byte's low bits do.
        let letters = alphabet.len();
        let mut left = chars;
        while left > 0 {
            for byte in self.draw().to_le_bytes().into_iter().take(left) {
                text.push(char::from(alphabet[usize::from(byte) % letters]));
                left -= 1;
            }
        }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.keys.hash_one(self.drawn)
    }
}
