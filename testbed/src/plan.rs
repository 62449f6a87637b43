//! What a world is to look like, as plain data: scenarios describe theirs in YAML, the demo takes the example cluster.
//!
//! Kept apart from building so that a description can be read, compared and written down without a kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use backend_api::{Family, Protocol};
use serde::{Deserialize, Serialize};

/// A world seen from one node, the one under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorldPlan {
    /// The node under test.
    pub node: NodePlan,
    /// Pods, on the node under test and on others.
    pub pods: Vec<PodPlan>,
    /// Machines on the node's network: other nodes, and outsiders.
    pub hosts: Vec<HostPlan>,
    /// Addresses on the node's network that lead to the node under test although it does not own them, as a load
    /// balancer in layer-2 mode announces them. Untranslated, they end in the sink.
    pub announced: Vec<IpAddr>,
}

/// The node under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodePlan {
    /// Its name, as Kubernetes has it.
    pub name: String,
    /// Its addresses on `eth0`, the network that it shares with [`WorldPlan::hosts`]; /24 and /64.
    pub addresses: Vec<IpAddr>,
    /// Its addresses on the bridge of its pods, `cni0`; /24 and /64.
    pub bridge_addresses: Vec<IpAddr>,
    /// Where the node itself listens, on all its addresses, and answers with its name: an untranslated node port ends
    /// here.
    pub listens: Vec<Listen>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodPlan {
    /// Its name, unique in the world; what it answers.
    pub name: String,
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Where it runs and how it is attached.
    #[serde(default)]
    pub placement: Placement,
    /// Where it answers.
    #[serde(default)]
    pub listens: Vec<Listen>,
}

/// Where a pod runs, and how it is attached to its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Placement {
    /// On the node under test, behind the bridge `cni0`.
    #[default]
    Bridge,
    /// On the node under test, behind an interface of its own with this name on the node's side: `cali1`, at most 15
    /// bytes.
    Interface(String),
    /// On another node, behind the overlay. Such pods share one namespace, and each dials from its own address.
    Remote,
}

/// A machine on the node's network; its default route is the node under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPlan {
    /// Its name, unique in the world; what it answers.
    pub name: String,
    /// Its addresses, /24 and /64.
    pub addresses: Vec<IpAddr>,
    /// Where it answers.
    #[serde(default)]
    pub listens: Vec<Listen>,
}

/// A protocol and a port to answer on: `80/TCP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port, not 0.
    pub port: u16,
}

impl WorldPlan {
    /// The example cluster, seen from `node2`: the names and addresses that this project must serve first. Each IPv4
    /// address has an IPv6 twin: `10.244.2.3` and `fd00:10:244:2::3`.
    pub fn example() -> Self {
        let pods = vec![
            PodPlan::example("coredns-1", [0, 2], Placement::Remote, dns_ports()),
            PodPlan::example("coredns-2", [0, 3], Placement::Remote, dns_ports()),
            PodPlan::example("nginx-1", [0, 4], Placement::Remote, web_ports()),
            PodPlan::example("nginx-2", [1, 2], Placement::Remote, web_ports()),
            PodPlan::example("nginx-3", [2, 2], Placement::Bridge, web_ports()),
            PodPlan::example("mytools", [2, 3], Placement::Bridge, vec![]),
            PodPlan::example("whoami-1", [0, 5], Placement::Remote, web_ports()),
            PodPlan::example("whoami-2", [1, 5], Placement::Remote, web_ports()),
            PodPlan::example("whoami-3", [2, 4], Placement::Bridge, web_ports()),
            PodPlan::example("ingress", [2, 6], Placement::Bridge, vec![Listen::tcp(80)]),
        ];
        Self {
            node: NodePlan::default(),
            pods,
            hosts: vec![
                HostPlan::example("ctrlnode", 8, vec![Listen::tcp(6443)]),
                HostPlan::example("node1", 9, vec![]),
                HostPlan::example("outsider", 100, vec![]),
            ],
            announced: (240..=250).flat_map(machine).collect(),
        }
    }
}

impl WorldPlan {
    /// Without the addresses of families that `has` denies.
    #[must_use]
    pub fn limited_to(mut self, has: impl Fn(Family) -> bool) -> Self {
        let lists = [&mut self.node.addresses, &mut self.node.bridge_addresses, &mut self.announced];
        let pods = self.pods.iter_mut().map(|pod| &mut pod.addresses);
        let hosts = self.hosts.iter_mut().map(|host| &mut host.addresses);
        for addresses in lists.into_iter().chain(pods).chain(hosts) {
            addresses.retain(|address| has(Family::of(*address)));
        }
        self
    }
}

/// The example's network of machines.
fn machine(last: u8) -> Vec<IpAddr> {
    twins([192, 168, 67, last])
}

/// An IPv4 address and the IPv6 address that spells the same.
fn twins([a, b, c, d]: [u8; 4]) -> Vec<IpAddr> {
    let v6 = Ipv6Addr::new(0xfd00, spelled(a), spelled(b), spelled(c), 0, 0, 0, spelled(d));
    vec![Ipv4Addr::new(a, b, c, d).into(), v6.into()]
}

/// The number whose hexadecimal digits are the decimal digits of `byte`.
fn spelled(byte: u8) -> u16 {
    u16::from_str_radix(&byte.to_string(), 16).expect("decimal digits are hexadecimal ones")
}

fn web_ports() -> Vec<Listen> {
    vec![Listen::tcp(80), Listen::udp(80), Listen::sctp(80)]
}

fn dns_ports() -> Vec<Listen> {
    vec![Listen::udp(53), Listen::tcp(53), Listen::tcp(9153)]
}

impl PodPlan {
    fn example(name: &str, [node, last]: [u8; 2], placement: Placement, listens: Vec<Listen>) -> Self {
        Self { name: name.into(), addresses: twins([10, 244, node, last]), placement, listens }
    }
}

impl HostPlan {
    fn example(name: &str, last: u8, listens: Vec<Listen>) -> Self {
        Self { name: name.into(), addresses: machine(last), listens }
    }
}

impl Listen {
    /// A TCP port.
    pub fn tcp(port: u16) -> Self {
        Self { protocol: Protocol::Tcp, port }
    }

    /// A UDP port.
    pub fn udp(port: u16) -> Self {
        Self { protocol: Protocol::Udp, port }
    }

    /// An SCTP port.
    pub fn sctp(port: u16) -> Self {
        Self { protocol: Protocol::Sctp, port }
    }
}

/// The first of `addresses` that is of `family`.
pub fn of_family(addresses: &[IpAddr], family: Family) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| Family::of(*address) == family)
}

/// An empty world around the example's node.
impl Default for WorldPlan {
    fn default() -> Self {
        Self { node: NodePlan::default(), pods: Vec::new(), hosts: Vec::new(), announced: Vec::new() }
    }
}

impl Default for NodePlan {
    fn default() -> Self {
        Self {
            name: "node2".into(),
            addresses: machine(10),
            bridge_addresses: twins([10, 244, 2, 1]),
            listens: Vec::new(),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(port, protocol)| {
            let protocol = Protocol::ALL.into_iter().find(|known| known.to_string().eq_ignore_ascii_case(protocol))?;
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Self { protocol, port })
        });
        parsed.ok_or_else(|| format!("{text:?}: not a port, a slash and TCP, UDP or SCTP"))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_reads_as_it_is_written() {
        for (text, expected) in [
            ("80/TCP", Some(Listen::tcp(80))),
            ("53/udp", Some(Listen::udp(53))),
            ("1/SCTP", Some(Listen::sctp(1))),
            ("0/TCP", None),
            ("80", None),
            ("80/ICMP", None),
            ("65536/TCP", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        assert_eq!(Listen::udp(53).to_string(), "53/UDP");
    }

    #[test]
    fn the_twin_of_an_address_spells_the_same() {
        let expected: Vec<IpAddr> = vec!["10.244.2.3".parse().unwrap(), "fd00:10:244:2::3".parse().unwrap()];
        assert_eq!(twins([10, 244, 2, 3]), expected);
    }

    #[test]
    fn a_plan_can_do_without_a_family() {
        let plan = WorldPlan::example().limited_to(|family| family == Family::V4);
        let text = serde_saphyr::to_string(&plan).unwrap();
        assert!(text.contains("10.244.2.3") && !text.contains("fd00:"), "{text}");
    }

    #[test]
    fn a_plan_survives_being_written_down() {
        let plan = WorldPlan::example();
        let text = serde_saphyr::to_string(&plan).unwrap();
        assert_eq!(serde_saphyr::from_str::<WorldPlan>(&text).unwrap(), plan, "{text}");
    }
}
