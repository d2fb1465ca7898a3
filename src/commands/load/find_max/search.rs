//! The search for the highest rate: doubled until one is missed, then halved in between. One that is missed is tried once
//! more before that counts, since a machine has hiccups. Nothing is sent here.

/// The rate found is within this part of the lowest that was too high: a twentieth.
const EXACT_TO: u32 = 20;

/// Where the search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Search {
    first: u32,
    most: u32,
    /// The highest rate that was kept.
    pub(super) kept: Option<u32>,
    /// The lowest that was not, twice in a row.
    missed: Option<(u32, Shown)>,
    /// One that was not, and is tried again.
    doubted: Option<u32>,
}

/// What a step has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Kept,
    TooSlow,
    /// Not every login succeeded.
    NotAll,
    /// The sender could not keep the rate.
    SenderLate,
}

/// What keeps the rate found from being higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Line,
    /// The line may keep more.
    Sender,
    /// No more may be in flight here.
    InFlight,
    /// Somebody ended the search.
    Stopped,
}

impl Search {
    /// Begins with a rate, and tries none above `most`.
    pub(super) fn new(first: u32, most: u32) -> Self {
        Self { first, most, kept: None, missed: None, doubted: None }
    }

    /// The rate to try now. None: it is found, or there is none.
    pub(super) fn next(&self) -> Option<u32> {
        if self.doubted.is_some() {
            return self.doubted;
        }
        match (self.kept, self.missed) {
            (None, None) => Some(self.first),
            (Some(kept), None) => (kept < self.most).then(|| kept.saturating_mul(2).min(self.most)),
            (None, Some((missed, _))) => (missed > 1).then_some(missed / 2),
            (Some(kept), Some((missed, _))) => {
                let apart = missed - kept;
                (apart > (missed / EXACT_TO).max(1)).then_some(kept + apart / 2)
            }
        }
    }

    pub(super) fn learn(&mut self, rate: u32, shown: Shown) {
        let again = self.doubted.take().is_some();
        match shown {
            Shown::Kept => self.kept = Some(rate),
            missed if again => self.missed = Some((rate, missed)),
            _ => self.doubted = Some(rate),
        }
    }

    /// What keeps it from being higher.
    pub(super) fn limit(&self) -> Limit {
        match self.missed {
            None => Limit::InFlight,
            Some((_, Shown::SenderLate)) => Limit::Sender,
            Some(_) => Limit::Line,
        }
    }
}

impl Shown {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::TooSlow => "too_slow",
            Self::NotAll => "not_all_succeeded",
            Self::SenderLate => "sender_late",
        }
    }
}

impl Limit {
    /// The word for programs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Sender => "sender",
            Self::InFlight => "in_flight",
            Self::Stopped => "stopped",
        }
    }

    /// The same for people.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Line => "the line",
            Self::Sender => "this sender, which could not send more: the line may keep a higher rate",
            Self::InFlight => "what may be in flight here: a shorter --grace allows more",
            Self::Stopped => "the search was ended early",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates that are tried where all up to `highest` are kept, and the one found.
    fn searched(first: u32, most: u32, highest: u32) -> (Vec<u32>, Option<u32>) {
        let mut search = Search::new(first, most);
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            assert!(tried.len() < 40, "it ends: {tried:?}");
            search.learn(rate, if rate <= highest { Shown::Kept } else { Shown::TooSlow });
        }
        (tried, search.kept)
    }

    #[test]
    fn a_rate_is_doubled_until_it_is_too_high_and_then_closed_in_on() {
        let (tried, found) = searched(100, 10_000, 730);
        assert_eq!(tried, [100, 200, 400, 800, 800, 600, 700, 750, 750, 725]);
        assert_eq!(found, Some(725));
    }

    #[test]
    fn the_rate_found_is_within_a_twentieth_of_the_highest() {
        for highest in (1..2000).chain([4_999, 9_999]) {
            let (_, found) = searched(100, 10_000, highest);
            let found = found.expect("one a second is always kept here");
            assert!(found <= highest && f64::from(highest) <= f64::from(found) * 1.056 + 1.0, "{highest}: {found}");
        }
    }

    #[test]
    fn a_rate_that_is_missed_once_is_no_limit() {
        let mut search = Search::new(100, 10_000);
        for (rate, shown) in [(100, Shown::TooSlow), (100, Shown::Kept), (200, Shown::SenderLate), (200, Shown::Kept)] {
            assert_eq!(search.next(), Some(rate));
            search.learn(rate, shown);
        }
        assert_eq!((search.kept, search.missed), (Some(200), None));
    }

    #[test]
    fn a_search_ends_where_nothing_or_everything_is_kept() {
        assert_eq!(searched(100, 10_000, 0), (vec![100, 100, 50, 50, 25, 25, 12, 12, 6, 6, 3, 3, 1, 1], None));
        let (tried, found) = searched(100, 1000, u32::MAX);
        assert_eq!((tried.last(), found), (Some(&1000), Some(1000)));
    }
}
