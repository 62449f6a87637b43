//! What became of kube-proxy's leftovers, and who else serves here: values that are logged, counted and tested.

use std::fmt;
use std::net::IpAddr;

#[cfg(any(feature = "nftables", feature = "ipvs"))]
use super::chains::Need;

/// What one pass over the leftovers came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is gone.
    pub removed: Vec<Removed>,
    /// What stays, and should be known.
    pub left: Vec<Left>,
    /// What should be gone, and is not.
    pub failed: Vec<Failed>,
}

/// Something of kube-proxy's that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The tables of its nftables mode, so many.
    Tables(usize),
    /// Chains of iptables.
    Chains {
        /// `ip nat`
        table: String,
        /// So many chains.
        chains: usize,
        /// So many rules in base chains that led to them.
        jumps: usize,
    },
    /// IP sets of its IPVS mode, so many.
    IpSets(usize),
    /// Virtual servers of its IPVS mode, so many.
    VirtualServers(usize),
    /// Service addresses that its IPVS mode had given to this node, so many.
    Addresses(usize),
    /// The device that had them.
    Device(&'static str),
}

/// Something of kube-proxy's that stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// A chain that somebody needs.
    #[cfg(any(feature = "nftables", feature = "ipvs"))]
    Chain {
        /// `ip nat`
        table: String,
        /// Its name.
        chain: String,
        /// Who needs it.
        need: Need,
    },
    /// Tables of the old iptables, whose rules only its own program shows and removes.
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
    /// Virtual servers, and addresses of services on the node, that have connections still. They go when these end.
    Draining {
        /// So many virtual servers.
        servers: usize,
        /// These addresses.
        addresses: Vec<IpAddr>,
    },
    /// Virtual servers that are not known to be kube-proxy's, so many.
    VirtualServers(usize),
    /// What this program was built without.
    NotInThisBuild(&'static str),
}

/// Something of kube-proxy's that should be gone, and is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {reason}")]
pub struct Failed {
    /// What.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// Somebody else who serves, or may serve, services on this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rival {
    /// A kube-proxy that runs in this network namespace.
    KubeProxy {
        /// Its process.
        process: u32,
    },
    /// A kube-proxy that is not seen, but puts back what was removed.
    HiddenKubeProxy,
    /// kube-router with its service proxy: only that makes the device.
    KubeRouter,
    /// Cilium. Whether it replaces kube-proxy, its device does not tell.
    Cilium,
}

impl Report {
    /// Whether nothing is left to do, now or later.
    pub fn is_done(&self) -> bool {
        self.failed.is_empty() && !self.left.iter().any(|left| matches!(left, Left::Draining { .. }))
    }
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
            #[cfg(any(feature = "nftables", feature = "ipvs"))]
            Self::Chain { table, chain, need: Need::UsedBy(by) } => {
                write!(f, "table {table}: chain {chain} of kube-proxy stays, chain {by} of another program leads to it")
            }
            #[cfg(any(feature = "nftables", feature = "ipvs"))]
            Self::Chain { table, chain, need: Need::AcceptsFor(base) } => write!(
                f,
                "table {table}: chain {chain} of kube-proxy stays, {base} drops what no rule accepts and connections may \
                 depend on it; accept this traffic by a rule of your own and remove it"
            ),
            Self::LegacyTables { program, tables } => write!(
                f,
                "legacy iptables: tables {} are in use, and whether rules of kube-proxy are among theirs cannot be told \
                 from here; if `{program}-legacy-save` shows KUBE-SERVICES, remove them with `{program}-legacy-save | \
                 grep -v KUBE- | {program}-legacy-restore`",
                tables.join(", ")
            ),
            Self::RouteLocalnet => f.write_str(
                "net.ipv4.conf.all.route_localnet: is 1, as kube-proxy's iptables mode sets it and nothing here needs; \
                 `sysctl -w net.ipv4.conf.all.route_localnet=0` unless something else does",
            ),
            Self::IpSet(name) => write!(f, "IP set {name}: of kube-proxy, stays because something refers to it"),
            Self::Draining { servers, addresses } => write!(
                f,
                "kube-ipvs0: {servers} virtual servers of kube-proxy and {} addresses stay until their connections end",
                addresses.len()
            ),
            Self::VirtualServers(count) => {
                write!(f, "virtual servers: {count} by address stay, not known to be kube-proxy's")
            }
            Self::NotInThisBuild(what) => write!(f, "{what}: not removed, this program was built without it"),
        }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KubeProxy { process } => write!(f, "kube-proxy runs on this node, process {process}"),
            Self::HiddenKubeProxy => f.write_str("kube-proxy runs on this node: its rules came back after they were removed"),
            Self::KubeRouter => f.write_str("kube-router serves services on this node: device kube-dummy-if is there"),
            Self::Cilium => f.write_str(
                "Cilium is on this node: device cilium_host is there; with kubeProxyReplacement it serves services before we can",
            ),
        }
    }
}
