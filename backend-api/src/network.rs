//! What the node's network is: which clients count as local pods, which addresses carry node ports, which addresses
//! belong to services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One value for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerFamily<T> {
    /// IPv4's.
    pub v4: T,
    /// IPv6's.
    pub v6: T,
}

/// What a dataplane must know of its node.
///
/// ```
/// # use switchyard_api::*;
/// let pods = PerFamily::new(LocalTraffic::Source("10.244.0.0/16".parse()?), LocalTraffic::Unknown);
/// let mut node = NodeNetwork::new(pods, ["192.168.67.8".parse()?]);
/// node.service_cidrs.insert("10.96.0.0/12".parse()?);
/// assert!(node.carries_node_ports("192.168.67.8".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNetwork {
    /// How a local pod is told from others.
    pub local_traffic: PerFamily<LocalTraffic>,
    /// Which of the node's addresses carry node ports.
    pub node_ports: PerFamily<NodePortAddresses>,
    /// Every address that the node owns, loopback excepted.
    pub addresses: BTreeSet<IpAddr>,
    /// Ranges that cluster addresses come from: a new connection that is forwarded or sent to one that no
    /// service has is dropped.
    pub service_cidrs: BTreeSet<Cidr>,
    /// Whether most cluster addresses are [`crate::Masquerade::Always`]. What holds is what each frontend says; this is
    /// a hint that decides nothing about a packet, only which frontends need an element of their own
    /// ([`NodeNetwork::cluster_masquerade`]). It is told and not derived from the services: a backend that derived it
    /// would rewrite an element of every cluster address whenever the majority changes.
    pub masquerade_all: bool,
    /// Which established connections leave the path of rules; none if `None`.
    pub offload: Option<Offload>,
}

/// TCP connections through services that this node forwards, handed to a flowtable once they are established (the idea
/// of KEP-4963). A dataplane that cannot says so in [`crate::Report::warnings`], and forwards them as ever.
///
/// TCP alone: a UDP flow ends with its endpoint, and the kernel does not let go of an entry that it has handed over
/// (`EBUSY` before Linux 6.4, up to a second later from then on).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offload {
    /// Each packet triggers the hand-over with probability 1/`after`.
    pub after: NonZeroU32,
    /// The devices whose packets are looked up in the flowtable, by their index: a device that comes back under its
    /// name is another one.
    pub devices: BTreeMap<u32, String>,
}

/// How a connection from a local pod is told from others (KEP-2450).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalTraffic {
    /// It is not: pods are treated as clients from outside.
    #[default]
    Unknown,
    /// By its source: the cluster's range, or the node's.
    Source(Cidr),
    /// By the bridge that it entered through: its name, of at most 15 bytes.
    Bridge(String),
    /// By the prefix of the interface's name that it entered through; an empty one is no interface's.
    InterfacePrefix(String),
}

/// Which of the node's addresses carry node ports. Loopback addresses never do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodePortAddresses {
    /// Every one, as the kernel's routing tables know them.
    All,
    /// Exactly these; none if empty.
    These(BTreeSet<IpAddr>),
}

/// An address range: `10.244.0.0/16`. Bits after the prefix are always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text or a pair is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not an address, a slash and a number.
    #[error("range {0:?}: not an address and a prefix length")]
    Syntax(String),
    /// The prefix is longer than an address.
    #[error("range {address}/{prefix}: prefix longer than the address")]
    Prefix {
        /// The address.
        address: IpAddr,
        /// The prefix that is too long for it, in bits.
        prefix: u8,
    },
}

impl Cidr {
    /// A range from an address in it and a prefix length in bits; bits after the prefix are cleared.
    ///
    /// # Errors
    /// [`CidrError::Prefix`] where the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, CidrError> {
        let network = match address {
            IpAddr::V4(v4) if prefix <= 32 => IpAddr::V4((v4.to_bits() & mask32(prefix)).into()),
            IpAddr::V6(v6) if prefix <= 128 => IpAddr::V6((v6.to_bits() & mask128(prefix)).into()),
            _ => return Err(CidrError::Prefix { address, prefix }),
        };
        Ok(Self { network, prefix })
    }

    /// The range that holds `address` alone.
    pub fn host(address: IpAddr) -> Self {
        Self { network: address, prefix: Family::of(address).bits() }
    }

    /// Its first address.
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// Its last address.
    pub fn last(self) -> IpAddr {
        match self.network {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() | !mask32(self.prefix)).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() | !mask128(self.prefix)).into()),
        }
    }

    /// Length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its family.
    pub fn family(self) -> Family {
        Family::of(self.network)
    }

    /// Whether `address` is in it; never for the other family.
    pub fn contains(self, address: IpAddr) -> bool {
        self.family() == Family::of(address) && self.network <= address && address <= self.last()
    }
}

fn mask32(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask128(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bits of an address: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl<T> PerFamily<T> {
    /// IPv4's value and IPv6's.
    pub const fn new(v4: T, v6: T) -> Self {
        Self { v4, v6 }
    }

    /// The same value for both.
    pub fn both(value: T) -> Self
    where
        T: Clone,
    {
        Self { v4: value.clone(), v6: value }
    }

    /// What `change` makes of each value.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> PerFamily<U> {
        PerFamily { v4: change(self.v4), v6: change(self.v6) }
    }

    /// References to both values.
    pub const fn as_ref(&self) -> PerFamily<&T> {
        PerFamily { v4: &self.v4, v6: &self.v6 }
    }

    /// The value of `family`.
    pub fn of(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The value of `family`, to change.
    pub fn of_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl LocalTraffic {
    /// Whether pods can be told at all.
    pub fn is_known(&self) -> bool {
        *self != Self::Unknown
    }
}

impl NodeNetwork {
    /// A node with these addresses, which tells pods from other clients in this way. All of the addresses carry node
    /// ports, but for loopback.
    pub fn new(pods: PerFamily<LocalTraffic>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            local_traffic: pods,
            node_ports: PerFamily::both(NodePortAddresses::All),
            addresses: addresses.into_iter().collect(),
            ..Self::unknown()
        }
    }

    /// A node of which nothing is known: every client counts as one from outside, and no address carries node ports.
    /// For the time before something is known, and for tests in which the node does not matter.
    pub fn unknown() -> Self {
        Self {
            local_traffic: PerFamily::both(LocalTraffic::Unknown),
            node_ports: PerFamily::both(NodePortAddresses::These(BTreeSet::new())),
            addresses: BTreeSet::new(),
            service_cidrs: BTreeSet::new(),
            masquerade_all: false,
            offload: None,
        }
    }

    /// What holds for a cluster address of `family` in the common case: if so configured, every connection is
    /// masqueraded; else every one but pods'; else (pods cannot be told from other clients) none.
    pub fn cluster_masquerade(&self, family: Family) -> crate::Masquerade {
        match (self.masquerade_all, self.local_traffic.of(family).is_known()) {
            (true, _) => crate::Masquerade::Always,
            (false, true) => crate::Masquerade::UnlessPod,
            (false, false) => crate::Masquerade::Never,
        }
    }

    /// Whether `address` is one of the node's own, loopback included.
    pub fn owns(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains(&address)
    }

    /// Whether node ports are dialled at `address`: one that [`NodePortAddresses`] selects, and never loopback. For
    /// [`NodePortAddresses::All`], as far as [`NodeNetwork::addresses`] knows.
    pub fn carries_node_ports(&self, address: IpAddr) -> bool {
        let selected = match self.node_ports.of(Family::of(address)) {
            NodePortAddresses::All => &self.addresses,
            NodePortAddresses::These(selected) => selected,
        };
        !address.is_loopback() && selected.contains(&address)
    }

    /// Every address of `family` at which node ports are dialled, in order.
    pub fn node_port_addresses(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        let selected = match self.node_ports.of(family) {
            NodePortAddresses::All => &self.addresses,
            NodePortAddresses::These(selected) => selected,
        };
        selected.iter().copied().filter(move |address| Family::of(*address) == family && !address.is_loopback())
    }
}

impl Default for NodePortAddresses {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

/// `pods are told by source 10.244.0.0/16`.
impl fmt::Display for LocalTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("pods cannot be told"),
            Self::Source(range) => write!(f, "pods are told by source {range}"),
            Self::Bridge(name) => write!(f, "pods are told by bridge {name}"),
            Self::InterfacePrefix(prefix) => write!(f, "pods are told by interface {prefix}*"),
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = address_and_prefix(text).ok_or_else(|| CidrError::Syntax(text.to_owned()))?;
        Self::new(address, prefix)
    }
}

/// What stands before the slash and after it.
fn address_and_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?))
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_cleared_of_host_bits() {
        for (text, printed, last) in [
            ("10.244.3.4/16", "10.244.0.0/16", "10.244.255.255"),
            ("10.0.0.1/32", "10.0.0.1/32", "10.0.0.1"),
            ("1.2.3.4/0", "0.0.0.0/0", "255.255.255.255"),
            ("fd00::1/64", "fd00::/64", "fd00::ffff:ffff:ffff:ffff"),
            ("::1/0", "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let range: Cidr = text.parse().unwrap();
            assert_eq!((range.to_string(), range.last().to_string()), (printed.to_owned(), last.to_owned()));
            assert!(range.contains(range.network()) && range.contains(range.last()));
        }
        for text in ["", "10.0.0.0", "10.0.0.0/", "10.0.0/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_holds_its_own_family_only() {
        let everything: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(!everything.contains("::1".parse().unwrap()));
        let range: Cidr = "10.244.0.0/16".parse().unwrap();
        assert!(!range.contains("10.245.0.0".parse().unwrap()) && !range.contains("10.243.255.255".parse().unwrap()));
    }

    #[test]
    fn node_ports_are_at_selected_addresses() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut node = NodeNetwork::unknown();
        node.addresses.extend(["192.168.67.8", "127.0.0.1", "fd00::8"].map(address));
        node.node_ports.v4 = NodePortAddresses::All;
        node.node_ports.v6 = NodePortAddresses::These(["::1", "fd00::9"].map(address).into());
        for (family, expected) in [(Family::V4, "192.168.67.8"), (Family::V6, "fd00::9")] {
            assert_eq!(node.node_port_addresses(family).collect::<Vec<_>>(), [address(expected)]);
            assert!(node.carries_node_ports(address(expected)));
        }
        assert!(!node.carries_node_ports(address("fd00::8")) && !node.carries_node_ports(address("127.0.0.1")));
        assert!(node.owns(address("127.0.0.2")) && node.owns(address("fd00::8")) && !node.owns(address("fd00::9")));
    }
}
