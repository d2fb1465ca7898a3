//! What a scraper sees of a process that has only just started, in both formats.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The samples of the text format, as name and labels and value; and that it is well-formed as far as `promtool check
/// metrics` would look.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut types, mut helped, mut samples) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a text");
            assert!(!help.contains('\\') && helped.insert(name), "{line}");
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(helped.contains(name) && types.insert(name, kind).is_none(), "{line}");
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let name = sample.split('{').next().expect("a name");
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_typed =
                types.contains_key(name) || histogram.is_some_and(|name| types.get(name) == Some(&"histogram"));
            assert!(is_typed && name.starts_with("quicklogin_"), "{line}");
            let value = value.parse().expect("a number");
            assert_eq!(samples.insert(sample.to_owned(), value), None, "{line} comes twice");
        }
    }
    assert!(types.keys().all(|family| samples.keys().any(|sample| sample.starts_with(family))), "each has a sample");
    samples
}

#[test]
fn whatever_may_be_counted_starts_at_0() {
    let before = samples(&Meters::new().render());
    for reason in Reason::ALL.map(Reason::as_str).into_iter().chain([SUCCEEDED]) {
        assert_eq!(before.get(&format!("quicklogin_logins_total{{outcome=\"{reason}\"}}")), Some(&0.0), "{reason}");
    }
    for sample in [
        "quicklogin_answers_total{answer=\"unheard\"}",
        "quicklogin_submitted_total{status=\"503\"}",
        "quicklogin_pushes_total{kind=\"ticket\",outcome=\"store_away\"}",
        "quicklogin_log_lines_dropped_total",
        "quicklogin_dead_letters_total",
        "quicklogin_exchange_seconds_count",
    ] {
        assert!(before.contains_key(sample), "{sample}");
    }
    let meters = Meters::new();
    meters.concluded("in_doubt");
    meters.answered("busy", Duration::from_millis(1));
    meters.submitted(422);
    meters.pushed("unread", "refused");
    let after = samples(&meters.render());
    assert!(before.keys().eq(after.keys()), "nothing appears only when it is first counted");
    let increased = after.iter().filter(|(sample, value)| sample.contains("_total") && **value > before[*sample]);
    assert_eq!(increased.filter(|(sample, _)| !sample.contains("log_lines")).count(), 4);
}

#[test]
fn open_metrics_ends_with_its_mark_and_says_the_same() {
    let open_metrics = Meters::new().render_as(Exposition::OpenMetrics);
    assert!(open_metrics.ends_with("\n# EOF\n") && open_metrics.contains("# TYPE quicklogin_logins counter\n"));
    let is_sample = |line: &&str| !line.starts_with('#') && !line.contains("log_lines");
    let text = Meters::new().render();
    // Families come in the order of a hash map.
    let samples = |text: &str| text.lines().filter(is_sample).map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(samples(&open_metrics), samples(&text));
}
