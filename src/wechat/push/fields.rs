//! The few texts in a push's XML or JSON that are wanted. Not a general reader: children of the root only; of XML no
//! attributes, no DTD, and no entities but XML's own.

use std::fmt;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Neither XML nor JSON, or a text that leaves open what is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// The texts of the root's children with these names, in the order of the names; none where it is missing or empty.
///
/// A wanted child that comes twice, or has children of its own, is refused: it could be read in two ways.
pub(super) fn texts<const N: usize>(text: &str, names: [&str; N]) -> Result<[Option<String>; N], Unclear> {
    let text = text.trim_start_matches('\u{feff}');
    match text.trim_start().starts_with('{') {
        true => texts_of_json(text, names),
        false => texts_of_xml(text, names),
    }
}

fn texts_of_json<const N: usize>(json: &str, names: [&str; N]) -> Result<[Option<String>; N], Unclear> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let texts = reader.deserialize_map(Wanted(names)).map_err(|_| Unclear)?;
    reader.end().map_err(|_| Unclear)?;
    Ok(texts.map(|text| text.as_deref().and_then(trimmed)))
}

struct Wanted<'a, const N: usize>([&'a str; N]);

impl<'de, const N: usize> Visitor<'de> for Wanted<'_, N> {
    type Value = [Option<String>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts = [const { None::<String> }; N];
        while let Some(key) = map.next_key::<String>()? {
            let Some(n) = self.0.iter().position(|name| *name == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let text = match map.next_value()? {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Null => String::new(),
                Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Err(A::Error::custom("no text")),
            };
            if texts[n].replace(text).is_some() {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(texts)
    }
}

fn texts_of_xml<const N: usize>(xml: &str, names: [&str; N]) -> Result<[Option<String>; N], Unclear> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut texts = [const { None::<String> }; N];
    let (mut depth, mut inside) = (0_usize, None);
    loop {
        match reader.read_event().map_err(|_| Unclear)? {
            Event::Start(_) if inside.is_some() => return Err(Unclear),
            Event::Start(tag) => {
                depth += 1;
                inside = names.iter().position(|name| depth == 2 && *name == tag.name().into_inner());
                if let Some(n) = inside
                    && texts[n].replace(String::new()).is_some()
                {
                    return Err(Unclear);
                }
            }
            Event::End(_) => {
                depth = depth.checked_sub(1).ok_or(Unclear)?;
                inside = None;
            }
            Event::Text(text) => append(&mut texts, inside, &text),
            Event::CData(text) => append(&mut texts, inside, &text),
            Event::GeneralRef(entity) => append(&mut texts, inside, resolve(&entity)?.encode_utf8(&mut [0; 4])),
            Event::DocType(_) => return Err(Unclear),
            Event::Eof if depth == 0 => return Ok(texts.map(|text| text.as_deref().and_then(trimmed))),
            Event::Eof => return Err(Unclear),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn append(texts: &mut [Option<String>], inside: Option<usize>, more: &str) {
    if let Some(text) = inside.and_then(|n| texts[n].as_mut()) {
        text.push_str(more);
    }
}

fn resolve(entity: &BytesRef<'_>) -> Result<char, Unclear> {
    let named = || resolve_xml_entity(entity).and_then(|text| text.chars().next());
    entity.resolve_char_ref().map_err(|_| Unclear)?.or_else(named).ok_or(Unclear)
}

fn trimmed(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_and_b(xml: &str) -> Result<[Option<String>; 2], Unclear> {
        texts(xml, ["A", "B"])
    }

    #[test]
    fn the_wanted_children_of_the_root_are_found_in_whatever_form() {
        let rows = [
            ("<xml><A>1</A><B>2</B></xml>", Some("1"), Some("2")),
            ("<?xml version=\"1.0\"?>\n<xml>\n <B><![CDATA[2]]></B>\n <A x='y'> 1\n</A></xml>\n", Some("1"), Some("2")),
            ("<xml><A>a<![CDATA[<&]]>b</A><!-- <B>2</B> --></xml>", Some("a<&b"), None),
            ("<xml><A>&lt;&gt;&amp;&apos;&quot;&#65;&#x42;</A><B/></xml>", Some("<>&'\"AB"), None),
            ("<xml><C><A>deep</A></C><A>1</A><a>small</a></xml>", Some("1"), None),
            ("<A>the root itself</A>", None, None),
            ("<xml><A></A><B>  </B></xml>", None, None),
            ("no markup at all", None, None),
            ("", None, None),
        ];
        for (xml, a, b) in rows {
            assert_eq!(a_and_b(xml), Ok([a.map(str::to_owned), b.map(str::to_owned)]), "{xml}");
        }
    }

    #[test]
    fn the_wanted_members_of_an_object_are_found_too() {
        let rows = [
            (r#"{"A":"1","B":2}"#, Some("1"), Some("2")),
            ("\u{feff}{ \"C\": {\"A\": 3}, \"B\": \" 2 \" }\n", None, Some("2")),
            (r#"{"A":"","B":null}"#, None, None),
            (r#"{"A":"\u4e2d\n"}"#, Some("中"), None),
            ("{}", None, None),
        ];
        for (json, a, b) in rows {
            assert_eq!(a_and_b(json), Ok([a.map(str::to_owned), b.map(str::to_owned)]), "{json}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_not_at_all_is_refused() {
        let rows = [
            r#"{"A":"1","A":"2"}"#,
            r#"{"A":{"C":"1"}}"#,
            r#"{"A":["1"]}"#,
            r#"{"A":true}"#,
            r#"{"A":"1"}{"A":"2"}"#,
            r#"{"A":"1""#,
            "{",
            "<xml><A>1</A><A>2</A></xml>",
            "<xml><A>1</A></xml><xml><A>2</A></xml>",
            "<xml><A>1<C>2</C></A></xml>",
            "<xml><A>1<C/></A></xml>",
            "<xml><A>1</A>",
            "<xml><A>1</B></xml>",
            "</xml>",
            "<xml><A>1",
            "<xml><A>&nbsp;</A></xml>",
            "<xml><A>&#0;</A></xml>",
            "<xml><A>&#xD800;</A></xml>",
            "<xml><A>a & b</A></xml>",
            "<!DOCTYPE xml [<!ENTITY e \"1\">]><xml><A>&e;</A></xml>",
            "<!DOCTYPE xml><xml><A>1</A></xml>",
        ];
        for xml in rows {
            assert_eq!(a_and_b(xml), Err(Unclear), "{xml}");
        }
    }
}
