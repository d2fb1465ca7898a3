//! How bytes travel on a road: late, slowly, in pieces, or not at all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// So much is read at once, and so many of these are on their way, at most.
const READ_AT_ONCE: usize = 16 * 1024;
const UNDER_WAY: usize = 64;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    There,
    /// From it.
    Back,
}

/// How the connections there end.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Cut,
    Reset,
}

/// What the road is like at the moment.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Each way, and up to so much longer.
    pub(super) delay: Option<(Duration, Duration)>,
    pub(super) bytes_a_second: Option<u32>,
    pub(super) slice: Option<usize>,
    pub(super) stalled: bool,
    pub(super) swallows: Vec<Way>,
}

/// All connections of a road.
pub(super) struct Traffic {
    leads_to: SocketAddr,
    taken: AtomicUsize,
    lost: Arc<AtomicUsize>,
    state: watch::Sender<State>,
    ends: broadcast::Sender<End>,
}

/// Bytes on their way, and when they are there.
type Carried = (Instant, Vec<u8>);

impl Traffic {
    pub(super) fn to(leads_to: SocketAddr) -> Self {
        let (state, ends) = (watch::Sender::default(), broadcast::Sender::new(16));
        Self { leads_to, taken: AtomicUsize::new(0), lost: Arc::default(), state, ends }
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    pub(super) fn end(&self, end: End) {
        // Nobody listens where there is no connection.
        let _ = self.ends.send(end);
    }

    /// Takes connections for ever. They outlive this.
    pub(super) async fn take(self: Arc<Self>, listener: TcpListener) {
        while let Ok((here, _)) = listener.accept().await {
            let number = self.taken.fetch_add(1, Ordering::Relaxed);
            let ends = self.ends.subscribe();
            let dice = fastrand::Rng::with_seed(number as u64);
            let lane = Lane { state: self.state.subscribe(), way: Way::There, dice, lost: Arc::clone(&self.lost) };
            tokio::spawn(carry(here, self.leads_to, lane, ends));
        }
    }
}

async fn carry(mut here: TcpStream, leads_to: SocketAddr, lane: Lane, mut ends: broadcast::Receiver<End>) {
    if lane.state.borrow().swallows.len() > 1 {
        // Taken, and never heard of there.
        let _ = ends.recv().await;
        return;
    }
    // A server that is away hangs up, from here.
    let Ok(mut there) = TcpStream::connect(leads_to).await else { return };
    for stream in [&here, &there] {
        stream.set_nodelay(true).expect("a socket's option");
    }
    let end = {
        let (from_here, to_here) = here.split();
        let (from_there, to_there) = there.split();
        let mut back = Lane { way: Way::Back, ..lane.clone() };
        back.dice = fastrand::Rng::with_seed(!back.dice.get_seed());
        tokio::select! {
            carried = async { tokio::try_join!(lane.carry(from_here, to_there), back.carry(from_there, to_here)) } => {
                // Whoever was reset here is reset there too.
                if carried.is_err() { End::Reset } else { End::Cut }
            }
            end = ends.recv() => end.unwrap_or(End::Reset),
        }
    };
    for stream in [&mut here, &mut there] {
        match end {
            End::Cut => drop(stream.shutdown().await),
            End::Reset => stream.set_zero_linger().expect("a socket's option"),
        }
    }
}

/// One way of one connection.
#[derive(Clone)]
struct Lane {
    state: watch::Receiver<State>,
    way: Way,
    dice: fastrand::Rng,
    /// Counts the connections that have lost something.
    lost: Arc<AtomicUsize>,
}

impl Lane {
    async fn carry(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (sender, carried) = mpsc::channel(UNDER_WAY);
        let arriving = self.clone();
        tokio::try_join!(self.set_out(from, sender), arriving.arrive(carried, to))?;
        Ok(())
    }

    /// Reads, until the sender has hung up; of a connection that has lost something, nobody hears any more.
    async fn set_out(mut self, mut from: ReadHalf<'_>, carried: mpsc::Sender<Carried>) -> io::Result<()> {
        let (mut buffer, mut lost, mut due) = (vec![0; READ_AT_ONCE], false, Instant::now());
        loop {
            let read = from.read(&mut buffer).await?;
            let state = self.state.wait_for(|state| !state.stalled).await.expect("the road is there").clone();
            if !lost && state.swallows.contains(&self.way) {
                lost = true;
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            if lost && read == 0 {
                return std::future::pending().await;
            }
            if read == 0 {
                return Ok(());
            }
            if lost {
                continue;
            }
            if let Some((delay, jitter)) = state.delay {
                due = due.max(Instant::now() + delay + jitter.mul_f64(self.dice.f64()));
            }
            if carried.send((due, buffer[..read].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn arrive(mut self, mut carried: mpsc::Receiver<Carried>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut free_at = Instant::now();
        while let Some((due, bytes)) = carried.recv().await {
            sleep_until(due).await;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let State { slice, bytes_a_second, .. } = self.state.borrow().clone();
                let length = slice.map_or(rest.len(), |longest| self.dice.usize(1..=longest).min(rest.len()));
                let (piece, later) = rest.split_at(length);
                rest = later;
                if let Some(rate) = bytes_a_second {
                    free_at = free_at.max(Instant::now()) + Duration::from_secs_f64(length as f64 / f64::from(rate));
                    // A sleep takes a millisecond at least, which small pieces share.
                    if free_at > Instant::now() + Duration::from_millis(2) {
                        sleep_until(free_at).await;
                    }
                }
                to.write_all(piece).await?;
                tokio::task::yield_now().await;
            }
        }
        to.shutdown().await
    }
}
