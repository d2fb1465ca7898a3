//! Settings: compiled-in defaults, then a TOML file, then the environment. Used by commands only; everything below
//! them is passed plain values.
//!
//! Here the layers are read; `sections` has the keys; `values`, and for their parts `hosts`, `apps` and `platforms`, check
//! them and make plain values of them.

mod apps;
mod hosts;
mod platforms;
mod sections;
mod values;

use std::collections::HashMap;
use std::path::Path;

use config::{Config, ConfigError, Environment, File, FileFormat};

pub use sections::{AppEntry, ExternalEntry, LogFormat, PlatformEntry, Settings};

/// The commented reference, which is also where the defaults come from.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Apps and platforms in the environment: one TOML list each, since a list cannot be spelled in single variables.
const TABLE_VARIABLES: [(&str, &str); 2] = [("QUICKLOGIN__APPS", "apps"), ("QUICKLOGIN__PLATFORMS", "platforms")];
/// Lists of texts in the environment: comma-separated.
const LIST_VARIABLES: [(&str, &str); 2] =
    [("QUICKLOGIN__GATEWAY__KEYS", "gateway.keys"), ("QUICKLOGIN__WECHAT__HOSTS", "wechat.hosts")];
const HINT: &str =
    "config/default.toml has every key with its meaning; `quicklogin config check` checks without starting";

/// A mistake in the settings: what it is and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct BadSettings {
    what: String,
    hint: String,
}

impl BadSettings {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl Settings {
    /// The settings from `file`, if any, and the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, BadSettings> {
        let settings = Self::layered(file, our_variables()?)?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether logs should be JSON as far as that can be known, if the settings themselves cannot be read.
    pub fn wants_json_logs(file: Option<&Path>) -> bool {
        let in_file = || {
            let file = File::from(file?).format(FileFormat::Toml);
            Config::builder().add_source(file).build().ok()?.get_string("log.format").ok()
        };
        std::env::var("QUICKLOGIN__LOG__FORMAT").ok().or_else(in_file).is_some_and(|format| format == "json")
    }

    fn layered(file: Option<&Path>, mut variables: HashMap<String, String>) -> Result<Self, BadSettings> {
        let mut layers = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(file) = file {
            if !file.is_file() {
                let what = format!("there is no settings file {}", file.display());
                return Err(BadSettings::new(what, "give --config a readable TOML file"));
            }
            layers = layers.add_source(File::from(file).format(FileFormat::Toml));
        }
        for (variable, key) in TABLE_VARIABLES {
            if let Some(list) = variables.remove(variable) {
                layers = layers.add_source(in_environment(variable, key, &list)?);
            }
        }
        for (variable, key) in LIST_VARIABLES {
            let Some(texts) = variables.remove(variable) else { continue };
            let texts: Vec<&str> = texts.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
            layers = layers.set_override(key, texts).expect("a list of texts under a good name");
        }
        let rest = Environment::with_prefix("QUICKLOGIN").prefix_separator("__").separator("__");
        let bad = |error: ConfigError| unreadable(&error);
        layers.add_source(rest.source(Some(variables))).build().map_err(bad)?.try_deserialize().map_err(bad)
    }
}

/// A list that stands in a variable, read by itself, so that a mistake in it names the variable.
fn in_environment(variable: &str, key: &str, list: &str) -> Result<Config, BadSettings> {
    let text = File::from_str(&format!("{key} = {list}"), FileFormat::Toml);
    Config::builder().add_source(text).build().map_err(|error| match error {
        ConfigError::FileParse { cause, .. } => {
            unreadable(&ConfigError::FileParse { uri: Some(variable.to_owned()), cause })
        }
        other => unreadable(&other),
    })
}

fn unreadable(error: &ConfigError) -> BadSettings {
    BadSettings::new(format!("settings: {}", described(error)), HINT)
}

/// The variables that are meant for us; what else is in the environment may be anything.
fn our_variables() -> Result<HashMap<String, String>, BadSettings> {
    let names = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let ours = names.filter(|(name, _)| name.starts_with("QUICKLOGIN__"));
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(BadSettings::new(format!("{name} is not UTF-8"), "give it as text")),
    })
    .collect()
}

/// The crate's own words, but for those that would repeat a value: it may be a secret in the wrong place.
fn described(error: &ConfigError) -> String {
    match error {
        ConfigError::Type { origin, expected, key, .. } => {
            let key = key.as_deref().unwrap_or("a value");
            let origin = origin.as_deref().map(|origin| format!(" in {origin}")).unwrap_or_default();
            format!("{key} should be {expected}{origin}")
        }
        ConfigError::At { error, origin, key } => {
            // The crate forgets the dot after an index.
            let key = key.as_deref().unwrap_or("a value").replace(']', "].");
            let origin = origin.as_deref().map(|origin| format!(" in {origin}")).unwrap_or_default();
            format!("{}: {}{origin}", key.trim_end_matches('.'), described(error))
        }
        ConfigError::FileParse { uri, cause } => {
            // The first line says where, the last one why; those between repeat the text, which may be a secret.
            let cause = cause.to_string();
            let (place, reason) = (cause.lines().next().unwrap_or_default(), cause.lines().last().unwrap_or_default());
            let uri = uri.as_deref().unwrap_or("a text");
            format!("{uri} is not TOML: {}: {}", without_values(place), without_values(reason))
        }
        other => without_values(&other.to_string()),
    }
}

/// Texts in double quotes are values, and so are numbers in backticks; names of fields stand in backticks too, and signs
/// that are missing.
fn without_values(text: &str) -> String {
    let quoted = |(n, part): (usize, &str)| if n % 2 == 0 { part.to_owned() } else { "\"***\"".into() };
    let text: String = text.split('"').enumerate().map(quoted).collect();
    let is_name = |part: &str| part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_sign = |part: &str| part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_punctuation());
    let ticked = |(n, part): (usize, &str)| match n % 2 == 0 || is_name(part) || is_sign(part) {
        true => part.to_owned(),
        false => "***".into(),
    };
    text.split('`').enumerate().map(ticked).collect::<Vec<_>>().join("`")
}
