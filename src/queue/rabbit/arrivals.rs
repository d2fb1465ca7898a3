//! What comes of several queues by one channel, in the order in which RabbitMQ sent it: none is put off for the sake of
//! another, and acks that follow this order can be told as few.

use std::future::poll_fn;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use lapin::message::Delivery;

use crate::queue::rabbit::watch::Quiet;

/// The consumers of one channel, each of a queue of its own.
pub(super) struct Arrivals<S>(Vec<Arriving<S>>);

/// What comes of one queue.
pub(super) struct Arriving<S> {
    pub(super) consumer: S,
    /// What has come first and was not taken yet: something of another queue came before it.
    pub(super) first: Option<Delivery>,
}

impl<S: Stream<Item = lapin::Result<Delivery>> + Unpin> Arrivals<S> {
    pub(super) fn of(consumers: Vec<S>) -> Self {
        Self(consumers.into_iter().map(|consumer| Arriving { consumer, first: None }).collect())
    }

    /// The next one, and of which queue it is; or why no more come. Dropped half-way, it has taken nothing.
    pub(super) async fn next(&mut self, quiet: &Quiet) -> Result<(usize, Delivery), String> {
        poll_fn(|context| self.poll_next(context, quiet)).await
    }

    /// For the end: each consumer with what has come of it.
    pub(super) fn into_parts(self) -> Vec<Arriving<S>> {
        self.0
    }

    /// A channel numbers its deliveries, whichever consumer they are for, and the lowest number was sent first.
    fn poll_next(&mut self, context: &mut Context<'_>, quiet: &Quiet) -> Poll<Result<(usize, Delivery), String>> {
        let mut lowest: Option<(u64, usize)> = None;
        for (queue, arriving) in self.0.iter_mut().enumerate() {
            if arriving.first.is_none() {
                match arriving.consumer.poll_next_unpin(context) {
                    Poll::Ready(Some(Ok(delivery))) => arriving.first = Some(delivery),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.to_string())),
                    Poll::Ready(None) => return Poll::Ready(Err("RabbitMQ cancelled the consumer".into())),
                    Poll::Pending => {}
                }
            }
            quiet.found(queue, arriving.first.is_some());
            let tag = arriving.first.as_ref().map(|delivery| (delivery.delivery_tag, queue));
            lowest = lowest.into_iter().chain(tag).min();
        }
        let Some((_, queue)) = lowest else { return Poll::Pending };
        let delivery = self.0[queue].first.take().expect("it was just seen there");
        Poll::Ready(Ok((queue, delivery)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    use super::*;

    /// A queue, and who sends its deliveries.
    struct Sent(mpsc::UnboundedReceiver<u64>);

    impl Stream for Sent {
        type Item = lapin::Result<Delivery>;

        fn poll_next(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            let mock = |tag| Ok(Delivery::mock(tag, "".into(), "".into(), false, vec![]));
            self.0.poll_recv(context).map(|tag| tag.map(mock))
        }
    }

    fn queues(number: usize) -> (Vec<mpsc::UnboundedSender<u64>>, Arrivals<Sent>, Quiet) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..number).map(|_| mpsc::unbounded_channel()).unzip();
        (senders, Arrivals::of(receivers.into_iter().map(Sent).collect()), Quiet::of(number))
    }

    /// What is there: of which queue, and its tag.
    fn taken(arrivals: &mut Arrivals<Sent>, quiet: &Quiet) -> Option<(usize, u64)> {
        let (queue, delivery) = arrivals.next(quiet).now_or_never()?.expect("none has ended");
        Some((queue, delivery.delivery_tag))
    }

    #[test]
    fn they_come_in_the_order_in_which_they_were_sent() {
        let (senders, mut arrivals, quiet) = queues(3);
        for (queue, tag) in [(2, 1), (0, 2), (0, 3), (2, 5), (1, 4)] {
            senders[queue].send(tag).expect("it is listened to");
        }
        let all: Vec<_> = std::iter::from_fn(|| taken(&mut arrivals, &quiet)).collect();
        assert_eq!(all, [(2, 1), (0, 2), (0, 3), (1, 4), (2, 5)]);
        senders[1].send(6).expect("it is listened to");
        assert_eq!(taken(&mut arrivals, &quiet), Some((1, 6)), "what was empty is looked at again");
    }

    #[test]
    fn one_that_ends_ends_all() {
        let (mut senders, mut arrivals, quiet) = queues(2);
        senders[0].send(1).expect("it is listened to");
        drop(senders.pop());
        assert!(arrivals.next(&quiet).now_or_never().expect("at once").is_err());
        let left: Vec<_> = arrivals.into_parts().into_iter().map(|queue| queue.first.is_some()).collect();
        assert_eq!(left, [true, false], "what has come of another is still there, to be given back");
    }
}
