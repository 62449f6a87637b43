//! Multicast groups, so that network cards and switches that look into MLD let through what packet sockets read.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use tracing::debug;

use crate::wire::HEARTBEAT_GROUP;

/// Groups of one socket: the kernel limits the memory that a socket's memberships take (`optmem_max`).
const EACH: usize = 100;

/// Memberships, by sockets that receive nothing.
#[derive(Debug, Default)]
pub(super) struct Groups {
    heartbeats: BTreeMap<u32, Socket>,
    solicited: BTreeMap<(u32, Ipv6Addr), usize>,
    sockets: Vec<(Socket, usize)>,
}

impl Groups {
    /// Is a member of the heartbeats' group on these interfaces, and of no other interface.
    pub(super) fn heartbeats(&mut self, interfaces: &[u32]) {
        self.heartbeats.retain(|interface, _| interfaces.contains(interface));
        for interface in interfaces {
            if !self.heartbeats.contains_key(interface) {
                match join_heartbeats(*interface) {
                    Ok(socket) => drop(self.heartbeats.insert(*interface, socket)),
                    Err(error) => debug!(interface, %error, "join group of heartbeats: refused"),
                }
            }
        }
    }

    /// Is a member of these solicited-node groups, and of no other.
    pub(super) fn solicited(&mut self, wanted: &[(u32, Ipv6Addr)]) {
        let gone: Vec<(u32, Ipv6Addr)> =
            self.solicited.keys().filter(|group| !wanted.contains(group)).copied().collect();
        for group in gone {
            if let Some(at) = self.solicited.remove(&group) {
                let (socket, count) = &mut self.sockets[at];
                *count -= 1;
                // With the interface the membership has gone too.
                let _ = socket.leave_multicast_v6(&group.1, group.0);
            }
        }
        for group in wanted {
            if !self.solicited.contains_key(group) {
                match self.join(*group) {
                    Ok(at) => drop(self.solicited.insert(*group, at)),
                    Err(error) => debug!(interface = group.0, group = %group.1, %error, "join group: refused"),
                }
            }
        }
    }

    fn join(&mut self, (interface, group): (u32, Ipv6Addr)) -> io::Result<usize> {
        let at = match self.sockets.iter().position(|(_, count)| *count < EACH) {
            Some(at) => at,
            None => {
                self.sockets.push((Socket::new(Domain::IPV6, Type::DGRAM, None)?, 0));
                self.sockets.len() - 1
            }
        };
        let (socket, count) = &mut self.sockets[at];
        socket.join_multicast_v6(&group, interface)?;
        *count += 1;
        Ok(at)
    }
}

fn join_heartbeats(interface: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.join_multicast_v4_n(&HEARTBEAT_GROUP, &InterfaceIndexOrAddress::Index(interface))?;
    Ok(socket)
}
