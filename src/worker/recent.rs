//! The logins that this worker has recorded lately. Their acks may be lost with a connection, and then they come again:
//! to be acked, and not to be asked again, be their result in the store any more or not, and be there a store or not.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

use crate::login::RequestId;

/// So many are remembered: more than a worker can settle before it notices that nobody hears it.
const MOST: usize = 10_000;

/// The request ids of these logins.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    all: HashSet<RequestId>,
    oldest_first: VecDeque<RequestId>,
}

impl Recent {
    /// It has its result.
    pub(super) fn remember(&self, id: &RequestId) {
        let Ids { all, oldest_first } = &mut *self.ids();
        if !all.insert(id.clone()) {
            return;
        }
        oldest_first.push_back(id.clone());
        if oldest_first.len() > MOST
            && let Some(oldest) = oldest_first.pop_front()
        {
            all.remove(&oldest);
        }
    }

    /// Whether it has, as far as is remembered.
    pub(super) fn has(&self, id: &RequestId) -> bool {
        self.ids().all.contains(id)
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> RequestId {
        RequestId::try_from(format!("r-{n}").as_str()).expect("a good id")
    }

    #[test]
    fn the_oldest_are_forgotten_and_one_that_comes_twice_takes_one_place() {
        let recent = Recent::default();
        (0..=MOST).for_each(|n| recent.remember(&id(n)));
        assert_eq!([0, 1, MOST, MOST + 1].map(|n| recent.has(&id(n))), [false, true, true, false]);
        recent.remember(&id(MOST));
        assert!(recent.has(&id(1)));
        let ids = recent.ids();
        assert_eq!(ids.all.len(), ids.oldest_first.len());
    }
}
