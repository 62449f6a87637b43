//! How local pods are told from others (KEP-2450), as configured: what it means on this node depends on
//! its Node object.

use std::fmt;
use std::str::FromStr;

use backend_api::{Cidr, CidrError, Family, LocalTraffic, PerFamily};

use super::InterfaceName;

/// `--detect-local-mode`, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDetector {
    /// By the cluster's pod ranges; not at all in a family that has none.
    ClusterCidrs(ClusterCidrs),
    /// By the pod ranges of this node's Node object.
    NodeCidrs,
    /// By the bridge that a packet enters through.
    Bridge(InterfaceName),
    /// By the prefix of the name of the interface that a packet enters through.
    InterfacePrefix(InterfaceName),
}

/// `--cluster-cidr`: at most one range for each family, the first one given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterCidrs(PerFamily<Option<Cidr>>);

impl LocalDetector {
    /// Whether pods cannot be told from others on any node.
    pub fn tells_nothing(&self) -> bool {
        *self == Self::ClusterCidrs(ClusterCidrs::default())
    }

    /// What this means on a node with these pod ranges.
    pub fn on_node(&self, pod_cidrs: &[Cidr]) -> PerFamily<LocalTraffic> {
        match self {
            Self::ClusterCidrs(ranges) => PerFamily { v4: within(ranges.0.v4), v6: within(ranges.0.v6) },
            Self::NodeCidrs => PerFamily {
                v4: within(pod_cidrs.iter().copied().find(|range| range.family() == Family::V4)),
                v6: within(pod_cidrs.iter().copied().find(|range| range.family() == Family::V6)),
            },
            Self::Bridge(name) => both(LocalTraffic::Bridge(name.to_string())),
            Self::InterfacePrefix(prefix) => both(LocalTraffic::InterfacePrefix(prefix.to_string())),
        }
    }
}

fn within(range: Option<Cidr>) -> LocalTraffic {
    range.map_or(LocalTraffic::Unknown, LocalTraffic::Source)
}

fn both(detector: LocalTraffic) -> PerFamily<LocalTraffic> {
    PerFamily { v4: detector.clone(), v6: detector }
}

impl FromStr for ClusterCidrs {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let mut ranges: PerFamily<Option<Cidr>> = PerFamily::default();
        for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            let range: Cidr = range.parse()?;
            ranges.of_mut(range.family()).get_or_insert(range);
        }
        Ok(Self(ranges))
    }
}

/// As it is parsed.
impl fmt::Display for ClusterCidrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<_> = [self.0.v4, self.0.v6].iter().flatten().map(ToString::to_string).collect();
        f.write_str(&ranges.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_range_of_each_family_counts() {
        let detector = LocalDetector::ClusterCidrs("10.244.0.0/16, fd00::/48,10.0.0.0/8".parse().unwrap());
        let expected = PerFamily {
            v4: LocalTraffic::Source(range("10.244.0.0/16")),
            v6: LocalTraffic::Source(range("fd00::/48")),
        };
        assert_eq!(detector.on_node(&[]), expected);
    }

    #[test]
    fn a_family_without_a_range_cannot_tell_pods() {
        let detector = LocalDetector::NodeCidrs.on_node(&[range("fd00:1::/64")]);
        assert_eq!(detector, PerFamily { v4: LocalTraffic::Unknown, v6: LocalTraffic::Source(range("fd00:1::/64")) });
    }

    #[test]
    fn interfaces_count_for_both_families() {
        let detector = LocalDetector::Bridge("cni0".parse().unwrap()).on_node(&[]);
        assert_eq!(detector.v4, LocalTraffic::Bridge("cni0".into()));
        assert_eq!(detector.v6, detector.v4);
    }
}
