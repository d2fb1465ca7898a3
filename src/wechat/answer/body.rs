//! Bodies that something on the way has compressed. quicklogin asks for none (it sends no `Accept-Encoding`), so nothing
//! promises that a `Content-Encoding` says what was done: the bytes do.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::wechat::wire::MAX_ANSWER_BYTES;

/// A body may be compressed this many times over.
const LAYERS_MOST: usize = 4;

/// A body as it was before it was compressed.
pub(super) struct Plain<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Whether there was more than is kept.
    pub(super) too_long: bool,
}

impl<'a> Plain<'a> {
    /// Undoes gzip and zlib, which their first bytes tell, as often as there are. Of a body that is cut, what can be had.
    pub(super) fn of(body: &'a [u8]) -> Self {
        let mut plain = Self { bytes: Cow::Borrowed(body), too_long: false };
        for _ in 0..LAYERS_MOST {
            let bytes = plain.bytes.as_ref();
            let unpacked = match bytes {
                [0x1f, 0x8b, ..] => unpack(MultiGzDecoder::new(bytes)),
                [first, second, ..] if is_zlib(*first, *second) => unpack(ZlibDecoder::new(bytes)),
                _ => None,
            };
            let Some(unpacked) = unpacked else { break };
            plain = unpacked;
        }
        plain
    }

    /// Undoes deflate without a header, which nothing tells.
    pub(super) fn deflated(body: &[u8]) -> Option<Plain<'static>> {
        unpack(DeflateDecoder::new(body))
    }
}

fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

/// What comes out, up to the bound and to the first error. None: nothing does.
fn unpack(packed: impl Read) -> Option<Plain<'static>> {
    let mut packed = packed.take(MAX_ANSWER_BYTES as u64 + 1);
    let mut bytes = Vec::new();
    // What came before an error is kept.
    let _ = packed.read_to_end(&mut bytes);
    let too_long = bytes.len() > MAX_ANSWER_BYTES;
    bytes.truncate(MAX_ANSWER_BYTES);
    (!bytes.is_empty()).then_some(Plain { bytes: Cow::Owned(bytes), too_long })
}
