//! The two formats of `/metrics`, and which of them a scraper asks for: Prometheus' text format unless OpenMetrics is
//! preferred. The crate writes OpenMetrics only; the text format is made from that.

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// What the `Accept` headers say of one format.
#[derive(Debug, Clone, Copy, Default)]
struct Preference {
    /// From 0 to 1.
    quality: f32,
    /// 0: not named; 1: by `*/*`; 2: by its type; 3: in full.
    precision: u8,
    /// Earlier is preferred, if all else is equal.
    position: usize,
}

impl Exposition {
    /// The format that these `Accept` headers prefer (RFC 9110, 12.5.1).
    pub fn preferred<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut text, mut open_metrics) = (Preference::default(), Preference::default());
        let ranges = accept.into_iter().flat_map(|header| header.split(','));
        for (position, range) in ranges.enumerate() {
            let Some(range) = Range::read(range) else { continue };
            let at = |precision| Preference { quality: range.quality, precision, position };
            match range.media_type.as_str() {
                "*/*" => {
                    text.learn(at(1));
                    open_metrics.learn(at(1));
                }
                "text/*" => text.learn(at(2)),
                "application/*" => open_metrics.learn(at(2)),
                "text/plain" if range.version_is_in(&["0.0.4"]) => text.learn(at(3)),
                "application/openmetrics-text" if range.version_is_in(&["1.0.0", "0.0.1"]) => open_metrics.learn(at(3)),
                _ => {}
            }
        }
        let is_preferred = open_metrics.quality > text.quality
            || (open_metrics.quality == text.quality
                && open_metrics.precision == 3
                && (text.precision < 3 || open_metrics.position < text.position));
        if open_metrics.quality > 0.0 && is_preferred { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// In this format, what is given in OpenMetrics.
    pub(super) fn rendering(self, open_metrics: String) -> String {
        match self {
            Self::Text => text(&open_metrics),
            Self::OpenMetrics => open_metrics,
        }
    }
}

impl Preference {
    /// What names a format more precisely decides; of two that are as precise, the better.
    fn learn(&mut self, other: Self) {
        let is_better = other.precision == self.precision && other.quality > self.quality;
        if other.precision > self.precision || is_better {
            *self = other;
        }
    }
}

/// One part of an `Accept` header.
struct Range {
    media_type: String,
    version: Option<String>,
    quality: f32,
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
        let media_type = parts.next().filter(|media_type| !media_type.is_empty())?;
        let mut range = Self { media_type, version: None, quality: 1.0 };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim_end() {
                // One that is not from 0 to 1 asks for nothing.
                "q" => {
                    range.quality = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(0.0);
                }
                "version" => range.version = Some(value.to_owned()),
                _ => {}
            }
        }
        Some(range)
    }

    fn version_is_in(&self, versions: &[&str]) -> bool {
        self.version.as_deref().is_none_or(|version| versions.contains(&version))
    }
}

/// A counter's family is called `x_total` and an info's `x_info`, as their samples are; there are no units and no end.
fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 512);
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                known => ("", known),
            };
            if let Some(help) = help.take() {
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_prefer_it() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
                            escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, expected) in [
            ("", Exposition::Text),
            ("*/*", Exposition::Text),
            ("text/plain", Exposition::Text),
            ("text/*", Exposition::Text),
            ("text/plain;version=0.0.4", Exposition::Text),
            (browser, Exposition::Text),
            ("application/json", Exposition::Text),
            (prometheus_2, Exposition::OpenMetrics),
            (prometheus_3, Exposition::OpenMetrics),
            ("application/openmetrics-text", Exposition::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8", Exposition::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Exposition::Text),
            ("application/openmetrics-text;version=2.0.0, */*;q=0.1", Exposition::Text),
            ("application/openmetrics-text;q=0", Exposition::Text),
            ("application/openmetrics-text;q=0, */*", Exposition::Text),
            ("application/openmetrics-text;q=none", Exposition::Text),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.7", Exposition::Text),
            ("application/openmetrics-text;q=0.7, text/plain;q=0.3", Exposition::OpenMetrics),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.2, */*", Exposition::OpenMetrics),
            ("text/plain, application/openmetrics-text", Exposition::Text),
            ("application/openmetrics-text, text/plain", Exposition::OpenMetrics),
            ("application/openmetrics-text, */*", Exposition::OpenMetrics),
            ("application/*", Exposition::OpenMetrics),
            ("text/plain;q=0, application/openmetrics-text;q=0.1", Exposition::OpenMetrics),
        ] {
            assert_eq!(Exposition::preferred([accept]), expected, "{accept}");
        }
        let two_headers = ["text/plain;q=0.1", "application/openmetrics-text"];
        assert_eq!(Exposition::preferred(two_headers), Exposition::OpenMetrics);
        assert_eq!(Exposition::preferred([]), Exposition::Text);
    }

    #[test]
    fn the_text_format_names_families_as_their_samples() {
        let open_metrics = "# HELP a A.\n# TYPE a counter\na_total{x=\"1\"} 2\n# HELP b_seconds B.\n\
                            # TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 0.5\n# HELP c C.\n# TYPE c info\n\
                            c_info{version=\"1\"} 1\n# HELP d D.\n# TYPE d unknown\nd 1\n# HELP e E.\n\
                            # TYPE e histogram\ne_sum 0\ne_count 0\ne_bucket{le=\"+Inf\"} 0\n# EOF\n";
        let expected = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# HELP b_seconds B.\n\
                        # TYPE b_seconds gauge\nb_seconds 0.5\n# HELP c_info C.\n# TYPE c_info gauge\n\
                        c_info{version=\"1\"} 1\n# HELP d D.\n# TYPE d untyped\nd 1\n# HELP e E.\n\
                        # TYPE e histogram\ne_sum 0\ne_count 0\ne_bucket{le=\"+Inf\"} 0\n";
        assert_eq!(Exposition::Text.rendering(open_metrics.to_owned()), expected);
        assert_eq!(Exposition::OpenMetrics.rendering(open_metrics.to_owned()), open_metrics);
    }
}
