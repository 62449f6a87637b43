//! The endpoints of services: discovery.k8s.io/v1 EndpointSlice, and v1 Endpoints, which came before it and is still
//! written by hand.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use backend_api::{Family, Protocol, ServiceName};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::metadata::{or_default, present};
use super::text::{Repeated, repeated};
use super::{Address, Keyword, Kind, Metadata, ObjectKey, Word};

/// discovery.k8s.io/v1 EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// `metadata`.
    pub metadata: Metadata<SliceLabels, SliceAnnotations>,
    /// `addressType`.
    pub address_type: Word<AddressType>,
    /// `endpoints`.
    #[serde(default, deserialize_with = "or_default")]
    pub endpoints: Box<[SliceEndpoint]>,
    /// `ports`.
    #[serde(default, deserialize_with = "or_default")]
    pub ports: Box<[EndpointPort]>,
}

/// The labels of an EndpointSlice that a proxy obeys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SliceLabels {
    /// `kubernetes.io/service-name`: whose endpoints these are.
    #[serde(rename = "kubernetes.io/service-name", default)]
    pub service_name: Option<Box<str>>,
    /// Whether `service.kubernetes.io/headless` is there, with any value: not for proxies.
    #[serde(rename = "service.kubernetes.io/headless", default, deserialize_with = "present")]
    pub headless: bool,
}

/// The annotations of an EndpointSlice that a proxy reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SliceAnnotations {
    /// `endpoints.kubernetes.io/last-change-trigger-time`: when that happened of which the slice tells. What is no time
    /// is none: it is for statistics.
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time", default, deserialize_with = "time")]
    pub last_change_trigger_time: Option<SystemTime>,
}

/// `addressType` of an EndpointSlice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressType {
    /// Addresses of this family.
    Ip(Family),
    /// Names, which a proxy cannot use.
    Fqdn,
}

/// One of `endpoints` of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    /// The first of `addresses`: the others are the same endpoint's and unused, as the API's documentation demands.
    #[serde(rename = "addresses", deserialize_with = "first")]
    pub address: Option<Address>,
    /// `conditions`.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Conditions,
    /// `nodeName`.
    #[serde(deserialize_with = "repeated")]
    pub node_name: Option<Arc<str>>,
    /// `hints`, made by the EndpointSlice controller.
    pub hints: Option<Box<Hints>>,
}

/// `conditions` of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// `ready`; missing means true.
    pub ready: Option<bool>,
    /// `serving`; missing means true.
    pub serving: Option<bool>,
    /// `terminating`; missing means false.
    pub terminating: Option<bool>,
}

/// `hints` of an endpoint: which zones and nodes should prefer it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    /// Names in `forZones` (KEP-2433).
    #[serde(deserialize_with = "names")]
    pub for_zones: Box<[Arc<str>]>,
    /// Names in `forNodes` (KEP-3015).
    #[serde(deserialize_with = "names")]
    pub for_nodes: Box<[Arc<str>]>,
}

/// One of `ports` of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EndpointPort {
    /// `name`; the port of the service that has the same. Empty is a name, null is none.
    #[serde(default, deserialize_with = "repeated")]
    pub name: Option<Arc<str>>,
    /// `protocol`; missing means TCP.
    #[serde(default)]
    pub protocol: Option<Word<Protocol>>,
    /// `port`.
    #[serde(default)]
    pub port: Option<i64>,
}

impl EndpointSlice {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::EndpointSlice)
    }

    /// The service whose endpoints it holds, if it says so.
    pub fn service_name(&self) -> Option<ServiceName> {
        let name = self.metadata.labels.service_name.as_deref().filter(|name| !name.is_empty())?;
        Some(ServiceName { namespace: self.metadata.namespace.clone(), name: name.into() })
    }
}

/// v1 Endpoints; it belongs to the service of its own name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Endpoints {
    /// `metadata`.
    pub metadata: Metadata<SliceLabels>,
    /// `subsets`.
    #[serde(default, deserialize_with = "or_default")]
    pub subsets: Box<[EndpointsSubset]>,
}

/// One of `subsets` of an Endpoints: every address offers every port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsSubset {
    /// `addresses`, which are ready.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Box<[EndpointsAddress]>,
    /// `notReadyAddresses`.
    #[serde(deserialize_with = "or_default")]
    pub not_ready_addresses: Box<[EndpointsAddress]>,
    /// `ports`.
    #[serde(deserialize_with = "or_default")]
    pub ports: Box<[EndpointPort]>,
}

/// One address of an Endpoints, of either family.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsAddress {
    /// `ip`.
    pub ip: Address,
    /// `nodeName`.
    #[serde(default, deserialize_with = "repeated")]
    pub node_name: Option<Arc<str>>,
}

impl Endpoints {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        self.metadata.key(Kind::Endpoints)
    }
}

impl Keyword for AddressType {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "IPv4" => Some(Self::Ip(Family::V4)),
            "IPv6" => Some(Self::Ip(Family::V6)),
            "FQDN" => Some(Self::Fqdn),
            _ => None,
        }
    }
}

/// Reads a list of addresses and keeps the first.
fn first<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct List(#[serde(deserialize_with = "first_of_list")] Option<Address>);

    Ok(Option::<List>::deserialize(deserializer)?.and_then(|list| list.0))
}

fn first_of_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    struct First;

    impl<'de> Visitor<'de> for First {
        type Value = Option<Address>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of addresses")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let first = list.next_element()?;
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }
    }

    deserializer.deserialize_seq(First)
}

/// Reads an RFC 3339 time.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse::<Timestamp>().ok()).map(SystemTime::from))
}

/// Reads a list of `{name: …}`.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[Arc<str>]>, D::Error> {
    #[derive(Deserialize)]
    struct Named {
        name: Repeated,
    }

    let list: Vec<Named> = or_default(deserializer)?;
    Ok(list.into_iter().map(|named| named.name.0).collect())
}
