//! The logins that this worker has recorded lately. Their acks may be lost with a connection, and then they come again:
//! to be acked, and not to be asked again, be their result in the store any more or not, and be there a store or not.
//!
//! What is kept of an id is its hash, under a key that nobody else knows: ids are chosen by others, and at 128 bits no two
//! of them are taken for one.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard};

use crate::login::RequestId;

/// So many are remembered: more than a worker can settle before it notices that nobody hears it, unless it consumes many
/// shards with many slots. Past that, a copy finds the result in the store.
const MOST: usize = 10_000;

/// The request ids of these logins.
#[derive(Debug, Default)]
pub struct Recent {
    key: RandomState,
    /// The oldest first. Each login adds one, and only one that comes again is looked for, so there is no order to find
    /// it by.
    hashes: Mutex<VecDeque<u128>>,
}

impl Recent {
    /// It has its result.
    pub(super) fn remember(&self, id: &RequestId) {
        let hash = self.hash(id);
        let mut hashes = self.hashes();
        if hashes.len() == MOST {
            hashes.pop_front();
        }
        hashes.push_back(hash);
    }

    /// Whether it has, as far as is remembered.
    pub(super) fn has(&self, id: &RequestId) -> bool {
        let hash = self.hash(id);
        self.hashes().contains(&hash)
    }

    /// SipHash of the id, and of the id with a byte that none has.
    fn hash(&self, id: &RequestId) -> u128 {
        let mut hasher = self.key.build_hasher();
        hasher.write(id.as_str().as_bytes());
        let half = hasher.finish();
        hasher.write_u8(0xff);
        u128::from(half) << 64 | u128::from(hasher.finish())
    }

    fn hashes(&self) -> MutexGuard<'_, VecDeque<u128>> {
        self.hashes.lock().expect("nothing panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> RequestId {
        RequestId::try_from(format!("r-{n}").as_str()).expect("a good id")
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let recent = Recent::default();
        (0..=MOST).for_each(|n| recent.remember(&id(n)));
        assert_eq!([0, 1, MOST, MOST + 1].map(|n| recent.has(&id(n))), [false, true, true, false]);
        assert_eq!(recent.hashes().len(), MOST);
    }

    #[test]
    fn an_id_has_the_same_two_halves_each_time_and_only_here() {
        let recent = Recent::default();
        let hash = recent.hash(&id(1));
        assert_eq!(recent.hash(&id(1)), hash);
        assert_ne!((hash >> 64) as u64, hash as u64);
        assert_ne!(Recent::default().hash(&id(1)), hash, "the key is another");
    }
}
