//! What says how to read an object: which kind it is and which one.

use std::fmt;

use serde::Deserialize;

use super::list::ListItem;
use super::{Kind, ObjectKey};

/// What every object and every list says of itself.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Header {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: Option<HeaderMetadata>,
    /// Of a list; read with the header, so that a long one is parsed once.
    pub(super) items: Option<Vec<ListItem>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct HeaderMetadata {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

impl Header {
    /// The kind of the items, if this is a list (`v1 List`, `v1 ServiceList`); empty where each item says.
    pub(super) fn items_kind(&self) -> Option<&str> {
        self.kind.strip_suffix("List")
    }

    /// The kind of which the object is, if a proxy reads it.
    pub(super) fn kind(&self) -> Result<Option<Kind>, String> {
        if self.kind.is_empty() {
            return Err("no kind".to_owned());
        }
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == self.kind) else { return Ok(None) };
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        match (group == kind.group(), version) {
            (false, _) => Ok(None),
            (true, "v1") => Ok(Some(kind)),
            (true, _) => Err(format!("API version {:?}: not supported, only v1 is", self.api_version)),
        }
    }

    pub(super) fn key(&self) -> Option<ObjectKey> {
        let kind = self.kind().ok().flatten()?;
        let metadata = self.metadata.as_ref()?;
        let namespace = match (kind.is_namespaced(), metadata.namespace.as_deref()) {
            (true, None | Some("")) => "default",
            (true, Some(namespace)) => namespace,
            (false, _) => "",
        };
        Some(ObjectKey { kind, namespace: namespace.into(), name: metadata.name.as_deref()?.into() })
    }
}

/// `discovery.k8s.io/v1 EndpointSlice`.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version, self.kind)
    }
}
