//! When lines are written, in which order, that a stderr that takes nothing stops nothing, and that what is lost is
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use tracing::{Subscriber, debug, error, info, subscriber, warn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// Remembers each write by itself; every write fails while `fails` is set, and the first bytes of it may be taken.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Remembered>>);

#[derive(Default)]
struct Remembered {
    all: Vec<String>,
    /// How many bytes are taken yet, if not all.
    takes: Option<usize>,
}

impl Writes {
    fn all(&self) -> Vec<String> {
        lock(&self.0).all.clone()
    }

    fn take_only(&self, bytes: Option<usize>) {
        lock(&self.0).takes = bytes;
    }
}

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut remembered = lock(&self.0);
        let taken = remembered.takes.map_or(bytes.len(), |left| left.min(bytes.len()));
        if taken == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        if let Some(left) = &mut remembered.takes {
            *left -= taken;
        }
        remembered.all.push(String::from_utf8(bytes[..taken].to_vec()).expect("text"));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe whose reader does not read until it is told to.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _until_the_reader_is_gone = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gathered() -> &'static Gathered {
    Box::leak(Box::new(Gathered::new(|_| {})))
}

fn with_writer() -> (&'static Gathered, Writes) {
    let (gathered, writes) = (gathered(), Writes::default());
    gathered.start_writer(writes.clone(), |_| {}).expect("a thread");
    (gathered, writes)
}

/// The writer has written all that was appended.
fn flush(gathered: &Gathered) {
    gathered.flush(SOON);
    assert!(lock(&gathered.state).lines.is_empty(), "it is not written");
}

/// Writes only the message.
fn log_into(gathered: &'static Gathered) -> impl Subscriber {
    let layer = fmt::layer().with_ansi(false).without_time().with_level(false).with_target(false);
    tracing_subscriber::registry().with(layer.with_writer(gathered))
}

fn until(fact: impl Fn() -> bool) {
    let began = Instant::now();
    while !fact() {
        assert!(began.elapsed() < SOON, "it does not become true");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_warning_is_urgent_and_what_is_below_is_not() {
    let gathered = gathered();
    let is_urgent = || std::mem::take(&mut lock(&gathered.state).is_urgent);
    subscriber::with_default(log_into(gathered), || {
        debug!("a");
        info!("b");
        assert!(!is_urgent());
        warn!("c");
        assert!(is_urgent());
        error!("d");
        assert!(is_urgent());
        gathered.write_at_once();
        info!("e");
        assert!(is_urgent(), "on a terminal each line is");
    });
    assert_eq!(lock(&gathered.state).lines, b"a\nb\nc\nd\ne\n");
}

#[test]
fn a_line_that_nothing_follows_is_written_soon_and_so_is_the_next() {
    let (gathered, writes) = with_writer();
    for (line, written) in [("a\n", "a\n"), ("b\n", "a\nb\n")] {
        gathered.append(line.as_bytes(), false);
        until(|| writes.all().concat() == written);
    }
}

#[test]
fn nothing_is_lost_when_many_threads_log_less_than_is_buffered() {
    let (gathered, writes) = with_writer();
    let log_much = |thread: usize| {
        for n in 0..2000 {
            gathered.append(format!("{thread} {n} {}\n", "x".repeat(n % 200)).as_bytes(), false);
        }
    };
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || log_much(thread));
        }
    });
    flush(gathered);
    let written = writes.all().concat();
    for thread in 0..4 {
        let of_one = written.lines().filter(|line| line.starts_with(&format!("{thread} ")));
        let numbers: Vec<usize> =
            of_one.map(|line| line.split(' ').nth(1).expect("it has").parse().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(0..2000), "all, in order: {numbers:?}");
    }
    assert_eq!(written.lines().count(), 8000);
}

#[test]
fn whole_lines_are_written_and_no_more_than_a_pipe_keeps_together() {
    let lines = [1000, 3095, 1, 4095, 9000, 2, 4094].map(|length| format!("{}\n", "x".repeat(length)));
    let all = lines.concat();
    let lengths: Vec<usize> = unmixed(all.as_bytes()).map(<[u8]>::len).collect();
    assert_eq!(lengths, [1001, 3098, 4096, 9001, 3, 4095]);
    assert_eq!(unmixed(all.as_bytes()).collect::<Vec<_>>().concat(), all.as_bytes());
}

#[test]
fn a_reader_that_stops_reading_blocks_no_thread_that_logs_and_what_is_beyond_the_bound_is_counted() {
    static COUNTED: AtomicU64 = AtomicU64::new(0);
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    let gathered: &Gathered =
        Box::leak(Box::new(Gathered::new(|lines| _ = COUNTED.fetch_add(lines, Ordering::Relaxed))));
    let (read, unread): (Sender<()>, _) = channel();
    let report = |lines| _ = REPORTED.fetch_add(lines, Ordering::Relaxed);
    gathered.start_writer(Stuck(unread), report).expect("a thread");
    gathered.append(b"taken by the writer\n", true);
    until(|| lock(&gathered.state).is_writing);
    let line = format!("{}\n", "x".repeat(1023));
    let (fit, beyond) = ((MAX_BUFFERED / line.len()) as u64, 1000);
    for _ in 0..fit + beyond {
        gathered.append(line.as_bytes(), true);
    }
    assert_eq!(COUNTED.load(Ordering::Relaxed), beyond);
    assert_eq!(lock(&gathered.state).lines.len(), MAX_BUFFERED);
    let began = Instant::now();
    gathered.flush(Duration::from_millis(50));
    assert!(began.elapsed() < SOON, "a stop does not wait for the reader");
    assert_eq!(REPORTED.load(Ordering::Relaxed), 0);
    drop(read);
    flush(gathered);
    assert_eq!((REPORTED.load(Ordering::Relaxed), COUNTED.load(Ordering::Relaxed)), (beyond, beyond));
}

#[test]
fn a_full_disk_loses_lines_and_not_the_ends_of_lines_and_says_how_many_when_it_has_space_again() {
    static COUNTED: AtomicU64 = AtomicU64::new(0);
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    let gathered: &Gathered =
        Box::leak(Box::new(Gathered::new(|lines| _ = COUNTED.fetch_add(lines, Ordering::Relaxed))));
    let writes = Writes::default();
    let report = |lines| _ = REPORTED.fetch_add(lines, Ordering::Relaxed);
    gathered.start_writer(writes.clone(), report).expect("a thread");
    writes.take_only(Some(6));
    gathered.append(b"first\nsecond\nthird\n", true);
    flush(gathered);
    assert_eq!((COUNTED.load(Ordering::Relaxed), REPORTED.load(Ordering::Relaxed)), (2, 0));
    writes.take_only(Some(3));
    gathered.append(b"fourth\n", true);
    flush(gathered);
    gathered.append(b"fifth\n", true);
    flush(gathered);
    assert_eq!((COUNTED.load(Ordering::Relaxed), REPORTED.load(Ordering::Relaxed)), (4, 0));
    writes.take_only(None);
    gathered.append(b"sixth\n", true);
    flush(gathered);
    assert_eq!(writes.all().concat(), "first\nfou\nsixth\n");
    assert_eq!((COUNTED.load(Ordering::Relaxed), REPORTED.load(Ordering::Relaxed)), (4, 4));
}
