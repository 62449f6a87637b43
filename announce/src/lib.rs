//! Announces addresses on a network segment: answers ARP and neighbour discovery, and elects which node does.
pub mod election;
pub mod kernel;
pub mod wire;
