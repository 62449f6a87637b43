//! Who may dial a service's load-balancer addresses: `loadBalancerSourceRanges`.
//!
//! They hold for those addresses alone, not for cluster addresses, external addresses or node ports, but for pods and
//! the node as for everybody.

use std::collections::BTreeSet;
use std::net::IpAddr;

use backend_api::{Cidr, Family, SourceRanges};

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
        let texts = written.iter().map(|text| &**text).enumerate();
        let read = |(i, text)| range(text, format_args!("spec.loadBalancerSourceRanges[{i}]"), log);
        let ranges = texts.filter_map(read).collect();
        Self { restricted: !written.is_empty(), ranges }
    }

    /// Who may dial the load-balancer addresses `vips` of `family`.
    ///
    /// A range of length 0 means all. A list without a range of the family lets nobody in, where kube-proxy would let
    /// everybody in: whoever writes a list wants a guard. Where the node itself is in a range, so are
    /// the addresses: a connection from the node to one of them may carry it as source.
    pub(super) fn of_family(
        &self,
        family: Family,
        vips: &[IpAddr],
        node: Option<IpAddr>,
        log: &mut Log<'_>,
    ) -> SourceRanges {
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
