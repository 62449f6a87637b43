//! What became of kube-proxy's leftovers, and which other service proxies are here: values that are logged, counted and
//! tested.

use std::fmt;
use std::net::IpAddr;

use super::chains::Need;

/// What one attempt to remove the leftovers came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanupReport {
    /// Objects that were removed.
    pub removed: Vec<Removed>,
    /// Objects that stay, and that an operator should know of.
    pub left: Vec<Left>,
    /// Objects that could not be removed.
    pub failed: Vec<Failed>,
}

/// Objects of kube-proxy that were removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removed {
    /// The tables of its nftables mode, so many.
    Tables(usize),
    /// Chains of iptables.
    Chains {
        /// `ip nat`
        table: String,
        /// So many chains.
        chains: usize,
        /// So many rules in base chains that jumped to them.
        jumps: usize,
    },
    /// IP sets of its IPVS mode, so many.
    IpSets(usize),
    /// Virtual servers of its IPVS mode, so many.
    VirtualServers(usize),
    /// Service addresses that its IPVS mode had added to this node, so many.
    Addresses(usize),
    /// The device that had these addresses.
    Device(&'static str),
}

/// An object of kube-proxy's, or perhaps of kube-proxy's, that stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Left {
    /// A chain that is needed.
    Chain {
        /// `ip nat`
        table: String,
        /// Its name.
        chain: String,
        /// Why.
        need: Need,
    },
    /// Tables of the old iptables, whose rules only its own program can show and remove.
    LegacyTables {
        /// `iptables` or `ip6tables`
        program: &'static str,
        /// The tables that the kernel has.
        tables: Vec<String>,
    },
    /// `net.ipv4.conf.all.route_localnet` is 1.
    RouteLocalnet,
    /// An IP set that is in use.
    IpSet(String),
    /// Virtual servers, and addresses of services on the node, that still have connections. They are removed when these
    /// end.
    Draining {
        /// So many virtual servers.
        servers: usize,
        /// These addresses.
        addresses: Vec<IpAddr>,
    },
    /// Virtual servers that are not known to be kube-proxy's, so many.
    VirtualServers(usize),
}

/// An object of kube-proxy's that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {reason}")]
pub struct Failed {
    /// What.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// Another program that forwards, or may forward, service traffic on this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rival {
    /// A kube-proxy that runs in this network namespace.
    KubeProxy {
        /// The number of its process.
        process: u32,
    },
    /// A kube-proxy whose process is not seen, but which writes again what was removed.
    HiddenKubeProxy,
    /// kube-router with its service proxy: only the service proxy makes the device.
    KubeRouter,
    /// Cilium. Its device does not show whether it replaces kube-proxy.
    Cilium,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tables(count) => write!(f, "nftables tables kube-proxy: {count} removed"),
            Self::Chains { table, chains, jumps } => {
                write!(f, "table {table}: {chains} chains of kube-proxy and {jumps} jumps to them removed")
            }
            Self::IpSets(count) => write!(f, "IP sets of kube-proxy: {count} removed"),
            Self::VirtualServers(count) => write!(f, "virtual servers of kube-proxy: {count} removed"),
            Self::Addresses(count) => write!(f, "service addresses on this node: {count} removed"),
            Self::Device(name) => write!(f, "device {name}: removed"),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
                    Self::Chain { table, chain, need: Need::UsedBy(by) } => write!(
                f,
                "table {table}: chain {chain} of kube-proxy stays: a rule of another program in chain {by} jumps to it"
            ),
            Self::Chain { table, chain, need: Need::AcceptsFor(base) } => write!(
                f,
                "table {table}: chain {chain} of kube-proxy stays: base chain {base} drops packets that no rule accepts, and \
                 connections may depend on this chain; accept this traffic by a rule of your own, then remove the chain"
            ),
            Self::LegacyTables { program, tables } => write!(
                f,
                "legacy iptables: tables {} are in use, and only {program}-legacy can read their rules; if \
                 `{program}-legacy-save` shows KUBE-SERVICES, remove them with `{program}-legacy-save | grep -v KUBE- | \
                 {program}-legacy-restore`",
                tables.join(", ")
            ),
            Self::RouteLocalnet => f.write_str(
                "net.ipv4.conf.all.route_localnet: is 1, as kube-proxy's iptables mode sets it; Switchyard does not need it; \
                 if no other program does, run `sysctl -w net.ipv4.conf.all.route_localnet=0`",
            ),
            Self::IpSet(name) => write!(f, "IP set {name}: of kube-proxy, stays because a rule refers to it"),
            Self::Draining { servers, addresses } => write!(
                f,
                "kube-ipvs0: {servers} virtual servers of kube-proxy and {} addresses stay until their connections end",
                addresses.len()
            ),
            Self::VirtualServers(count) => {
                write!(f, "virtual servers: {count} by address stay, because they are not known to be kube-proxy's")
            }
        }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KubeProxy { process } => write!(f, "kube-proxy runs on this node, process {process}"),
            Self::HiddenKubeProxy => f.write_str("kube-proxy runs on this node: its rules came back after they were removed"),
            Self::KubeRouter => f.write_str(
                "kube-router forwards service traffic on this node, because device kube-dummy-if exists; stop its service proxy",
            ),
            Self::Cilium => f.write_str(
                "Cilium is on this node, because device cilium_host exists; with kubeProxyReplacement it forwards service \
                 traffic before Switchyard can",
            ),
        }
    }
}
