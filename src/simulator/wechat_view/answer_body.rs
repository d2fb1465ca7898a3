//! The body of an answer: whole, cut short, or huge. Whoever asked for it knows why.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::Dropped;

const HUGE_CHUNK_BYTES: usize = 16 * 1024;
static HUGE_CHUNK: [u8; HUGE_CHUNK_BYTES] = [b'x'; HUGE_CHUNK_BYTES];

/// A body as it goes out.
pub(in crate::simulator) enum AnswerBody {
    Whole(Option<Bytes>),
    /// Announces `length` bytes and breaks off after half of them, or hangs.
    Half {
        length: u64,
        next: Half,
        hangs: bool,
    },
    Huge {
        left: u64,
    },
    Control(axum::body::Body),
}

pub(in crate::simulator) enum Half {
    Send(Bytes),
    Flush,
    Break,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Half { next, hangs, .. } => match std::mem::replace(next, Half::Flush) {
                Half::Send(body) => Poll::Ready(Some(Ok(Frame::data(body.slice(..body.len() / 2))))),
                Half::Flush if *hangs => Poll::Pending,
                // Waiting once lets hyper put on the wire what it has.
                Half::Flush => {
                    *next = Half::Break;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Half::Break => Poll::Ready(Some(Err(Dropped))),
            },
            Self::Huge { left: 0 } => Poll::Ready(None),
            Self::Huge { left } => {
                let chunk = HUGE_CHUNK_BYTES.min(usize::try_from(*left).unwrap_or(HUGE_CHUNK_BYTES));
                *left -= chunk as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&HUGE_CHUNK[..chunk])))))
            }
            Self::Control(body) => Pin::new(body).poll_frame(cx).map_err(|_| Dropped),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_none(),
            Self::Control(body) => body.is_end_stream(),
            Self::Half { .. } | Self::Huge { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Half { length, .. } => SizeHint::with_exact(*length),
            Self::Huge { .. } => SizeHint::default(),
            Self::Control(body) => body.size_hint(),
        }
    }
}
