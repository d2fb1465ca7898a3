//! Several queues instead of one: what they are called, and which of them a login goes to.
//!
//! A quorum queue is one Erlang process for all that goes through it, so that one of the broker's cores is about all it
//! ever has. The first shard is the queue by its own name and routing key: whoever publishes and knows of no shards goes
//! on as before, and what waits there when shards are added is consumed like all else.

use std::borrow::Cow;

use crate::login::RequestId;
use crate::queue::rabbit::RabbitSettings;

impl RabbitSettings {
    /// The queues that workers consume, the first shard's first.
    pub(super) fn queues(&self) -> Vec<String> {
        (0..self.shards.max(1)).map(|shard| named(&self.queue, shard).into_owned()).collect()
    }

    /// The routing keys of the same, in the same order.
    pub(super) fn routing_keys(&self) -> Vec<String> {
        (0..self.shards.max(1)).map(|shard| named(&self.routing_key, shard).into_owned()).collect()
    }

    /// The routing key of the shard of this login.
    pub(super) fn routing_key_of(&self, id: &RequestId) -> Cow<'_, str> {
        named(&self.routing_key, shard_of(id.as_str(), self.shards))
    }
}

fn named(first: &str, shard: u16) -> Cow<'_, str> {
    if shard == 0 { first.into() } else { format!("{first}.{shard}").into() }
}

/// Which of so many shards the login of this id goes to, from 0. Part of the contract: gateways in other languages do the
/// same.
pub fn shard_of(request_id: &str, shards: u16) -> u16 {
    match shards {
        ..2 => 0,
        shards => (crc32(request_id.as_bytes()) % u32::from(shards)) as u16,
    }
}

/// CRC-32/ISO-HDLC, the one of zlib, gzip and PNG, which every language has at hand. Bit by bit, without a table: ids are
/// short.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), bit);
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_every_language_has() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of CRC-32/ISO-HDLC");
        // As Python's zlib.crc32 says.
        assert_eq!(crc32(b"0199c0de-7a11-7000-8000-000000000001"), 0xB884_F939);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn ids_of_any_kind_are_spread_evenly() {
        const IDS: u32 = 20_000;
        let counted = (0..IDS).map(|n| format!("order-{n}")).collect::<Vec<_>>();
        let generated = (0..IDS).map(|_| RequestId::generate().to_string()).collect();
        for (ids, shards) in [counted, generated].iter().flat_map(|ids| [2, 3, 8, 10, 64].map(|shards| (ids, shards))) {
            let mut counts = vec![0; usize::from(shards)];
            ids.iter().for_each(|id| counts[usize::from(shard_of(id, shards))] += 1);
            let fair = IDS / u32::from(shards);
            // Six times what chance makes of it.
            let allowed = 6 * fair.isqrt();
            assert!(counts.iter().all(|count| fair.abs_diff(*count) <= allowed), "{shards}: {counts:?}");
        }
    }

    #[test]
    fn one_shard_is_the_queue_itself_and_more_are_numbered_behind_it() {
        assert_eq!((named("q", 0), named("q", 1), named("q", 12)), ("q".into(), "q.1".into(), "q.12".into()));
        assert_eq!([0, 1].map(|shards| shard_of("any", shards)), [0, 0]);
    }
}
