//! The ports of a service that can be told apart and dialled.

use std::fmt;

use backend_api::{PortName, Protocol};

use super::notation::{port, word};
use super::warning::{Log, Problem};
use crate::objects;

/// A port of a service that can be dialled.
pub(super) struct Port {
    /// In `spec.ports`.
    pub(super) index: usize,
    pub(super) identity: PortIdentity,
    pub(super) number: u16,
    pub(super) node_port: Option<u16>,
}

/// A port of a service, as endpoints are matched to it: by name and protocol. The number that clients dial has no part
/// in it, nor has `targetPort`: each slice names the number that its endpoints listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortIdentity {
    pub(super) name: PortName,
    pub(super) protocol: Protocol,
}

/// Reads `spec.ports`. Each is compared with those before it: a service has few.
pub(super) fn read_ports(written: &[objects::ServicePort], log: &mut Log<'_>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::with_capacity(written.len());
    for (index, written) in written.iter().enumerate() {
        ports.extend(read_port(written, index, &ports, log));
    }
    ports
}

fn read_port(written: &objects::ServicePort, index: usize, earlier: &[Port], log: &mut Log<'_>) -> Option<Port> {
    let protocol = match &written.protocol {
        None => Some(Protocol::Tcp),
        Some(protocol) => word(protocol, "the port is left out", Field { index, name: "protocol" }, log),
    };
    let number = port(written.port, Field { index, name: "port" }, log)?;
    let identity = PortIdentity { name: written.name.clone().unwrap_or_default(), protocol: protocol? };
    if let Some(other) = earlier.iter().find(|other| other.identity == identity) {
        let problem = Problem::PortName { name: identity.name.to_string(), earlier: other.path() };
        log.warn(Field { index, name: "name" }, problem);
        return None;
    }
    let mut port = Port { index, identity, number, node_port: None };
    if let Some(other) = earlier.iter().find(|other| other.number == number && other.is_like(&port)) {
        log.warn(Field { index, name: "port" }, Problem::PortTaken { port: number, earlier: other.path() });
        return None;
    }
    port.node_port = read_node_port(written.node_port, &port, earlier, log);
    Some(port)
}

/// 0 stands where the load balancer does not need one (KEP-1864), and for types that have none.
fn read_node_port(written: i64, of: &Port, earlier: &[Port], log: &mut Log<'_>) -> Option<u16> {
    if written == 0 {
        return None;
    }
    let field = Field { index: of.index, name: "nodePort" };
    let number = port(written, field, log)?;
    if let Some(other) = earlier.iter().find(|other| other.node_port == Some(number) && other.is_like(of)) {
        log.warn(field, Problem::PortTaken { port: number, earlier: other.path() });
        return None;
    }
    Some(number)
}

impl Port {
    /// Whether both are of one protocol, so that one number cannot serve both.
    fn is_like(&self, other: &Self) -> bool {
        self.identity.protocol == other.identity.protocol
    }

    fn path(&self) -> String {
        format!("spec.ports[{}]", self.index)
    }
}

/// A field of one of `spec.ports`.
#[derive(Clone, Copy, Debug)]
struct Field {
    index: usize,
    name: &'static str,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.ports[{}].{}", self.index, self.name)
    }
}
