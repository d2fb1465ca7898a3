//! tokio as lapin's runtime, with a filter on each connection: lapin takes the type of its stream from its runtime.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::tcp::AsyncTcpStream;

use crate::queue::rabbit::filter::Filtered;

/// TCP or TLS, of tokio.
pub(super) type PlainStream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;
/// What lapin reads from.
pub(super) type FilteredStream = AsyncTcpStream<Filtered<PlainStream>>;
pub(super) type FilteredRuntime = Runtime<RuntimeParts<Tokio, FilteredReactor>>;

/// The runtime that this is called on.
pub(super) fn current() -> FilteredRuntime {
    Runtime::new(RuntimeParts::new(Tokio::current(), FilteredReactor(Tokio::current())))
}

/// tokio's, but for the type of the stream. lapin connects by `dial` alone.
#[derive(Debug, Clone)]
pub(super) struct FilteredReactor(Tokio);

impl Reactor for FilteredReactor {
    type TcpStream = Filtered<PlainStream>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(period)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Filtered::new(AsyncTcpStream::Plain(connecting.await?), 0)) }
    }
}
