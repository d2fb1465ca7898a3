//! Which letters are meant.

use std::time::Duration;

use crate::clock;
use crate::commands::dead::entry::Entry;
use crate::login::{AppId, RequestId};

/// All that are given must hold.
#[derive(clap::Args)]
pub(super) struct Filters {
    /// Only where the reason has this in it, in capitals or not
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Only of this app
    #[arg(long)]
    pub(super) appid: Option<String>,
    /// Only this request
    #[arg(long, value_name = "ID")]
    pub(super) request_id: Option<String>,
    /// Only those that died in this time until now, such as 90s, 10m, 2h or 1d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) since: Option<Duration>,
}

impl Filters {
    /// Whether every letter is meant.
    pub(super) fn is_empty(&self) -> bool {
        let Self { reason, appid, request_id, since } = self;
        reason.is_none() && appid.is_none() && request_id.is_none() && since.is_none()
    }

    /// What a letter does not say, it does not match.
    pub(super) fn match_entry(&self, entry: &Entry) -> bool {
        let named = |wanted: &Option<String>, has: Option<&str>| wanted.is_none() || has == wanted.as_deref();
        let reason = entry.letter.reason.as_deref().unwrap_or_default().to_lowercase();
        named(&self.appid, entry.appid.as_ref().map(AppId::as_str))
            && named(&self.request_id, entry.request_id.as_ref().map(RequestId::as_str))
            && self.reason.as_ref().is_none_or(|wanted| reason.contains(&wanted.to_lowercase()))
            && self.since.is_none_or(|since| {
                let from = clock::now_ms().saturating_sub(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
                entry.letter.dead_at.is_some_and(|dead_at| dead_at >= from)
            })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    parsed.map(Duration::from_secs).ok_or_else(|| "a number and s, m, h or d, such as 10m".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(["90s", "10m", "2h", "1d"].map(seconds), [Ok(90), Ok(600), Ok(7200), Ok(86_400)]);
        for bad in ["", "10", "m", "-1s", "1.5h", "10 m", "10w", "99999999999999999999d", "9999999999999999999h", "1µ"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
