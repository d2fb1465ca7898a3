//! A log line as JSON, byte for byte as tracing-subscriber's own formatter writes it with its fields flattened, without
//! going through serde for each, and except that format characters and DEL to U+009F are escaped too.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json as TheirJson, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, format};
use tracing_subscriber::registry::LookupSpan;

use crate::printable::is_harmful;
use crate::telemetry::buffer;
use crate::telemetry::stamp::Stamp;

/// `{"timestamp":"…","level":"INFO","message":"…","name":"value","target":"quicklogin::worker"}`. In a span, of which
/// we have none, it is the crate that writes it.
pub(super) struct Json(Format<TheirJson, Stamp>);

impl Json {
    pub(super) fn new() -> Self {
        Self(format().json().flatten_event(true).with_timer(Stamp))
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if ctx.event_scope().is_none() {
            return buffer::write_by(&mut writer, |line| write_object(line, event));
        }
        let mut theirs = String::new();
        self.0.format_event(ctx, Writer::new(&mut theirs), event)?;
        // Outside of its texts JSON is ASCII without these.
        theirs.trim_end_matches('\n').chars().try_for_each(|letter| match is_harmful(letter) {
            true => write_as_utf16(&mut writer, letter),
            false => writer.write_char(letter),
        })?;
        writer.write_char('\n')
    }
}

/// A line that is no event: what happened, and what to do about it.
pub(super) fn write_line(line: &mut String, level: Level, what: fmt::Arguments<'_>, hint: Option<&str>) -> fmt::Result {
    line.push_str(r#"{"timestamp":""#);
    Stamp.write(line)?;
    line.extend([r#"","level":""#, level.as_str(), r#"","message":""#]);
    Escaped(line).write_fmt(what)?;
    if let Some(hint) = hint {
        line.push_str(r#"","hint":""#);
        Escaped(line).write_str(hint)?;
    }
    line.push_str("\",\"target\":\"quicklogin\"}\n");
    Ok(())
}

fn write_object(line: &mut String, event: &Event<'_>) -> fmt::Result {
    line.push_str(r#"{"timestamp":""#);
    Stamp.write(line)?;
    line.extend([r#"","level":""#, event.metadata().level().as_str(), "\""]);
    let mut fields = Fields { line, said: Ok(()) };
    event.record(&mut fields);
    fields.said?;
    line.push_str(r#","target":""#);
    Escaped(line).write_str(event.metadata().target())?;
    line.push_str("\"}\n");
    Ok(())
}

/// Appends fields, each behind a comma. After one that cannot be written there are no more.
struct Fields<'a> {
    line: &'a mut String,
    said: fmt::Result,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.line.extend([",\"", field.name(), "\":"]);
    }

    fn say(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.said.is_ok() {
            self.name(field);
            self.line.push('"');
            self.said = Escaped(self.line).write_fmt(value);
            self.line.push('"');
        }
    }

    fn say_bare(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.said.is_ok() {
            self.name(field);
            self.said = self.line.write_fmt(value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.say(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.say(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.say_bare(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.say_bare(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.say_bare(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // Not every one is a number.
        self.say_bare(field, format_args!("{}", serde_json::Value::from(value)));
    }
}

/// Writes what may stand between quotes.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            self.0.push_str(text);
            return Ok(());
        }
        text.chars().try_for_each(|letter| match letter {
            '"' => self.0.write_str("\\\""),
            '\\' => self.0.write_str("\\\\"),
            '\x08' => self.0.write_str("\\b"),
            '\t' => self.0.write_str("\\t"),
            '\n' => self.0.write_str("\\n"),
            '\x0c' => self.0.write_str("\\f"),
            '\r' => self.0.write_str("\\r"),
            _ if is_harmful(letter) => write_as_utf16(self.0, letter),
            _ => self.0.write_char(letter),
        })
    }
}

fn write_as_utf16(to: &mut impl Write, letter: char) -> fmt::Result {
    letter.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(to, "\\u{unit:04x}"))
}
