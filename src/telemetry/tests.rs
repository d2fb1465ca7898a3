//! Our formatters write what tracing-subscriber's write, to the letter, but for what commands a terminal.

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
const SAID: usize = 20;

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
        f.write_str("a fault with \"quotes\"")
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|fault| fault as _)
    }
}

/// Every kind of field, and every letter that is written as another by JSON or by `Debug`.
fn say_everything() {
    let (id, none) = ("019385ab-0001", None::<&str>);
    let nasty = "\"quoted\" \\ \u{a0} \u{e9} 号 🙂";
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
    info!("a message");
    info!("\u{e9}");
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
    timeless(&written_of(layer, say_everything))
}

/// What it writes of this.
fn written_of<N, E>(layer: fmt::Layer<Registry, N, E>, log: fn()) -> String
where
    N: for<'a> FormatFields<'a> + Send + Sync + 'static,
    E: FormatEvent<Registry, N> + Send + Sync + 'static,
{
    let written = Written::default();
    let writer = written.clone();
    let layer = layer.with_writer(move || writer.clone());
    subscriber::with_default(registry().with(layer), log);
    let bytes = written.0.lock().expect("nobody panicked with it").clone();
    String::from_utf8(bytes).expect("a log is text")
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
    let ours = written_by(plain().event_format(Text));
    expect_the_same(&ours, &written_by(plain()));
    let first = "TIME  INFO quicklogin::telemetry::tests: login concluded request_id=019385ab-0001 appid=wx1 \
                 outcome=\"succeeded\" attempts=1 errcode=-1 redelivered=true \
                 trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"\n";
    assert!(ours.starts_with(first), "{ours}");
}

#[test]
fn on_a_terminal_a_line_has_the_crates_colours() {
    let coloured = || fmt::layer().with_ansi(true);
    let ours = written_by(coloured().event_format(Text));
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

/// Fields, messages and errors of other systems, with everything that commands a terminal.
fn log_harmful_text() {
    let harmful = "a\x1b[31mb\r\n\x08\x07\u{9b}\u{7f}\u{202e}\u{e0041}z";
    info!(shown = %harmful, debugged = ?harmful, text = harmful, "{harmful}");
    info!(message = harmful);
    #[derive(Debug)]
    struct Harmful(Option<Fault>);
    impl Display for Harmful {
        fn fmt(&self, f: &mut Formatter<'_>) -> Said {
            f.write_str("a\x1b[31m\nb")
        }
    }
    impl Error for Harmful {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.0.as_ref().map(|fault| fault as _)
        }
    }
    info!(error = &Harmful(None) as &(dyn Error + 'static), "a fault");
    info!(error = &Harmful(Some(Fault(None))) as &(dyn Error + 'static), "a fault");
    let span = info_span!("around", shown = %harmful, text = harmful);
    span.in_scope(|| info!(shown = %harmful, "{harmful}"));
}

/// Nothing but printable characters, five lines, and in text only the colours that we write.
fn written_harmlessly<N, E>(layer: fmt::Layer<Registry, N, E>) -> Vec<String>
where
    N: for<'a> FormatFields<'a> + Send + Sync + 'static,
    E: FormatEvent<Registry, N> + Send + Sync + 'static,
{
    let log = written_of(layer, log_harmful_text);
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 5, "{log}");
    let plain =
        ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[3m", "\x1b[32m"].iter().fold(log, |log, ours| log.replace(ours, ""));
    assert!(plain.lines().all(|line| !line.contains(crate::printable::is_harmful)), "{plain:?}");
    lines
}

#[test]
fn no_text_of_others_commands_a_terminal() {
    let lines = written_harmlessly(fmt::layer().with_ansi(false).event_format(Text));
    assert!(
        lines[0].contains(r"shown=a\u{1b}[31mb\r\n\u{8}\u{7}\u{9b}\u{7f}\u{202e}\u{e0041}z debugged="),
        "{}",
        lines[0]
    );
    assert!(lines[3].ends_with(r#"error=a\u{1b}[31m\nb error.sources=[a fault with "quotes"]"#), "{}", lines[3]);
    let coloured = written_harmlessly(fmt::layer().with_ansi(true).event_format(Text));
    assert!(coloured[0].contains("\x1b[3mshown\x1b[0m\x1b[2m=\x1b[0ma\\u{1b}[31mb"), "{}", coloured[0]);
}

#[test]
fn json_escapes_what_commands_a_terminal_and_says_the_same() {
    let lines = written_harmlessly(fmt::layer().fmt_fields(JsonFields::new()).event_format(Json::new()));
    for line in [&lines[0], &lines[4]] {
        let object: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(object["message"], "a\x1b[31mb\r\n\x08\x07\u{9b}\u{7f}\u{202e}\u{e0041}z");
        assert_eq!(object["shown"], object["message"]);
    }
    let mut line = String::new();
    super::json::write_line(&mut line, tracing::Level::ERROR, format_args!("a\"b\n\u{202e}"), Some("c\\d"))
        .expect("a String takes everything");
    let object: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&object["message"], &object["hint"], &object["level"]),
        (&"a\"b\n\u{202e}".into(), &"c\\d".into(), &"ERROR".into())
    );
}

#[test]
fn no_color_and_a_dumb_terminal_want_no_colours() {
    for (no_color, term, expected) in [
        (None, None, true),
        (None, Some("xterm-256color"), true),
        (Some(""), Some("xterm"), true),
        (Some("1"), Some("xterm"), false),
        (Some("0"), None, false),
        (None, Some("dumb"), false),
    ] {
        let wanted = super::wants_colours(no_color.map(str::as_ref), term.map(str::as_ref));
        assert_eq!(wanted, expected, "NO_COLOR {no_color:?}, TERM {term:?}");
    }
}
