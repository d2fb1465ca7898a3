//! The open connections of a listener: how many there may be, how many of one client address, and which one is closed
//! when a new one finds no place.
//!
//! An address may have three times as many connections as stay free: one address alone has at most three quarters, so
//! that a caller elsewhere always finds a place, and a reverse proxy, behind which all callers have one address, still
//! has most of them. If there is no place, the connection that has waited longest for a request of its caller, or for
//! its caller to read a response, is closed in favour of the new one. A connection whose call is being handled is never
//! closed for that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::fault_log::FaultLog;

/// An address that has so many times what stays free has its share.
const SHARE: usize = 3;
/// So many connections that have been told to close may still be open, above the maximum.
pub(crate) const MAX_CLOSING: usize = 16;

/// All connections of one listener; cheap to clone.
#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    maximum: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Without those that have been told to close.
    total: usize,
    /// Those that have been told to close, and are still open.
    closing: usize,
    clients: HashMap<Client, OfClient>,
    /// Those that wait for their caller, the longest first.
    waiting: BTreeMap<u64, (Client, Closing)>,
    next: u64,
    warnings: FaultLog,
}

#[derive(Default)]
struct OfClient {
    total: usize,
    waiting: BTreeSet<u64>,
}

/// Where a connection comes from: an IPv4 address, or a /64 network of IPv6, which one host has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client(IpAddr);

/// How a connection is told to close, and how it tells that it has.
#[derive(Clone, Default)]
struct Closing {
    close: CancellationToken,
    closed: CancellationToken,
}

/// The place of one open connection.
pub(super) struct Connection {
    all: Connections,
    client: Client,
    closing: Closing,
    /// Its key in `waiting`, while it waits.
    waits: Mutex<Option<u64>>,
}

/// What a new connection meets.
enum Admission {
    Admitted(Connection),
    /// There may be a place, now that another connection closes.
    AfterAnother,
    /// The same, but too many are closing: this one has to have closed first.
    AfterClosing(Closing),
    Refused,
}

impl Connections {
    pub(super) fn up_to(maximum: usize) -> Self {
        Self(Arc::new(Shared { maximum, open: Mutex::default() }))
    }

    /// A place for a connection from `address`; none if all places that it may have are in use. There are never more than
    /// the maximum and [`MAX_CLOSING`].
    pub(super) async fn admit(&self, address: IpAddr) -> Option<Connection> {
        let client = Client::at(address);
        loop {
            match self.try_admit(client) {
                Admission::Admitted(connection) => return Some(connection),
                Admission::AfterAnother => {}
                Admission::AfterClosing(leaving) => leaving.closed.cancelled().await,
                Admission::Refused => return None,
            }
        }
    }

    /// Closes the connection that has waited longest, whichever it is, because the process has no descriptor left.
    pub(super) async fn make_room(&self) {
        let leaving = self.open().close_longest(None);
        if let Some(leaving) = leaving {
            leaving.closed.cancelled().await;
        }
    }

    /// Counts a cause for a warning. If one is due: how many causes had none since the last.
    pub(super) fn warning(&self, cause: &str) -> Option<u64> {
        self.open().warnings.failed(cause)
    }

    fn try_admit(&self, client: Client) -> Admission {
        let maximum = self.0.maximum;
        let mut open = self.open();
        let own = open.clients.get(&client).map_or(0, |of| of.total);
        let free = maximum.saturating_sub(open.total);
        if free > 0 && (own == 0 || own < SHARE * (free - 1)) {
            return Admission::Admitted(self.place(&mut open, client));
        }
        let limit = if free == 0 { "of the listener" } else { "of one client address" };
        let leaving = open.close_longest((free > 0).then_some(client));
        if let Some(suppressed) = open.warnings.failed(limit) {
            warn!(
                limit,
                maximum,
                open = open.total,
                client = %client.0,
                of_client = own,
                suppressed,
                "too many HTTP connections: those that have waited longest for their caller are closed, or else new ones \
                 are refused; if these are honest callers, raise gateway.max_connections and the limit of file descriptors"
            );
        }
        match leaving {
            None => Admission::Refused,
            Some(leaving) if open.closing > MAX_CLOSING => Admission::AfterClosing(leaving),
            Some(_) => Admission::AfterAnother,
        }
    }

    fn place(&self, open: &mut Open, client: Client) -> Connection {
        open.total += 1;
        open.clients.entry(client).or_default().total += 1;
        let closing = Closing::default();
        let key = open.wait(client, closing.clone());
        Connection { all: self.clone(), client, closing, waits: Mutex::new(Some(key)) }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Resolves when the connection has to make room for another.
    pub(super) async fn closes(&self) {
        self.closing.close.cancelled().await;
    }

    /// A request has arrived in full: the caller now waits for us.
    pub(super) fn starts_call(&self) {
        if let Some(key) = self.key().take() {
            self.all.open().wait_no_more(key, self.client);
        }
    }

    /// The response is there: from now on, we wait for the caller to read it and to send another request.
    pub(super) fn ends_call(&self) {
        self.starts_call();
        if !self.closing.close.is_cancelled() {
            let key = self.all.open().wait(self.client, self.closing.clone());
            *self.key() = Some(key);
        }
    }

    fn key(&self) -> MutexGuard<'_, Option<u64>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.starts_call();
        let mut open = self.all.open();
        if self.closing.close.is_cancelled() {
            open.closing -= 1;
        } else {
            open.forget(self.client);
        }
        drop(open);
        self.closing.closed.cancel();
    }
}

impl Open {
    fn wait(&mut self, client: Client, closing: Closing) -> u64 {
        let key = self.next;
        self.next += 1;
        self.waiting.insert(key, (client, closing));
        self.clients.entry(client).or_default().waiting.insert(key);
        key
    }

    fn wait_no_more(&mut self, key: u64, client: Client) {
        self.waiting.remove(&key);
        if let Some(of) = self.clients.get_mut(&client) {
            of.waiting.remove(&key);
        }
    }

    fn forget(&mut self, client: Client) {
        self.total -= 1;
        if let Some(of) = self.clients.get_mut(&client) {
            of.total -= 1;
            if of.total == 0 {
                self.clients.remove(&client);
            }
        }
    }

    /// Tells the connection that has waited longest to close: of one client, or of all.
    fn close_longest(&mut self, of: Option<Client>) -> Option<Closing> {
        let key = match of {
            Some(client) => self.clients.get(&client)?.waiting.first().copied(),
            None => self.waiting.keys().next().copied(),
        }?;
        let (client, closing) = self.waiting.get(&key).cloned()?;
        self.wait_no_more(key, client);
        self.forget(client);
        self.closing += 1;
        closing.close.cancel();
        Some(closing)
    }
}

impl Client {
    fn at(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address => address,
        })
    }
}

#[cfg(test)]
mod tests;
