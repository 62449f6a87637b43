//! The endpoints of one port in one family: those that offer it, each address once.

use std::collections::BTreeMap;

use backend_api::{EndpointAddress, Family, PortName, Protocol};

use super::candidates::{Candidate, Group, Offer};

/// A port of a service, as endpoints are matched to it: by name and protocol. The number that clients dial has no part
/// in it, nor has `targetPort`: each slice names the number that its endpoints listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortIdentity {
    pub(super) name: PortName,
    pub(super) protocol: Protocol,
}

/// Everything in `groups` that offers `port`, in order of addresses.
///
/// An address that is described twice is one endpoint (a new pod may have the address of one that still terminates). The
/// description that makes more use of it counts: not terminating before terminating, ready before
/// not ready, serving before not serving; then the first, in order of slices' names.
pub(super) fn offering<'a>(
    port: &PortIdentity,
    family: Family,
    groups: &[Group<'a>],
) -> BTreeMap<EndpointAddress, Candidate<'a>> {
    let mut found: BTreeMap<EndpointAddress, Candidate<'a>> = BTreeMap::new();
    for group in groups.iter().filter(|group| group.family == family) {
        let matching = |offer: &&Offer<'_>| offer.name == &*port.name && offer.protocol == port.protocol;
        for offer in group.ports.iter().filter(matching) {
            for candidate in &group.candidates {
                let address = EndpointAddress { ip: candidate.ip, port: offer.port };
                let known = found.entry(address).or_insert(*candidate);
                if use_of(candidate) > use_of(known) {
                    *known = *candidate;
                }
            }
        }
    }
    found
}

fn use_of(candidate: &Candidate<'_>) -> (bool, bool, bool) {
    (!candidate.terminating, candidate.ready, candidate.serving)
}
