//! A host of WeChat's that fails like one: it leads to the simulator, refuses, is silent, or swallows even the knock.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::process::free_port;

/// One address of this machine, for as long as the test lasts.
pub(crate) struct Door {
    address: SocketAddr,
    leads_to: SocketAddr,
    taken: Arc<AtomicUsize>,
    behind: Option<Behind>,
}

/// What answers at the door, or does not.
#[expect(dead_code, reason = "sockets are kept open, not used")]
enum Behind {
    /// Bound, so that nobody else gets the port, and not listening: a connection is refused.
    Nobody(TcpSocket),
    Somebody {
        taking: JoinHandle<()>,
        leave: DropGuard,
    },
    /// It listens, and its backlog is full: the kernel drops whoever knocks.
    Crowd(TcpListener, TcpStream),
}

impl Door {
    /// An open door to it.
    async fn to(leads_to: SocketAddr) -> Self {
        let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let address = socket.local_addr().expect("it is bound");
        let behind = Some(Behind::Nobody(socket));
        let mut door = Self { address, leads_to, taken: Arc::default(), behind };
        door.open().await;
        door
    }

    /// So many open doors to it.
    pub(crate) async fn several_to(leads_to: SocketAddr, doors: usize) -> Vec<Self> {
        let mut all = Vec::new();
        for _ in 0..doors {
            all.push(Self::to(leads_to).await);
        }
        all
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Connections lead on.
    pub(crate) async fn open(&mut self) {
        let leads_to = Some(self.leads_to);
        self.take_connections(leads_to).await;
    }

    /// Connections are taken, and nothing is ever answered.
    pub(crate) async fn fall_silent(&mut self) {
        self.take_connections(None).await;
    }

    /// Connections are refused; those there are end.
    pub(crate) async fn shut(&mut self) {
        self.behind = Some(Behind::Nobody(self.vacated().await));
    }

    /// Nothing comes back, not even a refusal; the connections there are end.
    pub(crate) async fn swallow(&mut self) {
        let full = self.vacated().await.listen(0).expect("a listener");
        let last = TcpStream::connect(self.address).await.expect("one fits into the backlog");
        self.behind = Some(Behind::Crowd(full, last));
    }

    async fn take_connections(&mut self, leads_to: Option<SocketAddr>) {
        let listener = self.vacated().await.listen(1024).expect("a listener");
        let leave = CancellationToken::new();
        let taking = tokio::spawn(take(listener, leads_to, Arc::clone(&self.taken), leave.clone()));
        self.behind = Some(Behind::Somebody { taking, leave: leave.drop_guard() });
    }

    /// The address, without whoever was there and all connections.
    async fn vacated(&mut self) -> TcpSocket {
        if let Some(Behind::Somebody { taking, leave }) = self.behind.take() {
            drop(leave);
            taking.await.expect("a door does not panic");
        }
        bound(self.address)
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket's option");
    socket.bind(address).expect("the address is ours");
    socket
}

async fn take(listener: TcpListener, leads_to: Option<SocketAddr>, taken: Arc<AtomicUsize>, leave: CancellationToken) {
    let mut connections = JoinSet::new();
    while let Some(Ok((mut here, _))) = leave.run_until_cancelled(listener.accept()).await {
        taken.fetch_add(1, Ordering::Relaxed);
        connections.spawn(async move {
            match leads_to {
                Some(there) => {
                    let mut there = TcpStream::connect(there).await.expect("the simulator listens");
                    // Whoever hangs up first ends it.
                    let _ = copy_bidirectional(&mut here, &mut there).await;
                }
                None => std::future::pending().await,
            }
        });
    }
    connections.shutdown().await;
}
