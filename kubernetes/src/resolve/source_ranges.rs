//! Which clients may dial a service's load-balancer addresses: `loadBalancerSourceRanges`.
//!
//! They hold for those addresses alone, not for cluster addresses, external addresses or node ports. They hold for pods
//! and the node as for every other client.

use std::collections::BTreeSet;
use std::net::IpAddr;

use backend_api::{Cidr, Family, PerFamily, SourceRanges};

use super::addresses::ServiceAddresses;
use super::notation::range;
use super::warning::{Log, Problem};

/// A service's ranges, of both families.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Whether any was written: then a family without a range is closed.
    restricted: bool,
    ranges: BTreeSet<Cidr>,
}

impl Ranges {
    /// Reads the ranges as written.
    pub(super) fn read(written: &[Box<str>], log: &mut Log<'_>) -> Self {
        let mut ranges = BTreeSet::new();
        for (i, text) in written.iter().enumerate() {
            ranges.extend(range(text, format_args!("spec.loadBalancerSourceRanges[{i}]"), log));
        }
        Self { restricted: !written.is_empty(), ranges }
    }

    /// Which clients may dial the load-balancer addresses among `addresses`, on a node with the addresses `node`.
    pub(super) fn of_families(
        &self,
        addresses: &PerFamily<Option<ServiceAddresses>>,
        node: &PerFamily<Option<IpAddr>>,
        log: &mut Log<'_>,
    ) -> PerFamily<SourceRanges> {
        let vips_v4 = addresses.v4.as_ref().map_or(&[][..], |addresses| &addresses.vips);
        let vips_v6 = addresses.v6.as_ref().map_or(&[][..], |addresses| &addresses.vips);
        PerFamily {
            v4: self.of_family(Family::V4, vips_v4, node.v4, log),
            v6: self.of_family(Family::V6, vips_v6, node.v6, log),
        }
    }

    /// A range of length 0 means all. A list without a range of the family lets no client in, where kube-proxy would
    /// let all in: a list is written to restrict. Where the node itself is in a range, so are the addresses: a
    /// connection from the node to one of them may carry it as source.
    fn of_family(&self, family: Family, vips: &[IpAddr], node: Option<IpAddr>, log: &mut Log<'_>) -> SourceRanges {
        if !self.restricted || vips.is_empty() {
            return SourceRanges::Any;
        }
        let mut allowed: BTreeSet<Cidr> =
            self.ranges.iter().filter(|range| range.family() == family).copied().collect();
        if allowed.is_empty() {
            log.warn("spec.loadBalancerSourceRanges", Problem::Closed(family));
        }
        if allowed.iter().any(|range| range.prefix() == 0) {
            return SourceRanges::Any;
        }
        if node.is_some_and(|node| allowed.iter().any(|range| range.contains(node))) {
            allowed.extend(vips.iter().copied().map(Cidr::host));
        }
        SourceRanges::Only(allowed.into_iter().collect())
    }
}
