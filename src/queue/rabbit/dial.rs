//! Connecting: several endpoints in turn, one bound over TCP, TLS and AMQP.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_rs::TokioRuntime;
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::connect_fault;
use crate::fault_log::FaultLog;
use crate::queue::rabbit::BROKER_TIMEOUT;
use crate::queue::rabbit::filter::Filtered;
use crate::queue::rabbit::runtime::{self, FilteredRuntime, FilteredStream, PlainStream};
use crate::queue::rabbit::uri::{self, BadQueueUrl};
use crate::secret::Secret;

/// The longest frame, in bytes, where nothing is received that is long. lapin reserves 64 times this for each connection.
pub(super) const SHORT_FRAMES: u32 = 32 * 1024;
/// The longest frame where messages are received: all headers of a message come in one frame, as long as the server lets
/// publishers make it, and what RabbitMQ adds to them. Of a longer one the filter leaves out what is not needed.
pub(super) const LONG_FRAMES: u32 = 128 * 1024;

/// The brokers to try, each connection beginning with the next one.
#[derive(Clone)]
pub(super) struct Endpoints(Arc<Inner>);

struct Inner {
    uris: Vec<AMQPUri>,
    next: AtomicUsize,
    /// Shared by all connections to these brokers: one fault of theirs is one line.
    faults: FaultLog,
}

impl Endpoints {
    pub(super) fn parse(urls: &Secret) -> Result<Self, BadQueueUrl> {
        let uris = uri::parse(urls)?;
        Ok(Self(Arc::new(Inner { uris, next: AtomicUsize::new(0), faults: FaultLog::default() })))
    }

    /// Logs that there is no usable connection, if a line is due.
    pub(super) fn report(&self, why: &str) {
        if let Some(suppressed) = self.0.faults.failed(why) {
            let (at, hint) = (self.addresses(), connect_fault::hint(why));
            warn!(at, why, hint, suppressed, "no RabbitMQ; connecting again, for ever");
        }
    }

    /// Logs that there is a usable connection again, if it was logged that there is none.
    pub(super) fn report_success(&self) {
        if let Some(lasted) = self.0.faults.ended() {
            info!(at = self.addresses(), lasted_s = lasted.as_secs(), "RabbitMQ is connected again");
        }
    }

    /// Where they are, for a log: no credentials.
    pub(super) fn addresses(&self) -> String {
        let address = |uri: &AMQPUri| match &uri.authority {
            authority if authority.host.contains(':') => format!("[{}]:{}", authority.host, authority.port),
            authority => format!("{}:{}", authority.host, authority.port),
        };
        self.0.uris.iter().map(address).collect::<Vec<_>>().join(", ")
    }

    /// Connects to the first broker that answers. A URL may say another `frame_max`.
    pub(super) async fn connect(&self, name: &str, frame_max: u32) -> lapin::Result<Connection> {
        let mut last = io_error(std::io::ErrorKind::NotFound);
        for _ in 0..self.0.uris.len() {
            let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
            let mut uri = self.0.uris[turn % self.0.uris.len()].clone();
            uri.query.frame_max.get_or_insert(frame_max);
            match connect_one(uri, name).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

pub(super) fn io_error(kind: std::io::ErrorKind) -> lapin::Error {
    from_io(kind.into())
}

/// Dialling is ours, because lapin's would hang for ever, with a thread, on a peer that accepts and says nothing: the
/// socket is kept at hand to be shut when time is up.
async fn connect_one(uri: AMQPUri, name: &str) -> lapin::Result<Connection> {
    let dialling = Dialling::default();
    let slot = Arc::clone(&dialling.0);
    let runtime = TokioRuntime::tokio_current();
    let dial = async move |uri: AMQPUri, _: FilteredRuntime| -> lapin::Result<FilteredStream> {
        let address = runtime.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
        let stream: PlainStream = in_time(AsyncTcpStream::connect(&runtime, address)).await?;
        if let AsyncTcpStream::Plain(plain) = &stream {
            let copy = plain.get_ref().as_fd().try_clone_to_owned().map_err(from_io)?;
            let mut dial = slot.lock().expect("nothing panics while holding it");
            if dial.given_up {
                return Err(io_error(std::io::ErrorKind::TimedOut));
            }
            dial.socket = Some(copy);
        }
        let stream = match uri.scheme {
            AMQPScheme::AMQP => stream,
            AMQPScheme::AMQPS => {
                in_time(stream.into_tls(&uri.authority.host, OwnedTLSConfig::default().as_ref())).await?
            }
        };
        // Behind TLS, which hides what is to be filtered.
        Ok(AsyncTcpStream::Plain(Filtered::new(stream, uri.query.frame_max.unwrap_or_default())))
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = Connection::connector(uri, runtime::current(), dial, properties);
    let connected = timeout(BROKER_TIMEOUT, connecting).await;
    if connected.is_ok() {
        dialling.ended();
    }
    connected.unwrap_or_else(|_| Err(io_error(std::io::ErrorKind::TimedOut)))
}

/// Watches over a dial. Dropped before it has ended, by a time-out or because nobody waits for it any more, it shuts the
/// socket: lapin's own thread would otherwise wait on it for ever.
#[derive(Default)]
struct Dialling(Arc<Mutex<Dial>>);

#[derive(Default)]
struct Dial {
    /// A copy; while it is open, so is the socket.
    socket: Option<OwnedFd>,
    given_up: bool,
}

impl Dialling {
    fn ended(&self) {
        self.0.lock().expect("nothing panics while holding it").socket.take();
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        let mut dial = self.0.lock().expect("nothing panics while holding it");
        dial.given_up = true;
        if let Some(socket) = dial.socket.take() {
            shut(&socket);
        }
    }
}

async fn in_time<T>(wait: impl Future<Output = std::io::Result<T>>) -> lapin::Result<T> {
    let done = timeout(BROKER_TIMEOUT, wait).await.map_err(|_| io_error(std::io::ErrorKind::TimedOut))?;
    done.map_err(from_io)
}

fn from_io(error: std::io::Error) -> lapin::Error {
    lapin::ErrorKind::IOError(Arc::new(error)).into()
}

fn shut(socket: &OwnedFd) {
    #[expect(unsafe_code, reason = "the standard library can shut down only its own kind of stream")]
    // SAFETY: the descriptor is open, since it is owned here.
    unsafe {
        libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR);
    }
}
