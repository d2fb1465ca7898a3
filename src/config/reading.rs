//! From the layered values to `Settings`.
//!
//! The `config` crate can do this too, but its errors repeat the value that does not fit, and that may be a secret in the
//! wrong place. Here every error names the setting and what it should be, and no error repeats a value.

use std::fmt;

use config::{Value, ValueKind};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
};
use serde::de::{Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use crate::config::names;

/// A longer text is no name that somebody misspelt.
const NAME_CHARS_MOST: usize = 32;

/// A value and the setting that it is for.
pub(super) struct Node {
    value: Value,
    setting: String,
}

/// Why a value does not fit. Never repeats it.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Which setting; empty for the settings as a whole.
    pub(super) setting: String,
    /// The file that it stands in, if it stands in one.
    pub(super) file: Option<String>,
    /// What it should be.
    pub(super) problem: String,
}

impl Node {
    /// All settings.
    pub(super) fn root(value: Value) -> Self {
        Self { value, setting: String::new() }
    }

    fn child(&self, name: &str, value: Value) -> Self {
        let dot = if self.setting.is_empty() { "" } else { "." };
        Self { value, setting: format!("{}{dot}{name}", self.setting) }
    }

    fn misfit(&self, problem: impl Into<String>) -> Misfit {
        let file = self.value.origin().map(str::to_owned);
        Misfit { setting: self.setting.clone(), file, problem: problem.into() }
    }

    /// Names the setting in an error of a visitor's, which does not know it.
    fn fits<T>(&self, visited: Result<T, Misfit>) -> Result<T, Misfit> {
        visited.map_err(|misfit| if misfit.setting.is_empty() { self.misfit(misfit.problem) } else { misfit })
    }

    /// What `seed` makes of it. Types that check a text behind the visitor's back do not know the setting either.
    fn read_by<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Misfit> {
        let (setting, file) = (self.setting.clone(), self.value.origin().map(str::to_owned));
        seed.deserialize(self).map_err(|misfit| match misfit.setting.is_empty() {
            true => Misfit { setting, file, ..misfit },
            false => misfit,
        })
    }

    fn text(&self) -> Result<&str, Misfit> {
        match &self.value.kind {
            ValueKind::String(text) => Ok(text),
            ValueKind::I64(_) | ValueKind::U64(_) | ValueKind::Float(_) | ValueKind::Boolean(_) => {
                Err(self.misfit("should be text, in quotes"))
            }
            _ => Err(self.misfit("should be text")),
        }
    }

    /// A number as it stands in a file, or as text in the environment.
    fn whole(&self, most: u64) -> Result<u64, Misfit> {
        let number = match &self.value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::U64(number) => Some(*number),
            ValueKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let fits = number.filter(|number| *number <= most);
        fits.ok_or_else(|| self.misfit(format!("should be a whole number from 0 to {most}")))
    }

    fn boolean(&self) -> Result<bool, Misfit> {
        let word = match &self.value.kind {
            ValueKind::Boolean(boolean) => return Ok(*boolean),
            ValueKind::String(text) => text.trim().to_ascii_lowercase(),
            ValueKind::I64(number) => number.to_string(),
            _ => String::new(),
        };
        match word.as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(self.misfit("should be true or false")),
        }
    }

    fn unknown(&self, name: &str) -> Misfit {
        let child = self.child(name, self.value.clone());
        let plausible = |c: char| c.is_ascii_lowercase() || c == '_';
        let is_plausible = name.len() <= NAME_CHARS_MOST && name.chars().all(plausible);
        match names::meant(&child.setting) {
            Some(meant) => child.misfit(format!("is not a setting; {meant} is one")),
            None if is_plausible => child.misfit("is not a setting"),
            // It could be a value in the wrong place.
            None => self.misfit("holds a name that is not a setting's"),
        }
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Misfit> {
        unreachable!("no setting is of a type that is not below")
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_bool(self.boolean()?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_u64(self.whole(u16::MAX.into())?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_u64(self.whole(u32::MAX.into())?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_u64(self.whole(i64::MAX as u64)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.fits(visitor.visit_str(self.text()?))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value.kind {
            ValueKind::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Misfit> {
        match std::mem::take(&mut self.value.kind) {
            ValueKind::Array(values) => {
                let setting = self.setting;
                let nodes = values.into_iter().enumerate();
                let nodes = nodes.map(|(n, value)| Self { value, setting: format!("{setting}[{n}]") });
                visitor.visit_seq(Elements(nodes.collect::<Vec<_>>().into_iter()))
            }
            _ => Err(self.misfit("should be a list")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let ValueKind::Table(mut table) = std::mem::take(&mut self.value.kind) else {
            return Err(self.misfit("should be a table of settings"));
        };
        let mut unknown: Vec<_> = table.keys().filter(|name| !fields.contains(&name.as_str())).collect();
        unknown.sort_unstable();
        if let Some(name) = unknown.first() {
            // A value says which file it stands in, a table need not.
            let value = table[*name].clone();
            return Err(Self { value, setting: self.setting }.unknown(name));
        }
        let there = fields.iter().filter_map(|field| Some((*field, self.child(field, table.remove(*field)?))));
        let there = there.collect::<Vec<_>>().into_iter();
        self.fits(visitor.visit_map(Entries { entries: there, next: None }))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let word = self.text()?;
        self.fits(visitor.visit_enum(Word(word)))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct map identifier
        ignored_any
    }
}

struct Elements(std::vec::IntoIter<Node>);

impl<'de> SeqAccess<'de> for Elements {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        self.0.next().map(|node| node.read_by(seed)).transpose()
    }
}

struct Entries {
    entries: std::vec::IntoIter<(&'static str, Node)>,
    next: Option<Node>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some((name, node)) = self.entries.next() else { return Ok(None) };
        self.next = Some(node);
        let name: StrDeserializer<'_, Misfit> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        self.next.take().expect("a value follows its name").read_by(seed)
    }
}

/// One word out of a few.
struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = Misfit;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Misfit> {
        let word: StrDeserializer<'_, Misfit> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Misfit> {
        Err(de::Error::custom("should be one word"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Misfit> {
        Err(de::Error::custom("should be one word"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Misfit> {
        Err(de::Error::custom("should be one word"))
    }
}

impl de::Error for Misfit {
    /// For types of ours and of the standard library, whose errors state the rule and never the text.
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self { setting: String::new(), file: None, problem: problem.to_string() }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("should be {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("should be {expected}"))
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("should be {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("should be one of {}", expected.join(", ")))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("should hold only {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("needs {field}"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::custom(format_args!("has {field} twice"))
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.setting.is_empty() { "the file" } else { &self.setting };
        write!(f, "{of} {}", self.problem)?;
        self.file.as_ref().map_or(Ok(()), |file| write!(f, ", in {file}"))
    }
}

impl std::error::Error for Misfit {}
