//! Virtual and real servers as plain values: what the kernel is told, and what it tells.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::abi::*;
use crate::Family;

/// What names a virtual server: no two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VirtualKey {
    /// Packets to an address and port.
    Address {
        /// IANA number of the transport protocol.
        protocol: u16,
        /// Destination address.
        address: IpAddr,
        /// Destination port; 0 takes all of a persistent virtual server.
        port: u16,
    },
    /// Packets of a family with this mark, whatever their address, port and protocol.
    Mark {
        /// Family of the packets.
        family: Family,
        /// The whole packet mark, not 0.
        mark: u32,
    },
}

/// A virtual server: something that IPVS balances.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualServer {
    /// Its name.
    pub key: VirtualKey,
    /// Name of the scheduler, as its module registers it: `rr`, `mh`. At most 15 bytes.
    pub scheduler: String,
    /// What else is special.
    pub flags: Flags,
    /// Whether clients come back to the same real server.
    pub persistence: Option<Persistence>,
    /// Persistence engine, such as `sip`; mostly none. At most 15 bytes.
    pub engine: Option<String>,
}

/// `IP_VS_SVC_F_*` without persistence (which is [`Persistence`]) and without `HASHED` (which is the kernel's own).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags(u32);

/// Clients come back to the real server that they had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Persistence {
    /// Seconds after the last connection ended until it is forgotten.
    pub timeout: u32,
    /// Which clients are one.
    pub clients: ClientMask,
}

/// How much of its address makes a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientMask {
    /// A netmask of IPv4.
    V4(Ipv4Addr),
    /// A prefix length of IPv6, 1 to 128.
    V6(u32),
}

/// A real server of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealServer {
    /// Where it listens. Port 0 keeps the port that was dialled.
    pub address: SocketAddr,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// Its share; 0 gets nothing new. At most `i32::MAX`.
    pub weight: u32,
    /// How many connections it takes.
    pub thresholds: Thresholds,
}

/// How packets get to a real server (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forwarding {
    /// Rewritten, there and back: NAT.
    Masquerade,
    /// To this machine itself.
    Local,
    /// In a tunnel.
    Tunnel,
    /// Unchanged, to the real server's link address.
    Direct,
    /// Unchanged, to where they were going.
    Bypass,
    /// What newer kernels have.
    Unknown(u8),
}

/// Limits of a real server's connections; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thresholds {
    /// Above so many it gets nothing new.
    pub upper: u32,
    /// Below so many it gets new ones again.
    pub lower: u32,
}

/// A virtual server as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServerEntry {
    /// What the kernel was told.
    pub server: VirtualServer,
    /// What happened.
    pub statistics: Statistics,
}

/// A real server as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealServerEntry {
    /// What the kernel was told.
    pub server: RealServer,
    /// What it has to do.
    pub connections: Connections,
    /// What happened.
    pub statistics: Statistics,
}

/// Connections that a real server has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// TCP and SCTP: established. None of UDP.
    pub active: u32,
    /// All others that are not forgotten yet.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
}

/// What has passed (`IPVS_STATS_ATTR_*`, 64 bits wide where the kernel says so: Linux 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Each UDP packet is scheduled anew.
    pub const ONE_PACKET: Self = Self(IP_VS_SVC_F_ONEPACKET);
    /// `sched-flag-1`: scheduler `sh` and `mh` fall back to another real server where the chosen one has weight 0.
    pub const SCHEDULER_1: Self = Self(IP_VS_SVC_F_SCHED1);
    /// `sched-flag-2`: schedulers `sh` and `mh` look at the client's port as well.
    pub const SCHEDULER_2: Self = Self(IP_VS_SVC_F_SCHED2);
    /// `sched-flag-3`: no scheduler of Linux 6.12 asks for it.
    pub const SCHEDULER_3: Self = Self(IP_VS_SVC_F_SCHED3);
    /// `sh-fallback`, `mh-fallback`.
    pub const HASH_FALLBACK: Self = Self::SCHEDULER_1;
    /// `sh-port`, `mh-port`.
    pub const HASH_PORT: Self = Self::SCHEDULER_2;

    /// From the kernel's number; what these flags do not say is left out.
    pub const fn from_abi(flags: u32) -> Self {
        Self(flags & !(IP_VS_SVC_F_PERSISTENT | IP_VS_SVC_F_HASHED))
    }

    /// The kernel's number.
    pub const fn abi(self) -> u32 {
        self.0
    }

    /// These and those.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of those are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl ClientMask {
    /// Every address is a client of its own.
    pub const fn address(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::V4(Ipv4Addr::BROADCAST),
            Family::Ipv6 => Self::V6(128),
        }
    }
}

impl VirtualKey {
    /// Family of the packets.
    pub fn family(self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(address),
            Self::Mark { family, .. } => family,
        }
    }
}

impl Forwarding {
    /// From the kernel's number, of which only the method is looked at.
    pub fn from_abi(flags: u32) -> Self {
        match flags & IP_VS_CONN_F_FWD_MASK {
            IP_VS_CONN_F_MASQ => Self::Masquerade,
            IP_VS_CONN_F_LOCALNODE => Self::Local,
            IP_VS_CONN_F_TUNNEL => Self::Tunnel,
            IP_VS_CONN_F_DROUTE => Self::Direct,
            IP_VS_CONN_F_BYPASS => Self::Bypass,
            other => Self::Unknown(other as u8),
        }
    }

    /// The kernel's number.
    pub fn abi(self) -> u32 {
        match self {
            Self::Masquerade => IP_VS_CONN_F_MASQ,
            Self::Local => IP_VS_CONN_F_LOCALNODE,
            Self::Tunnel => IP_VS_CONN_F_TUNNEL,
            Self::Direct => IP_VS_CONN_F_DROUTE,
            Self::Bypass => IP_VS_CONN_F_BYPASS,
            Self::Unknown(other) => u32::from(other),
        }
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#x})", self.0)
    }
}

/// `virtual server 10.96.0.10:53/UDP`, `virtual server mark 0x1f (IPv6)`.
impl fmt::Display for VirtualKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Address { protocol, address, port } => {
                write!(f, "virtual server {}/", SocketAddr::new(address, port))?;
                match protocol {
                    6 => f.write_str("TCP"),
                    17 => f.write_str("UDP"),
                    132 => f.write_str("SCTP"),
                    other => write!(f, "{other}"),
                }
            }
            Self::Mark { family: Family::Ipv4, mark } => write!(f, "virtual server mark {mark:#x} (IPv4)"),
            Self::Mark { family: Family::Ipv6, mark } => write!(f, "virtual server mark {mark:#x} (IPv6)"),
        }
    }
}
