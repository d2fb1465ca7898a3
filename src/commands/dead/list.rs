//! `dead list`: one line a letter.

use crate::commands::CommandError;
use crate::commands::dead::entry::headings;
use crate::commands::dead::filters::Filters;
use crate::commands::dead::{Reader, print};
use crate::telemetry::say;

#[derive(clap::Args)]
pub(in crate::commands) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// So many lines at most
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(mut reader: Reader, args: Args) -> Result<(), CommandError> {
    let mut listed = 0;
    while listed < args.limit
        && let Some(entry) = reader.next().await?
    {
        if args.filters.match_entry(&entry) {
            if listed == 0 && !args.json {
                print(headings());
            }
            listed += 1;
            if args.json { print(entry.to_json()) } else { print(entry.listed()) }
        }
    }
    if listed == 0 && args.limit > 0 && !args.json {
        say(format_args!("{}", reader.none(&args.filters)));
    }
    reader.tell_unread("; --limit is how many are listed");
    reader.close().await
}
