//! A YAML or JSON document as values that know their lines.
//!
//! Not parsed into structs at once: those would stop at the first mistake, and could say neither where a field is
//! unknown nor that it is there twice.

use std::fmt;

use kubernetes::source::ServerUrl;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// A value, and its line, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Switch(bool),
    Whole(i128),
    Fraction(f64),
    Text(String),
    List(Vec<Node>),
    Section(Vec<Entry>),
}

/// A field of a section.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Line of its name, from 1.
    pub(super) line: u64,
    pub(super) node: Node,
}

/// The document in `text`; else why there is none, and where.
pub(super) fn parse(text: &str) -> Result<Node, (Option<u64>, String)> {
    let options = serde_saphyr::options! { with_snippet: false, duplicate_keys: DuplicateKeyPolicy::PassThrough };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let mut reason = error.to_string();
        reason.truncate(reason.rfind(" at line ").unwrap_or(reason.len()));
        (error.location().map(|location| location.line()).filter(|line| *line > 0), reason)
    })
}

impl Value {
    /// As the operator sees it in a sentence.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Switch(on) => on.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
            // Perhaps it was to be a URL with a password.
            Self::Text(text) => format!("{:?}", ServerUrl::redacted(text)),
            Self::List(_) => "a list".into(),
            Self::Section(_) => "a section".into(),
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Switch(on) => (*on).into(),
            Self::Whole(number) => i64::try_from(*number).map_or(serde_json::Value::Null, Into::into),
            Self::Fraction(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(nodes) => nodes.iter().map(|node| node.value.json()).collect(),
            Self::Section(entries) => {
                entries.iter().map(|entry| (entry.name.clone(), entry.node.value.json())).collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Switch(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Whole(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = fields.next_key::<Spanned<String>>()? {
            entries.push(Entry { line: name.referenced.line(), name: name.value, node: fields.next_value()? });
        }
        Ok(Value::Section(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: u64, text: &str) -> Node {
        Node { line, value: Value::Text(text.into()) }
    }

    fn entry(line: u64, name: &str, node: Node) -> Entry {
        Entry { name: name.into(), line, node }
    }

    #[test]
    fn values_know_their_lines_and_a_field_may_be_there_twice() {
        let expected = |first, second, third| {
            let inner = vec![entry(second, "b", text(second, "0s"))];
            Node {
                line: first,
                value: Value::Section(vec![
                    entry(first, "a", Node { line: second, value: Value::Section(inner) }),
                    entry(third, "a", Node { line: third, value: Value::Null }),
                ]),
            }
        };
        assert_eq!(parse("---\na:\n  b: 0s\na:\n"), Ok(expected(2, 3, 4)));
        let json = Node { line: 1, ..expected(2, 2, 3) };
        assert_eq!(parse("{\n\t\"a\": {\"b\": \"0s\"},\n\t\"a\": null\n}"), Ok(json));
    }

    #[test]
    fn numbers_and_truth_are_as_kube_proxys_own_parser_has_them() {
        for (written, value) in [
            ("5", Value::Whole(5)),
            ("-999", Value::Whole(-999)),
            ("2.5", Value::Fraction(2.5)),
            ("yes", Value::Switch(true)),
            ("off", Value::Switch(false)),
            ("'5'", Value::Text("5".into())),
            ("~", Value::Null),
        ] {
            assert_eq!(parse(written).unwrap().value, value, "{written}");
        }
    }

    #[test]
    fn a_mistake_in_the_syntax_has_a_line_and_no_other_place() {
        let (line, reason) = parse("a: 1\n b: 2\n").unwrap_err();
        assert_eq!(line, Some(2));
        assert!(!reason.contains("line"), "{reason}");
    }
}
