//! Settings: compiled-in defaults, then a TOML file, then the environment. Used by commands only; everything below
//! them is passed plain values.
//!
//! Here the layers are read; `variables` has those of the environment; `sections` has the keys, and `reading` fills them;
//! `values`, and for their parts `hosts`, `apps` and `platforms`, check them and make plain values of them; `secrecy` warns
//! of what strangers could read.

mod apps;
mod hosts;
mod names;
mod platforms;
mod reading;
mod secrecy;
mod sections;
mod values;
mod variables;

use std::path::Path;

use config::{Config, ConfigError, File, FileFormat};
use serde::Deserialize;

use reading::{Misfit, Node};
use variables::Variables;

pub use sections::{AppEntry, ExternalEntry, LogFormat, PlatformEntry, Settings};

/// The commented reference, which is also where the defaults come from.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

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
        let variables = Variables::of(std::env::vars_os())?;
        let settings = Self::layered(file, variables)?;
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

    fn layered(file: Option<&Path>, mut variables: Variables) -> Result<Self, BadSettings> {
        let mut layers = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        let file = file.map(read_file).transpose()?;
        let file_holds_secrets = file.as_ref().is_some_and(|file| secrecy::holds_secrets(&file.cache));
        if let Some(file) = file {
            layers = layers.add_source(file);
        }
        for (setting, value) in &variables.values {
            layers = match setting.as_str() {
                table if variables::TABLES.contains(&table) => layers.add_source(in_environment(table, value)?),
                list if variables::LISTS.contains(&list) => {
                    let texts = value.trim().trim_matches(['[', ']']).split(',').map(str::trim);
                    let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
                    layers.set_override(list, texts).expect("a list of texts under a good name")
                }
                setting => layers.set_override(setting, value.as_str()).expect("a text under a good name"),
            };
        }
        let layers = layers.build().map_err(|_| BadSettings::new("the settings contradict each other", HINT))?;
        let settings = Self::deserialize(Node::root(layers.cache)).map_err(|misfit| unreadable(&misfit, &variables))?;
        Ok(Self { warnings: std::mem::take(&mut variables.warnings), file_holds_secrets, ..settings })
    }
}

fn read_file(file: &Path) -> Result<Config, BadSettings> {
    let bad = |problem: &str| {
        let what = format!("the settings file {} {problem}", file.display());
        BadSettings::new(what, "give --config a TOML file in UTF-8 that this user may read")
    };
    if !file.is_file() {
        let what = format!("there is no settings file {}", file.display());
        return Err(BadSettings::new(what, "give --config a readable TOML file"));
    }
    let bytes = std::fs::read(file).map_err(|error| bad(&format!("cannot be read: {error}")))?;
    if [[0xff, 0xfe], [0xfe, 0xff]].iter().any(|mark| bytes.starts_with(mark)) {
        return Err(bad("is UTF-16: save it as UTF-8"));
    }
    std::str::from_utf8(&bytes).map_err(|_| bad("is not UTF-8"))?;
    let read = Config::builder().add_source(File::from(file).format(FileFormat::Toml)).build();
    read.map_err(|error| not_toml(&file.display().to_string(), &error))
}

/// A list that stands in a variable, read by itself, so that a mistake in it names the variable.
fn in_environment(setting: &str, list: &str) -> Result<Config, BadSettings> {
    let text = File::from_str(&format!("{setting} = {list}"), FileFormat::Toml);
    let read = Config::builder().add_source(text).build();
    read.map_err(|error| not_toml(&names::variable_of(setting), &error))
}

fn unreadable(misfit: &Misfit, variables: &Variables) -> BadSettings {
    match variables.variable(&misfit.setting) {
        Some(variable) => BadSettings::new(format!("settings: {misfit}, in the variable {variable}"), HINT),
        None => BadSettings::new(format!("settings: {misfit}"), HINT),
    }
}

/// Where the text stops being TOML, and why. The parser repeats the line itself too, which may hold a secret.
fn not_toml(place: &str, error: &ConfigError) -> BadSettings {
    let ConfigError::FileParse { cause, .. } = error else {
        return BadSettings::new(format!("{place} cannot be read as settings"), HINT);
    };
    // The first line says where, the last one why; those between repeat the text.
    let cause = cause.to_string();
    let (first, last) = (cause.lines().next().unwrap_or_default(), cause.lines().last().unwrap_or_default());
    let at = first.strip_prefix("TOML parse error at ").map(|at| format!(", {at}")).unwrap_or_default();
    BadSettings::new(format!("{place} is not TOML{at}: {}", without_values(last)), HINT)
}

/// The parser's reason. In quotes of any kind only signs are left, such as "`]`" or "`=`".
fn without_values(reason: &str) -> String {
    let is_sign = |part: &str| part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_punctuation());
    let is_word = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic() || b" ,-;:.'/()".contains(&byte));
    let parts = reason.split('`').enumerate().map(|(n, part)| match n % 2 == 0 {
        true if is_word(part) => part,
        false if is_sign(part) => part,
        _ => "***",
    });
    parts.collect::<Vec<_>>().join("`")
}
