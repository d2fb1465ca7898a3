//! When lines are written, in which order, and that none is lost.

use std::sync::Arc;
use std::time::Instant;

use tracing::{Subscriber, debug, error, info, subscriber, warn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// Remembers each write by itself.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<String>>>);

impl Writes {
    fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).push(String::from_utf8(bytes.to_vec()).expect("text"));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One that gathers, without a thread to write it out.
fn gathering() -> (&'static Gathered<Writes>, Writes) {
    let (gathered, writes) = written_at_once();
    gathered.gathers.store(true, Ordering::Relaxed);
    (gathered, writes)
}

fn written_at_once() -> (&'static Gathered<Writes>, Writes) {
    let writes = Writes::default();
    (Box::leak(Box::new(Gathered::into(writes.clone()))), writes)
}

/// Writes only what was said.
fn log_into(gathered: &'static Gathered<Writes>) -> impl Subscriber {
    let layer = fmt::layer().with_ansi(false).without_time().with_level(false).with_target(false);
    tracing_subscriber::registry().with(layer.with_writer(gathered))
}

#[test]
fn what_is_grave_is_written_at_once_behind_all_that_was_said_before() {
    let (gathered, writes) = gathering();
    subscriber::with_default(log_into(gathered), || {
        debug!("a");
        info!("b");
        assert!(writes.all().is_empty(), "{:?}", writes.all());
        warn!("c");
        assert_eq!(writes.all(), ["a\nb\nc\n"]);
        info!("d");
        error!("e");
        assert_eq!(writes.all(), ["a\nb\nc\n", "d\ne\n"]);
    });
}

#[test]
fn on_a_terminal_each_line_is_written_at_once() {
    let (gathered, writes) = written_at_once();
    subscriber::with_default(log_into(gathered), || {
        info!("a");
        info!("b");
    });
    assert_eq!(writes.all(), ["a\n", "b\n"]);
}

#[test]
fn at_the_end_all_is_written_and_at_once_what_comes_later() {
    let (gathered, writes) = gathering();
    subscriber::with_default(log_into(gathered), || {
        info!("a");
        info!("b");
        gathered.end();
        assert_eq!(writes.all(), ["a\nb\n"]);
        info!("c");
    });
    assert_eq!(writes.all(), ["a\nb\n", "c\n"]);
}

#[test]
fn a_line_that_nothing_follows_is_written_soon_and_so_is_the_next() {
    let (gathered, writes) = written_at_once();
    gathered.gather();
    for (line, written) in [("a\n", "a\n"), ("b\n", "a\nb\n")] {
        gathered.take(line.as_bytes());
        let began = Instant::now();
        while writes.all().concat() != written {
            assert!(began.elapsed() < Duration::from_secs(10), "it is not written: {line}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn nothing_is_lost_and_no_bound_passed_when_many_say_much() {
    let (gathered, writes) = gathering();
    let say_much = |who: usize| {
        for n in 0..2000 {
            gathered.take(format!("{who} {n} {}\n", "x".repeat(n % 200)).as_bytes());
            assert!(lock(&gathered.lines).len() <= HOLDS);
        }
    };
    thread::scope(|scope| {
        for who in 0..4 {
            scope.spawn(move || say_much(who));
        }
    });
    gathered.end();
    let written = writes.all().concat();
    for who in 0..4 {
        let of_one = written.lines().filter(|line| line.starts_with(&format!("{who} ")));
        let numbers: Vec<usize> =
            of_one.map(|line| line.split(' ').nth(1).expect("it has").parse().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(0..2000), "all, in order: {numbers:?}");
    }
    assert_eq!(written.lines().count(), 8000);
}

#[test]
fn whole_lines_are_written_and_no_more_than_a_pipe_keeps_together() {
    let (gathered, writes) = gathering();
    let lines = [1000, 3095, 1, 4095, 9000, 2, 4094].map(|length| format!("{}\n", "x".repeat(length)));
    for line in &lines {
        gathered.take(line.as_bytes());
    }
    gathered.write_out();
    let lengths: Vec<usize> = writes.all().iter().map(String::len).collect();
    assert_eq!(lengths, [1001, 3098, 4096, 9001, 3, 4095]);
    assert_eq!(writes.all().concat(), lines.concat());
}

#[test]
fn a_line_longer_than_there_is_room_is_written_too() {
    let (gathered, writes) = gathering();
    let long = format!("{}\n", "x".repeat(2 * HOLDS));
    for line in ["a\n", &long, "b\n"] {
        gathered.take(line.as_bytes());
    }
    gathered.write_out();
    assert_eq!(writes.all(), ["a\n", &long, "b\n"]);
}
