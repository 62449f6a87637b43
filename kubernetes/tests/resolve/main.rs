//! What Kubernetes objects come to, topic by topic: objects as short YAML in, short sentences about the result out.

mod addresses;
mod affinity;
mod age;
mod endpoints;
mod example;
mod given;
mod legacy_endpoints;
mod masquerade;
mod mistakes;
mod node;
mod node_ports;
mod on_node;
mod policies;
mod ports;
mod readiness;
mod resolver;
mod scheduler;
mod selection;
mod source_ranges;
mod topology;
