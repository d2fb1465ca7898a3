//! Between RabbitMQ's socket and lapin: what a publisher has written and lapin cannot read is replaced.
//!
//! RabbitMQ takes and delivers headers and properties that lapin's parser refuses, or that overflow its stack. lapin then
//! ends the connection or the process, RabbitMQ delivers the message again, and all of its neighbours are blamed. Only the
//! body and a few headers matter here, so the rest of such a message is made readable on its way. Bodies pass uncopied; a
//! frame that lies in the buffer as a whole is checked there, and only the beginning of another is held back.

mod fields;
mod frames;

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use tracing::debug;

use frames::{CONTENT_HEAD, FRAME_HEAD, Head, SHORTEST_FRAME_MAX};

/// The longest frame that is held back to be checked. Of a longer content header, all properties are left out.
const HELD_MOST: usize = 1024 * 1024;

/// A connection to RabbitMQ, of which lapin reads only what it understands.
pub(super) struct Filtered<S> {
    stream: S,
    frames: Frames,
}

/// Follows the frames of one connection.
struct Frames {
    /// The longest frame that lapin takes.
    frame_max: usize,
    /// So many bytes more belong to a frame that is not checked.
    passing: usize,
    /// So many bytes more belong to a content header of which nothing is handed on.
    dropping: usize,
    /// The beginning of a frame that is to be checked when it is there as a whole.
    held: Vec<u8>,
    /// So much of `held` was read.
    filled: usize,
    /// What is to be handed on before anything else, from `handed_on` on.
    made: Vec<u8>,
    handed_on: usize,
}

impl<S> Filtered<S> {
    /// `frame_max` is what lapin asks for; 0 is no limit.
    pub(super) fn new(stream: S, frame_max: u32) -> Self {
        let frame_max = match frame_max {
            0 => usize::MAX,
            some => SHORTEST_FRAME_MAX.max(some as usize),
        };
        let frames =
            Frames { frame_max, passing: 0, dropping: 0, held: Vec::new(), filled: 0, made: Vec::new(), handed_on: 0 };
        Self { stream, frames }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Filtered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        if to.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Self { stream, frames } = &mut *self;
        loop {
            let handed_on = frames.hand_on(to);
            if handed_on > 0 {
                return Poll::Ready(Ok(handed_on));
            }
            if let Some(missing) = frames.missing() {
                match ready!(Pin::new(&mut *stream).poll_read(context, missing))? {
                    0 => return Poll::Ready(Ok(0)),
                    read => frames.fill(read),
                }
                continue;
            }
            let read = ready!(Pin::new(&mut *stream).poll_read(context, to))?;
            let passed = frames.pass(&mut to[..read]);
            if read == 0 || passed > 0 {
                return Poll::Ready(Ok(passed));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Filtered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

impl Frames {
    /// Looks at bytes that were just read; those at the front that are to be handed on now, perhaps none.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut end) = (0, bytes.len());
        while at < end {
            if self.passing > 0 {
                let passed = self.passing.min(end - at);
                self.passing -= passed;
                at += passed;
                continue;
            }
            if self.dropping > 0 {
                let dropped = self.dropping.min(end - at);
                self.dropping -= dropped;
                bytes.copy_within(at + dropped..end, at);
                end -= dropped;
                continue;
            }
            let rest = &mut bytes[at..end];
            match Head::of(rest) {
                Some(head) if head.is_protocol_header() => self.passing = usize::MAX,
                Some(head) if !head.is_checked() => self.passing = head.length,
                Some(head) if head.length <= rest.len() => {
                    let frame = &mut rest[..head.length];
                    let replaced = self.check(frame).map_or(head.length, |made| {
                        frame[..made.len()].copy_from_slice(&made);
                        made.len()
                    });
                    bytes.copy_within(at + head.length..end, at + replaced);
                    end -= head.length - replaced;
                    at += replaced;
                }
                _ => {
                    self.hold(rest);
                    return at;
                }
            }
        }
        end
    }

    /// What a whole frame is to be replaced with; it is not longer.
    fn check(&mut self, frame: &mut [u8]) -> Option<Vec<u8>> {
        let made = match frame.first_chunk() {
            Some(begin) if frame.len() > HELD_MOST => Some(frames::bare(begin)),
            _ => frames::check(frame, &mut self.frame_max),
        };
        if made.is_some() {
            debug!("lapin cannot read the properties of a message; what it cannot read is left out");
        }
        made
    }

    fn hold(&mut self, begin: &[u8]) {
        self.held.clear();
        self.held.extend_from_slice(begin);
        self.filled = begin.len();
        self.go_on();
    }

    /// Room for what is missing of a frame that is held back.
    fn missing(&mut self) -> Option<&mut [u8]> {
        (self.filled < self.held.len()).then(|| &mut self.held[self.filled..])
    }

    /// So much of what was missing was read.
    fn fill(&mut self, read: usize) {
        self.filled += read;
        if self.filled == self.held.len() {
            self.go_on();
        }
    }

    /// Asks for more of the frame that is held back, or hands it on.
    fn go_on(&mut self) {
        const BEGIN: usize = FRAME_HEAD + CONTENT_HEAD;
        let Some(head) = Head::of(&self.held) else { return self.held.resize(FRAME_HEAD, 0) };
        let there = self.held.len();
        if head.is_protocol_header() {
            self.passing = usize::MAX;
        } else if !head.is_checked() {
            self.passing = head.length - there;
        } else if head.length > HELD_MOST {
            let Some(begin) = self.held.first_chunk::<BEGIN>() else { return self.held.resize(BEGIN, 0) };
            debug!("the properties of a message are longer than {HELD_MOST} bytes; they are left out");
            self.held = frames::bare(begin);
            self.dropping = head.length - there;
        } else if there < head.length {
            return self.held.resize(head.length, 0);
        } else {
            let mut frame = std::mem::take(&mut self.held);
            self.held = self.check(&mut frame).unwrap_or(frame);
        }
        self.made = std::mem::take(&mut self.held);
        (self.filled, self.handed_on) = (0, 0);
    }

    /// Hands on what was held back.
    fn hand_on(&mut self, to: &mut [u8]) -> usize {
        if self.made.is_empty() {
            return 0;
        }
        let rest = &self.made[self.handed_on..];
        let length = rest.len().min(to.len());
        to[..length].copy_from_slice(&rest[..length]);
        self.handed_on += length;
        if self.handed_on == self.made.len() {
            // Its memory is used again, unless it was an unusual frame.
            self.held = std::mem::take(&mut self.made);
            self.held.clear();
            self.held.shrink_to(SHORTEST_FRAME_MAX);
            self.handed_on = 0;
        }
        length
    }
}
