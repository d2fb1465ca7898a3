//! Where a line is put together, before tracing-subscriber's writer is called, once: behind that is a virtual call for
//! each piece.

use std::cell::Cell;
use std::fmt;

use tracing_subscriber::fmt::format::Writer;

thread_local! {
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// A buffer that has grown longer does not stay so; few lines are as long as this, in bytes.
const KEPT: usize = 4096;

/// A value that logs while it is written finds another buffer.
pub(super) fn write_by(writer: &mut Writer<'_>, write: impl FnOnce(&mut String) -> fmt::Result) -> fmt::Result {
    let mut line = BUFFER.take();
    let written = write(&mut line).and_then(|()| writer.write_str(&line));
    line.clear();
    line.shrink_to(KEPT);
    BUFFER.set(line);
    written
}
