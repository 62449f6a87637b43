//! Pools and services as the allocator knows them.

use std::net::IpAddr;

use allocation::{
    AddressRange, Assign, Avoid, Demand, FamilyPolicy, Labels, Masked, Operator, Pool, Requested, Requirement,
    Selector, ServiceAllocation, SharingKey,
};
use backend_api::{Age, Family, Protocol};
use jiff::Timestamp;

use super::Mistake;
use crate::objects::{
    Address, IpAddressPool, LabelRequirement, LabelSelector, Service, ServiceAllocationSpec, ServiceType,
    TrafficPolicy, Word,
};
use crate::resolve::YOUNGEST;

/// The annotation that says which pool a service's address is of.
pub const POOL_IN_USE: &str = "metallb.io/ip-allocated-from-pool";

const PREFIX: &str = "metallb.io/";
const DEPRECATED_PREFIX: &str = "metallb.universe.tf/";

/// A pool, and its ranges that mean something else than they seem to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolForm {
    /// As the allocator knows it.
    pub pool: Pool,
    /// Blocks that are written with an address inside of them.
    pub masked: Vec<Masked>,
}

/// An annotation that has another name by now, and is obeyed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeprecatedAnnotation {
    /// As it is written.
    pub written: String,
    /// As it is to be written.
    pub instead: String,
}

/// The pool that an object describes.
///
/// # Errors
/// Everything that is wrong with it: a pool is taken as a whole or not at all.
pub fn pool(object: &IpAddressPool) -> Result<PoolForm, Vec<Mistake>> {
    let spec = &object.spec;
    let mut mistakes = Vec::new();
    let (mut ranges, mut masked) = (Vec::new(), Vec::new());
    for (index, text) in spec.addresses.iter().enumerate() {
        match AddressRange::parse(text) {
            Ok((range, warning)) => {
                ranges.push(range);
                masked.extend(warning);
            }
            Err(error) => mistakes.push(Mistake::new(format!("spec.addresses[{index}]"), error)),
        }
    }
    if spec.addresses.is_empty() {
        mistakes.push(Mistake::new("spec.addresses", "a pool without addresses"));
    }
    let allocation = spec.service_allocation.as_ref();
    let service_allocation = allocation.map(|allocation| service_allocation(allocation, &mut mistakes));
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let assign = if spec.auto_assign == Some(false) { Assign::OnRequest } else { Assign::Automatic };
    let avoid = if spec.avoid_buggy_ips == Some(true) { Avoid::Buggy } else { Avoid::Nothing };
    let age = age(object.metadata.creation_timestamp.as_deref());
    let pool = Pool { age, assign, avoid, service_allocation, ..Pool::new(&object.metadata.name, ranges) };
    Ok(PoolForm { pool, masked })
}

fn service_allocation(spec: &ServiceAllocationSpec, mistakes: &mut Vec<Mistake>) -> ServiceAllocation {
    let place = "spec.serviceAllocation";
    let priority = u32::try_from(spec.priority).unwrap_or_else(|_| {
        mistakes
            .push(Mistake::new(format!("{place}.priority"), format!("{} is no priority, 0 or more", spec.priority)));
        0
    });
    ServiceAllocation {
        priority,
        namespaces: spec.namespaces.iter().map(|name| name.to_string()).collect(),
        namespace_selectors: selectors(&format!("{place}.namespaceSelectors"), &spec.namespace_selectors, mistakes),
        service_selectors: selectors(&format!("{place}.serviceSelectors"), &spec.service_selectors, mistakes),
    }
}

/// Selectors of a list at `place`.
pub(super) fn selectors(place: &str, written: &[LabelSelector], mistakes: &mut Vec<Mistake>) -> Vec<Selector> {
    let each = written.iter().enumerate();
    each.map(|(index, written)| selector(&format!("{place}[{index}]"), written, mistakes)).collect()
}

/// The selector that is written at `place`; what is wrong with it is added to `mistakes`.
pub fn selector(place: &str, written: &LabelSelector, mistakes: &mut Vec<Mistake>) -> Selector {
    let mut match_expressions = Vec::new();
    for (index, LabelRequirement { key, operator, values }) in written.match_expressions.iter().enumerate() {
        let place = format!("{place}.matchExpressions[{index}]");
        let values: Vec<String> = values.iter().map(|value| value.to_string()).collect();
        let (needs_values, operator) = match &**operator {
            "In" => (true, Operator::In(values.clone())),
            "NotIn" => (true, Operator::NotIn(values.clone())),
            "Exists" => (false, Operator::Exists),
            "DoesNotExist" => (false, Operator::DoesNotExist),
            other => {
                let reason = format!("{other:?} is none of In, NotIn, Exists, DoesNotExist");
                mistakes.push(Mistake::new(format!("{place}.operator"), reason));
                continue;
            }
        };
        match (needs_values, values.is_empty()) {
            (true, true) => mistakes.push(Mistake::new(format!("{place}.values"), "none, and the operator needs some")),
            (false, false) => mistakes.push(Mistake::new(format!("{place}.values"), "the operator takes none")),
            _ => {}
        }
        match_expressions.push(Requirement { key: key.to_string(), operator });
    }
    Selector { match_labels: written.match_labels.clone(), match_expressions }
}

/// The service as the allocator knows it, and its annotations that have another name by now. `None` if it is not the
/// allocator's: no LoadBalancer of this class, nor one that has an address of a pool and is a LoadBalancer no more.
pub fn service(object: &Service, class: Option<&str>) -> Option<(allocation::Service, Vec<DeprecatedAnnotation>)> {
    let annotations = Annotations(object.metadata.annotations.metallb.as_deref());
    let is_load_balancer = object.spec.service_type == Some(Word::Known(ServiceType::LoadBalancer));
    let own_class = object.spec.load_balancer_class.as_deref().filter(|class| !class.is_empty());
    // The class is gone together with the type, so what is released is known by its annotation.
    let is_ours =
        if is_load_balancer { own_class == class } else { annotations.get("ip-allocated-from-pool").is_some() };
    if !is_ours {
        return None;
    }
    let held = object.status.load_balancer.ingress.iter().filter_map(|ingress| ip(ingress.ip.as_ref()?));
    let service = allocation::Service {
        age: age(object.metadata.creation_timestamp.as_deref()),
        labels: object.metadata.labels.all.as_deref().cloned().unwrap_or_default(),
        demand: if is_load_balancer { demand(object) } else { Demand::Nothing },
        addresses: requested(object, &annotations),
        pool: annotations.get("address-pool").map(Into::into),
        sharing: sharing_key(object, &annotations),
        ports: ports(object),
        held: held.collect(),
        ..allocation::Service::new(object.service_name())
    };
    Some((service, annotations.deprecated()))
}

fn demand(object: &Service) -> Demand {
    let spec = &object.spec;
    let first = spec.cluster_ip.as_ref().filter(|_| spec.cluster_ips.is_empty());
    let mut families: Vec<Family> = Vec::new();
    for address in spec.cluster_ips.iter().chain(first).filter_map(ip) {
        if !families.contains(&Family::of(address)) {
            families.push(Family::of(address));
        }
    }
    let policy = match &spec.ip_family_policy {
        Some(Word::Known(policy)) => *policy,
        Some(Word::Unknown(_)) | None => FamilyPolicy::SingleStack,
    };
    Demand::OneOfEach { families, policy }
}

fn requested(object: &Service, annotations: &Annotations<'_>) -> Requested {
    let spec = object.spec.load_balancer_ip.as_deref().filter(|text| !text.is_empty());
    let (field, text) = match (annotations.get("loadBalancerIPs"), spec) {
        (None, None) => return Requested::Any,
        (Some(_), Some(_)) => {
            let reason = "annotation metallb.io/loadBalancerIPs and spec.loadBalancerIP are both set: remove one";
            return Requested::Unreadable(reason.to_owned());
        }
        (Some(list), None) => ("annotation metallb.io/loadBalancerIPs", list),
        (None, Some(one)) => ("spec.loadBalancerIP", one),
    };
    let addresses = text.split(',').map(|text| text.trim().parse().map(|address: IpAddr| address.to_canonical()));
    match addresses.collect() {
        Ok(addresses) => Requested::These(addresses),
        Err(_) => Requested::Unreadable(format!("{field}: {text:?} is no address, and no list of addresses")),
    }
}

fn sharing_key(object: &Service, annotations: &Annotations<'_>) -> Option<SharingKey> {
    let key = annotations.get("allow-shared-ip")?.to_owned();
    let is_local = object.spec.external_traffic_policy == Some(Word::Known(TrafficPolicy::Local));
    let selector = object.spec.selector.as_deref().filter(|_| is_local);
    Some(SharingKey { key, backends: selector.cloned().unwrap_or_default() })
}

fn ports(object: &Service) -> Vec<(Protocol, u16)> {
    let mut ports: Vec<(Protocol, u16)> = Vec::new();
    for port in &object.spec.ports {
        let protocol = match &port.protocol {
            None => Protocol::Tcp,
            Some(Word::Known(protocol)) => *protocol,
            Some(Word::Unknown(_)) => continue,
        };
        // What is no port is not dialled.
        if let Some(port) =
            u16::try_from(port.port).ok().filter(|port| *port != 0 && !ports.contains(&(protocol, *port)))
        {
            ports.push((protocol, port));
        }
    }
    ports
}

pub(super) fn ip(address: &Address) -> Option<IpAddr> {
    match address {
        Address::Ip(address) => Some(address.to_canonical()),
        Address::Text(_) => None,
    }
}

/// One that does not say when it was created is younger than all that do.
pub(super) fn age(created: Option<&str>) -> Age {
    let created = created.and_then(|written| written.parse::<Timestamp>().ok());
    created.map_or(YOUNGEST, |created| Age(created.as_nanosecond()))
}

/// The annotations of metallb.io, under both of their names.
struct Annotations<'a>(Option<&'a Labels>);

impl<'a> Annotations<'a> {
    /// What is written under the new name if it is there, else under the old one; empty is nothing.
    fn get(&self, name: &str) -> Option<&'a str> {
        let labels = self.0?;
        let value = [PREFIX, DEPRECATED_PREFIX].iter().find_map(|prefix| labels.get(&format!("{prefix}{name}")))?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    fn deprecated(&self) -> Vec<DeprecatedAnnotation> {
        let obeyed = ["address-pool", "loadBalancerIPs", "allow-shared-ip"];
        let written =
            self.0.into_iter().flatten().filter_map(|(key, _)| Some((key, key.strip_prefix(DEPRECATED_PREFIX)?)));
        let known = written.filter(|(_, name)| obeyed.contains(name));
        known
            .map(|(key, name)| DeprecatedAnnotation { written: key.clone(), instead: format!("{PREFIX}{name}") })
            .collect()
    }
}
