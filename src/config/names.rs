//! The name of every setting that has an environment variable, and which setting a misspelt name was meant to be.

use strsim::osa_distance;

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "QUICKLOGIN__";
/// Two names with at most this many edits between them are taken for the same name, once misspelt.
const EDITS_MOST: usize = 2;

/// Every section, with its settings as they are written in a file. A list of tables has none.
pub(super) const SECTIONS: [(&str, &[&str]); 12] = [
    (
        "rabbitmq",
        &[
            "url",
            "exchange",
            "routing_key",
            "queue",
            "shards",
            "dead_queue",
            "results_queue",
            "declare",
            "max_length",
            "dead_max_length",
            "delivery_limit",
        ],
    ),
    ("redis", &["url", "prefix", "connect_timeout_ms", "timeout_ms"]),
    ("wechat", &["base_url", "hosts", "connect_timeout_ms", "timeout_ms", "pool_idle_s"]),
    ("apps", &[]),
    ("platforms", &[]),
    ("worker", &["slots", "drain_s"]),
    ("login", &["code_life_s", "patience_s"]),
    ("result", &["ttl_s", "encryption", "key_name", "key", "key_file", "outbox_key", "outbox_key_file"]),
    ("gateway", &["listen", "keys", "open", "max_waiting", "max_connections"]),
    ("ops", &["listen"]),
    ("simulator", &["listen", "latency_ms", "jitter_ms"]),
    ("log", &["filter", "format"]),
];

/// Every setting that has a variable: `section.setting`, and the two lists.
pub(super) fn settings() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|(section, settings)| {
        let list = settings.is_empty().then(|| (*section).to_owned());
        list.into_iter().chain(settings.iter().map(move |setting| format!("{section}.{setting}")))
    })
}

/// The variable of a setting.
pub(super) fn variable_of(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "__").to_ascii_uppercase())
}

/// The setting that this name was meant to be, if it is close to one. Case and the number of underscores do not count,
/// and neither does whether a dot or an underscore stands between section and setting.
pub(super) fn meant(name: &str) -> Option<String> {
    let name = reduced(name);
    let near = settings().map(|setting| (osa_distance(&name, &reduced(&setting)), setting));
    // A short name is close to everything.
    let near = near.filter(|(edits, setting)| *edits <= EDITS_MOST.min(setting.len() / 4));
    near.min_by_key(|(edits, _)| *edits).map(|(_, setting)| setting)
}

/// The variable that a name outside our prefix was meant to be, if it is close to one. Kubernetes makes variables such
/// as `QUICKLOGIN_GATEWAY_PORT` for a service of that name: they are close to none.
pub(super) fn meant_variable(name: &str) -> Option<String> {
    let reduced_name = reduced(name);
    let (start, rest) = reduced_name.split_once('_')?;
    if osa_distance(start, "quicklogin") > EDITS_MOST {
        return None;
    }
    meant(rest).map(|setting| variable_of(&setting))
}

/// Lower case, with one underscore between words.
fn reduced(name: &str) -> String {
    let words = name.split(['_', '.', '-']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_recognised_and_an_unrelated_one_is_not() {
        for (name, meant) in [
            ("QUICKLOGIN_WORKER__SLOTS", "QUICKLOGIN__WORKER__SLOTS"),
            ("QUICKLOGIN_WORKER_SLOTS", "QUICKLOGIN__WORKER__SLOTS"),
            ("quicklogin__worker__slots", "QUICKLOGIN__WORKER__SLOTS"),
            ("QuickLogin__Worker__Slots", "QUICKLOGIN__WORKER__SLOTS"),
            ("QUIKLOGIN__WORKER__SLOTS", "QUICKLOGIN__WORKER__SLOTS"),
            ("QUICKLOGN_REDIS_URI", "QUICKLOGIN__REDIS__URL"),
            ("QUICKLOGIN_APPS", "QUICKLOGIN__APPS"),
            ("QUICKLOGIN_PLATFORM", "QUICKLOGIN__PLATFORMS"),
            ("QUICKLOGIN___GATEWAY___KEYS", "QUICKLOGIN__GATEWAY__KEYS"),
            ("QUICKLOGIN_GATEWAY_KEY", "QUICKLOGIN__GATEWAY__KEYS"),
        ] {
            assert_eq!(meant_variable(name).as_deref(), Some(meant), "{name}");
        }
        for name in [
            "QUICKLOGIN",
            "QUICKLOGIN_",
            "QUICKLOGIN_PORT",
            "QUICKLOGIN_PORT_8080_TCP",
            "QUICKLOGIN_SERVICE_HOST",
            "QUICKLOGIN_SERVICE_PORT_HTTP",
            "QUICKLOGIN_GATEWAY_PORT",
            "QUICKLOGIN_GATEWAY_SERVICE_HOST",
            "QUICKLOGIN_OPS_PORT_9090_TCP_ADDR",
            "QUICKLOGIN_REDIS_PORT",
            "QUICKLOGIN_REDIS_SERVICE_HOST",
            "QUICKLOGIN_RABBITMQ_PORT_5672_TCP",
            "QUICKLOGIN_WORKER_PORT",
            "QUICKLOGIN_IMAGE",
            "QUICKLOGIN_TAG",
            "QUICKLOGIN_LOGS",
            "QUICKLOGIN_HOME",
            "REDIS_URL",
            "WORKER__SLOTS",
            "PATH",
            "",
            "____",
        ] {
            assert_eq!(meant_variable(name), None, "{name}");
        }
    }

    /// The reference has each setting on a line of its own, those without a default commented out; a key's file stands
    /// beside the key.
    #[test]
    fn every_setting_of_the_reference_has_a_variable_and_no_other() {
        let (mut section, mut documented) =
            ("", ["apps", "platforms", "result.key_file", "result.outbox_key_file"].map(str::to_owned).to_vec());
        for line in crate::config::DEFAULTS.lines().map(|line| line.trim_start_matches("# ")) {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_matches(['[', ']']);
            } else if let Some((name, _)) = line.split_once(" = ")
                && !name.contains(' ')
                && !matches!(section, "" | "apps" | "platforms")
            {
                documented.push(format!("{section}.{name}"));
            }
        }
        documented.sort_unstable();
        let mut known: Vec<_> = settings().collect();
        known.sort_unstable();
        assert_eq!(known, documented);
    }

    #[test]
    fn a_misspelt_setting_is_recognised() {
        for (name, setting) in [
            ("worker.slos", "worker.slots"),
            ("worker_slots", "worker.slots"),
            ("gateway.key", "gateway.keys"),
            ("rabbitmq.dead_lenght", ""),
            ("rabbitmq.max_lenght", "rabbitmq.max_length"),
            ("colour", ""),
        ] {
            assert_eq!(meant(name).unwrap_or_default(), setting, "{name}");
        }
    }
}
