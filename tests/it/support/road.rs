//! A road to a server: one address of this machine that leads to it, and on which whatever happens to networks happens,
//! while connections live. How bytes travel is in `traffic`.
//!
//! Knows nothing of what is carried.

mod traffic;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use self::traffic::Way;
use self::traffic::{End, Traffic};
use crate::support::process::{free_port, no_child_is_made};

/// For as long as a test lasts.
pub(crate) struct Road {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    entrance: Mutex<Option<Entrance>>,
}

/// What answers at the address, or does not.
#[expect(dead_code, reason = "sockets are kept open, not used")]
enum Entrance {
    /// Bound, so that nobody else gets the port, and not listening: a connection is refused.
    Shut(TcpSocket),
    Open {
        taking: JoinHandle<()>,
        leave: DropGuard,
    },
    /// It listens, and its backlog is full: the kernel drops whoever knocks.
    Crowded(TcpListener, TcpStream),
}

impl Road {
    /// An open road.
    pub(crate) async fn to(leads_to: SocketAddr) -> Self {
        let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let address = socket.local_addr().expect("it is bound");
        let entrance = Mutex::new(Some(Entrance::Shut(socket)));
        let road = Self { address, traffic: Arc::new(Traffic::to(leads_to)), entrance };
        road.open().await;
        road
    }

    /// So many open roads.
    pub(crate) async fn several_to(leads_to: SocketAddr, roads: usize) -> Vec<Self> {
        let mut all = Vec::new();
        for _ in 0..roads {
            all.push(Self::to(leads_to).await);
        }
        all
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it begins, for HTTP.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were taken.
    pub(crate) fn taken(&self) -> usize {
        self.traffic.taken()
    }

    /// How many connections have lost something.
    pub(crate) fn lost(&self) -> usize {
        self.traffic.lost()
    }

    /// Connections are taken and led on.
    pub(crate) async fn open(&self) {
        self.traffic.change(|state| state.swallows = vec![]);
        self.take_connections().await;
    }

    /// All is well for connections from now on; those there too, but for what was swallowed of them.
    pub(crate) fn mend(&self) {
        self.traffic.change(|state| *state = Default::default());
    }

    /// What is carried takes so long, each way, and up to `jitter` longer.
    pub(crate) fn delay(&self, each_way: Duration, jitter: Duration) {
        self.traffic.change(|state| state.delay = Some((each_way, jitter)));
    }

    /// So many bytes in a second, each way of each connection.
    pub(crate) fn narrow(&self, bytes_a_second: u32) {
        self.traffic.change(|state| state.bytes_a_second = Some(bytes_a_second));
    }

    /// Whatever is carried arrives in pieces of one to so many bytes.
    pub(crate) fn slice(&self, longest: usize) {
        self.traffic.change(|state| state.slice = Some(longest));
    }

    /// Nothing is carried until it is mended, and nothing is lost.
    pub(crate) fn stall(&self) {
        self.traffic.change(|state| state.stalled = true);
    }

    /// What is carried that way is lost, and nobody is told. A connection that has lost something is dead for good.
    pub(crate) fn swallow(&self, way: Way) {
        self.traffic.change(|state| state.swallows.push(way));
    }

    /// The connections there end in order (FIN).
    pub(crate) fn cut(&self) {
        self.traffic.end(End::Cut);
    }

    /// The connections there end at once (RST).
    pub(crate) fn reset(&self) {
        self.traffic.end(End::Reset);
    }

    /// The connections there end, and others are refused.
    pub(crate) async fn shut(&self) {
        self.cut();
        self.refuse().await;
    }

    /// Connections are refused from now on; those there go on.
    pub(crate) async fn refuse(&self) {
        let socket = self.vacated().await;
        self.enter(Entrance::Shut(socket));
    }

    /// The connections there end; others are taken, and nothing is ever answered.
    pub(crate) async fn fall_silent(&self) {
        self.cut();
        self.swallow(Way::There);
        self.swallow(Way::Back);
        self.take_connections().await;
    }

    /// The connections there end, and nothing comes back any more, not even a refusal.
    pub(crate) async fn vanish(&self) {
        self.cut();
        let full = self.vacated().await.listen(0).expect("a listener");
        let last = TcpStream::connect(self.address).await.expect("one fits into the backlog");
        self.enter(Entrance::Crowded(full, last));
    }

    async fn take_connections(&self) {
        let listener = self.vacated().await.listen(1024).expect("a listener");
        let leave = CancellationToken::new();
        let traffic = Arc::clone(&self.traffic);
        let taking = leave.clone().run_until_cancelled_owned(traffic.take(listener));
        let taking = tokio::spawn(async move {
            taking.await;
        });
        self.enter(Entrance::Open { taking, leave: leave.drop_guard() });
    }

    /// The address, without whoever was there.
    async fn vacated(&self) -> TcpSocket {
        let entrance = self.entrance.lock().expect("nothing panics while holding it").take();
        match entrance {
            Some(Entrance::Open { taking, leave }) => {
                drop(leave);
                taking.await.expect("a road does not panic");
            }
            other => drop(other),
        }
        bound(self.address)
    }

    fn enter(&self, entrance: Entrance) {
        *self.entrance.lock().expect("nothing panics while holding it") = Some(entrance);
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.reset();
    }
}

/// Where a listener was until now, too.
fn bound(address: SocketAddr) -> TcpSocket {
    let _no_child_has_a_copy = no_child_is_made();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket's option");
    socket.bind(address).expect("the address is ours");
    socket
}
