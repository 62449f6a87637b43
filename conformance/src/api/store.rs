//! Objects, their versions, and what has happened since.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::selector::Selector;

/// A kind of objects, as a path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// `services`.
    Services,
    /// `endpointslices`.
    EndpointSlices,
    /// `nodes`.
    Nodes,
    /// `servicecidrs`.
    ServiceCidrs,
    /// `namespaces`.
    Namespaces,
    /// `ipaddresspools`.
    IpAddressPools,
    /// `l2advertisements`.
    L2Advertisements,
}

/// Namespace, empty where there are none, and name.
pub(super) type Key = (Resource, String, String);

/// An object as it is stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) value: Value,
    /// As watches and single reads print it.
    pub(super) whole: String,
    /// As lists print it: without its kind.
    pub(super) item: String,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Stored>>,
    pub(super) after: Option<Arc<Stored>>,
}

/// Everything that there is, and what has happened.
#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    compacted: u64,
    /// The last version of which it is not known any more what it was.
    forgotten: u64,
    objects: BTreeMap<Key, Arc<Stored>>,
    changes: Vec<Change>,
}

impl Resource {
    pub(super) const ALL: [Self; 7] = [
        Self::Services,
        Self::EndpointSlices,
        Self::Nodes,
        Self::ServiceCidrs,
        Self::Namespaces,
        Self::IpAddressPools,
        Self::L2Advertisements,
    ];

    /// As a path spells it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::Nodes => "nodes",
            Self::ServiceCidrs => "servicecidrs",
            Self::Namespaces => "namespaces",
            Self::IpAddressPools => "ipaddresspools",
            Self::L2Advertisements => "l2advertisements",
        }
    }

    /// As `kind:` spells it.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Services => "Service",
            Self::EndpointSlices => "EndpointSlice",
            Self::Nodes => "Node",
            Self::ServiceCidrs => "ServiceCIDR",
            Self::Namespaces => "Namespace",
            Self::IpAddressPools => "IPAddressPool",
            Self::L2Advertisements => "L2Advertisement",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::Services | Self::Nodes | Self::Namespaces => "v1",
            Self::EndpointSlices => "discovery.k8s.io/v1",
            Self::ServiceCidrs => "networking.k8s.io/v1",
            Self::IpAddressPools | Self::L2Advertisements => "metallb.io/v1beta1",
        }
    }

    /// Whether its objects live in a namespace.
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Services | Self::EndpointSlices | Self::IpAddressPools | Self::L2Advertisements => true,
            Self::Nodes | Self::ServiceCidrs | Self::Namespaces => false,
        }
    }

    /// The resource of objects of this kind.
    pub fn of_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.kind() == kind)
    }
}

impl Store {
    /// The version of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether everything that has happened since `version` is known.
    pub(super) fn knows(&self, version: u64) -> bool {
        version >= self.compacted
    }

    pub(super) fn put(&mut self, mut value: Value) -> Result<u64, String> {
        let kind = text(&value["kind"]);
        let resource = Resource::of_kind(&kind).ok_or_else(|| format!("{kind}: no such kind"))?;
        let name = text(&value["metadata"]["name"]);
        if name.is_empty() {
            return Err(format!("{kind}: no metadata.name"));
        }
        let namespace = match (resource.is_namespaced(), text(&value["metadata"]["namespace"])) {
            (false, _) => String::new(),
            (true, namespace) if namespace.is_empty() => "default".to_owned(),
            (true, namespace) => namespace,
        };
        let key = (resource, namespace, name);
        let before = self.objects.get(&key).cloned();
        self.version += 1;
        let metadata = &mut value["metadata"];
        metadata["resourceVersion"] = self.version.to_string().into();
        if resource.is_namespaced() {
            metadata["namespace"] = key.1.clone().into();
        }
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("00000000-0000-4000-8000-{:012}", self.version).into();
        }
        value["apiVersion"] = resource.api_version().into();
        let after = Arc::new(Stored::new(value));
        self.objects.insert(key.clone(), after.clone());
        self.changes.push(Change { version: self.version, key, before, after: Some(after) });
        Ok(self.version)
    }

    pub(super) fn delete(&mut self, resource: Resource, namespace: &str, name: &str) -> bool {
        let key = (resource, namespace.to_owned(), name.to_owned());
        let Some(before) = self.objects.remove(&key) else { return false };
        self.version += 1;
        // A deletion has a version of its own, which its object shows.
        let mut last = before.value.clone();
        last["metadata"]["resourceVersion"] = self.version.to_string().into();
        let before = Some(Arc::new(Stored::new(last)));
        self.changes.push(Change { version: self.version, key, before, after: None });
        true
    }

    pub(super) fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        self.objects.get(&(resource, namespace.to_owned(), name.to_owned())).map(|stored| stored.value.clone())
    }

    pub(super) fn chosen(&self, resource: Resource, selector: &Selector) -> Vec<Value> {
        let stored = self.at(resource, self.version).into_values();
        stored.filter(|stored| selector.chooses(&stored.value)).map(|stored| stored.value.clone()).collect()
    }

    /// Every object of a resource as it was at `version`, which is known.
    pub(super) fn at(&self, resource: Resource, version: u64) -> BTreeMap<Key, Arc<Stored>> {
        let all = self.objects.iter().filter(|(key, _)| key.0 == resource);
        let mut objects: BTreeMap<_, _> = all.map(|(key, stored)| (key.clone(), stored.clone())).collect();
        for change in self.since(version).iter().rev().filter(|change| change.key.0 == resource) {
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), before.clone()),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    /// What has happened since `version`, which is known.
    pub(super) fn since(&self, version: u64) -> &[Change] {
        &self.changes[self.changes.partition_point(|change| change.version <= version)..]
    }

    pub(super) fn compact(&mut self) {
        // What happened stays known to watches that are open already.
        self.compacted = self.version;
    }

    /// Forgets all but the last `kept` changes.
    pub(super) fn forget(&mut self, kept: usize) {
        let old = self.changes.len().saturating_sub(kept);
        if let Some(last) = self.changes.drain(..old).next_back() {
            self.forgotten = last.version;
            self.compacted = self.compacted.max(last.version);
        }
    }

    /// Whether a watch that was told everything until `version` can be told the rest.
    pub(super) fn follows(&self, version: u64) -> bool {
        version >= self.forgotten
    }

    pub(super) fn restore(&mut self, version: u64) {
        for resource in Resource::ALL {
            let objects = self.at(resource, version);
            self.objects.retain(|key, _| key.0 != resource);
            self.objects.extend(objects);
        }
        self.changes.retain(|change| change.version <= version);
        self.version = version;
    }

    pub(super) fn skip(&mut self, count: u64) {
        self.version += count;
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Stored {
    fn new(value: Value) -> Self {
        let whole = value.to_string();
        let mut item = value.clone();
        let fields = item.as_object_mut().expect("an object that has a kind has fields");
        fields.remove("kind");
        fields.remove("apiVersion");
        Self { value, whole, item: item.to_string() }
    }
}

/// A bookmark as a watch of this resource prints it.
pub(super) fn bookmark(resource: Resource, version: u64, annotations: &Value) -> Value {
    let metadata =
        json!({"resourceVersion": version.to_string(), "creationTimestamp": null, "annotations": annotations});
    json!({"type": "BOOKMARK", "object": {
        "kind": resource.kind(), "apiVersion": resource.api_version(), "metadata": metadata,
    }})
}
