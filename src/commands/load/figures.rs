//! Latencies as they are printed: a few percentiles, in milliseconds.

use serde_json::{Value, json};

use crate::commands::load::account::Latencies;

/// Each with its name and its quantile.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// For people: `p50 101.2  p90 …  max 130.0`.
pub(super) fn text(latencies: &Latencies) -> String {
    let all = PERCENTILES.map(|(name, quantile)| (name, latencies.ms_at(quantile)));
    let all = all.into_iter().chain([("max", latencies.max_ms())]);
    let all = all.map(|(name, ms)| format!("{} {}", name.replace('_', "."), cell(ms)));
    all.collect::<Vec<_>>().join("  ")
}

/// For programs; each null where there is no latency at all.
pub(super) fn json(latencies: &Latencies) -> Value {
    let mut all: serde_json::Map<String, Value> =
        PERCENTILES.into_iter().map(|(name, quantile)| (name.into(), json!(latencies.ms_at(quantile)))).collect();
    all.insert("max".into(), json!(latencies.max_ms()));
    Value::Object(all)
}

/// One latency; a dash if there is none. At most seven columns, up to a quarter of an hour.
pub(super) fn cell(ms: Option<f64>) -> String {
    match ms {
        Some(ms) if ms >= 10_000.0 => format!("{ms:.0}"),
        Some(ms) => format!("{ms:.1}"),
        None => "-".into(),
    }
}

/// Names and counts: `throttled 3, unanswered 1`.
pub(super) fn counts<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    counts.into_iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
