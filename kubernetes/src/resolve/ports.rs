//! The ports of a service that can be told apart and dialled.

use std::collections::HashMap;
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PortIdentity {
    pub(super) name: PortName,
    pub(super) protocol: Protocol,
}

/// Reads `spec.ports`. Each is compared with those before it.
pub(super) fn read_ports(written: &[objects::ServicePort], log: &mut Log<'_>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::with_capacity(written.len());
    let mut earlier = Earlier::default();
    for (index, of_index) in written.iter().enumerate() {
        let Some(port) = read_port(of_index, index, &earlier, log) else { continue };
        // Most services have one port.
        if index + 1 < written.len() {
            earlier.add(&port);
        }
        ports.push(port);
    }
    ports
}

/// Which of a service's ports has what later ones may not have too, by its index.
#[derive(Default)]
struct Earlier {
    identities: HashMap<PortIdentity, usize>,
    numbers: HashMap<(Protocol, u16), usize>,
    node_ports: HashMap<(Protocol, u16), usize>,
}

impl Earlier {
    fn add(&mut self, port: &Port) {
        let protocol = port.identity.protocol;
        self.identities.insert(port.identity.clone(), port.index);
        self.numbers.insert((protocol, port.number), port.index);
        if let Some(node_port) = port.node_port {
            self.node_ports.insert((protocol, node_port), port.index);
        }
    }
}

fn read_port(written: &objects::ServicePort, index: usize, earlier: &Earlier, log: &mut Log<'_>) -> Option<Port> {
    let protocol = match &written.protocol {
        None => Some(Protocol::Tcp),
        Some(protocol) => word(protocol, "the port is left out", Field { index, name: "protocol" }, log),
    };
    let number = port(written.port, Field { index, name: "port" }, log)?;
    let identity = PortIdentity { name: written.name.clone().unwrap_or_default(), protocol: protocol? };
    if let Some(other) = earlier.identities.get(&identity) {
        let problem = Problem::PortName { name: identity.name.to_string(), earlier: path(*other) };
        log.warn(Field { index, name: "name" }, problem);
        return None;
    }
    if let Some(other) = earlier.numbers.get(&(identity.protocol, number)) {
        log.warn(Field { index, name: "port" }, Problem::PortTaken { port: number, earlier: path(*other) });
        return None;
    }
    let mut port = Port { index, identity, number, node_port: None };
    port.node_port = read_node_port(written.node_port, &port, earlier, log);
    Some(port)
}

/// 0 stands where the load balancer does not need one (KEP-1864), and for types that have none.
fn read_node_port(written: i64, of: &Port, earlier: &Earlier, log: &mut Log<'_>) -> Option<u16> {
    if written == 0 {
        return None;
    }
    let field = Field { index: of.index, name: "nodePort" };
    let number = port(written, field, log)?;
    if let Some(other) = earlier.node_ports.get(&(of.identity.protocol, number)) {
        log.warn(field, Problem::PortTaken { port: number, earlier: path(*other) });
        return None;
    }
    Some(number)
}

fn path(index: usize) -> String {
    format!("spec.ports[{index}]")
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
