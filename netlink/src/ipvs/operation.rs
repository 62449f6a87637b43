//! What the kernel can be told, one message each.

use std::fmt;
use std::net::SocketAddr;

use super::server::{RealServer, VirtualKey, VirtualServer};

/// A change. Each succeeds or fails alone: IPVS knows no transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds a virtual server, without real servers. `EEXIST` if there is one of that key; `ENOENT` if there is no such
    /// scheduler.
    AddVirtual(VirtualServer),
    /// Changes a virtual server. Its real servers and connections stay. `ESRCH` if there is none.
    EditVirtual(VirtualServer),
    /// Removes a virtual server and its real servers. Its connections are cut, or stay without a server, as
    /// `expire_nodest_conn` says.
    RemoveVirtual(VirtualKey),
    /// Adds a real server. `EEXIST` if there is one of that address and port; `ESRCH` if there is no such virtual
    /// server.
    AddReal(VirtualKey, RealServer),
    /// Changes a real server. Its connections stay. `ENOENT` if there is none.
    EditReal(VirtualKey, RealServer),
    /// Removes a real server. `ENOENT` if there is none.
    RemoveReal(VirtualKey, SocketAddr),
    /// Sets the statistics of a virtual server and its real servers to 0.
    Zero(VirtualKey),
    /// Sets all statistics to 0.
    ZeroAll,
    /// Removes every virtual server of the network namespace, of any program.
    Flush,
    /// Sets timeouts of connections.
    SetTimeouts(Timeouts),
}

/// How long a connection without packets is remembered, in seconds. 0 leaves a timeout as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, established.
    pub tcp: u32,
    /// TCP after a FIN.
    pub tcp_fin: u32,
    /// UDP.
    pub udp: u32,
}

/// What the operation is about: `virtual server 10.96.0.10:53/UDP, real server 10.244.0.4:53`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddVirtual(server) | Self::EditVirtual(server) => {
                write!(f, "{}, scheduler {}", server.key, server.scheduler)
            }
            Self::RemoveVirtual(key) | Self::Zero(key) => key.fmt(f),
            Self::AddReal(key, server) | Self::EditReal(key, server) => {
                write!(f, "{key}, real server {}", server.address)
            }
            Self::RemoveReal(key, address) => write!(f, "{key}, real server {address}"),
            Self::ZeroAll => f.write_str("statistics of all virtual servers"),
            Self::Flush => f.write_str("all virtual servers"),
            Self::SetTimeouts(_) => f.write_str("timeouts of IPVS"),
        }
    }
}
