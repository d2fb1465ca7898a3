//! How near a delivery is to the end of what RabbitMQ delivers.
//!
//! RabbitMQ counts each time that a process ends, a connection breaks or a worker stops with a message in hand, and past
//! the queue's limit moves it to the dead letters, where nobody writes a result. So a queue of our own making allows far
//! more than is ordinary, and workers conclude a login before its queue does.

use crate::queue::Returns;

/// A queue of our making takes back so many times as often as is ordinary.
const BACKSTOP: u64 = 10;
/// The last of so many deliveries are one too many for an ordinary walk, so that a worker that ends over the first of
/// these has successors.
const SPARE_OF: u64 = 8;
const SPARE_MOST: u64 = 2;

/// How often messages may come back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    ordinary: u64,
    queues: u64,
    /// Whether RabbitMQ has told the queue's own limit.
    is_told: bool,
}

/// What a queue of our making is told.
pub(super) fn backstop(delivery_limit: u32) -> u64 {
    u64::from(delivery_limit).max(1) * BACKSTOP
}

impl Limits {
    /// `queues`: the queue's own limit, as far as it is known. One that is not was made by an operator, or by us when
    /// it was ours that counted.
    pub(super) fn new(delivery_limit: u32, queues: Option<u64>) -> Self {
        let ordinary = u64::from(delivery_limit);
        Self { ordinary, queues: queues.unwrap_or(ordinary), is_told: queues.is_some() }
    }

    /// The same for a queue that was not declared with this limit.
    pub(super) fn untold(self) -> Self {
        Self { is_told: false, ..self }
    }

    /// A count above what the queue allows is not RabbitMQ's: the publisher has copied it, and RabbitMQ has not written its
    /// own over it.
    pub(super) fn believed(self, taken_back: u64) -> u64 {
        if self.is_told && taken_back > self.queues { 0 } else { taken_back }
    }

    /// Of a message that has come back so often.
    pub(super) fn of(self, taken_back: u64) -> Returns {
        let spare = (self.queues / SPARE_OF).min(SPARE_MOST);
        match taken_back {
            0 => Returns::Few,
            _ if taken_back + spare >= self.queues => Returns::Last,
            _ if taken_back >= self.ordinary => Returns::Many,
            _ => Returns::Few,
        }
    }
}

/// The limit of a queue that is there, from RabbitMQ's answer to a declaration with another: nothing else tells it.
pub(super) fn limit_in(refusal: &str) -> Option<u64> {
    let (_, values) = refusal.split_once("inequivalent arg 'x-delivery-limit'")?;
    let (_, current) = values.rsplit_once("but current is ")?;
    let current = current.strip_prefix("the value ").unwrap_or(current);
    // RabbitMQ cuts off what gets too long: a number counts only with the quote behind it.
    current.strip_prefix('\'')?.split_once('\'')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(delivery_limit: u32, queues: Option<u64>, counts: &[u64]) -> Vec<Returns> {
        counts.iter().map(|count| Limits::new(delivery_limit, queues).of(*count)).collect()
    }

    #[test]
    fn a_queue_of_our_making_allows_much_more_than_is_ordinary() {
        use Returns::{Few, Last, Many};
        let queues = Some(backstop(20));
        assert_eq!(of(20, queues, &[0, 19, 20, 197, 198, 200, 1000]), [Few, Few, Many, Many, Last, Last, Last]);
    }

    #[test]
    fn in_a_queue_of_another_limit_the_last_deliveries_are_concluded_whatever_is_ordinary() {
        use Returns::{Few, Last, Many};
        assert_eq!(of(20, None, &[0, 17, 18, 20]), [Few, Few, Last, Last], "taken for ours of former times");
        assert_eq!(of(20, Some(5), &[0, 4, 5]), [Few, Few, Last]);
        assert_eq!(of(3, Some(20), &[2, 3, 17, 18]), [Few, Many, Many, Last]);
    }

    #[test]
    fn what_comes_for_the_first_time_is_always_walked() {
        for queues in [None, Some(0), Some(1)] {
            assert_eq!(of(0, queues, &[0, 1]), [Returns::Few, Returns::Last]);
        }
        assert_eq!(backstop(0), 10);
    }

    #[test]
    fn a_count_that_the_queue_does_not_allow_is_not_believed() {
        let believed =
            |queues: Option<u64>, counts: [u64; 4]| counts.map(|count| Limits::new(20, queues).believed(count));
        assert_eq!(believed(Some(200), [0, 5, 200, 201]), [0, 5, 200, 0]);
        assert_eq!(Limits::new(20, Some(200)).untold().believed(201), 201, "another queue's limit is higher");
        assert_eq!(believed(None, [5, 21, 500, u64::MAX]), [5, 21, 500, u64::MAX], "the limit may be higher");
    }

    #[test]
    fn rabbitmqs_words_tell_the_limit() {
        let refusal = |argument: &str, current: &str| {
            format!(
                "PRECONDITION_FAILED - inequivalent arg '{argument}' for queue 'q' in vhost 'v': received {current}"
            )
        };
        let numbers = refusal("x-delivery-limit", "'200' but current is '20'");
        assert_eq!(limit_in(&numbers), Some(20));
        let typed = "the value '200' of type 'long' but current is the value '20' of type 'long'";
        assert_eq!(limit_in(&refusal("x-delivery-limit", typed)), Some(20));
        let none = "the value '200' of type 'long' but current is none";
        assert_eq!(limit_in(&refusal("x-delivery-limit", none)), None);
        assert_eq!(limit_in(&refusal("x-delivery-limit", "'200' but current is '2")), None, "cut off");
        assert_eq!(limit_in(&refusal("x-max-length", "'200' but current is '20'")), None);
    }
}
