//! A connection's socket, which fails when the peer has not read anything for too long, and which tells whether the last
//! write is still waiting for the peer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

/// The socket; all it does besides is keep the time of a write that cannot go on.
pub(super) struct Progress<S> {
    socket: S,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    is_stalled: watch::Sender<bool>,
}

/// Whether bytes wait for the peer; cheap to clone.
#[derive(Clone)]
pub(super) struct Stalled(watch::Receiver<bool>);

impl<S> Progress<S> {
    /// A socket whose writes fail after `limit` without progress.
    pub(super) fn within(limit: Duration, socket: S) -> (Self, Stalled) {
        let (is_stalled, stalled) = watch::channel(false);
        (Self { socket, limit, stalled: None, is_stalled }, Stalled(stalled))
    }

    fn watched(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.is_stalled.send_replace(false);
            }
            return written;
        }
        if self.stalled.is_none() {
            self.is_stalled.send_replace(true);
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Stalled {
    /// Waits until all that was written has been taken by the kernel.
    pub(super) async fn is_over(&self) {
        if *self.0.borrow() {
            // An error means that the socket is gone, and this with it.
            let _ = self.0.clone().wait_for(|is_stalled| !is_stalled).await;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progress<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Progress<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watched(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watched(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_ends_the_write() {
        let (ours, _theirs) = duplex(16);
        let (mut socket, _) = Progress::within(LIMIT, ours);
        let began = Instant::now();
        let failed = socket.write_all(&[0; 17]).await.expect_err("nobody reads");
        assert_eq!((failed.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, LIMIT.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_slowly_gets_all_and_the_stall_is_told() {
        let (ours, mut theirs) = duplex(1);
        let (mut socket, stalled) = Progress::within(LIMIT, ours);
        let writing = tokio::spawn(async move { socket.write_all(b"slow").await.map(|()| socket) });
        for byte in b"slow" {
            sleep(LIMIT - Duration::from_millis(1)).await;
            assert!(*byte == b'w' || *stalled.0.borrow(), "the write waits");
            assert_eq!(theirs.read_u8().await.expect("it is sent"), *byte);
        }
        let _socket = writing.await.expect("no panic").expect("each byte is in time");
        stalled.is_over().await;
    }
}
