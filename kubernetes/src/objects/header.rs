//! What says how to read an object: which kind it is and which one. Of a list, the items too, of which each is read by
//! itself.
//!
//! An item says its kind in the middle of its text, so it becomes a value first. It is read from that as soon as it
//! ends: a list of 100,000 objects never exists as values.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::likeness::{Means, means};
use super::names::{check_name, check_names};
use super::yaml::plain;
use super::{Item, Kind, ObjectKey, Refused};

/// What every object and every list says of itself.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Header {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: Option<HeaderMetadata>,
    /// Of a list; read with the header, so that a long one is parsed once. Null is none, and there.
    #[serde(deserialize_with = "there")]
    pub(super) items: Option<Option<Vec<ListItem>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct HeaderMetadata {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Vec<ListItem>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Header {
    /// The kind of the items, if this is a list (`v1 List`, `v1 ServiceList`); empty where each item says.
    pub(super) fn items_kind(&self) -> Option<&str> {
        self.kind.strip_suffix("List")
    }

    /// Whether this is a list that may hold objects of our kinds.
    pub(super) fn is_list_of_ours(&self) -> bool {
        self.items_kind().is_some_and(|kind| kind.is_empty() || Kind::ALL.iter().any(|ours| ours.as_str() == kind))
    }

    /// What it is about.
    pub(super) fn means(&self) -> Means {
        means(&self.api_version, &self.kind)
    }

    /// Which of our objects it is, or would be without a mistake in its kind.
    pub(super) fn key(&self) -> Option<ObjectKey> {
        let kind = match self.means() {
            Means::Ours(kind) | Means::Mistake(Some(kind), _) => kind,
            Means::Others | Means::Mistake(None, _) => return None,
        };
        let metadata = self.metadata.as_ref()?;
        let namespace = match (kind.is_namespaced(), metadata.namespace.as_deref()) {
            (true, None | Some("")) => "default",
            (true, Some(namespace)) => namespace,
            (false, _) => "",
        };
        let name = metadata.name.as_deref()?;
        check_name(kind == Kind::Service, Some(namespace).filter(|_| kind.is_namespaced()), name).ok()?;
        Some(ObjectKey { kind, namespace: namespace.into(), name: name.into() })
    }
}

/// `discovery.k8s.io/v1 EndpointSlice`.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version, self.kind)
    }
}

/// An item of a list with its line, 0 if unknown.
pub(super) enum ListItem {
    Read {
        line: u64,
        item: Item,
    },
    /// As the API itself prints `ServiceList` and such: the items do not repeat their kind.
    Kindless {
        line: u64,
        value: Value,
    },
}

impl<'de> Deserialize<'de> for ListItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        let line = referenced.line();
        Ok(match value.get("kind") {
            None => Self::Kindless { line, value },
            Some(_) => Self::Read { line, item: item(value, Header::default()) },
        })
    }
}

impl ListItem {
    /// The item, in a list that starts in line `first`.
    pub(super) fn place(self, first: u64, api_version: &str, kind: &str) -> Item {
        let (line, mut item) = match self {
            Self::Read { line, item } => (line, item),
            Self::Kindless { line, value } => {
                let header = Header { api_version: api_version.to_owned(), kind: kind.to_owned(), ..Header::default() };
                (line, item(value, header))
            }
        };
        let absolute = first + line.saturating_sub(1);
        match &mut item {
            Item::Object(_) => {}
            Item::Foreign { line, .. } | Item::Refused(Refused { line, .. }) => *line = absolute,
        }
        item
    }
}

/// Reads one item of a list, with the API version and kind of `inherited` where it has none of its own. Its line is
/// not known yet.
fn item(value: Value, inherited: Header) -> Item {
    let mut header = match Header::deserialize(&value) {
        Ok(header) => header,
        Err(error) => return refused(None, plain(&error.to_string())),
    };
    if header.kind.is_empty() {
        header = Header { metadata: header.metadata, ..inherited };
    }
    if header.is_list_of_ours() {
        return refused(None, "a list in a list: put its items into the outer one".to_owned());
    }
    let reason = match header.means() {
        Means::Ours(kind) => match kind.deserialize(value) {
            Ok(object) => match check_names(&object) {
                Ok(()) => return Item::Object(object),
                Err(reason) => reason,
            },
            Err(error) => plain(&error.to_string()),
        },
        Means::Others => return Item::Foreign { line: 0, kind: header.to_string() },
        Means::Mistake(_, reason) => reason,
    };
    refused(header.key(), reason)
}

fn refused(object: Option<ObjectKey>, reason: String) -> Item {
    Item::Refused(Refused { line: 0, object, reason })
}
