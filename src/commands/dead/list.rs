//! `dead list`: one line a letter.

use crate::commands::CommandError;
use crate::commands::dead::entry::headings;
use crate::commands::dead::filters::Filters;
use crate::commands::dead::{Reader, print};

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
    if !args.json {
        print(headings());
    }
    let mut listed = 0;
    while listed < args.limit
        && let Some(entry) = reader.next().await?
    {
        if args.filters.match_entry(&entry) {
            listed += 1;
            if args.json { print(entry.to_json()) } else { print(entry) }
        }
    }
    reader.tell_unread("; --limit is how many are listed");
    reader.close().await
}
