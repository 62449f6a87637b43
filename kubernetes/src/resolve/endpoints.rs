//! What EndpointSlices, and Endpoints where there are none, say of a service's endpoints, in one form for both; and
//! which of them a port has.
//!
//! Each object is read once, however many ports the service has, so that a mistake in it is reported once.
//!
//! An Endpoints counts only for a service of which no EndpointSlice is known: the cluster mirrors every Endpoints of
//! a service without selector into slices, and slices know more.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use backend_api::{EndpointAddress, Family, Protocol};

use super::notation::{port, usable_address, word};
use super::ports::PortIdentity;
use super::warning::{Log, Problem, Warning};
use crate::objects::{Address, AddressType, EndpointPort, EndpointSlice, Endpoints, Hints, SliceEndpoint};

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
    let mut candidates = Vec::with_capacity(slice.endpoints.len());
    for (i, endpoint) in slice.endpoints.iter().enumerate() {
        candidates.extend(of_endpoint(endpoint, i, family, &mut log));
    }
    Some(Group { family, candidates, ports })
}

/// Reads an Endpoints: a group for each subset and family.
pub(super) fn of_endpoints<'a>(endpoints: &'a Endpoints, warnings: &mut Vec<Warning>) -> Vec<Group<'a>> {
    let mut log = Log::new(endpoints.key(), warnings);
    let mut groups = Vec::new();
    for (i, subset) in endpoints.subsets.iter().enumerate() {
        let mut families = Families::new();
        for (list, addresses, ready) in
            [("addresses", &subset.addresses, true), ("notReadyAddresses", &subset.not_ready_addresses, false)]
        {
            for (j, address) in addresses.iter().enumerate() {
                let field = format_args!("subsets[{i}].{list}[{j}].ip");
                let Some(ip) = usable_address(&address.ip, field, &mut log) else { continue };
                let node_name = address.node_name.as_deref();
                let candidate = Candidate { ip, ready, serving: ready, terminating: false, node_name, hints: None };
                families.entry(Family::of(ip)).or_default().push(candidate);
            }
        }
        let ports = offers(&subset.ports, format_args!("subsets[{i}].ports"), &mut log);
        for (family, candidates) in families {
            groups.push(Group { family, candidates, ports: ports.clone() });
        }
    }
    groups
}

type Families<'a> = BTreeMap<Family, Vec<Candidate<'a>>>;

/// Which groups offer which port, so that a port is not looked for in all of them.
#[derive(Debug)]
pub(super) struct Offers<'a> {
    groups: &'a [Group<'a>],
    /// In order, so that what is offered for one port stands together, in order of groups.
    places: Vec<(Family, Protocol, &'a str, usize, u16)>,
}

impl<'a> Offers<'a> {
    pub(super) fn of(groups: &'a [Group<'a>]) -> Self {
        let mut places = Vec::with_capacity(groups.iter().map(|group| group.ports.len()).sum());
        for (index, group) in groups.iter().enumerate() {
            places
                .extend(group.ports.iter().map(|offer| (group.family, offer.protocol, offer.name, index, offer.port)));
        }
        places.sort_unstable();
        Self { groups, places }
    }

    /// Every endpoint that offers `port`, in order of addresses.
    ///
    /// An address that is described twice is one endpoint (a new pod may have the address of one that still
    /// terminates). The description that makes more use of it counts: not terminating before terminating, ready before
    /// not ready, serving before not serving; then the first, in order of slices' names.
    pub(super) fn of_port(&self, port: &PortIdentity, family: Family) -> BTreeMap<EndpointAddress, Candidate<'a>> {
        let wanted = (family, port.protocol, &*port.name);
        let first = self.places.partition_point(|(family, protocol, name, ..)| (*family, *protocol, *name) < wanted);
        let offering = self.places[first..].iter();
        let mut found: BTreeMap<EndpointAddress, Candidate<'a>> = BTreeMap::new();
        for (.., group, port) in
            offering.take_while(|(family, protocol, name, ..)| (*family, *protocol, *name) == wanted)
        {
            for candidate in &self.groups[*group].candidates {
                let address = EndpointAddress { ip: candidate.ip, port: *port };
                let known = found.entry(address).or_insert(*candidate);
                if use_of(candidate) > use_of(known) {
                    *known = *candidate;
                }
            }
        }
        found
    }
}

fn use_of(candidate: &Candidate<'_>) -> (bool, bool, bool) {
    (!candidate.terminating, candidate.ready, candidate.serving)
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
    let mut offers = Vec::with_capacity(ports.len());
    for (i, written) in ports.iter().enumerate() {
        let Some(number) = written.port.filter(|number| *number != 0) else { continue };
        let Some(port) = port(number, format_args!("{list}[{i}].port"), log) else { continue };
        let protocol = match &written.protocol {
            None => Some(Protocol::Tcp),
            Some(protocol) => word(protocol, "the port is left out", format_args!("{list}[{i}].protocol"), log),
        };
        if let Some(protocol) = protocol {
            offers.push(Offer { name: written.name.as_deref().unwrap_or_default(), protocol, port });
        }
    }
    offers
}
