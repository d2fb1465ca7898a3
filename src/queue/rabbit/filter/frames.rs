//! One AMQP frame that RabbitMQ sent: what lapin cannot read in it is replaced. Pure.

use crate::queue::rabbit::filter::fields::{self, Cursor};

/// Type, channel, length.
pub(super) const FRAME_HEAD: usize = 7;
/// The head, and the byte at the end.
pub(super) const FRAME_MORE: usize = FRAME_HEAD + 1;
const FRAME_END: u8 = 0xCE;
/// Of the payload of a content header: class, weight, length of the body.
pub(super) const CONTENT_HEAD: usize = 12;
/// lapin agrees on no shorter frames.
pub(super) const SHORTEST_FRAME_MAX: usize = 4096;

/// The longest method that is looked at; those of interest are much shorter.
const METHOD_MOST: usize = SHORTEST_FRAME_MAX;
const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;

/// What a frame says of itself.
#[derive(Clone, Copy)]
pub(super) struct Head {
    kind: u8,
    /// Of the whole frame.
    pub(super) length: usize,
}

impl Head {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let head: [u8; FRAME_HEAD] = *bytes.first_chunk()?;
        let payload = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        Some(Self { kind: head[0], length: payload + FRAME_MORE })
    }

    /// Whether a frame of this type can hold what a publisher has chosen, other than a body.
    pub(super) fn is_checked(self) -> bool {
        self.kind == CONTENT_HEADER || (self.kind == METHOD && self.length <= METHOD_MOST)
    }

    /// Not a frame, but the version of AMQP that RabbitMQ speaks; nothing follows it.
    pub(super) fn is_protocol_header(self) -> bool {
        self.kind == b'A'
    }
}

/// Looks at a whole frame: what lapin is to read instead, which is not longer. A text in it may be changed in its place.
/// `frame_max` is the longest frame that lapin takes; it changes when the two sides agree on it.
pub(super) fn check(frame: &mut [u8], frame_max: &mut usize) -> Option<Vec<u8>> {
    let (kind, length, end) = (frame[0], frame.len(), frame.last() == Some(&FRAME_END));
    let payload = frame.get_mut(FRAME_HEAD..length - 1).filter(|_| end)?;
    match kind {
        METHOD => {
            agree(payload, frame_max);
            check_method(payload);
            None
        }
        CONTENT_HEADER if length > *frame_max || !is_readable(payload) => {
            let payload = readable(payload, *frame_max - FRAME_MORE)?;
            Some(framed(&frame[..3], &payload))
        }
        _ => None,
    }
}

/// The content header without any property, of a content header whose first bytes these are.
pub(super) fn bare(begin: &[u8; FRAME_HEAD + CONTENT_HEAD]) -> Vec<u8> {
    framed(&begin[..3], &[&begin[FRAME_HEAD..], &[0, 0]].concat())
}

fn framed(kind_and_channel: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("no longer than the frame was");
    [kind_and_channel, &length.to_be_bytes(), payload, &[FRAME_END]].concat()
}

/// As lapin does: the smaller of what the two sides want, if both want something.
fn agree(payload: &[u8], frame_max: &mut usize) {
    // connection.tune: channel_max in two bytes, frame_max in four.
    if let Some(&[0, 10, 0, 30, _, _, a, b, c, d]) = payload.first_chunk() {
        let wanted = u32::from_be_bytes([a, b, c, d]) as usize;
        if wanted != 0 && wanted < *frame_max {
            *frame_max = wanted.max(SHORTEST_FRAME_MAX);
        }
    }
}

/// What is in a method before the next short string.
enum Part {
    Text,
    Bytes(usize),
}

/// Makes text of the short strings in those methods whose strings a publisher chooses, or which RabbitMQ cuts off at 255
/// bytes, be it in the middle of a character.
fn check_method(payload: &mut [u8]) {
    use Part::{Bytes, Text};
    let Some(&[0, class, 0, method]) = payload.first_chunk() else { return };
    let parts: &[Part] = match (class, method) {
        // basic.deliver: consumer tag; delivery tag, redelivered; exchange, routing key
        (60, 60) => &[Text, Bytes(9), Text, Text],
        // basic.get-ok: delivery tag, redelivered; exchange, routing key
        (60, 71) => &[Bytes(9), Text, Text],
        // basic.return: code; text, exchange, routing key
        (60, 50) => &[Bytes(2), Text, Text, Text],
        // connection.close, channel.close: code; text
        (10, 50) | (20, 40) => &[Bytes(2), Text],
        // connection.blocked: reason
        (10, 60) => &[Text],
        _ => return,
    };
    let mut at = 4;
    for part in parts {
        match part {
            Bytes(length) => at += length,
            Text => {
                let Some(length) = payload.get(at) else { return };
                let end = at + 1 + usize::from(*length);
                let Some(text) = payload.get_mut(at + 1..end) else { return };
                fields::make_text(text);
                at = end;
            }
        }
    }
}

/// The properties of a message, in their order; each is there if its flag is set.
#[derive(Clone, Copy)]
enum Property {
    Text,
    Headers,
    Bytes(usize),
}

const PROPERTIES: [Property; 14] = {
    use Property::{Bytes, Headers, Text};
    // content_type, content_encoding, headers, delivery_mode, priority, correlation_id, reply_to, expiration, message_id,
    // timestamp, type, user_id, app_id, cluster_id
    [Text, Text, Headers, Bytes(1), Bytes(1), Text, Text, Text, Text, Bytes(8), Text, Text, Text, Text]
};

/// The longest that the properties behind the headers can be.
const BEHIND_HEADERS_MOST: usize = 8 * 256 + 2 + 8;

fn flag(property: usize) -> u16 {
    1 << (15 - property)
}

fn present(flags: u16) -> impl Iterator<Item = (usize, Property)> {
    PROPERTIES.into_iter().enumerate().filter(move |(n, _)| flags & flag(*n) != 0)
}

/// Whether lapin reads this payload of a content header.
fn is_readable(payload: &[u8]) -> bool {
    let mut cursor = Cursor(payload);
    let Some(flags) = cursor.take(CONTENT_HEAD).and_then(|_| cursor.u16()) else { return false };
    let mut all = present(flags);
    all.all(|(_, property)| match property {
        Property::Text => cursor.short().is_some_and(|text| std::str::from_utf8(text).is_ok()),
        Property::Headers => cursor.long().is_some_and(fields::are_readable),
        Property::Bytes(length) => cursor.take(length).is_some(),
    }) && cursor.0.is_empty()
}

/// The payload as lapin reads it, of at most `most` bytes: each property as far as it can be read. `None`: it is not even
/// the beginning of a content header.
fn readable(payload: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut cursor = Cursor(payload);
    let mut made = cursor.take(CONTENT_HEAD)?.to_vec();
    let flags = cursor.u16()?;
    made.extend_from_slice(&[0, 0]);
    let mut kept = 0;
    for (n, property) in present(flags) {
        match property {
            Property::Text => {
                let Some(text) = cursor.short() else { break };
                made.push(u8::try_from(text.len()).expect("its length was one byte"));
                let at = made.len();
                made.extend_from_slice(text);
                fields::make_text(&mut made[at..]);
            }
            Property::Headers => {
                let Some(entries) = cursor.long_or_rest() else { break };
                let at = made.len();
                made.extend_from_slice(&[0; 4]);
                let room = most.saturating_sub(made.len() + cursor.0.len().min(BEHIND_HEADERS_MOST));
                fields::copy_readable(entries, room, &mut made);
                let length = u32::try_from(made.len() - at - 4).expect("no longer than the frame was");
                made[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            Property::Bytes(length) => {
                let Some(bytes) = cursor.take(length) else { break };
                made.extend_from_slice(bytes);
            }
        }
        kept |= flag(n);
    }
    made[CONTENT_HEAD..CONTENT_HEAD + 2].copy_from_slice(&kept.to_be_bytes());
    Some(made)
}
