//! What an object's `metadata` tells a proxy.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

use super::text::{Repeated, repeated, shared};
use super::{Kind, ObjectKey};

/// An object's `metadata`; of its labels, those that `L` names, of its annotations, those that `A` does, and its uid
/// only where `U` is [`Uid`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<
    L: Default + for<'a> Deserialize<'a>,
    A: Default + for<'a> Deserialize<'a> = NoAnnotations,
    U: Default + for<'a> Deserialize<'a> = NoUid,
> {
    /// `name`.
    #[serde(deserialize_with = "shared")]
    pub name: Arc<str>,
    /// `namespace`; `default` where a hand-written object has none.
    #[serde(default = "default_namespace", deserialize_with = "namespace")]
    pub namespace: Arc<str>,
    /// `creationTimestamp`, as written.
    #[serde(default)]
    pub creation_timestamp: Option<Box<str>>,
    /// Whether `deletionTimestamp` is there: the object goes once its finalizers are done.
    #[serde(rename = "deletionTimestamp", default, deserialize_with = "given")]
    pub is_being_deleted: bool,
    /// `labels`.
    #[serde(default, deserialize_with = "or_default", bound(deserialize = ""))]
    pub labels: L,
    /// `annotations`.
    #[serde(default, deserialize_with = "or_default", bound(deserialize = ""))]
    pub annotations: A,
    /// `uid`.
    #[serde(default, deserialize_with = "or_default", bound(deserialize = ""))]
    pub uid: U,
}

/// Of an object whose annotations mean nothing to a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NoAnnotations {}

impl<L, A, U> Metadata<L, A, U>
where
    L: Default + for<'a> Deserialize<'a>,
    A: Default + for<'a> Deserialize<'a>,
    U: Default + for<'a> Deserialize<'a>,
{
    /// The key of the object whose metadata this is.
    pub(super) fn key(&self, kind: Kind) -> ObjectKey {
        let namespace = if kind.is_namespaced() { self.namespace.clone() } else { Arc::default() };
        ObjectKey { kind, namespace, name: self.name.clone() }
    }
}

/// Of an object whose uid is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoUid;

impl<'de> Deserialize<'de> for NoUid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Reads null as the default: the API leaves no difference between null and missing.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a label whose presence counts, whatever its value.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer)?;
    Ok(true)
}

/// Reads whether there is a value; null is none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(deserializer)?.is_some())
}

fn default_namespace() -> Arc<str> {
    Repeated::from("default").0
}

fn namespace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let written = repeated(deserializer)?;
    Ok(written.filter(|namespace| !namespace.is_empty()).unwrap_or_else(default_namespace))
}

/// `metadata.uid`, where it is a UUID as the API server makes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid([u8; 16]);

impl Uid {
    /// Of a hand-written object, or one whose uid is no UUID.
    pub const UNKNOWN: Self = Self([0; 16]);

    /// Where the hyphens are, in bytes of the text.
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];

    fn read(text: &str) -> Self {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let hyphens = text.bytes().enumerate().filter(|(_, byte)| *byte == b'-').map(|(i, _)| i);
        let whole = digits.len() == 32 && hyphens.eq(Self::HYPHENS);
        // Uppercase is another text, and would be written back as this one.
        let lower = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !whole || !lower {
            return Self::UNKNOWN;
        }
        Self(std::array::from_fn(|i| nibble(digits[2 * i]) << 4 | nibble(digits[2 * i + 1])))
    }
}

/// The value of a lower-case hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyUid)
    }
}

/// Any text or number: one that is no UUID is no reason to refuse the object.
struct AnyUid;

impl Visitor<'_> for AnyUid {
    type Value = Uid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a uid")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Uid, E> {
        Ok(Uid::read(text))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Uid, E> {
        Ok(Uid::UNKNOWN)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Uid, E> {
        Ok(Uid::UNKNOWN)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Uid, E> {
        Ok(Uid::UNKNOWN)
    }
}

/// `0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0`.
impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&i) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_prints_as_it_was_read() {
        let text = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
        let uid: Uid = serde_json::from_str(&format!("{text:?}")).unwrap();
        assert_eq!((uid.to_string().as_str(), size_of::<Uid>()), (text, 16));
    }

    #[test]
    fn another_text_is_no_uid_and_no_error() {
        for text in ["", "u", "0F1E2D3C-4b5a-6978-8796-a5b4c3d2e1f0", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "é-e-e-e-e"]
        {
            assert_eq!(serde_json::from_str::<Uid>(&format!("{text:?}")).unwrap(), Uid::UNKNOWN, "{text}");
        }
        for number in ["7", "-7", "7.5"] {
            assert_eq!(serde_json::from_str::<Uid>(number).unwrap(), Uid::UNKNOWN, "{number}");
        }
    }
}
