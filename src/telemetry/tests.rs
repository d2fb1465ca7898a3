//! Our formatters write what tracing-subscriber's write, to the letter.

use std::error::Error;
use std::fmt::{Display, Formatter, Result as Said};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tracing::{debug, error, info, info_span, subscriber, trace, warn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::{self, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, registry};

use super::json::Json;
use super::text::Text;

/// So many lines are said.
const SAID: usize = 18;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked with it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Fault(Option<Box<Fault>>);

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> Said {
        f.write_str("a \x1b[31mfault\u{9b} with \"quotes\"")
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|fault| fault as _)
    }
}

/// Every kind of field, and every letter that is written as another.
fn say_everything() {
    let (id, none) = ("019385ab-0001", None::<&str>);
    let nasty = "\"quoted\" \\ \n \r \t \x08 \x0c \x01 \x1b[1m \x7f \u{85} \u{a0} \u{e9} 号 🙂";
    info!(
        request_id = %id,
        appid = Some(display("wx1")),
        outcome = "succeeded",
        attempts = 1_u32,
        errcode = -1_i64,
        rid = none,
        redelivered = Some(true),
        trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        "login concluded"
    );
    trace!("each level");
    debug!("each level");
    warn!("each level");
    error!("each level");
    info!(nasty, shown = %nasty, debugged = ?nasty, "{nasty}");
    info!(message = nasty, "r#type" = 1, r#fn = "raw");
    info!(message = "a plain message", empty = "");
    info!("{}", "");
    info!(alone = 7);
    info!(small = i64::MIN, large = u64::MAX, larger = u128::MAX, "numbers");
    info!(half = 0.5, whole = 1.0, huge = 1e300, none = f64::NAN, "numbers");
    info!(some = ?Some(("a", 1)), pretty = ?Duration::from_millis(1500), "debug");
    let (alone, chained) = (Fault(None), Fault(Some(Box::new(Fault(Some(Box::new(Fault(None))))))));
    info!(error = &alone as &(dyn Error + 'static), at = 1, "a fault");
    info!(error = &chained as &(dyn Error + 'static), at = 1, "a fault and what it came from");
    info!(target: "a \"target\"", "of another");
    let span = info_span!("around", id);
    span.in_scope(|| info!(inner = 1, "in a span"));
    info!(parent: &span, "of a span");
}

/// What it writes of everything, but for the time.
fn written_by<N, E>(layer: fmt::Layer<Registry, N, E>) -> String
where
    N: for<'a> FormatFields<'a> + Send + Sync + 'static,
    E: FormatEvent<Registry, N> + Send + Sync + 'static,
{
    let written = Written::default();
    let writer = written.clone();
    let layer = layer.with_writer(move || writer.clone());
    subscriber::with_default(registry().with(layer), say_everything);
    let bytes = written.0.lock().expect("nobody panicked with it").clone();
    timeless(&String::from_utf8(bytes).expect("a log is text"))
}

/// With each stamp replaced by a word.
fn timeless(log: &str) -> String {
    let mut timeless = String::new();
    for line in log.split_inclusive('\n') {
        match line.find("20").filter(|at| line.get(at + 26..at + 27) == Some("Z")) {
            Some(at) => timeless.extend([&line[..at], "TIME", &line[at + 27..]]),
            None => timeless.push_str(line),
        }
    }
    timeless
}

/// Compares line by line, so that one sees which; and all of them have a time.
fn expect_the_same(ours: &str, theirs: &str) {
    for (our, their) in ours.lines().zip(theirs.lines()) {
        assert_eq!(our, their);
    }
    assert_eq!(ours, theirs);
    assert_eq!(ours.matches("TIME").count(), SAID, "{ours}");
}

#[test]
fn a_line_of_text_is_the_crates_to_the_letter() {
    let plain = || fmt::layer().with_ansi(false);
    let ours = written_by(plain().event_format(Text::new()));
    expect_the_same(&ours, &written_by(plain()));
    let first = "TIME  INFO quicklogin::telemetry::tests: login concluded request_id=019385ab-0001 appid=wx1 \
                 outcome=\"succeeded\" attempts=1 errcode=-1 redelivered=true \
                 trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"\n";
    assert!(ours.starts_with(first), "{ours}");
}

#[test]
fn on_a_terminal_a_line_has_the_crates_colours() {
    let coloured = || fmt::layer().with_ansi(true);
    let ours = written_by(coloured().event_format(Text::new()));
    expect_the_same(&ours, &written_by(coloured()));
    assert!(ours.starts_with("\x1b[2mTIME\x1b[0m \x1b[32m INFO\x1b[0m "), "{ours}");
}

#[test]
fn a_line_of_json_is_the_crates_to_the_letter() {
    let ours = written_by(fmt::layer().fmt_fields(JsonFields::new()).event_format(Json::new()));
    expect_the_same(&ours, &written_by(fmt::layer().json().flatten_event(true)));
    let objects: Result<Vec<Value>, _> = ours.lines().map(serde_json::from_str).collect();
    assert_eq!(objects.expect("each line is JSON").len(), SAID);
}
