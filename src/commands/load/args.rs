//! What is asked for, checked: a mistake ends with 2 and says what to do.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

use crate::commands::CommandError;
use crate::login::AppId;

const RATE_MOST: u32 = 100_000;
/// So many logins may be in flight. Each takes some KB of memory here, and through the gateway a connection.
const IN_FLIGHT_MOST: u32 = 100_000;
/// A code lives five minutes: nobody's result comes later.
const GRACE_MOST: Duration = Duration::from_secs(290);
const SHORTEST: Duration = Duration::from_millis(100);
const DURATION_MOST: Duration = Duration::from_secs(24 * 3600);
const STEP_MOST: Duration = Duration::from_secs(600);
/// Patience is 20 s, and its last call takes some more.
const GRACE: Duration = Duration::from_secs(30);
/// A search need not wait for those that have lost it anyway.
const GRACE_OF_STEPS: Duration = Duration::from_secs(10);
/// Below this a p99 would tell how often results are looked for, and no more.
const P99_LEAST_MS: u64 = 10;

#[derive(clap::Args)]
pub(in crate::commands) struct Args {
    /// Logins a second; where the search begins with --find-max
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// For how long, as in 500ms, 60s or 2m
    #[arg(long, default_value = "60s", conflicts_with = "find_max")]
    duration: String,
    /// Where logins go in
    #[arg(long, value_enum, default_value_t = Through::Gateway)]
    through: Through,
    /// The gateway; without it the one of gateway.listen. It is sent the first of gateway.keys
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// Which app the codes are of; needed where more than one is configured
    #[arg(long)]
    appid: Option<String>,
    /// How long each login is waited for, from when it was due: 30s, or 10s with --find-max. No more logins are
    /// in flight than are due in that time
    #[arg(long)]
    grace: Option<String>,
    /// Find the highest rate that keeps the p99 with every login succeeding, to 5 %
    #[arg(long)]
    find_max: bool,
    /// The p99 to keep, in milliseconds; with --find-max alone
    #[arg(long, default_value_t = 200, requires = "find_max", conflicts_with = "duration")]
    p99_ms: u64,
    /// How long each rate is tried, as in 5s; with --find-max alone
    #[arg(long, default_value = "5s", requires = "find_max", conflicts_with = "duration")]
    step: String,
    /// One JSON object on stdout, in place of the summary; the table stays on stderr
    #[arg(long)]
    json: bool,
}

/// Where logins go in.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Through {
    /// By HTTP, and the result by a waiting GET
    Gateway,
    /// By RabbitMQ, and the result from Redis, which is looked at every 5 ms (less often with more than 250 in flight)
    Queue,
}

/// What is to be done.
pub(super) struct Plan {
    pub(super) goal: Goal,
    pub(super) rate: u32,
    pub(super) through: Through,
    pub(super) gateway: Option<Url>,
    pub(super) appid: Option<AppId>,
    pub(super) grace: Duration,
    pub(super) json: bool,
}

pub(super) enum Goal {
    /// One rate.
    Hold { duration: Duration },
    /// The highest that keeps the p99.
    FindMax { p99: Duration, step: Duration },
}

impl Args {
    pub(super) fn plan(self) -> Result<Plan, CommandError> {
        let goal = if self.find_max {
            let step = within("--step", &self.step, STEP_MOST)?;
            Goal::FindMax { p99: Duration::from_millis(self.p99_ms), step }
        } else {
            Goal::Hold { duration: within("--duration", &self.duration, DURATION_MOST)? }
        };
        let grace = match self.grace.as_deref() {
            Some(grace) => within("--grace", grace, GRACE_MOST)?,
            None if self.find_max => GRACE_OF_STEPS,
            None => GRACE,
        };
        check_rate(self.rate, grace)?;
        let longest_ms = grace.as_millis() as u64;
        if self.find_max && !(P99_LEAST_MS..=longest_ms).contains(&self.p99_ms) {
            let what = format!("--p99-ms {} is not from {P99_LEAST_MS} to {longest_ms}", self.p99_ms);
            return Err(CommandError::settings(
                what,
                "results are looked for every few ms, and for as long as --grace",
            ));
        }
        if self.gateway.is_some() && self.through == Through::Queue {
            return Err(CommandError::settings("--gateway is not for --through queue", "leave one of them out"));
        }
        let appid = self.appid.as_deref().map(AppId::try_from).transpose();
        let appid = appid.map_err(|rule| CommandError::settings(format!("--appid {rule}"), "see --help"))?;
        let gateway = self.gateway.as_deref().map(gateway_url).transpose()?;
        Ok(Plan { goal, rate: self.rate, through: self.through, gateway, appid, grace, json: self.json })
    }
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Queue => "queue",
        })
    }
}

/// The highest rate that keeps within what may be in flight.
pub(super) fn rate_most(grace: Duration) -> u32 {
    let most = u128::from(IN_FLIGHT_MOST) * 1000 / grace.as_millis().max(1);
    u32::try_from(most).unwrap_or(u32::MAX).min(RATE_MOST)
}

fn check_rate(rate: u32, grace: Duration) -> Result<(), CommandError> {
    if !(1..=RATE_MOST).contains(&rate) {
        let what = format!("--rate {rate} is not from 1 to {RATE_MOST}");
        return Err(CommandError::settings(what, "it is in logins a second; several processes can share a higher one"));
    }
    if rate > rate_most(grace) {
        let what = format!(
            "--rate {rate} with --grace {} ms may have more than {IN_FLIGHT_MOST} in flight",
            grace.as_millis()
        );
        return Err(CommandError::settings(what, "shorten --grace, or share the rate among several processes"));
    }
    Ok(())
}

fn gateway_url(text: &str) -> Result<Url, CommandError> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| CommandError::settings("--gateway is no URL", "it is like http://127.0.0.1:8080"))
}

fn within(name: &str, text: &str, most: Duration) -> Result<Duration, CommandError> {
    let hint = "it is a number with its unit, as in 500ms, 60s or 2m";
    let duration = duration(text).ok_or_else(|| CommandError::settings(format!("{name} is no duration"), hint))?;
    if duration < SHORTEST || duration > most {
        let what = format!("{name} is not from {} ms to {} s", SHORTEST.as_millis(), most.as_secs());
        return Err(CommandError::settings(what, hint));
    }
    Ok(duration)
}

fn duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[number.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_with_its_unit() {
        for (text, ms) in [("500ms", 500), ("60s", 60_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "60", "s", "1.5s", "-1s", "2 m", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_may_be_in_flight_bounds_the_rate() {
        assert_eq!(rate_most(Duration::from_secs(20)), 5_000);
        assert_eq!(rate_most(Duration::from_millis(100)), RATE_MOST);
        assert!(check_rate(3333, GRACE).is_ok() && check_rate(3334, GRACE).is_err());
        assert!(check_rate(0, GRACE).is_err() && check_rate(RATE_MOST + 1, SHORTEST).is_err());
    }
}
