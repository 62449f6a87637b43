//! The objects that a scenario's cluster holds at a moment, in full: short forms are written out as the API server
//! would print them, so that the agent reads nothing but Kubernetes objects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backend_api::Family;
use serde_json::{Map, Value, json};

use super::{Condition, Hinted, Member, Members};

/// Kubernetes objects by kind, namespace and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    objects: BTreeMap<ObjectId, Value>,
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for objects that have none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Where a pod runs and what its addresses are, for EndpointSlices in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddresses {
    /// The node's name.
    pub node: String,
    /// One address per family.
    pub addresses: Vec<IpAddr>,
}

/// Why an object in a scenario cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ObjectError(String);

/// Kinds that the scenarios use: their `apiVersion`, and whether they live in a namespace.
const KINDS: [(&str, &str, bool); 6] = [
    ("Endpoints", "v1", true),
    ("EndpointSlice", "discovery.k8s.io/v1", true),
    ("List", "v1", false),
    ("Node", "v1", false),
    ("Service", "v1", true),
    ("ServiceCIDR", "networking.k8s.io/v1", false),
];

/// When objects were created that do not say so.
const CREATED: &str = "2026-01-01T00:00:00Z";

impl Cluster {
    /// Every object, in order of kind, namespace and name.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectId, &Value)> {
        self.objects.iter()
    }

    /// Adds an object, or replaces the one of its kind and name.
    ///
    /// # Errors
    /// The object has no kind or name, or is of a kind whose `apiVersion` is neither said nor known.
    pub fn apply(&mut self, object: &Value) -> Result<(), ObjectError> {
        let object = complete(object)?;
        self.objects.insert(ObjectId::of(&object)?, object);
        Ok(())
    }

    /// Changes one object, `Kind/name` or `Kind/namespace/name`, by a JSON merge patch.
    ///
    /// # Errors
    /// There is no such object.
    pub fn change(&mut self, id: &str, patch: &Value) -> Result<(), ObjectError> {
        let id = id.parse::<ObjectId>()?;
        let object = self.objects.get_mut(&id).ok_or_else(|| ObjectError(format!("{id}: no such object")))?;
        merge(object, patch);
        Ok(())
    }

    /// Takes one object out, and with a Service its EndpointSlices in short form.
    ///
    /// # Errors
    /// There is no such object.
    pub fn delete(&mut self, id: &str) -> Result<(), ObjectError> {
        let id = id.parse::<ObjectId>()?;
        self.objects.remove(&id).map(drop).ok_or_else(|| ObjectError(format!("{id}: no such object")))
    }

    /// Writes out the EndpointSlices of `service` (`name` or `namespace/name`): one for each of its families.
    ///
    /// # Errors
    /// The service or a pod is unknown, or a port cannot be written out.
    pub fn set_endpoints(
        &mut self,
        service: &str,
        members: &Members,
        pod: &dyn Fn(&str) -> Option<PodAddresses>,
    ) -> Result<(), ObjectError> {
        let id = format!("Service/{service}").parse::<ObjectId>()?;
        let object = self.objects.get(&id).ok_or_else(|| ObjectError(format!("{id}: no such object")))?;
        let spec = &object["spec"];
        let ports = slice_ports(&id, spec)?;
        for family in families(spec) {
            let endpoints = members
                .each()
                .into_iter()
                .map(|(name, member)| {
                    let place = pod(&name).ok_or_else(|| ObjectError(format!("{id}: pod {name}: not in the world")))?;
                    endpoint(&name, &place, &member, family)
                })
                .collect::<Result<Vec<_>, _>>()?;
            let address_type = family.to_string();
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{}-{}", id.name, address_type.to_lowercase()),
                    "namespace": id.namespace,
                    "creationTimestamp": CREATED,
                    "labels": {"kubernetes.io/service-name": id.name},
                },
                "addressType": address_type,
                "ports": ports,
                "endpoints": endpoints,
            });
            self.objects.insert(ObjectId::of(&slice)?, slice);
        }
        Ok(())
    }
}

impl Members {
    /// Every pod with its condition and hints, in order of names.
    pub fn each(&self) -> BTreeMap<String, Hinted> {
        match self {
            Self::Ready(names) => names.iter().map(|name| (name.clone(), Hinted::with(Condition::Ready))).collect(),
            Self::Each(members) => members
                .iter()
                .map(|(name, member)| match member {
                    Member::Condition(condition) => (name.clone(), Hinted::with(*condition)),
                    Member::Hinted(hinted) => (name.clone(), hinted.clone()),
                })
                .collect(),
        }
    }

    /// The same, of those pods alone that `keep` names.
    #[must_use]
    pub fn retaining(&self, keep: impl Fn(&str) -> bool) -> Self {
        let kept = self.each().into_iter().filter(|(name, _)| keep(name));
        Self::Each(kept.map(|(name, hinted)| (name, Member::Hinted(hinted))).collect())
    }
}

impl Hinted {
    fn with(condition: Condition) -> Self {
        Self { condition, for_zones: Vec::new(), for_nodes: Vec::new() }
    }
}

impl Condition {
    /// As an EndpointSlice says it.
    fn conditions(self) -> Value {
        let (ready, serving, terminating) = match self {
            Self::Unknown => return json!({}),
            Self::Ready => (true, true, false),
            Self::NotReady => (false, false, false),
            Self::ServingOnly => (false, true, false),
            Self::Terminating => (false, true, true),
            Self::TerminatingNotServing => (false, false, true),
            Self::ReadyTerminating => (true, true, true),
        };
        json!({"ready": ready, "serving": serving, "terminating": terminating})
    }
}

fn endpoint(name: &str, pod: &PodAddresses, member: &Hinted, family: Family) -> Result<Value, ObjectError> {
    let address = pod
        .addresses
        .iter()
        .find(|address| Family::of(**address) == family)
        .ok_or_else(|| ObjectError(format!("pod {name}: no {family} address")))?;
    let mut endpoint = json!({
        "addresses": [address.to_string()],
        "conditions": member.condition.conditions(),
        "nodeName": pod.node,
        "targetRef": {"kind": "Pod", "namespace": "default", "name": name},
    });
    let mut hints = Map::new();
    if !member.for_zones.is_empty() {
        hints.insert("forZones".into(), named(&member.for_zones).into());
    }
    if !member.for_nodes.is_empty() {
        hints.insert("forNodes".into(), named(&member.for_nodes).into());
    }
    if !hints.is_empty() {
        endpoint["hints"] = hints.into();
    }
    Ok(endpoint)
}

fn named(names: &[String]) -> Vec<Value> {
    names.iter().map(|name| json!({"name": name})).collect()
}

fn slice_ports(id: &ObjectId, spec: &Value) -> Result<Vec<Value>, ObjectError> {
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    ports
        .iter()
        .map(|port| {
            let resolved = match &port["targetPort"] {
                Value::Null => port["port"].clone(),
                Value::Number(number) => Value::Number(number.clone()),
                named => {
                    let reason = "a named target port has to be written out as an EndpointSlice";
                    return Err(ObjectError(format!("{id}: targetPort {named}: {reason}")));
                }
            };
            let name = port["name"].as_str().unwrap_or_default();
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            Ok(json!({"name": name, "protocol": protocol, "port": resolved}))
        })
        .collect()
}

/// The families of a service's cluster addresses, else what it asks for, else IPv4.
fn families(spec: &Value) -> BTreeSet<Family> {
    let mut addresses = texts(&spec["clusterIPs"]);
    addresses.extend(spec["clusterIP"].as_str().map(str::to_owned));
    let mut families: BTreeSet<_> =
        addresses.iter().map(|text| if text.contains(':') { Family::V6 } else { Family::V4 }).collect();
    if !texts(&spec["ipFamilies"]).is_empty() {
        families = Family::ALL.into_iter().filter(|f| texts(&spec["ipFamilies"]).contains(&f.to_string())).collect();
    }
    if families.is_empty() {
        families.insert(Family::V4);
    }
    families
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn complete(object: &Value) -> Result<Value, ObjectError> {
    let mut object = object.clone();
    let kind = object["kind"].as_str().ok_or_else(|| ObjectError("object: no kind".into()))?.to_owned();
    let known = KINDS.iter().find(|(name, ..)| *name == kind);
    if object["apiVersion"].is_null() {
        let (_, version, _) = known.ok_or_else(|| ObjectError(format!("{kind}: no apiVersion")))?;
        object["apiVersion"] = (*version).into();
    }
    if kind != "List" {
        if object["metadata"]["namespace"].is_null() && known.is_none_or(|(.., namespaced)| *namespaced) {
            object["metadata"]["namespace"] = "default".into();
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = CREATED.into();
        }
    }
    Ok(object)
}

/// A JSON merge patch (RFC 7386): maps are merged, `null` takes out, all else replaces.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let object = object.as_object_mut().expect("made an object above");
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

impl ObjectId {
    /// Of a complete object.
    fn of(object: &Value) -> Result<Self, ObjectError> {
        let id = Self {
            kind: text(&object["kind"]),
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"]),
        };
        if id.name.is_empty() { Err(ObjectError(format!("{}: no metadata.name", id.kind))) } else { Ok(id) }
    }
}

impl std::str::FromStr for ObjectId {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        let parts: Vec<_> = text.split('/').collect();
        let (kind, namespace, name) = match parts.as_slice() {
            [kind, namespace, name] => (*kind, *namespace, *name),
            [kind, name] if is_namespaced(kind) => (*kind, "default", *name),
            [kind, name] => (*kind, "", *name),
            _ => return Err(ObjectError(format!("object {text:?}: not Kind/name or Kind/namespace/name"))),
        };
        Ok(Self { kind: kind.into(), namespace: namespace.into(), name: name.into() })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn is_namespaced(kind: &str) -> bool {
    KINDS.iter().find(|(name, ..)| *name == kind).is_none_or(|(.., namespaced)| *namespaced)
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{}/{}", self.kind, self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Value {
        json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {
            "clusterIPs": ["10.96.0.80", "fd00:10:96::80"], "ports": [{"port": 80, "targetPort": 8080}]}})
    }

    fn pod(name: &str) -> Option<PodAddresses> {
        let addresses = vec!["10.244.2.2".parse().unwrap(), "fd00:10:244:2::2".parse().unwrap()];
        (name == "nginx").then(|| PodAddresses { node: "node2".into(), addresses })
    }

    #[test]
    fn short_endpoints_become_a_slice_for_each_family_of_the_service() {
        let mut cluster = Cluster::default();
        cluster.apply(&web()).unwrap();
        cluster.set_endpoints("web", &Members::Ready(vec!["nginx".into()]), &pod).unwrap();
        let slices: Vec<_> = cluster.objects().filter(|(id, _)| id.kind == "EndpointSlice").collect();
        assert_eq!(slices.len(), 2);
        assert_eq!(slices[0].1["endpoints"][0]["addresses"], json!(["10.244.2.2"]));
        assert_eq!(slices[1].1["endpoints"][0]["addresses"], json!(["fd00:10:244:2::2"]));
        assert_eq!(slices[0].1["ports"], json!([{"name": "", "protocol": "TCP", "port": 8080}]));
    }

    #[test]
    fn a_patch_merges_replaces_and_takes_out() {
        let mut cluster = Cluster::default();
        cluster.apply(&web()).unwrap();
        cluster.change("Service/web", &json!({"spec": {"type": "NodePort", "clusterIPs": null}})).unwrap();
        let (_, service) = cluster.objects().next().unwrap();
        assert_eq!(service["spec"], json!({"type": "NodePort", "ports": [{"port": 80, "targetPort": 8080}]}));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut cluster = Cluster::default();
        let error = cluster.delete("Service/web").unwrap_err().to_string();
        assert_eq!(error, "Service/default/web: no such object");
        cluster.apply(&web()).unwrap();
        let unknown = cluster.set_endpoints("web", &Members::Ready(vec!["ghost".into()]), &pod).unwrap_err();
        assert_eq!(unknown.to_string(), "Service/default/web: pod ghost: not in the world");
    }
}
