//! What an object's `metadata` tells a proxy.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::name::{Repeated, repeated};
use super::text::shared;
use super::{Kind, ObjectKey};

/// An object's `metadata`; of its labels, those that `L` names, of its annotations, those that `A` does, and its uid only
/// where `U` is [`super::Uid`].
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

/// Of an object whose uid nobody asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoUid;

impl<'de> Deserialize<'de> for NoUid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
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
    serde::de::IgnoredAny::deserialize(deserializer)?;
    Ok(true)
}

/// Reads whether there is a value; null is none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<serde::de::IgnoredAny>::deserialize(deserializer)?.is_some())
}

fn default_namespace() -> Arc<str> {
    Repeated::from("default").0
}

fn namespace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let written = repeated(deserializer)?;
    Ok(written.filter(|namespace| !namespace.is_empty()).unwrap_or_else(default_namespace))
}
