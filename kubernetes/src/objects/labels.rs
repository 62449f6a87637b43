//! Labels and annotations, of which an address allocator needs more than a proxy.
//!
//! What is no text is passed over: the API has only texts.

use std::fmt;

use allocation::Labels;
use backend_api::Scheduler;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Word;

/// All labels of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllLabels(pub Labels);

/// The labels of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceLabels {
    /// Whether `service.kubernetes.io/service-proxy-name` is there, with any value: another proxy's (KEP-2447).
    pub service_proxy_name: bool,
    /// All of them, of a LoadBalancer only.
    pub all: Option<Box<Labels>>,
}

/// The annotations of a Service that mean something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAnnotations {
    /// `switchyard.dev/scheduler`: how IPVS chooses among its endpoints.
    pub scheduler: Option<Word<Scheduler>>,
    /// Those that begin with `metallb.`, of a LoadBalancer only, or where it was one.
    pub metallb: Option<Box<Labels>>,
}

/// The labels of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLabels {
    /// `topology.kubernetes.io/zone`.
    pub zone: Option<Box<str>>,
    /// All of them.
    pub all: Labels,
}

const PROXY: &str = "service.kubernetes.io/service-proxy-name";
const SCHEDULER: &str = "switchyard.dev/scheduler";
const ZONE: &str = "topology.kubernetes.io/zone";

impl<'de> Deserialize<'de> for AllLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TextMap).map(Self)
    }
}

impl<'de> Deserialize<'de> for ServiceLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ServiceLabelMap)
    }
}

impl<'de> Deserialize<'de> for NodeLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let AllLabels(all) = AllLabels::deserialize(deserializer)?;
        Ok(Self { zone: all.get(ZONE).map(|zone| zone.as_str().into()), all })
    }
}

impl<'de> Deserialize<'de> for ServiceAnnotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationMap)
    }
}

/// Reads what a map has of texts.
struct TextMap;

impl<'de> Visitor<'de> for TextMap {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Labels, M::Error> {
        let mut labels = Labels::new();
        while let Some((key, value)) = map.next_entry::<String, MaybeText>()? {
            labels.extend(value.0.map(|value| (key, value)));
        }
        Ok(labels)
    }
}

struct ServiceLabelMap;

impl<'de> Visitor<'de> for ServiceLabelMap {
    type Value = ServiceLabels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TextMap.expecting(f)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ServiceLabels, M::Error> {
        let mut labels = ServiceLabels::default();
        while let Some((key, value)) = map.next_entry::<String, MaybeText>()? {
            labels.service_proxy_name |= key == PROXY;
            if let Some(value) = value.0 {
                labels.all.get_or_insert_default().insert(key, value);
            }
        }
        Ok(labels)
    }
}

struct AnnotationMap;

impl<'de> Visitor<'de> for AnnotationMap {
    type Value = ServiceAnnotations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TextMap.expecting(f)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ServiceAnnotations, M::Error> {
        let mut annotations = ServiceAnnotations::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Scheduler => annotations.scheduler = map.next_value()?,
                Key::Metallb(key) => {
                    if let MaybeText(Some(value)) = map.next_value()? {
                        annotations.metallb.get_or_insert_default().insert(key, value);
                    }
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(annotations)
    }
}

/// The key of an annotation.
enum Key {
    Scheduler,
    Metallb(String),
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyText)
    }
}

struct KeyText;

impl Visitor<'_> for KeyText {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            SCHEDULER => Key::Scheduler,
            key if key.starts_with("metallb.") => Key::Metallb(key.to_owned()),
            _ => Key::Other,
        })
    }
}

/// A text, or what stands in its place.
struct MaybeText(Option<String>);

impl<'de> Deserialize<'de> for MaybeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = MaybeText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<MaybeText, E> {
        Ok(MaybeText(Some(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<MaybeText, E> {
        Ok(MaybeText(Some(text)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_unit<E>(self) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_none<E>(self) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<MaybeText, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<MaybeText, M::Error> {
        IgnoredAny.visit_map(map).map(|_| MaybeText(None))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<MaybeText, S::Error> {
        IgnoredAny.visit_seq(seq).map(|_| MaybeText(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_passed_over() {
        let text =
            r#"{"a": "1", "b": 2, "c": true, "d": null, "e": {"f": "g"}, "h": ["i"], "j": -1, "k": 0.5, "l": "m"}"#;
        let expected = Labels::from([("a", "1"), ("l", "m")].map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(serde_json::from_str::<AllLabels>(text).unwrap().0, expected);
        assert_eq!(serde_saphyr::from_str::<AllLabels>(text).unwrap().0, expected);
    }

    #[test]
    fn of_annotations_those_are_kept_that_mean_something() {
        let text = r#"{"metallb.io/address-pool": "p", "metallb.universe.tf/x": "y", "metallb.io/z": 1, "other": "o",
                       "switchyard.dev/scheduler": "lc"}"#;
        let read: ServiceAnnotations = serde_json::from_str(text).unwrap();
        assert_eq!(read.scheduler, Some(Word::Known(Scheduler::Lc)));
        let kept: Vec<_> = read.metallb.unwrap().into_keys().collect();
        assert_eq!(kept, ["metallb.io/address-pool", "metallb.universe.tf/x"]);
    }
}
