//! The items of a list, of which each is read by itself.
//!
//! An item says its kind in the middle of its text, so it becomes a value first. It is read from that as soon as it ends:
//! a list of 100,000 objects never exists as values.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::header::Header;
use super::{Item, Kind, Object, Refused};

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
    let refused = |object, reason| Item::Refused(Refused { line: 0, object, reason });
    let mut header = match Header::deserialize(&value) {
        Ok(header) => header,
        Err(error) => return refused(None, error.to_string()),
    };
    if header.kind.is_empty() {
        header = Header { metadata: header.metadata, ..inherited };
    }
    let object = match header.kind() {
        Ok(Some(Kind::Service)) => from_value(value).map(Object::Service),
        Ok(Some(Kind::EndpointSlice)) => from_value(value).map(Object::EndpointSlice),
        Ok(Some(Kind::Endpoints)) => from_value(value).map(Object::Endpoints),
        Ok(Some(Kind::Node)) => from_value(value).map(Object::Node),
        Ok(Some(Kind::ServiceCidr)) => from_value(value).map(Object::ServiceCidr),
        Ok(None) => return Item::Foreign { line: 0, kind: header.to_string() },
        Err(reason) => return refused(header.key(), reason),
    };
    object.map_or_else(|error| refused(header.key(), error.to_string()), Item::Object)
}

fn from_value<T: DeserializeOwned>(value: Value) -> Result<Arc<T>, serde_json::Error> {
    serde_json::from_value(value).map(Arc::new)
}
