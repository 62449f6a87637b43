//! Node ports on localhost, with real packets: a client on the node dials its loopback addresses, and pods answer.

mod flows;
mod given;
mod node_ports;
mod plan;
mod streams;
mod whole;
