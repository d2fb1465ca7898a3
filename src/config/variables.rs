//! The environment: which variables are ours, which setting each is for, and which were meant to be ours.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::config::BadSettings;
use crate::config::names::{self, PREFIX, SECTIONS};

/// One TOML list each, since a list of tables cannot be spelled in single variables.
pub(super) const TABLES: [&str; 2] = ["apps", "platforms"];
/// Lists of texts: comma-separated.
pub(super) const LISTS: [&str; 2] = ["gateway.keys", "wechat.hosts"];

/// What the environment says.
pub(super) struct Variables {
    /// Settings and their texts.
    pub(super) values: BTreeMap<String, String>,
    /// About variables that are not read and were probably meant to be.
    pub(super) warnings: Vec<String>,
}

impl Variables {
    /// Those of this environment that are meant for us; what else is in it may be anything.
    pub(super) fn of(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Self, BadSettings> {
        let mut ours = Self { values: BTreeMap::new(), warnings: vec![] };
        for (name, value) in environment {
            let Ok(name) = name.into_string() else { continue };
            match name.strip_prefix(PREFIX) {
                Some(rest) => {
                    let setting = setting(&name, rest)?;
                    let value = value.into_string();
                    let value =
                        value.map_err(|_| BadSettings::new(format!("{name} is not UTF-8"), "give it as text"))?;
                    check_form(&name, &setting, &value)?;
                    ours.values.insert(setting, value);
                }
                None => {
                    let warning = |meant| format!("the variable {name} is not read; {meant} is, if that is meant");
                    ours.warnings.extend(names::meant_variable(&name).map(warning));
                }
            }
        }
        ours.warnings.sort_unstable();
        Ok(ours)
    }

    /// The variable that this setting, or a part of it, came from.
    pub(super) fn variable(&self, setting: &str) -> Option<String> {
        let whole = setting.split('[').next().unwrap_or_default();
        self.values.contains_key(whole).then(|| names::variable_of(whole))
    }
}

fn setting(name: &str, rest: &str) -> Result<String, BadSettings> {
    let setting = rest.replace("__", ".").to_ascii_lowercase();
    if names::settings().any(|known| known == setting) {
        return Ok(setting);
    }
    if let Some((section, [first, ..])) = SECTIONS.iter().find(|(section, _)| *section == setting) {
        let own = names::variable_of(&format!("{section}.{first}"));
        let what = format!("{name} is not read: {section} is a section, and each setting in it has its own variable");
        return Err(BadSettings::new(what, format!("for instance {own}")));
    }
    let hint = match names::meant(&setting) {
        Some(meant) => format!("is {} meant?", names::variable_of(&meant)),
        None => "config/default.toml has every setting; a variable is QUICKLOGIN__SECTION__SETTING".into(),
    };
    Err(BadSettings::new(format!("{name} is not read: {setting} is not a setting"), hint))
}

/// What an env file or a shell may have left around a value.
fn check_form(name: &str, setting: &str, value: &str) -> Result<(), BadSettings> {
    let text = value.trim();
    let is_quoted = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if ['"', '\'', '`'].into_iter().any(is_quoted) || text.starts_with(['“', '‘']) {
        let hint = "leave the outer quotes out: a shell removes them, `docker --env-file` and many others do not";
        return Err(BadSettings::new(format!("the value of {name} stands in quotes"), hint));
    }
    if LISTS.contains(&setting) && text.starts_with('[') {
        let hint = "separate the entries by commas, without brackets and quotes; empty for none";
        // One form of an empty list that is clear.
        if text != "[]" {
            return Err(BadSettings::new(format!("the value of {name} stands in brackets"), hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Result<Variables, BadSettings> {
        Variables::of([(OsString::from(name), OsString::from(value))].into_iter())
    }

    #[test]
    fn a_variable_is_for_one_setting_whatever_the_case_behind_the_prefix() {
        for name in ["QUICKLOGIN__WORKER__SLOTS", "QUICKLOGIN__worker__slots"] {
            let ours = of(name, "8").expect("a good variable");
            assert_eq!(ours.values.get("worker.slots").map(String::as_str), Some("8"), "{name}");
            assert_eq!(ours.variable("worker.slots").as_deref(), Some("QUICKLOGIN__WORKER__SLOTS"));
        }
        let apps = of("QUICKLOGIN__APPS", "[]").expect("a good variable");
        assert_eq!(apps.variable("apps[2].secret").as_deref(), Some("QUICKLOGIN__APPS"));
        assert_eq!(apps.variable("platforms"), None);
    }

    #[test]
    fn a_mistake_names_the_variable_and_what_is_meant_but_no_value() {
        for (name, what, hint) in [
            ("QUICKLOGIN__WORKER__SLOS", "worker.slos is not a setting", "is QUICKLOGIN__WORKER__SLOTS meant?"),
            ("QUICKLOGIN__WORKER_SLOTS", "not a setting", "is QUICKLOGIN__WORKER__SLOTS meant?"),
            ("QUICKLOGIN__GATEWAY", "gateway is a section", "QUICKLOGIN__GATEWAY__LISTEN"),
            ("QUICKLOGIN__", "not a setting", "every setting"),
            ("QUICKLOGIN__APPS__0__SECRET", "not a setting", "every setting"),
            ("QUICKLOGIN__A[B", "not a setting", "every setting"),
        ] {
            let bad = of(name, "canary").err().expect(name);
            let said = format!("{bad} {}", bad.hint());
            assert!(said.contains(name) && said.contains(what) && said.contains(hint), "{name}: {said}");
            assert!(!said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn quotes_that_an_env_file_leaves_around_a_value_are_named() {
        for value in ["'[{appid = \"wx1\"}]'", "\"[{appid = 'wx1'}]\"", " \"x\" ", "`x`", "“x”"] {
            let bad = of("QUICKLOGIN__APPS", value).err().expect(value);
            assert!(bad.to_string().contains("quotes") && bad.hint().contains("--env-file"), "{value}: {bad}");
        }
        for value in ["\"", "x\"", "[{appid = \"wx1\"}]", ""] {
            assert!(of("QUICKLOGIN__APPS", value).is_ok(), "{value}");
        }
        assert!(of("QUICKLOGIN__GATEWAY__KEYS", "[\"a\", \"b\"]").is_err());
        assert!(of("QUICKLOGIN__GATEWAY__KEYS", "[]").is_ok());
    }
}
