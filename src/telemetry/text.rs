//! A log line as text, byte for byte as tracing-subscriber's own formatter writes it where there are no colours. That
//! one makes up fourteen styles for a line without any, and writes each letter of a message by itself.

use std::error::Error;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::VisitOutput;
use tracing_subscriber::fmt::format::{DefaultVisitor, Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, format};
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::buffer;
use crate::telemetry::stamp::Stamp;

/// `2021-11-24T08:57:54.123456Z  INFO quicklogin::worker: message name=value name="text"`. With colours, or in a span,
/// of which we have none, it is the crate that writes it.
pub(super) struct Text(Format<Full, Stamp>);

impl Text {
    pub(super) fn new() -> Self {
        Self(format().with_timer(Stamp))
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if writer.has_ansi_escapes() || ctx.event_scope().is_some() {
            return self.0.format_event(ctx, writer, event);
        }
        buffer::write_by(&mut writer, |line| write_plain(line, event))
    }
}

fn write_plain(line: &mut String, event: &Event<'_>) -> fmt::Result {
    Stamp.write(line)?;
    line.push_str(level(*event.metadata().level()));
    line.push_str(event.metadata().target());
    line.push_str(": ");
    let mut fields = Fields { line, is_empty: true, said: Ok(()) };
    event.record(&mut fields);
    fields.said?;
    line.push('\n');
    Ok(())
}

fn level(level: Level) -> &'static str {
    match level {
        Level::TRACE => " TRACE ",
        Level::DEBUG => " DEBUG ",
        Level::INFO => "  INFO ",
        Level::WARN => "  WARN ",
        Level::ERROR => " ERROR ",
    }
}

/// Appends fields, with spaces between them. After one that cannot be written there are no more.
struct Fields<'a> {
    line: &'a mut String,
    is_empty: bool,
    said: fmt::Result,
}

impl Fields<'_> {
    fn separate(&mut self) {
        if !self.is_empty {
            self.line.push(' ');
        }
        self.is_empty = false;
    }

    fn say(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.said.is_err() {
            return;
        }
        self.separate();
        if field.name() == "message" {
            self.said = Tame(self.line).write_fmt(value);
        } else {
            self.name(field);
            self.said = self.line.write_fmt(value);
        }
    }

    fn name(&mut self, field: &Field) {
        let name = field.name();
        self.line.push_str(name.strip_prefix("r#").unwrap_or(name));
        self.line.push('=');
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.say(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.say(field, format_args!("{value}"));
        } else if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            self.separate();
            self.name(field);
            self.line.extend(["\"", value, "\""]);
        } else {
            self.say(field, format_args!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if self.said.is_ok() {
            let mut theirs = DefaultVisitor::new(Writer::new(self.line), self.is_empty);
            theirs.record_error(field, value);
            self.said = theirs.finish();
            self.is_empty = false;
        }
    }
}

/// Writes without what would command a terminal that a log is looked at with.
struct Tame<'a>(&'a mut String);

impl Write for Tame<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Those that begin with 0xC2 are U+0080 to U+00BF, and half of them command.
        if text.bytes().all(|byte| !byte.is_ascii_control() && byte != 0xC2) {
            self.0.push_str(text);
            return Ok(());
        }
        text.chars().try_for_each(|letter| match letter {
            '\x1b' | '\x07' | '\x08' | '\x0c' | '\x7f' => write!(self.0, "\\x{:02x}", letter as u32),
            '\u{80}'..='\u{9f}' => write!(self.0, "\\u{{{:x}}}", letter as u32),
            _ => self.0.write_char(letter),
        })
    }
}
