//! What EndpointSlices, and Endpoints where there are none, say of a service's endpoints: one form for both.
//!
//! Each object is read once, however many ports the service has, so that a mistake in it is reported once.
//!
//! An Endpoints counts only for a service of which no EndpointSlice is known: the cluster mirrors every Endpoints of
//! a service without selector into slices, and slices know more.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use backend_api::{Family, Protocol};

use super::notation::{port, usable_address, word};
use super::warning::{Log, Problem, Warning};
use crate::objects::{
    Address, AddressType, EndpointPort, EndpointSlice, Endpoints, EndpointsAddress, Hints, SliceEndpoint,
};

/// Endpoints of one family that offer the same ports: a slice, or a subset of an Endpoints.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) family: Family,
    pub(super) candidates: Vec<Candidate<'a>>,
    pub(super) ports: Vec<Offer<'a>>,
}

/// An endpoint as its object describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) ip: IpAddr,
    pub(super) ready: bool,
    pub(super) serving: bool,
    pub(super) terminating: bool,
    pub(super) node_name: Option<&'a str>,
    pub(super) hints: Option<&'a Hints>,
}

/// A port that every endpoint of a group has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    pub(super) name: &'a str,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// Reads a slice; nothing where it is of no family.
pub(super) fn of_slice<'a>(slice: &'a EndpointSlice, warnings: &mut Vec<Warning>) -> Option<Group<'a>> {
    let mut log = Log::new(slice.key(), warnings);
    let family = match word(&slice.address_type, "no endpoint of it is used", "addressType", &mut log)? {
        AddressType::Ip(family) => family,
        AddressType::Fqdn => return None,
    };
    let ports = offers(&slice.ports, "ports", &mut log);
    let endpoints = slice.endpoints.iter().enumerate();
    let candidates = endpoints.filter_map(|(i, endpoint)| of_endpoint(endpoint, i, family, &mut log)).collect();
    Some(Group { family, candidates, ports })
}

/// Reads an Endpoints: a group for each subset and family.
pub(super) fn of_endpoints<'a>(endpoints: &'a Endpoints, warnings: &mut Vec<Warning>) -> Vec<Group<'a>> {
    let mut log = Log::new(endpoints.key(), warnings);
    let mut groups = Vec::new();
    for (i, subset) in endpoints.subsets.iter().enumerate() {
        let mut families: BTreeMap<Family, Vec<Candidate<'a>>> = BTreeMap::new();
        let mut add = |addresses: &'a [EndpointsAddress], list: &str, ready: bool, log: &mut Log<'_>| {
            for (j, address) in addresses.iter().enumerate() {
                let field = format_args!("subsets[{i}].{list}[{j}].ip");
                let Some(ip) = usable_address(&address.ip, field, log) else { continue };
                let node_name = address.node_name.as_deref();
                let candidate = Candidate { ip, ready, serving: ready, terminating: false, node_name, hints: None };
                families.entry(Family::of(ip)).or_default().push(candidate);
            }
        };
        add(&subset.addresses, "addresses", true, &mut log);
        add(&subset.not_ready_addresses, "notReadyAddresses", false, &mut log);
        let ports = offers(&subset.ports, format_args!("subsets[{i}].ports"), &mut log);
        let of_family = |(family, candidates)| Group { family, candidates, ports: ports.clone() };
        groups.extend(families.into_iter().map(of_family));
    }
    groups
}

/// Missing conditions mean ready, serving, and not terminating, as the API's documentation says.
fn of_endpoint<'a>(
    endpoint: &'a SliceEndpoint,
    index: usize,
    family: Family,
    log: &mut Log<'_>,
) -> Option<Candidate<'a>> {
    let field = format_args!("endpoints[{index}].addresses[0]");
    let nothing = Address::Text(Box::default());
    let ip = usable_address(endpoint.address.as_ref().unwrap_or(&nothing), field, log)?;
    if Family::of(ip) != family {
        log.warn(field, Problem::OtherFamily { address: ip, family });
        return None;
    }
    Some(Candidate {
        ip,
        ready: endpoint.conditions.ready.unwrap_or(true),
        serving: endpoint.conditions.serving.unwrap_or(true),
        terminating: endpoint.conditions.terminating.unwrap_or(false),
        node_name: endpoint.node_name.as_deref(),
        hints: endpoint.hints.as_deref(),
    })
}

/// A missing name is the empty one and a missing protocol TCP, as the API itself fills them in
/// (`SetDefaults_EndpointPort`); a missing port or 0 is left out in silence: not for proxies.
fn offers<'a>(ports: &'a [EndpointPort], list: impl fmt::Display, log: &mut Log<'_>) -> Vec<Offer<'a>> {
    let offer = |(i, written): (usize, &'a EndpointPort)| {
        let number = written.port.filter(|number| *number != 0)?;
        let port = port(number, format_args!("{list}[{i}].port"), log)?;
        let protocol = match &written.protocol {
            None => Protocol::Tcp,
            Some(protocol) => word(protocol, "the port is left out", format_args!("{list}[{i}].protocol"), log)?,
        };
        Some(Offer { name: written.name.as_deref().unwrap_or_default(), protocol, port })
    };
    ports.iter().enumerate().filter_map(offer).collect()
}
